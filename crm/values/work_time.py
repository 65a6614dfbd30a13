"""Working time: when a promise given in working minutes falls due."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

# No calendar has a longer pause; without a single working day the clock never stops.
_LONGEST_PAUSE = 31


@dataclass(frozen=True, slots=True)
class WorkHours:
    """Daily hours and days of the week (1 is Monday) in a zone.

    An end that is not after the start means round the clock on those days.
    """

    start: dt.time
    end: dt.time
    days: frozenset[int]
    zone: ZoneInfo

    @property
    def all_day(self) -> bool:
        """Work does not stop for the night."""
        return self.end <= self.start

    def is_open(self, moment: dt.datetime) -> bool:
        """Whether people work at the aware ``moment``."""
        begun, over = self._day(moment.astimezone(self.zone).date())
        return begun <= moment < over

    def add(self, moment: dt.datetime, minutes: int) -> dt.datetime:
        """The moment, in UTC, by which ``minutes`` of working time have passed since ``moment``."""
        left = dt.timedelta(minutes=max(minutes, 0))
        at = moment.astimezone(dt.UTC)
        if not self.days & frozenset(range(1, 8)):
            return at + left
        day = at.astimezone(self.zone).date()
        for _ in range(_LONGEST_PAUSE + 1 + minutes // (24 * 60) * 7 + minutes // 60 * 7):
            begun, over = self._day(day)
            at = max(at, begun)
            if at < over:
                if at + left <= over:
                    return at + left
                left -= over - at
            day += dt.timedelta(days=1)
        return at + left

    def _day(self, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
        """Working time of a calendar day in UTC; an empty span on a day off."""
        start = dt.time() if self.all_day else self.start
        begun = dt.datetime.combine(day, start, self.zone).astimezone(dt.UTC)
        if day.isoweekday() not in self.days:
            return begun, begun
        last = day + dt.timedelta(days=1) if self.all_day else day
        end = dt.time() if self.all_day else self.end
        return begun, dt.datetime.combine(last, end, self.zone).astimezone(dt.UTC)


def parse_days(text: str | None) -> frozenset[int]:
    """«1,2,3» as days of the week; what is no day is left out."""
    parts = (part.strip() for part in (text or "").split(","))
    return frozenset(int(part) for part in parts if part in set("1234567"))
