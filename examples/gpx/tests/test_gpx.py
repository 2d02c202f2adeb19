"""A way along the equator and then north, whose length is known."""

import json

from PIL import Image

from hooks.testing import run_plugin

POINT = '<trkpt lat="{}" lon="{}"/>'
WAY = [(0, 0), (0, 0.1), (0, 0.2), (0.1, 0.2)]


def gpx(points):
    inside = "".join(POINT.format(*point) for point in points)
    return (
        '<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="test">'
        f"<trk><trkseg>{inside}</trkseg></trk></gpx>"
    ).encode()


def test_a_track_is_measured_and_drawn_in_a_host_and_found_by_its_kind(host):
    host.use("gpx")
    (host.inbox / "way.gpx").write_bytes(gpx(WAY))
    (host.inbox / "words.txt").write_text("Not everything that is text is a track.")
    found = host.run()
    assert found["words.txt"]["event"]["kind"] == "text"
    way = found["way.gpx"]
    assert (way["event"]["kind"], way["event"]["media_type"]) == ("track", "application/gpx+xml")
    info = way["results"][0]["data"]
    assert info == {"kilometres": 33.359, "points": 4}  # three tenths of a degree of a great circle
    with Image.open(host.outbox / "way.gpx.map.png") as picture:
        places = {"start": (40, 400), "on the way": (400, 400), "end": (760, 40)}
        colours = {name: "#{:02x}{:02x}{:02x}".format(*picture.getpixel(place)) for name, place in places.items()}
    assert colours == {"start": "#2f855a", "on the way": "#2b6cb0", "end": "#c53030"}
    host.plugins["gpx"] = {"enabled": False}  # what was found stays, and can be asked for
    (shown,) = json.loads(host.command("results", "inbox/way.gpx", "--json").stdout)
    assert shown["event"]["kind"] == "track"


def test_what_is_no_track_is_refused_with_a_reason_and_a_point_is_one(events):
    odd = {
        "torn.gpx": gpx(WAY)[:-10],
        "empty.gpx": gpx([]),
        "words.gpx": gpx([("north", "east")]),
        "bomb.gpx": b'<!DOCTYPE g [<!ENTITY a "' + b"a" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">'
        b'<!ENTITY c "' + b"&b;" * 1000 + b'">]><gpx>&c;</gpx>',
    }
    made = {
        name: events.make("track", name, content, media_type="application/gpx+xml") for name, content in odd.items()
    }
    point = events.make("track", "one.gpx", gpx([(47.5, 8.5)]), media_type="application/gpx+xml")
    run = run_plugin("gpx", *made.values(), point)
    assert run.of_type("track_info") == [{"kilometres": 0.0, "points": 1}]
    assert set(run.failures) == {event.id for event in made.values()}
    assert run.failures[made["empty.gpx"].id] == "There is no track in it."
