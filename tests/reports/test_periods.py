"""Periods of reports: names, own dates, what came before, days that are not 24 hours long."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from crm.reports import periods

TODAY = dt.date(2026, 11, 23)
MOSCOW = ZoneInfo("Europe/Moscow")


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("today", "2026-11-23", "2026-11-23"),
        ("yesterday", "2026-11-22", "2026-11-22"),
        ("7", "2026-11-17", "2026-11-23"),
        ("30", "2026-10-25", "2026-11-23"),
        ("month", "2026-11-01", "2026-11-23"),
        ("nonsense", "2026-10-25", "2026-11-23"),
        ("", "2026-10-25", "2026-11-23"),
        ("own", "2026-10-25", "2026-11-23"),
    ],
)
def test_named_periods(name: str, first: str, last: str) -> None:
    found = periods.read(name, None, None, TODAY)
    assert (found.first, found.last) == (day(first), day(last))
    assert found.length == len(found.days)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-01-01", "2026-01-31", ("2026-01-01", "2026-01-31")),
        ("2026-11-20", None, ("2026-11-20", "2026-11-23")),
        (None, "2026-03-31", ("2026-03-02", "2026-03-31")),
        ("2027-01-01", None, ("2027-01-01", "2027-01-01")),
        ("0001-01-01", "9999-12-31", ("2026-10-25", "2026-11-23")),
    ],
)
def test_own_dates(first: str | None, last: str | None, expected: tuple[str, str]) -> None:
    given = [day(text) if text else None for text in (first, last)]
    found = periods.read("own", given[0], given[1], TODAY)
    assert (found.first.isoformat(), found.last.isoformat()) == expected


def test_dates_of_a_named_period_are_not_listened_to() -> None:
    assert periods.read("today", day("2020-01-01"), day("2020-01-02"), TODAY).first == TODAY


def test_a_period_may_end_before_it_begins() -> None:
    found = periods.read("own", TODAY, day("2026-01-01"), TODAY)
    assert (found.length, found.days) == (0, [])


def test_the_period_before_is_as_long() -> None:
    before = periods.Period("7", day("2026-11-17"), TODAY).before()
    assert (before.first, before.last) == (day("2026-11-10"), day("2026-11-16"))


def test_of_the_period_before_as_much_counts_as_has_passed() -> None:
    today = periods.Period("today", TODAY, TODAY)
    now = dt.datetime(2026, 11, 23, 12, 30, tzinfo=MOSCOW)
    start, end = today.moments_before(MOSCOW, now)
    assert start == dt.datetime(2026, 11, 22, tzinfo=MOSCOW)
    assert end == dt.datetime(2026, 11, 22, 12, 30, tzinfo=MOSCOW)
    over = periods.Period("own", day("2026-01-01"), day("2026-01-01"))
    assert over.moments_before(MOSCOW, now)[1] == dt.datetime(2026, 1, 1, tzinfo=MOSCOW)


def test_a_day_of_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = periods.Period("own", day("2026-10-25"), day("2026-10-25")).moments(berlin)
    assert end - start == dt.timedelta(hours=25)
