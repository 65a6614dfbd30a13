"""Whose browsers are told of a call: outgoing ones, and calls that ring at nobody known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Flask

from crm.integrations.telephony.base import CallKind, Direction
from crm.models import AssignRule, BrowserEvent, Call, CallState, TelephonyConnection, db
from crm.operations import calls
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


def told(kind: str) -> list[int | None]:
    rows = db.session.query(BrowserEvent).filter_by(kind=kind).order_by(BrowserEvent.id)
    return [row.user_id for row in rows]


def out(row: TelephonyConnection, kind: CallKind, **values: Any) -> str:
    event = inbound.event(row, kind, direction=Direction.OUT, extension="101", **values)
    return calls.apply(event, row)


# --- outgoing -------------------------------------------------------------------------------------


def test_who_dials_is_told_of_his_own_call_and_nobody_else(
    mango: TelephonyConnection, people: dict[str, Any], make: Factory
) -> None:
    make.deal("teammate", contact=make.contact(phone="+7" + inbound.CLIENT[1:]))
    for kind in (CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED):
        out(mango, kind)
    me = [people["manager"].id]
    assert told("call.dialling") == told("call.answered") == told("call.ended") == me
    assert told("call.ringing") == []


def test_an_answer_without_a_ringing_shows_the_call_too(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    out(mango, CallKind.ANSWERED)
    assert told("call.dialling") == [people["manager"].id]


def test_an_old_outgoing_call_disturbs_nobody(mango: TelephonyConnection) -> None:
    old = utc_now() - dt.timedelta(seconds=61)
    out(mango, CallKind.RINGING, occurred_at=old)
    assert told("call.dialling") == []


def test_an_outgoing_call_of_nobody_known_is_told_to_nobody(mango: TelephonyConnection) -> None:
    event = inbound.event(mango, CallKind.RINGING, direction=Direction.OUT, extension="999")
    calls.apply(event, mango)
    for kind in ("call.dialling", "call.ringing"):
        assert told(kind) == []
    assert db.session.query(Call).one().state == CallState.RINGING


# --- nobody's telephone is known ------------------------------------------------------------------


def test_the_person_of_the_connection_is_told(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    mango.assign_rule, mango.assign_to_id = AssignRule.PERSON, people["teammate"].id
    mango.department_id = people["manager"].department_id
    db.session.commit()
    calls.apply(inbound.event(mango, CallKind.RINGING), mango)
    assert told("call.ringing") == [people["teammate"].id]


def test_a_person_who_has_left_is_not_told(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    mango.assign_rule, mango.assign_to_id = AssignRule.PERSON, people["teammate"].id
    mango.department_id = people["manager"].department_id
    people["teammate"].active = False
    db.session.commit()
    calls.apply(inbound.event(mango, CallKind.RINGING), mango)
    assert set(told("call.ringing")) == {people["manager"].id, people["head"].id}


def test_the_responsible_goes_before_the_person_of_the_connection(
    mango: TelephonyConnection, people: dict[str, Any], make: Factory
) -> None:
    make.deal("manager", contact=make.contact(phone="+7" + inbound.CLIENT[1:]))
    mango.assign_rule, mango.assign_to_id = AssignRule.PERSON, people["teammate"].id
    db.session.commit()
    calls.apply(inbound.event(mango, CallKind.RINGING), mango)
    assert told("call.ringing") == [people["manager"].id]


def test_all_on_duty_hear_that_a_call_from_the_menu_was_answered_and_is_over(
    mango: TelephonyConnection, people: dict[str, Any]
) -> None:
    """The menu rings at everybody; the one telephone that takes it makes the deal its owner's."""
    calls.apply(inbound.event(mango, CallKind.RINGING), mango)
    asked = set(told("call.ringing"))
    assert {people["manager"].id, people["teammate"].id} <= asked
    for kind in (CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED):
        calls.apply(inbound.event(mango, kind, leg_id="a", extension="101"), mango)
    deal = db.session.query(Call).one().deal
    assert deal is not None
    assert deal.responsible_id == people["manager"].id
    # One row for everyone who is signed in.
    assert told("call.answered") == told("call.ended") == [None]
