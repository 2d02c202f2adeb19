"""Topics and filters: what is allowed, and what stands at the named levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.topics import TopicPattern, check_topic

LEVEL = st.text(st.characters(exclude_characters="/+#{}", exclude_categories=("Cc", "Cs")), max_size=5)


@pytest.mark.parametrize(
    ("pattern", "topic", "levels"),
    [
        ("home/{room}/{device}", "home/kitchen/cam", {"room": "kitchen", "device": "cam"}),
        ("home/{room}/#", "home/kitchen", {"room": "kitchen"}),
        ("home/{room}/#", "home/kitchen/a/b", {"room": "kitchen"}),
        ("home/+/cam", "home/kitchen/cam", {}),
        ("home/+/cam", "home/kitchen/lamp", None),
        ("{a}/b", "/b", {"a": ""}),
        ("home/{room}", "home/kitchen/cam", None),
        ("#", "anything/at/all", {}),
        ("$share/attic/home/{room}", "home/kitchen", {"room": "kitchen"}),
        ("a.c", "abc", None),
        ("home/#", "home/line\nbreak", {}),
    ],
)
def test_named_levels_are_found(pattern, topic, levels):
    assert TopicPattern.parse(pattern).match(topic) == levels


def test_the_broker_is_told_a_filter_without_names():
    assert TopicPattern.parse("home/{room}/#").filter == "home/+/#"
    shared = TopicPattern.parse("$share/attic/{device}/x")
    assert (shared.filter, shared.is_shared) == ("$share/attic/+/x", True)


BAD_FILTERS = ["", "a/#/b", "a#", "a/b+", "{A}", "a/{b}c", "{a}/{a}"]
BAD_SHARES = ["$share/group", "$share//a", "$share/g+/a", "$share/g/"]


@pytest.mark.parametrize("text", [*BAD_FILTERS, *BAD_SHARES, "nul\0", "x" * 65_536])
def test_a_filter_that_no_broker_takes_is_refused_with_a_reason(text):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        TopicPattern.parse(text)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "nul\0", "line\n", "\ud800", "☃" * 30_000])
def test_a_topic_that_cannot_be_published_to_is_refused_with_a_reason(topic):
    with pytest.raises(ValueError, match="topic"):
        check_topic(topic)


@given(st.lists(LEVEL, min_size=1, max_size=4).filter(any))
def test_every_topic_is_matched_by_itself_and_by_a_name_for_each_level(levels):
    topic = "/".join(levels)
    assert check_topic(topic) == topic
    assert TopicPattern.parse("/".join(f"{{l{n}}}" for n in range(len(levels)))).match(topic) == {
        f"l{n}": level for n, level in enumerate(levels)
    }
    if not topic.startswith("$share/"):
        assert TopicPattern.parse(topic).match(topic) == {}
