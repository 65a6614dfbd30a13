"""Figures of calls: whose they are, what is counted, which day and hour."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import time_machine
from sqlalchemy import select

from crm.models import Appeal, Company, Employee, TelephonyConnection, db
from crm.reports.call_stats import Counts, StatsFilter
from tests.factories import Factory
from tests.reports.stat_rows import NOW, answered, missed, stats
from tests.views.telephony_rows import call, connection


@pytest.fixture(autouse=True)
def frozen() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def test_a_head_sees_the_calls_of_his_people(people: dict[str, Employee], make: Factory) -> None:
    answered(make.deal("manager"))
    answered(make.deal("teammate"))
    answered(make.deal("stranger"))
    assert stats(people["head"]).now.figures.incoming == 2
    assert stats(people["director"]).now.figures.incoming == 3
    keys = {row.key for row in stats(people["head"]).tables["employee"]}
    assert keys == {people["manager"].id, people["teammate"].id}


def test_figures(people: dict[str, Employee], make: Factory) -> None:
    deal = make.deal()
    for wait in (5, 10, 30):
        answered(deal, wait, talk=60, is_first=wait == 5)
    missed(deal)
    call(deal, direction="out", talk=120, started_at=NOW, answered_at=NOW, result="answered")
    call(deal, direction="out", talk=0, started_at=NOW, result="no_answer")
    call(deal, direction="internal", started_at=NOW)
    found = stats(people["director"]).now
    figures = found.figures
    assert (figures.incoming, figures.answered, figures.missed, figures.outgoing) == (4, 3, 1, 2)
    assert (figures.first, figures.missed_share) == (1, 25)
    assert (found.median_wait, figures.mean_wait) == (10, 15)
    assert (figures.talked, figures.talks, figures.mean_talk) == (300, 4, 75)


@pytest.mark.parametrize(
    ("waits", "median"), [((), None), ((7,), 7), ((4, 5), 4.5), ((1, 1, 9), 1), ((9000, 9), 1804.5)]
)
def test_median(
    people: dict[str, Employee], make: Factory, waits: tuple[int, ...], median: float | None
) -> None:
    for wait in waits:
        answered(None, wait)
    assert stats(people["director"]).now.median_wait == median


def test_called_back_in_time(people: dict[str, Employee], make: Factory) -> None:
    due = NOW - dt.timedelta(hours=1)
    missed(callback_due_at=due, called_back_at=due - dt.timedelta(minutes=5))
    missed(callback_due_at=due, called_back_at=due + dt.timedelta(minutes=5))
    missed(callback_due_at=due)
    # There is still time.
    missed(callback_due_at=NOW + dt.timedelta(minutes=5))
    missed()
    figures = stats(people["director"]).now.figures
    assert (figures.missed, figures.due, figures.in_time) == (5, 3, 1)


def test_deals_begun_by_calls(people: dict[str, Employee], make: Factory) -> None:
    for created in (True, True, False):
        row = Appeal(channel="call", call_id=answered().id, created_deal=created)
        db.session.add(row)
    db.session.commit()
    assert stats(people["director"]).now.deals == 2


def test_spam_does_not_count(people: dict[str, Employee], make: Factory) -> None:
    answered()
    db.session.add(Appeal(channel="call", call_id=answered().id, is_spam=True, created_deal=True))
    # Requests have no call: they must not hide all the calls.
    db.session.add(Appeal(channel="site_form", is_spam=True))
    db.session.commit()
    found = stats(people["director"]).now
    assert (found.figures.incoming, found.deals) == (1, 0)


def test_a_missed_call_is_his_whose_client_it_was(
    people: dict[str, Employee], make: Factory
) -> None:
    deal = make.deal("manager")
    answered(deal)
    missed(deal)
    missed()
    rows = {row.key: row.figures for row in stats(people["director"]).tables["employee"]}
    manager = rows[people["manager"].id]
    assert (manager.incoming, manager.answered, manager.missed) == (2, 1, 1)
    assert rows[None].missed == 1


def test_filters(people: dict[str, Employee], make: Factory) -> None:
    source = make.source("Циан")
    connection()
    other = TelephonyConnection(name="Билайн", operator="beeline", token="b" * 40)
    db.session.add(other)
    db.session.commit()
    answered(make.deal("manager"), source_id=source.id, is_first=True)
    answered(make.deal("stranger"), connection_id=other.id, line_number="78120000002")
    missed(make.deal("stranger"))
    call(make.deal("manager"), direction="out", started_at=NOW)
    manager, stranger = people["manager"], people["stranger"]
    for wanted, expected in (
        (StatsFilter(), 4),
        (StatsFilter(employee_id=manager.id), 2),
        (StatsFilter(employee_id=stranger.id), 2),
        (StatsFilter(department_id=manager.department_id), 2),
        (StatsFilter(department_id=stranger.department_id), 2),
        (StatsFilter(source_id=source.id), 1),
        (StatsFilter(connection_id=other.id), 1),
        (StatsFilter(line="78120000002"), 1),
        (StatsFilter(direction="out"), 1),
        (StatsFilter(direction="in"), 3),
        (StatsFilter(first="first"), 1),
        (StatsFilter(first="repeat"), 3),
        (StatsFilter(employee_id=manager.id, first="repeat", direction="in"), 0),
    ):
        found = stats(people["director"], wanted)
        assert found.now.figures.total == expected, wanted


def test_days_and_hours_are_the_companys(people: dict[str, Employee], make: Factory) -> None:
    # 01:30 of the 20th, a Friday, in Moscow.
    missed(started_at=at("2026-11-19T22:30:00"))
    found = stats(people["director"])
    assert found.days[dt.date(2026, 11, 20)].missed == 1
    assert found.days[dt.date(2026, 11, 19)].incoming == 0
    assert found.hours[1].missed == 1
    assert found.heat is not None
    assert found.heat[4][1] == 1
    assert len(found.days) == 30


@pytest.mark.parametrize(
    ("zone", "moment", "day", "hour"),
    [
        # The hour that comes twice, before and after the clocks are put back.
        ("Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25", 2),
        ("Europe/Berlin", "2026-10-25T01:30:00", "2026-10-25", 2),
        ("Europe/Berlin", "2026-10-24T22:00:00", "2026-10-25", 0),
        # Not whole hours off.
        ("Asia/Kolkata", "2026-11-19T18:29:59.900", "2026-11-19", 23),
        ("Asia/Kolkata", "2026-11-19T18:30:00", "2026-11-20", 0),
        ("Asia/Kathmandu", "2026-11-19T18:14:59", "2026-11-19", 23),
        ("Asia/Kathmandu", "2026-11-19T18:15:00", "2026-11-20", 0),
    ],
)
def test_zones(
    people: dict[str, Employee], make: Factory, zone: str, moment: str, day: str, hour: int
) -> None:
    db.session.scalars(select(Company)).one().timezone = zone
    missed(started_at=at(moment))
    found = stats(people["director"])
    assert found.days[dt.date.fromisoformat(day)].missed == 1
    assert found.hours[hour].missed == 1


def test_borders_of_the_period(people: dict[str, Employee], make: Factory) -> None:
    day = dt.date(2026, 11, 20)
    missed(started_at=at("2026-11-19T20:59:59.999"))
    missed(started_at=at("2026-11-19T21:00:00"))
    missed(started_at=at("2026-11-20T20:59:59.999"))
    missed(started_at=at("2026-11-20T21:00:00"))
    found = stats(people["director"], name="own", first=day, last=day)
    assert found.now.figures.missed == 2
    assert found.before.figures.missed == 1
    assert found.days == {day: Counts(incoming=2, missed=2)}


def test_the_period_before(people: dict[str, Employee], make: Factory) -> None:
    for days in (1, 35, 36):
        answered(started_at=NOW - dt.timedelta(days=days))
    found = stats(people["director"])
    assert (found.now.figures.incoming, found.before.figures.incoming) == (1, 2)
