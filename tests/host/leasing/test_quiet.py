"""Quiet hours by the clock on the wall, and the patience with which a GPU is left to others."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from host.config import Config, QuietHours
from host.leasing.quiet import Crowding, last_quiet, quiet_until

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def hours(begin, end, days=None, pause="gpu"):
    table = {"from": begin, "to": end, "pause": pause, **({"days": days} if days else {})}
    return Config.model_validate({"quiet_hours": [table]}).quiet_hours[0]


def at(text, zone=BERLIN, fold=0):
    """Seconds since 1970 when the clocks there show this."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def until(one, text, **more):
    found = quiet_until(one, at(text, **more), more.get("zone", BERLIN))
    return found and found.strftime("%a %H:%M")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("2026-11-20T08:59:59", None),
        ("2026-11-20T09:00:00", "Fri 17:30"),
        ("2026-11-20T17:29:59", "Fri 17:30"),
        ("2026-11-20T17:30:00", None),
    ],
)
def test_hours_of_one_day_begin_and_end_on_the_minute(shown, expected):
    assert until(hours("09:00", "17:30"), shown) == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("2026-11-20T21:59:59", None),
        ("2026-11-20T22:00:00", "Sat 07:00"),
        ("2026-11-21T00:00:00", "Sat 07:00"),
        ("2026-11-21T06:59:59", "Sat 07:00"),
        ("2026-11-21T07:00:00", None),
    ],
)
def test_hours_that_end_before_they_begin_go_over_midnight(shown, expected):
    assert until(hours("22:00", "07:00"), shown) == expected


def test_days_are_those_on_which_they_begin():
    weekend = hours("22:00", "07:00", ["fri", "sat"])
    assert until(weekend, "2026-11-20T23:00") == "Sat 07:00"
    assert until(weekend, "2026-11-21T03:00") == "Sat 07:00", "Friday's night"
    assert until(weekend, "2026-11-22T03:00") == "Sun 07:00", "Saturday's night"
    assert until(weekend, "2026-11-22T23:00") is None
    assert until(weekend, "2026-11-20T03:00") is None, "Thursday's night"


def test_hours_that_end_when_they_begin_last_a_whole_day():
    sunday = hours("00:00", "00:00", ["sun"])
    assert until(sunday, "2026-11-22T00:00") == "Mon 00:00"
    assert until(sunday, "2026-11-22T23:59:59") == "Mon 00:00"
    assert until(sunday, "2026-11-23T00:00") is None
    assert until(sunday, "2026-11-21T23:59") is None


def test_a_night_in_which_the_clocks_are_put_forward_is_quiet_to_its_end():
    night = hours("22:00", "07:00")
    begin = at("2026-03-28T22:00")
    quiet = [quiet_until(night, begin + minute * 60, BERLIN) is not None for minute in range(9 * 60)]
    assert quiet == [True] * 8 * 60 + [False] * 60, "it is an hour shorter"


def test_a_night_in_which_the_clocks_are_put_back_is_quiet_to_its_end():
    night = hours("22:00", "07:00")
    begin = at("2026-10-24T22:00")
    quiet = [quiet_until(night, begin + minute * 60, BERLIN) is not None for minute in range(11 * 60)]
    assert quiet == [True] * 10 * 60 + [False] * 60, "it is an hour longer"


def test_hours_that_begin_in_an_hour_that_is_left_out_begin_after_it():
    early = hours("02:30", "03:30")
    assert until(early, "2026-03-29T01:59") is None
    assert until(early, "2026-03-29T03:00") == "Sun 03:30"
    assert until(early, "2026-03-29T03:30") is None


def test_hours_in_an_hour_that_comes_twice_are_quiet_twice():
    early = hours("02:00", "02:30")
    for fold in (0, 1):
        assert until(early, "2026-10-25T02:10", fold=fold) == "Sun 02:30"
        assert until(early, "2026-10-25T02:40", fold=fold) is None


def test_what_counts_is_the_local_time():
    evening, moment = hours("20:00", "21:00"), at("2026-11-20T20:30")
    assert quiet_until(evening, moment, BERLIN) is not None
    assert quiet_until(evening, moment, NEW_YORK) is None


def test_over_a_whole_year_every_day_has_its_hours():
    """Of hours that no clock skips or repeats, each day has as many as stand there."""
    evening = hours("18:00", "20:00")
    moment, found = at("2026-01-01T00:00"), 0
    end = at("2027-01-01T00:00")
    while moment < end:
        found += quiet_until(evening, moment, BERLIN) is not None
        moment += 900
    assert found == 365 * 8


def test_of_several_that_hold_the_last_end_counts():
    every = [hours("22:00", "07:00"), hours("23:00", "08:00"), hours("12:00", "13:00")]
    assert last_quiet(every, at("2026-11-20T23:30"), BERLIN).strftime("%a %H:%M") == "Sat 08:00"
    assert last_quiet(every, at("2026-11-20T22:30"), BERLIN).strftime("%a %H:%M") == "Sat 07:00"
    assert last_quiet(every, at("2026-11-20T20:00"), BERLIN) is None
    assert last_quiet([], at("2026-11-20T20:00"), BERLIN) is None


def test_without_a_zone_the_machines_own_counts():
    now = datetime.now()
    around = QuietHours.model_validate({
        "from": (now - timedelta(minutes=2)).strftime("%H:%M"), "to": (now + timedelta(minutes=2)).strftime("%H:%M")
    })  # fmt: skip
    assert quiet_until(around, now.timestamp()) is not None


# -- other programs ----------------------------------------------------------------------------------------------------


def changes(crowding, readings):
    """The moments at which it is left to others, or given back."""
    found, before = [], crowding.is_on
    for now, others in readings:
        if crowding.observe(others, now) != before:
            before = crowding.is_on
            found.append((now, before))
    return found


def test_a_gpu_is_left_once_others_have_held_it_for_long_enough():
    readings = [(0, 900), (2, 1500), (4, 1500), (6, 1500), (8, 1500)]
    assert changes(Crowding(1000, after=5, back_after=60), readings) == [(8, True)]


def test_a_short_peak_is_nobodys_business():
    readings = [(0, 1500), (2, 1500), (4, 900), (6, 1500), (8, 1500), (10, 900)]
    assert changes(Crowding(1000, after=5, back_after=60), readings) == []


def test_it_is_used_again_only_when_others_were_well_below_for_a_while():
    crowding = Crowding(1000, after=0, back_after=10)
    readings = [(0, 1001), (5, 950), (20, 850), (30, 799), (39, 799), (40, 799)]
    assert changes(crowding, readings) == [(0, True), (40, False)]


def test_others_that_come_back_meanwhile_start_the_wait_anew():
    crowding = Crowding(1000, after=0, back_after=10)
    readings = [(0, 1001), (5, 100), (12, 900), (14, 100), (20, 100), (24, 100)]
    assert changes(crowding, readings) == [(0, True), (24, False)]


def test_at_the_threshold_itself_nothing_changes():
    assert changes(Crowding(1000, after=0, back_after=0), [(0, 1000), (1, 1000)]) == []
