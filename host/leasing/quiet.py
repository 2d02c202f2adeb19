"""When the host shall keep quiet: hours by the clock on the wall, and times in which other programs need a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta, tzinfo

from host.config import DAYS, QuietHours

BACK = 0.8  # of the threshold: others must have come down to this before a GPU is used again


def quiet_until(hours: QuietHours, now: float, zone: tzinfo | None = None) -> datetime | None:
    """Until when these quiet hours last, on the clock on the wall; None outside of them.

    What counts is what that clock shows: an hour that it shows twice is quiet twice, and one that it leaves out ends
    nothing that is still on. `now` is in seconds since 1970; `zone` is the machine's own when it is None.
    """
    wall = datetime.fromtimestamp(now, zone)
    today, before = DAYS[wall.weekday()] in hours.days, DAYS[wall.weekday() - 1] in hours.days
    shown, over_midnight = wall.time(), hours.end <= hours.begin
    if over_midnight and before and shown < hours.end:
        return _at(wall, hours.end)
    if today and shown >= hours.begin and (over_midnight or shown < hours.end):
        return _at(wall + timedelta(days=1) if over_midnight else wall, hours.end)
    return None


def _at(day: datetime, moment: time) -> datetime:
    return day.replace(hour=moment.hour, minute=moment.minute, second=moment.second, microsecond=0)


def last_quiet(every: Sequence[QuietHours], now: float, zone: tzinfo | None = None) -> datetime | None:
    """Until when it is quiet by any of them."""
    return max((until for one in every if (until := quiet_until(one, now, zone)) is not None), default=None)


class Crowding:
    """Whether other programs hold so much of a GPU that it is theirs: over a threshold for a while, until well below.

    yielded to nobody ⇄ yielded, each change only when what speaks for it has lasted `after` (`back_after`) seconds.
    """

    def __init__(self, above_mb: float, after: float, back_after: float) -> None:
        self.above_mb = above_mb
        self._after = after
        self._back_after = back_after
        self._since: float | None = None
        self.is_on = False

    def observe(self, others_mb: float, now: float) -> bool:
        """Others hold so much at this moment (of any clock that only goes forward); whether the GPU is theirs."""
        crowded = others_mb > self.above_mb * (BACK if self.is_on else 1.0)
        if crowded == self.is_on:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now - self._since >= (self._back_after if self.is_on else self._after):
            self.is_on, self._since = not self.is_on, None
        return self.is_on
