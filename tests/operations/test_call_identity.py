"""One call under several ids, in whatever order they become known."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from crm.models import (
    Appeal,
    Call,
    CallAlias,
    CallLeg,
    Deal,
    TelephonyConnection,
    TelephonyExtension,
    TimelineEvent,
    db,
)
from crm.operations import calls
from crm.values.clock import utc_now
from tests import inbound


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    row = inbound.connection(people["manager"])
    row.extensions.append(
        TelephonyExtension(key="login-2", number="102", employee_id=people["teammate"].id)
    )
    db.session.commit()
    return row


def all_calls() -> list[Call]:
    query = select(Call).order_by(Call.id).execution_options(populate_existing=True)
    return list(db.session.scalars(query))


def ago(seconds: int) -> dt.datetime:
    return NOW - dt.timedelta(seconds=seconds)


NOW = utc_now().replace(microsecond=0)


def transfer(row: TelephonyConnection) -> list[CallEvent]:
    """A call that another employee takes over under a second id."""
    return [
        inbound.event(row, CallKind.RINGING, provider_call_id="a", event_id="1",
                      extension="101", occurred_at=ago(90)),
        inbound.event(row, CallKind.ANSWERED, provider_call_id="a", event_id="2",
                      extension="101", occurred_at=ago(80)),
        inbound.event(row, CallKind.RINGING, provider_call_id="b", event_id="3",
                      extension="102", occurred_at=ago(50)),
        inbound.event(row, CallKind.LEG_ENDED, provider_call_id="a", alias_call_ids=("b",),
                      event_id="4", extension="101", transferred=True, occurred_at=ago(45)),
        inbound.event(row, CallKind.ENDED, provider_call_id="b", event_id="5", extension="102",
                      final=True, started_at=ago(90), ended_at=ago(10), talk=70,
                      result=CallResult.ANSWERED, occurred_at=ago(10)),
    ]  # fmt: skip


def picture() -> dict[str, Any]:
    (call,) = all_calls()
    legs = select(CallLeg.leg_id).where(CallLeg.call_id == call.id)
    aliases = select(CallAlias.alias).where(CallAlias.call_id == call.id)
    appeals = db.session.scalars(select(Appeal).where(Appeal.is_repeat.is_(False))).all()
    deals = db.session.scalars(select(Deal)).all()
    lines = db.session.scalars(select(TimelineEvent).where(TimelineEvent.call_id == call.id)).all()
    return {
        "state": call.state,
        "talk": call.talk,
        "employee": call.employee_id,
        "transferred": call.transferred,
        "ids": {call.provider_call_id, *db.session.scalars(aliases)},
        "legs": sorted(db.session.scalars(legs)),
        "appeals": len(appeals),
        "deals": len(deals),
        "lines": len(lines),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::7])
def test_a_transferred_call_is_one_call_in_any_order(
    mango: TelephonyConnection, people: dict[str, Any], order: tuple[int, ...]
) -> None:
    events = transfer(mango)
    for place in order:
        calls.apply(events[place], mango)
    assert picture() == {
        "state": "ended",
        "talk": 70,
        "employee": people["teammate"].id,
        "transferred": True,
        "ids": {"a", "b"},
        "legs": ["ext:101", "ext:102", "final"],
        "appeals": 1,
        "deals": 1,
        "lines": 1,
    }


def test_later_events_of_the_second_id_find_the_call(mango: TelephonyConnection) -> None:
    for item in transfer(mango)[:4]:
        calls.apply(item, mango)
    calls.apply(
        inbound.event(
            mango,
            CallKind.RECORDING_READY,
            provider_call_id="b",
            recording_ref="rec-b",
            client_number=None,
            line_number=None,
            direction=None,
        ),
        mango,
    )
    (call,) = all_calls()
    assert (call.recording_ref or {})["ref"] == "rec-b"


def row_of_history(row: TelephonyConnection, name: str, start: int, end: int) -> CallEvent:
    return inbound.event(
        row,
        CallKind.ENDED,
        provider_call_id=name,
        event_id=name,
        id_is_made_up=True,
        line_number=None,
        occurred_at=ago(end),
        started_at=ago(start),
        ended_at=ago(end),
        talk=start - end - 10,
        result=CallResult.ANSWERED,
        final=True,
    )


def live(row: TelephonyConnection, name: str, start: int, end: int) -> list[CallEvent]:
    return [
        inbound.event(row, CallKind.RINGING, provider_call_id=name, event_id=f"{name}-1",
                      extension="101", occurred_at=ago(start)),
        inbound.event(row, CallKind.ANSWERED, provider_call_id=name, event_id=f"{name}-2",
                      extension="101", occurred_at=ago(start - 10)),
        inbound.event(row, CallKind.ENDED, provider_call_id=name, event_id=f"{name}-3",
                      extension="101", occurred_at=ago(end)),
    ]  # fmt: skip


@pytest.mark.parametrize("history_first", [True, False])
def test_a_row_without_an_id_meets_the_call_of_the_same_time(
    mango: TelephonyConnection, history_first: bool
) -> None:
    told = [row_of_history(mango, "row-1", 300, 240)]
    events = live(mango, "true-id", 302, 240)
    for item in [*told, *events] if history_first else [*events, *told]:
        calls.apply(item, mango)
    (call,) = all_calls()
    assert (call.provider_call_id, call.id_is_made_up, call.talk) == ("true-id", False, 50)


@pytest.mark.parametrize("history_first", [True, False])
def test_two_calls_of_one_client_in_a_row_stay_two(
    mango: TelephonyConnection, history_first: bool
) -> None:
    told = [row_of_history(mango, "r1", 300, 240), row_of_history(mango, "r2", 170, 100)]
    events = [*live(mango, "t1", 300, 240), *live(mango, "t2", 170, 100)]
    for item in [*told, *events] if history_first else [*events, *told]:
        calls.apply(item, mango)
    assert {call.provider_call_id for call in all_calls()} == {"t1", "t2"}


def test_a_lost_call_between_two_known_ones_is_found(mango: TelephonyConnection) -> None:
    for item in [*live(mango, "t1", 900, 840), *live(mango, "t3", 170, 100)]:
        calls.apply(item, mango)
    for start, end, name in ((900, 840, "r1"), (500, 450, "r2"), (170, 100, "r3")):
        calls.apply(row_of_history(mango, name, start, end), mango)
        calls.apply(row_of_history(mango, name, start, end), mango)
    assert [call.provider_call_id for call in all_calls()] == ["t1", "t3", "r2"]


def test_a_row_of_another_direction_is_another_call(mango: TelephonyConnection) -> None:
    for item in live(mango, "t1", 300, 240):
        calls.apply(item, mango)
    from dataclasses import replace

    calls.apply(replace(row_of_history(mango, "r1", 300, 240), direction=Direction.OUT), mango)
    assert len(all_calls()) == 2


def test_the_internal_number_finds_the_employee_where_it_is_not_the_key(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    for key, extension in ((None, "102"), ("login-2", None), ("login-2", "101")):
        name = f"{key}-{extension}"
        calls.apply(
            inbound.event(mango, CallKind.ANSWERED, provider_call_id=name, event_id=name,
                          employee_key=key, extension=extension,
                          client_number="79165550000"), mango
        )  # fmt: skip
    assert {call.employee_id for call in all_calls()} == {people["teammate"].id}
