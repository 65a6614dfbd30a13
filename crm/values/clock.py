"""The one clock of the product: aware UTC, so that tests can freeze it in one place."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

DEFAULT_ZONE = "Europe/Moscow"
FIRST_YEAR, LAST_YEAR = 1900, 2200
_MARGIN = dt.timedelta(days=3)


def utc_now() -> dt.datetime:
    """Current moment, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def zone(name: str | None) -> ZoneInfo:
    """Company's zone; an unknown or empty name means Moscow."""
    try:
        return ZoneInfo(name or DEFAULT_ZONE)
    except (KeyError, ValueError):
        return ZoneInfo(DEFAULT_ZONE)


def is_believable(day: dt.date) -> bool:
    """Whether work can be planned for the day, and it stays a date in every zone."""
    return FIRST_YEAR <= day.year <= LAST_YEAR


def day_bounds(day: dt.date, tz: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """First moment of a calendar day in ``tz`` and of the next one, both in UTC.

    At the ends of the calendar, where the next day or another zone has no date, the nearest
    days that have one.
    """
    day = min(max(day, dt.date.min + _MARGIN), dt.date.max - _MARGIN)
    start = dt.datetime.combine(day, dt.time(), tz)
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tz)
    return start.astimezone(dt.UTC), end.astimezone(dt.UTC)
