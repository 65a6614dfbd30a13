"""Working minutes: nights, days off, round the clock, the change of clocks."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.values.work_time import WorkHours, parse_days

MOSCOW = ZoneInfo("Europe/Moscow")
WEEK = WorkHours(dt.time(9), dt.time(19), frozenset({1, 2, 3, 4, 5}), MOSCOW)
ALWAYS = WorkHours(dt.time(0), dt.time(0), frozenset(range(1, 8)), MOSCOW)


def at(text: str, zone: ZoneInfo = MOSCOW) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("since", "minutes", "until"),
    [
        ("2026-11-23T10:00", 15, "2026-11-23T10:15"),
        ("2026-11-23T07:00", 15, "2026-11-23T09:15"),
        ("2026-11-23T18:50", 15, "2026-11-24T09:05"),
        ("2026-11-23T18:45", 15, "2026-11-23T19:00"),
        ("2026-11-27T18:50", 15, "2026-11-30T09:05"),
        ("2026-11-28T12:00", 15, "2026-11-30T09:15"),
        ("2026-11-23T09:00", 600, "2026-11-23T19:00"),
        ("2026-11-23T09:00", 601, "2026-11-24T09:01"),
        ("2026-11-23T12:00", 0, "2026-11-23T12:00"),
        ("2026-11-23T03:00", 0, "2026-11-23T09:00"),
    ],
)
def test_the_clock_stands_outside_working_hours(since: str, minutes: int, until: str) -> None:
    assert WEEK.add(at(since), minutes) == at(until)


def test_round_the_clock_is_plain_time() -> None:
    assert ALWAYS.add(at("2026-11-28T23:50"), 30) == at("2026-11-29T00:20")
    assert ALWAYS.is_open(at("2026-11-29T03:00"))


def test_without_a_working_day_the_promise_still_falls_due() -> None:
    never = WorkHours(dt.time(9), dt.time(19), frozenset(), MOSCOW)
    assert never.add(at("2026-11-23T10:00"), 15) == at("2026-11-23T10:15")


def test_a_day_with_changed_clocks_has_its_true_length() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    night = WorkHours(dt.time(1), dt.time(5), frozenset(range(1, 8)), berlin)
    # On 29 March 2026 the hour from two to three does not exist.
    assert night.add(at("2026-03-29T01:00", berlin), 60) == at("2026-03-29T03:00", berlin)


def test_whether_people_work() -> None:
    assert WEEK.is_open(at("2026-11-23T09:00"))
    assert not WEEK.is_open(at("2026-11-23T19:00"))
    assert not WEEK.is_open(at("2026-11-29T12:00"))


@given(
    since=st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 1, 1)),
    first=st.integers(0, 3000),
    second=st.integers(0, 3000),
)
def test_minutes_add_up_and_end_in_working_time(
    since: dt.datetime, first: int, second: int
) -> None:
    moment = since.replace(tzinfo=dt.UTC)
    halfway = WEEK.add(moment, first)
    assert WEEK.add(halfway, second) == WEEK.add(moment, first + second) or second == 0
    assert halfway >= moment
    local = halfway.astimezone(MOSCOW)
    assert local.isoweekday() in WEEK.days
    assert WEEK.start <= local.time() <= WEEK.end


def test_days_are_read_leniently() -> None:
    assert parse_days(" 1, 2,x,9,7") == frozenset({1, 2, 7})
    assert parse_days(None) == frozenset()
