"""What an operator tells late corrects what was concluded before it; nothing else is undone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from crm.models import Call, Deal, Task, TelephonyConnection, TelephonyExtension, db
from crm.operations import calls, deals, memory, missed_calls
from crm.security.principal import load_principal
from crm.values.clock import utc_now
from tests import inbound

ALL_DAY = {"work_start": dt.time(0), "work_end": dt.time(0), "work_days": "1,2,3,4,5,6,7"}


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"], **ALL_DAY)


def ago(minutes: int) -> dt.datetime:
    return utc_now().replace(microsecond=0) - dt.timedelta(minutes=minutes)


def live(row: TelephonyConnection, kind: CallKind, call: str = "t1", **values: Any) -> CallEvent:
    """An event that holds no time: it seems to happen when it comes."""
    values.setdefault("direction", Direction.IN)
    return inbound.event(
        row,
        kind,
        provider_call_id=call,
        event_id=f"{call}-{kind.value}",
        occurred_at=utc_now(),
        occurred_at_is_receipt=True,
        extension="101",
        **values,
    )


def record(row: TelephonyConnection, begun: dt.datetime, call: str = "t1", **values: Any) -> Any:
    """The operator's final record of a talk of half a minute."""
    values.setdefault("direction", Direction.IN)
    return inbound.event(
        row,
        CallKind.ENDED,
        provider_call_id=call,
        event_id=f"{call}-record",
        occurred_at=begun,
        started_at=begun,
        answered_at=begun,
        ended_at=begun + dt.timedelta(seconds=30),
        talk=30,
        result=CallResult.ANSWERED,
        extension="101",
        final=True,
        **values,
    )


def missed(row: TelephonyConnection, begun: dt.datetime, call: str = "m1") -> CallEvent:
    return inbound.event(
        row,
        CallKind.MISSED,
        provider_call_id=call,
        event_id=f"{call}-missed",
        occurred_at=begun,
        started_at=begun,
        ended_at=begun,
        result=CallResult.NO_ANSWER,
        final=True,
    )


def call_of(name: str) -> Call:
    return db.session.scalars(select(Call).where(Call.provider_call_id == name)).one()


def open_tasks() -> list[Task]:
    query = select(Task).where(Task.text == missed_calls.TASK_TEXT, Task.done_at.is_(None))
    return list(db.session.scalars(query))


@pytest.mark.parametrize("direction", [Direction.IN, Direction.OUT])
@pytest.mark.parametrize(
    "kinds",
    [
        (CallKind.RINGING, CallKind.ANSWERED),
        (CallKind.ANSWERED, CallKind.RINGING),
        (CallKind.ENDED, CallKind.RINGING, CallKind.ANSWERED),
    ],
)
def test_a_talk_that_was_before_the_missed_call_settles_nothing(
    mango: TelephonyConnection, direction: Direction, kinds: tuple[CallKind, ...]
) -> None:
    calls.apply(missed(mango, ago(30)), mango)
    for kind in kinds:
        talk = {"result": CallResult.ANSWERED} if kind is CallKind.ENDED else {}
        calls.apply(live(mango, kind, direction=direction, **talk), mango)
    assert call_of("m1").reached_at is not None
    assert open_tasks() == []
    calls.apply(record(mango, ago(60), direction=direction), mango)
    waiting = call_of("m1")
    assert (waiting.reached_at, waiting.called_back_at) == (None, None)
    (task,) = open_tasks()
    assert waiting.callback_task_id == task.id


def test_a_talk_that_was_after_it_settles_it_still(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, ago(60)), mango)
    calls.apply(live(mango, CallKind.ANSWERED), mango)
    calls.apply(record(mango, ago(30)), mango)
    assert call_of("m1").reached_at is not None
    assert open_tasks() == []


def test_what_another_call_has_settled_stays_settled(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, ago(30)), mango)
    talk = ago(20)
    calls.apply(record(mango, talk, "t0"), mango)
    assert call_of("m1").reached_at == talk
    calls.apply(live(mango, CallKind.ANSWERED), mango)
    calls.apply(record(mango, ago(60)), mango)
    assert call_of("m1").reached_at == talk
    assert open_tasks() == []


def test_an_attempt_that_was_before_it_is_none(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, ago(30)), mango)
    calls.apply(live(mango, CallKind.RINGING, direction=Direction.OUT), mango)
    assert call_of("m1").called_back_at is not None
    told = inbound.event(
        mango,
        CallKind.ENDED,
        provider_call_id="t1",
        direction=Direction.OUT,
        occurred_at=ago(60),
        started_at=ago(60),
        result=CallResult.NO_ANSWER,
        final=True,
    )
    calls.apply(told, mango)
    assert call_of("m1").called_back_at is None
    assert len(open_tasks()) == 1


def test_the_task_of_a_later_attempt_is_not_ticked_off(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, ago(60), "m1"), mango)
    calls.apply(missed(mango, ago(20), "m2"), mango)
    (task,) = open_tasks()
    between, after = ago(40), ago(5)
    # The history tells of a talk between the two.
    calls.apply(record(mango, between), mango)
    assert call_of("m1").reached_at == between
    assert call_of("m2").reached_at is None
    assert open_tasks() == [task]
    calls.apply(record(mango, after, "t2"), mango)
    assert call_of("m2").reached_at == after
    assert open_tasks() == []


def test_a_person_s_own_mark_stays(mango: TelephonyConnection, people: dict[str, Any]) -> None:
    calls.apply(missed(mango, ago(30)), mango)
    marked = missed_calls.mark_called_back(call_of("m1").id, load_principal(people["director"]))
    at = marked.called_back_at
    calls.apply(live(mango, CallKind.ANSWERED), mango)
    calls.apply(record(mango, ago(60)), mango)
    assert call_of("m1").called_back_at == call_of("m1").reached_at == at
    assert open_tasks() == []


def test_a_late_notice_does_not_take_a_returned_deal_again(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    calls.apply(record(mango, ago(5)), mango)
    deal = db.session.get(Deal, call_of("t1").deal_id)
    assert deal.responsible_id == people["manager"].id
    deals.assign(deal.id, None, load_principal(people["director"]))
    ready = inbound.event(
        mango, CallKind.RECORDING_READY, provider_call_id="t1", recording_ref="r1"
    )
    calls.apply(ready, mango)
    assert db.session.get(Deal, deal.id).responsible_id is None


def test_a_changed_internal_number_counts_within_seconds(
    app: Flask, mango: TelephonyConnection, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "testing", False)
    calls.apply(record(mango, ago(9), "a1"), mango)
    extension = db.session.scalars(select(TelephonyExtension)).one()
    extension.employee_id = people["director"].id
    db.session.commit()
    calls.apply(record(mango, ago(8), "a2"), mango)
    monkeypatch.setattr(memory, "SECONDS", 0.0)
    app.extensions["memory"].clear()
    calls.apply(record(mango, ago(7), "a3"), mango)
    owners = [call_of(name).employee_id for name in ("a1", "a2", "a3")]
    assert owners == [people[name].id for name in ("manager", "manager", "director")]
