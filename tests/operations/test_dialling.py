"""Click-to-call without a number in sight, and the line that the client sees."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from crm.integrations.telephony.base import CallKind, ClickToCall, Direction, PlacedCall
from crm.integrations.telephony.mango import Mango
from crm.models import BrowserEvent, Call, CallLeg, TelephonyConnection, db
from crm.operations import calls, dialling
from crm.operations.errors import NotFound, ValidationErrors
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory

CLIENT, LINE = "79161234567", "74955550100"


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[ClickToCall]:
    placed: list[ClickToCall] = []

    def place(_self: Mango, order: ClickToCall) -> PlacedCall:
        placed.append(order)
        return PlacedCall(request_id=order.request_id)

    monkeypatch.setattr(Mango, "place_call", place)
    return placed


def made(row: TelephonyConnection, ago: int = 1, **values: Any) -> Call:
    values = {"direction": "in", "client_number": CLIENT, **values}
    call = Call(
        connection_id=row.id,
        provider_call_id=f"c{db.session.query(Call).count()}",
        client_key=phones.match_key(values["client_number"]) or None,
        started_at=utc_now() - dt.timedelta(minutes=ago),
        **values,
    )
    db.session.add(call)
    db.session.commit()
    return call


Rights = Callable[[str], Principal]


# --- whom -----------------------------------------------------------------------------------------


def test_the_client_of_a_call_is_called_by_its_id(
    mango: TelephonyConnection, orders: list[ClickToCall], make: Factory, principal: Rights
) -> None:
    deal = make.deal(contact=make.contact(phone="+" + CLIENT))
    missed = made(mango, deal_id=deal.id, contact_id=deal.contact_id)
    call = dialling.click_to_call(principal("manager"), call_id=missed.id)
    assert (orders[0].number, call.deal_id, call.contact_id) == (CLIENT, deal.id, deal.contact_id)


def test_a_call_that_rang_at_ones_own_telephone_may_be_answered_later(
    mango: TelephonyConnection,
    orders: list[ClickToCall],
    people: dict[str, Any],
    principal: Rights,
) -> None:
    missed = made(mango)
    with pytest.raises(NotFound):
        dialling.click_to_call(principal("manager"), call_id=missed.id)
    db.session.add(CallLeg(call_id=missed.id, leg_id="1", employee_id=people["manager"].id))
    db.session.commit()
    dialling.click_to_call(principal("manager"), call_id=missed.id)
    assert [order.number for order in orders] == [CLIENT]


def test_a_deal_alone_means_its_client(
    mango: TelephonyConnection, orders: list[ClickToCall], make: Factory, principal: Rights
) -> None:
    deal = make.deal(contact=make.contact(phone="+" + CLIENT))
    call = dialling.click_to_call(principal("manager"), deal_id=deal.id)
    assert (orders[0].number, call.deal_id) == (CLIENT, deal.id)
    with pytest.raises(ValidationErrors):
        dialling.click_to_call(principal("manager"), deal_id=make.deal(contact=None).id)
    with pytest.raises(NotFound):
        dialling.click_to_call(principal("stranger"), deal_id=deal.id)


def test_a_hidden_number_cannot_be_called_back(
    mango: TelephonyConnection, orders: list[ClickToCall], make: Factory, principal: Rights
) -> None:
    hidden = made(mango, deal_id=make.deal().id, client_number=None)
    with pytest.raises(ValidationErrors):
        dialling.click_to_call(principal("manager"), call_id=hidden.id)
    assert orders == []


def test_who_dials_is_told_at_once(
    mango: TelephonyConnection,
    orders: list[ClickToCall],
    people: dict[str, Any],
    principal: Rights,
) -> None:
    call = dialling.click_to_call(principal("manager"), number="+" + CLIENT)
    (event,) = db.session.query(BrowserEvent).filter_by(kind="call.dialling")
    assert (event.user_id, event.data) == (people["manager"].id, {"call_id": call.id})


@pytest.mark.parametrize("told", ["ringing", "over"])
def test_an_event_quicker_than_the_operators_answer_is_of_the_same_call(
    mango: TelephonyConnection,
    monkeypatch: pytest.MonkeyPatch,
    principal: Rights,
    told: str,
) -> None:
    out = {"direction": Direction.OUT, "client_number": CLIENT, "extension": "101"}
    dialled_by_hand = inbound.event(mango, CallKind.ENDED, provider_call_id="by-hand", **out)
    calls.apply(dialled_by_hand, mango)

    def place(_self: Mango, order: ClickToCall) -> PlacedCall:
        calls.apply(inbound.event(mango, CallKind.RINGING, **out), mango)
        if told == "over":
            calls.apply(inbound.event(mango, CallKind.ENDED, **out), mango)
        return PlacedCall(request_id=order.request_id)

    monkeypatch.setattr(Mango, "place_call", place)
    call = dialling.click_to_call(principal("manager"), number="+" + CLIENT)
    calls.apply(inbound.event(mango, CallKind.ENDED, talk=20, final=True, **out), mango)
    assert {one.provider_call_id for one in db.session.query(Call)} == {"by-hand", "c1"}
    assert call.provider_call_id == "c1"
    assert (call.crm_request_id is not None, call.talk, call.state) == (True, 20, "ended")


def test_the_end_of_a_long_talk_finds_the_order_by_its_beginning(
    mango: TelephonyConnection, orders: list[ClickToCall], principal: Rights
) -> None:
    call = dialling.click_to_call(principal("manager"), number="+" + CLIENT)
    over = inbound.event(
        mango,
        CallKind.ENDED,
        direction=Direction.OUT,
        client_number=CLIENT,
        extension="101",
        started_at=utc_now() + dt.timedelta(seconds=4),
        occurred_at=utc_now() + dt.timedelta(minutes=20),
        final=True,
        talk=1180,
    )
    calls.apply(over, mango)
    (found,) = db.session.query(Call)
    assert (found.id, found.provider_call_id, found.talk) == (call.id, "c1", 1180)


# --- by which line --------------------------------------------------------------------------------


def test_the_line_is_the_one_that_the_client_knows(
    mango: TelephonyConnection, orders: list[ClickToCall], make: Factory, principal: Rights
) -> None:
    source = make.source("Авито", phone="+74955550999")
    deal = make.deal(contact=make.contact(phone="+" + CLIENT), source_id=source.id)
    by = principal("manager")
    dialling.click_to_call(by, deal_id=deal.id)
    made(mango, ago=50, line_number=LINE)
    made(mango, ago=40, line_number="74955550101")
    made(mango, ago=30, line_number="74955550102", direction="out")
    made(mango, ago=20, line_number="74955550103", client_number="79160000000")
    made(mango, ago=10)
    dialling.click_to_call(by, deal_id=deal.id)
    assert [order.line_number for order in orders] == ["74955550999", "74955550101"]


def test_without_deal_and_history_any_line_of_the_connection_will_do(
    mango: TelephonyConnection, orders: list[ClickToCall], principal: Rights
) -> None:
    by = principal("manager")
    other = inbound.connection(name="Другая", token="o" * 40)
    dialling.click_to_call(by, number="+" + CLIENT)
    made(other, line_number="74955550777", client_number="79160000000")
    made(mango, line_number=LINE, client_number="79160000000")
    dialling.click_to_call(by, number="+" + CLIENT)
    assert [order.line_number for order in orders] == [None, LINE]


def test_the_line_of_the_settings_is_left_to_the_operators_module(
    mango: TelephonyConnection, orders: list[ClickToCall], principal: Rights
) -> None:
    mango.credentials = {**inbound.CREDENTIALS, "line_number": "74950000000"}
    made(mango, line_number=LINE, client_number="79160000000")
    dialling.click_to_call(principal("manager"), number="+" + CLIENT)
    assert orders[0].line_number is None
