"""The one clock of the product: aware UTC, so that tests can freeze it in one place."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

DEFAULT_ZONE = "Europe/Moscow"


def utc_now() -> dt.datetime:
    """Current moment, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def zone(name: str | None) -> ZoneInfo:
    """Company's zone; an unknown or empty name means Moscow."""
    try:
        return ZoneInfo(name or DEFAULT_ZONE)
    except (KeyError, ValueError):
        return ZoneInfo(DEFAULT_ZONE)


def day_bounds(day: dt.date, tz: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """First moment of a calendar day in ``tz`` and of the next one, both in UTC."""
    start = dt.datetime.combine(day, dt.time(), tz)
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tz)
    return start.astimezone(dt.UTC), end.astimezone(dt.UTC)
