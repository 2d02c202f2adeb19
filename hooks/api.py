"""Versions of the hook API: which ones a plugin says it is made for.

The major number is raised when something is taken away or means something else, the minor one when something is added.
`docs/plugins/api-versions.md` has the table of what changed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from hooks.errors import InvalidPlugin
from hooks.hookspecs import API_MINOR, API_VERSION

Version = tuple[int, ...]
CURRENT: Version = (API_VERSION, API_MINOR)

_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|<|>|)\s*([0-9]{1,4}(?:\.[0-9]{1,4}){0,2})\s*")
_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "": operator.eq,
}


def accepts(wanted: Any, version: Version = CURRENT) -> bool:
    """Whether a plugin that says `api = wanted` is made for a version: `">=1,<2"`, `">=1.2"`, or a number alone.

    A version is compared as far as the clause goes: 1.4 is `==1`, and not `>1`. Raises InvalidPlugin for anything else.
    """
    text = wanted if isinstance(wanted, str) else str(wanted) if type(wanted) is int else ""
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    if not all(clauses):
        raise InvalidPlugin(f"its api is {wanted!r}, which says no versions.", 'Write it as api = ">=1,<2".')
    return all(_holds(clause[1], clause[2], version) for clause in clauses if clause)


def _holds(sign: str, number: str, version: Version) -> bool:
    limit = tuple(int(part) for part in number.split("."))
    ours = (*version, *(0 for _ in limit))[: len(limit)]
    return _COMPARE[sign](ours, limit)
