"""Periods of reports: the usual ones and own dates, in calendar days of the company."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from crm.values.clock import day_bounds, is_believable

TODAY, YESTERDAY, WEEK, DAYS_30, MONTH, OWN = "today", "yesterday", "7", "30", "month", "own"
NAMES = (TODAY, YESTERDAY, WEEK, DAYS_30, MONTH, OWN)
DEFAULT = DAYS_30
Moments = tuple[dt.datetime, dt.datetime]
_DAY = dt.timedelta(days=1)
# How many days ago the first and the last day are.
_SPANS = {TODAY: (0, 0), YESTERDAY: (1, 1), WEEK: (6, 0), DAYS_30: (29, 0)}


@dataclass(frozen=True, slots=True)
class Period:
    """Calendar days from ``first`` to ``last``, both included."""

    name: str
    first: dt.date
    last: dt.date

    @property
    def length(self) -> int:
        """How many days; none when it ends before it begins."""
        return max(0, (self.last - self.first).days + 1)

    @property
    def days(self) -> list[dt.date]:
        """Each of them."""
        return [self.first + _DAY * number for number in range(self.length)]

    def moments(self, zone: ZoneInfo) -> Moments:
        """First moment and the one after the last, in UTC."""
        return day_bounds(self.first, zone)[0], day_bounds(self.last, zone)[1]

    def before(self) -> Period:
        """As many days right before."""
        span = _DAY * self.length
        return Period("", self.first - span, self.last - span)

    def moments_before(self, zone: ZoneInfo, now: dt.datetime) -> Moments:
        """The period before, only as much of it as has passed of this one."""
        start, end = self.before().moments(zone)
        left = max(self.moments(zone)[1] - now, dt.timedelta())
        return start, max(end - left, start)


def read(name: str, first: dt.date | None, last: dt.date | None, today: dt.date) -> Period:
    """The period with this name; own dates need at least one that can be believed."""
    first = first if first and is_believable(first) else None
    last = last if last and is_believable(last) else None
    if name == OWN and (first or last):
        end = last or max(today, first or today)
        return Period(OWN, first or end - _DAY * 29, end)
    if name == MONTH:
        return Period(MONTH, today.replace(day=1), today)
    name = name if name in _SPANS else DEFAULT
    start, end_ago = _SPANS[name]
    return Period(name, today - _DAY * start, today - _DAY * end_ago)
