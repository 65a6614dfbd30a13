"""Calls in the database: once, in any order, with the right deal, person and browsers."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from crm.models import (
    Appeal,
    BrowserEvent,
    Call,
    CallLeg,
    Company,
    Deal,
    RecordingState,
    SeenCallEvent,
    TelephonyConnection,
    TelephonyExtension,
    TimelineEvent,
    db,
)
from crm.operations import appeals, calls, contacts
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory
from tests.inbound import CLIENT, LINE

_keys = itertools.count(1)


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    row = inbound.connection(people["manager"])
    row.extensions.append(TelephonyExtension(key="102", employee_id=people["teammate"].id))
    db.session.commit()
    return row


def apply_all(row: TelephonyConnection, events: list[CallEvent]) -> None:
    for item in events:
        calls.apply(item, row)


def only_call() -> Call:
    found: Call = db.session.scalars(select(Call)).one()
    return found


def told(kind: str) -> list[int | None]:
    query = select(BrowserEvent.user_id).where(BrowserEvent.kind == kind)
    return list(db.session.scalars(query.order_by(BrowserEvent.id)))


def picture(call: Call) -> dict[str, Any]:
    """Everything that must not depend on the order, without ids."""
    appeal = db.session.scalars(select(Appeal).where(Appeal.call_id == call.id)).one_or_none()
    names = (
        "direction", "state", "result", "line_number", "started_at", "answered_at", "ended_at",
        "talk", "duration_total", "is_first", "employee_id", "source_id", "recording_state",
        "recording_ref", "final_fields",
    )  # fmt: skip
    facts: dict[str, Any] = {name: getattr(call, name) for name in names}
    legs = select(CallLeg.leg_id, CallLeg.employee_id, CallLeg.state).where(
        CallLeg.call_id == call.id
    )
    facts["legs"] = sorted(tuple(row) for row in db.session.execute(legs))
    if appeal is not None and appeal.deal is not None:
        deal = appeal.deal
        facts["appeal"] = (appeal.source_id, appeal.is_repeat, appeal.created_deal)
        facts["received"] = (appeal.received_at, deal.first_appeal_at)
        facts["deal"] = (deal.responsible_id, deal.source_id, deal.department_id, deal.is_saved)
    return facts


class TestOrder:
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_any_order_and_repeats_give_the_same_call_and_deal(
        self, data: st.DataObject, mango: TelephonyConnection
    ) -> None:
        start = dt.datetime(2026, 11, 24, 9, 0, tzinfo=dt.UTC)
        pictures = []
        for shuffled in (False, True):
            number = next(_keys)
            scenario = inbound.scenario(
                call_key=f"order-{number}", client_number=f"7916{number:07}", started_at=start
            )
            events = inbound.events_of(mango, scenario)
            if shuffled:
                repeats = data.draw(st.lists(st.sampled_from(events), max_size=3))
                events = list(data.draw(st.permutations([*events, *repeats])))
            apply_all(mango, events)
            call = db.session.scalars(
                select(Call).where(Call.provider_call_id == f"sim:order-{number}")
            ).one()
            pictures.append(_nameless(picture(call), number))
        assert pictures[0] == pictures[1]

    def test_a_repeat_changes_nothing(self, mango: TelephonyConnection) -> None:
        events = inbound.events_of(mango, inbound.scenario())
        apply_all(mango, events)
        before = picture(only_call())
        verdicts = {calls.apply(item, mango) for item in events}
        assert verdicts == {"повтор события"}
        assert picture(only_call()) == before
        assert db.session.query(SeenCallEvent).count() == len(events)
        assert {row.call_id for row in db.session.query(SeenCallEvent)} == {only_call().id}

    def test_ringing_was_lost_and_the_deal_is_made_by_what_came(
        self, mango: TelephonyConnection
    ) -> None:
        missed = inbound.scenario(answered=False)
        apply_all(mango, inbound.events_of(mango, missed)[-1:])
        call = only_call()
        assert (call.state, call.employee_id) == ("missed", None)
        assert call.deal is not None
        assert call.deal.responsible_id is None


def _nameless(facts: dict[str, Any], number: int) -> dict[str, Any]:
    text = repr(facts).replace(f"order-{number}:", "").replace(f"order-{number}'", "'")
    return {"text": text}


class TestDeals:
    def test_a_first_call_makes_a_deal_of_who_answered(
        self, mango: TelephonyConnection, make: Factory, people: dict[str, Any]
    ) -> None:
        source = make.source("Щит", phone=LINE, phone_key=LINE[1:])
        apply_all(mango, inbound.events_of(mango, inbound.scenario()))
        call = only_call()
        deal = call.deal
        assert deal is not None
        assert (call.is_first, call.source_id) == (True, source.id)
        assert (deal.is_saved, deal.channel, deal.source_id) == (False, "call", source.id)
        assert deal.responsible_id == people["manager"].id
        assert deal.stage_id == make.stage(0).id
        appeal = db.session.query(Appeal).one()
        assert (appeal.source_step, appeal.created_deal) == (2, True)
        assert "телефон источника «Щит»" in (appeal.source_why or "")
        assert db.session.query(TimelineEvent).filter_by(call_id=call.id, kind="call").count() == 1

    def test_a_second_call_joins_the_open_deal_and_keeps_its_own_source(
        self, mango: TelephonyConnection, make: Factory
    ) -> None:
        first = make.source("Щит", phone=LINE, phone_key=LINE[1:])
        other = make.source("Авито 2", phone="+74955550200", phone_key="4955550200")
        apply_all(mango, inbound.events_of(mango, inbound.scenario()))
        again = inbound.scenario(line_number="74955550200", answered=False)
        apply_all(mango, inbound.events_of(mango, again))
        deal = db.session.query(Deal).one()
        assert deal.source_id == first.id
        one, two = db.session.query(Appeal).order_by(Appeal.id)
        assert (one.source_id, two.source_id) == (first.id, other.id)
        assert (one.is_repeat, two.is_repeat) == (False, True)
        assert two.deal_id == deal.id
        calls_made = db.session.query(Call).order_by(Call.id).all()
        assert [call.is_first for call in calls_made] == [True, False]

    def test_a_missed_call_is_nobodys(self, mango: TelephonyConnection) -> None:
        apply_all(mango, inbound.events_of(mango, inbound.scenario(answered=False)))
        call = only_call()
        assert (call.state, call.employee_id) == ("missed", None)
        assert call.deal is not None
        assert call.deal.responsible_id is None

    def test_the_line_known_late_gives_the_source(
        self, mango: TelephonyConnection, make: Factory
    ) -> None:
        source = make.source("Щит", phone=LINE, phone_key=LINE[1:])
        ringing = inbound.event(mango, CallKind.RINGING, line_number=None, extension="101")
        calls.apply(ringing, mango)
        appeal = db.session.query(Appeal).one()
        assert appeal.source_step == 7
        calls.apply(inbound.event(mango, CallKind.MISSED, final=True), mango)
        assert (appeal.source_id, appeal.source_step) == (source.id, 2)
        assert appeal.deal is not None
        assert appeal.deal.source_id == source.id

    def test_the_first_of_two_answers_is_responsible_in_both_orders(
        self, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        now = utc_now()
        early = inbound.event(
            mango, CallKind.ANSWERED, leg_id="a", extension="101", occurred_at=now
        )
        late = inbound.event(
            mango,
            CallKind.ANSWERED,
            leg_id="b",
            extension="102",
            occurred_at=now + dt.timedelta(seconds=30),
        )
        apply_all(mango, [late, early])
        call = only_call()
        assert call.employee_id == people["manager"].id
        assert call.deal is not None
        assert call.deal.responsible_id == people["manager"].id

    def test_own_ignored_and_internal_numbers_make_no_deals(
        self, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        people["teammate"].phone = "+79160000001"
        db.session.query(Company).one().phone = "+74955550300"
        mango.ignored_numbers = "8 (916) 000-00-02"
        db.session.commit()
        for number in ("79160000001", "74955550300", "79160000002", "203"):
            apply_all(mango, inbound.events_of(mango, inbound.scenario(client_number=number)))
        internal = inbound.event(
            mango, CallKind.RINGING, direction=Direction.INTERNAL, provider_call_id="inner"
        )
        assert calls.apply(internal, mango) == "внутренний звонок"
        assert db.session.query(Deal).count() == 0
        assert db.session.query(Call).filter_by(provider_call_id="inner").count() == 0
        assert told("call.ringing") == []

    def test_a_hidden_number_stays_a_call(self, mango: TelephonyConnection) -> None:
        calls.apply(inbound.event(mango, CallKind.RINGING, client_number=None), mango)
        assert only_call().deal_id is None
        calls.apply(inbound.event(mango, CallKind.ANSWERED), mango)
        assert only_call().deal_id is not None, "the number came with another event"

    def test_a_black_listed_number_is_spam(
        self, mango: TelephonyConnection, principal: Callable[[str], Principal]
    ) -> None:
        apply_all(mango, inbound.events_of(mango, inbound.scenario(answered=False)))
        appeals.mark_spam(db.session.query(Appeal).one().id, principal("admin"))
        apply_all(mango, inbound.events_of(mango, inbound.scenario(answered=False)))
        last = db.session.query(Appeal).order_by(Appeal.id.desc()).first()
        assert last is not None
        assert (last.is_spam, last.deal_id) == (True, None)

    def test_an_outgoing_call_joins_the_known_deal_and_makes_none(
        self, mango: TelephonyConnection, make: Factory, people: dict[str, Any]
    ) -> None:
        contact = make.contact(phone="+7" + CLIENT[1:])
        deal = make.deal(contact=contact)
        out = inbound.scenario(direction=Direction.OUT)
        apply_all(mango, inbound.events_of(mango, out))
        call = only_call()
        assert (call.deal_id, call.contact_id) == (deal.id, contact.id)
        assert call.employee_id == people["manager"].id
        assert db.session.query(Appeal).count() == 0
        assert db.session.query(TimelineEvent).filter_by(call_id=call.id).count() == 1
        stranger = inbound.scenario(direction=Direction.OUT, client_number="79169999999")
        apply_all(mango, inbound.events_of(mango, stranger))
        assert db.session.query(Deal).count() == 1

    def test_an_event_of_a_call_without_a_name_is_matched_by_our_request(
        self, mango: TelephonyConnection
    ) -> None:
        failed = inbound.event(
            mango,
            CallKind.ENDED,
            provider_call_id="",
            direction=Direction.OUT,
            crm_request_id="kv-1",
            result=CallResult.FAILED,
        )
        assert calls.apply(failed, mango) == "звонок не найден"
        asked = Call(
            connection_id=mango.id, provider_call_id="crm:kv-2", crm_request_id="kv-2",
            direction="out", client_number=CLIENT, client_key=CLIENT[1:],
        )  # fmt: skip
        db.session.add(asked)
        db.session.commit()
        real = inbound.event(
            mango, CallKind.RINGING, direction=None, crm_request_id="kv-2", extension="101"
        )
        calls.apply(real, mango)
        assert (only_call().id, only_call().provider_call_id) == (asked.id, "c1")

    def test_an_alias_is_the_same_call(self, mango: TelephonyConnection) -> None:
        calls.apply(inbound.event(mango, CallKind.RINGING), mango)
        other = inbound.event(mango, CallKind.ENDED, provider_call_id="c2", alias_call_ids=("c1",))
        calls.apply(other, mango)
        assert only_call().state == "missed"


class TestBrowsers:
    def test_the_owner_of_the_ringing_extension_is_told(
        self, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        calls.apply(inbound.event(mango, CallKind.RINGING, leg_id="a", extension="101"), mango)
        calls.apply(inbound.event(mango, CallKind.RINGING, leg_id="b", extension="102"), mango)
        assert told("call.ringing") == [people["manager"].id, people["teammate"].id]
        ids = {
            row.data["call_id"]
            for row in db.session.query(BrowserEvent).filter_by(kind="call.ringing")
        }
        assert ids == {only_call().id}

    def test_without_an_owner_the_responsible_is_told(
        self, mango: TelephonyConnection, make: Factory, people: dict[str, Any]
    ) -> None:
        make.deal("teammate", contact=make.contact(phone="+7" + CLIENT[1:]))
        calls.apply(inbound.event(mango, CallKind.RINGING), mango)
        assert told("call.ringing") == [people["teammate"].id]

    def test_else_the_department_on_shift(
        self, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        mango.department_id = people["manager"].department_id
        people["teammate"].on_shift = False
        db.session.commit()
        calls.apply(inbound.event(mango, CallKind.RINGING), mango)
        assert set(told("call.ringing")) == {people["manager"].id, people["head"].id}

    def test_an_old_ringing_disturbs_nobody(self, mango: TelephonyConnection) -> None:
        old = utc_now() - dt.timedelta(seconds=61)
        calls.apply(inbound.event(mango, CallKind.RINGING, occurred_at=old, extension="101"), mango)
        assert told("call.ringing") == []

    def test_a_late_ringing_of_a_finished_call_disturbs_nobody(
        self, mango: TelephonyConnection
    ) -> None:
        calls.apply(inbound.event(mango, CallKind.MISSED, final=True), mango)
        calls.apply(inbound.event(mango, CallKind.RINGING, extension="101"), mango)
        assert told("call.ringing") == []
        assert only_call().state == "missed"

    def test_an_answer_and_an_end_reach_all_who_may_have_heard_the_ringing(
        self, mango: TelephonyConnection, people: dict[str, Any]
    ) -> None:
        for kind, key in (
            (CallKind.RINGING, "101"),
            (CallKind.RINGING, "102"),
            (CallKind.ANSWERED, "102"),
            (CallKind.LEG_ENDED, "101"),
            (CallKind.ENDED, "102"),
        ):
            calls.apply(inbound.event(mango, kind, leg_id=key, extension=key), mango)
        assert told("call.answered") == [None]
        row = db.session.query(BrowserEvent).filter_by(kind="call.answered").first()
        assert row is not None
        assert row.data["employee_id"] == people["teammate"].id
        assert told("call.ended") == [people["manager"].id, None]


class TestRecording:
    def test_it_is_expected_after_the_operators_pause(self, mango: TelephonyConnection) -> None:
        now = utc_now().replace(microsecond=0)
        ready = inbound.event(
            mango, CallKind.RECORDING_READY, recording_ref="rec-1", occurred_at=now
        )
        calls.apply(ready, mango)
        call = only_call()
        assert call.recording_state == RecordingState.WAITING
        assert call.recording_due_at is not None
        assert call.recording_due_at >= now
        assert call.recording_ref is not None
        assert call.recording_ref["ref"] == "rec-1"
        stored = db.session.connection().exec_driver_sql("SELECT recording_ref FROM call").scalar()
        assert "rec-1" not in stored


def test_what_is_told_to_an_operator_that_asks(mango: TelephonyConnection, make: Factory) -> None:
    assert calls.known_caller(mango.id, CLIENT).name is None
    make.deal("manager", contact=make.contact("Анна Лебедева", phone="+7" + CLIENT[1:]))
    known = calls.known_caller(mango.id, CLIENT)
    assert (known.name, known.responsible_extension) == ("Анна Лебедева", "101")


@pytest.mark.parametrize("kind", [kind for kind in CallKind if kind is not CallKind.UNKNOWN])
def test_the_verdict_of_an_event_is_in_words(mango: TelephonyConnection, kind: CallKind) -> None:
    extra = {"recording_ref": "r"} if kind is CallKind.RECORDING_READY else {}
    verdict = calls.apply(inbound.event(mango, kind, extension="101", **extra), mango)
    assert verdict.startswith(f"звонок № {only_call().id}: ")
    assert not re.search("[a-z]", verdict)


def test_an_unknown_event_is_kept_out(mango: TelephonyConnection) -> None:
    assert calls.apply(inbound.event(mango, CallKind.UNKNOWN), mango) == "неизвестное событие"
    assert db.session.query(Call).count() == 0


def test_a_look_up_that_fails_answers_nothing_in_time(
    mango: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_phones: object) -> None:
        raise OperationalError("SELECT", {}, Exception("canceling statement due to timeout"))

    monkeypatch.setattr(contacts, "find", slow)
    known = calls.known_caller(mango.id, CLIENT)
    assert (known.name, known.responsible_key, known.deal_id) == (None, None, None)
