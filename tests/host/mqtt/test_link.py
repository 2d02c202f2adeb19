"""How a connection stands, and since when."""

from __future__ import annotations

from host.mqtt.link import Link


def test_a_connection_is_away_since_its_first_failure_for_the_latest_reason():
    moments = iter((10.0, 20.0, 30.0))
    link = Link(lambda: next(moments))
    assert (link.state, link.since, link.problem) == ("connecting", 10.0, "")
    link.tell("Nobody listens.")
    link.tell("It refuses.")
    assert (link.state, link.since, link.problem) == ("away", 20.0, "It refuses.")
    link.tell("")
    link.tell("")
    assert (link.state, link.since, link.problem) == ("connected", 30.0, "")
