"""Missed calls: due time, task, distribution, and the call that settles the matter."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from crm.models import (
    AssignRule,
    Call,
    CallState,
    Company,
    Deal,
    Employee,
    Task,
    TelephonyConnection,
    UserGrant,
    db,
)
from crm.operations import calls, missed_calls
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory

NIGHT = {"work_start": dt.time(0), "work_end": dt.time(0), "work_days": "1,2,3,4,5,6,7"}


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"], **NIGHT)


def missed(row: TelephonyConnection, call: str = "m1", ago: int = 60, **values: Any) -> CallEvent:
    moment = utc_now().replace(microsecond=0) - dt.timedelta(seconds=ago)
    return inbound.event(
        row,
        CallKind.MISSED,
        provider_call_id=call,
        event_id=f"{call}-missed",
        occurred_at=moment,
        started_at=moment,
        ended_at=moment,
        result=CallResult.NO_ANSWER,
        final=True,
        **values,
    )


def talk(
    row: TelephonyConnection,
    call: str = "t1",
    direction: Direction = Direction.OUT,
    ago: int = 10,
    talk: int = 30,
) -> CallEvent:
    moment = utc_now().replace(microsecond=0) - dt.timedelta(seconds=ago)
    return inbound.event(
        row,
        CallKind.ENDED,
        provider_call_id=call,
        event_id=f"{call}-ended",
        occurred_at=moment,
        direction=direction,
        started_at=moment,
        answered_at=moment if talk else None,
        talk=talk,
        result=CallResult.ANSWERED if talk else CallResult.NO_ANSWER,
        extension="101",
        final=True,
    )


def call_of(name: str) -> Call:
    query = select(Call).where(Call.provider_call_id == name)
    found: Call = db.session.scalars(query.execution_options(populate_existing=True)).one()
    return found


def tasks() -> list[Task]:
    return list(
        db.session.scalars(select(Task).order_by(Task.id).execution_options(populate_existing=True))
    )


def test_a_missed_call_is_to_be_called_back_within_working_minutes(
    mango: TelephonyConnection,
) -> None:
    calls.apply(missed(mango), mango)
    call = call_of("m1")
    assert call.callback_due_at == call.ended_at + dt.timedelta(minutes=15)
    (task,) = tasks()
    assert (task.text, task.kind, task.deal_id) == (missed_calls.TASK_TEXT, "call", call.deal_id)
    assert call.callback_task_id == task.id


def test_the_night_does_not_count(app: Flask, people: dict[str, Any]) -> None:
    company = db.session.scalars(select(Company)).one()
    company.work_start, company.work_end = dt.time(9), dt.time(10)
    company.work_days = "1,2,3,4,5,6,7"
    row = inbound.connection(people["manager"], callback_minutes=45)
    hours = missed_calls.hours(row)
    evening = dt.datetime(2026, 11, 23, 18, 0, tzinfo=dt.UTC)
    assert hours.add(evening, 45) == dt.datetime(2026, 11, 24, 6, 45, tzinfo=dt.UTC)


def test_ten_attempts_are_one_task(mango: TelephonyConnection) -> None:
    for number in range(10):
        calls.apply(missed(mango, f"m{number}", ago=600 - number), mango)
    assert len(tasks()) == 1
    assert {call_of(f"m{number}").callback_task_id for number in range(10)} == {tasks()[0].id}


def test_without_the_setting_no_task_is_set(mango: TelephonyConnection) -> None:
    mango.callback_task = False
    calls.apply(missed(mango), mango)
    assert tasks() == []
    assert call_of("m1").callback_due_at is not None


def test_a_talk_settles_all_missed_calls_of_the_client(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, "m1", ago=120), mango)
    calls.apply(missed(mango, "m2", ago=60), mango)
    calls.apply(talk(mango), mango)
    for name in ("m1", "m2"):
        assert call_of(name).called_back_at is not None
        assert call_of(name).reached_at is not None
    (task,) = tasks()
    assert task.done_at is not None
    assert "Поговорили" in (task.result or "")


def test_an_attempt_without_an_answer_is_remembered_but_the_task_stays(
    mango: TelephonyConnection,
) -> None:
    calls.apply(missed(mango), mango)
    calls.apply(talk(mango, talk=0), mango)
    call = call_of("m1")
    assert (call.called_back_at is None, call.reached_at) == (False, None)
    assert tasks()[0].done_at is None


def test_the_client_who_gets_through_himself_settles_it_too(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango), mango)
    calls.apply(talk(mango, direction=Direction.IN), mango)
    assert call_of("m1").reached_at is not None
    assert tasks()[0].done_at is not None


def test_a_call_back_that_is_known_first_leaves_no_task(mango: TelephonyConnection) -> None:
    calls.apply(talk(mango, ago=10), mango)
    calls.apply(missed(mango, ago=300), mango)
    call = call_of("m1")
    assert call.reached_at is not None
    assert tasks() == []


def test_a_talk_before_the_missed_call_does_not_count(mango: TelephonyConnection) -> None:
    calls.apply(talk(mango, ago=600), mango)
    calls.apply(missed(mango, ago=60), mango)
    assert call_of("m1").called_back_at is None


def test_a_call_that_begun_earlier_than_it_seemed_is_settled_by_the_talk_since(
    mango: TelephonyConnection,
) -> None:
    calls.apply(talk(mango, ago=30), mango)
    # Its end comes first: by that alone it seems to follow the talk.
    calls.apply(replace(missed(mango, ago=20), started_at=None, final=False), mango)
    assert call_of("m1").state == CallState.MISSED
    assert call_of("m1").reached_at is None
    (task,) = tasks()
    assert task.done_at is None
    begun = utc_now().replace(microsecond=0) - dt.timedelta(seconds=50)
    first = inbound.event(
        mango,
        CallKind.RINGING,
        provider_call_id="m1",
        event_id="m1-ringing",
        occurred_at=begun,
        started_at=begun,
    )
    calls.apply(first, mango)
    assert call_of("m1").started_at == begun
    assert call_of("m1").reached_at == call_of("t1").answered_at
    assert tasks()[0].done_at is not None


def test_a_late_proof_of_an_answer_takes_the_task_away(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango), mango)
    calls.apply(
        inbound.event(mango, CallKind.ANSWERED, provider_call_id="m1", extension="101"), mango
    )
    call = call_of("m1")
    assert call.state == CallState.ENDED
    assert (call.callback_due_at, call.callback_task_id) == (None, None)
    assert tasks()[0].done_at is not None


def test_an_old_missed_call_found_late_makes_no_task(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, ago=8 * 86400), mango)
    assert tasks() == []


def test_a_hidden_number_cannot_be_called_back(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango, client_number=None), mango)
    assert call_of("m1").callback_due_at is None


def test_a_stage_without_tasks_gets_none(mango: TelephonyConnection, make: Factory) -> None:
    contact = make.contact(phone=f"+{inbound.CLIENT}")
    make.deal("manager", contact=contact)
    make.stage(0).tasks_allowed = False
    calls.apply(missed(mango), mango)
    assert tasks() == []
    assert call_of("m1").callback_due_at is not None


# --- whom it goes to ------------------------------------------------------------------------


def deal_of(name: str) -> Deal:
    found: Deal = db.session.get(Deal, call_of(name).deal_id, populate_existing=True)
    return found


def test_by_default_the_deal_waits_for_whoever_takes_it(mango: TelephonyConnection) -> None:
    calls.apply(missed(mango), mango)
    assert deal_of("m1").responsible_id is None


def test_the_named_person_gets_deal_and_task(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    mango.assign_rule, mango.assign_to_id = AssignRule.PERSON, people["teammate"].id
    calls.apply(missed(mango), mango)
    assert deal_of("m1").responsible_id == people["teammate"].id
    assert tasks()[0].responsible_id == people["teammate"].id


def test_the_queue_goes_round_among_those_on_shift(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    team = {people["manager"].id, people["teammate"].id}
    others = select(Employee).where(Employee.id.not_in(team))
    for person in db.session.scalars(others):
        person.on_shift = False
    mango.assign_rule = AssignRule.QUEUE
    owners = []
    for number in range(4):
        client = f"7916555000{number}"
        calls.apply(missed(mango, f"m{number}", client_number=client), mango)
        owners.append(deal_of(f"m{number}").responsible_id)
    assert set(owners[:2]) == team
    assert owners[2:] == owners[:2]


def test_who_has_used_up_his_limit_is_passed_over(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    for person in db.session.scalars(select(Employee)):
        person.on_shift = person.id in (people["manager"].id, people["teammate"].id)
    db.session.add(
        UserGrant(user_id=people["manager"].id, code=Grant.MAX_REQUESTS_DAY, allow=True, value=0)
    )
    mango.assign_rule = AssignRule.QUEUE
    for number in range(3):
        client = f"7916555000{number}"
        calls.apply(missed(mango, f"m{number}", client_number=client), mango)
        assert deal_of(f"m{number}").responsible_id == people["teammate"].id


def test_nobody_on_shift_leaves_the_deal_to_all(mango: TelephonyConnection) -> None:
    for person in db.session.scalars(select(Employee)):
        person.on_shift = False
    mango.assign_rule = AssignRule.QUEUE
    calls.apply(missed(mango), mango)
    assert deal_of("m1").responsible_id is None


# --- a connection that makes no deals -------------------------------------------------------


def test_a_stranger_on_a_line_without_deals_is_kept_as_a_call(
    mango: TelephonyConnection, make: Factory
) -> None:
    mango.makes_deals = False
    source = make.source("Юла", phone="+74955550100", phone_key="4955550100")
    calls.apply(missed(mango), mango)
    call = call_of("m1")
    assert (call.deal_id, call.contact_id, call.source_id) == (None, None, source.id)
    assert call.callback_due_at is not None
    assert db.session.scalars(select(Deal)).all() == []


def test_a_known_client_is_led_to_his_deal_all_the_same(
    mango: TelephonyConnection, make: Factory
) -> None:
    mango.makes_deals = False
    deal = make.deal("manager", contact=make.contact(phone=f"+{inbound.CLIENT}"))
    calls.apply(missed(mango), mango)
    assert call_of("m1").deal_id == deal.id
