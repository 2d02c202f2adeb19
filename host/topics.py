"""Topics: filters as the configuration writes them, the names in them, and what a topic may look like (MQTT 5, 4.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 65_535  # bytes of UTF-8, by the specification
SHARE = "$share/"
_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_topic(topic: str) -> str:
    """The topic, when messages can be published to it; ValueError with the reason otherwise."""
    if "+" in topic or "#" in topic:
        raise ValueError("a topic to publish to has no wildcards; + and # are for subscriptions")
    return _checked(topic)


def _checked(topic: str) -> str:
    if not topic:
        raise ValueError("a topic is not empty")
    if _FORBIDDEN.search(topic):
        raise ValueError("a topic has no control characters, and no NUL")
    if len(topic.encode()) > LONGEST:
        raise ValueError(f"a topic has at most {LONGEST} bytes")
    return topic


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """A filter of a subscription in which `{name}` stands for one level: `home/{room}/{device}/#`.

    `filter` is what the broker is told: with `+` for each name, and with its `$share/group/` in front.
    """

    filter: str
    _expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> TopicPattern:
        """The pattern of a filter as the configuration writes it; ValueError with the reason when it is none."""
        _checked(text)
        prefix, levels = _split_share(text)
        expressions, names = [], set[str]()
        for number, level in enumerate(levels):
            name = _NAMED.fullmatch(level)
            _check_level(level, bool(name), number == len(levels) - 1)
            if name and name[1] in names:
                raise ValueError(f"`{level}` is there twice; give each level a name of its own")
            names.update(name.groups() if name else ())
            expressions.append(_expression(level, name))
        plain = "/".join("+" if _NAMED.fullmatch(level) else level for level in levels)
        joined = "/".join(expressions).replace("/\0", "(?:/.*)?").replace("\0", ".*")
        return cls(prefix + plain, re.compile(joined, re.DOTALL))

    @property
    def is_shared(self) -> bool:
        """Whether several hosts divide its messages among them."""
        return self.filter.startswith(SHARE)

    def match(self, topic: str) -> dict[str, str] | None:
        """What stands at the named levels of a topic, None for a topic that is not meant."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()


def _split_share(text: str) -> tuple[str, list[str]]:
    """What stands before the levels, and the levels."""
    if not text.startswith(SHARE):
        return "", text.split("/")
    _, group, *levels = text.split("/")
    if not levels or not group or any(character in group for character in "+#{}"):
        raise ValueError("a shared subscription is written $share/GROUP/FILTER, with a plain name for the group")
    if levels == [""]:
        raise ValueError("a shared subscription is written $share/GROUP/FILTER; the filter is missing")
    return f"{SHARE}{group}/", levels


def _check_level(level: str, named: bool, is_last: bool) -> None:
    if level == "#" and not is_last:
        raise ValueError("`#` stands for all that follows, so it is the last level")
    if level not in ("+", "#") and not named and any(character in level for character in "+#{}"):
        raise ValueError(f"`{level}`: +, # and {{name}} each take a whole level between two slashes")


def _expression(level: str, name: re.Match[str] | None) -> str:
    if name:
        return f"(?P<{name[1]}>[^/]*)"
    return {"+": "[^/]*", "#": "\0"}.get(level, re.escape(level))
