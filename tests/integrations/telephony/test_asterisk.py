"""Asterisk: its events, by AMI and by ARI, become whole calls."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import asterisk_book
from crm.integrations.telephony.asterisk import Asterisk
from crm.integrations.telephony.asterisk_calls import Calls
from crm.integrations.telephony.asterisk_dialplan import Dialplan, Role, dialled_number
from crm.integrations.telephony.asterisk_events import recording_ref
from crm.integrations.telephony.asterisk_steps import Channel, listed_by_ami, listed_by_ari, read
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Capability,
    Direction,
    KnownCaller,
    TelephonyOperator,
)
from tests.integrations.fake_http import NoNetwork
from tests.integrations.telephony import test_asterisk_cdr
from tests.integrations.telephony.conformance import NOW, TOKEN, OperatorConformance

SETTINGS = {
    "host": "pbx.example.ru",
    "username": "crm",
    "password": "s3cr3t-crm",
    "recordings_url": "https://pbx.example.ru/monitor/{yyyy}/{mm}/{dd}/{file}",
    "recordings_password": "s3cr3t-files",
    "cdr_url": "https://pbx.example.ru/cdr/kvartal.csv",
}
CLIENT, LINE = "79000000001", "74950000010"
CALL = "crm-pbx-1772439631.26"


def asterisk(**changed: str) -> Asterisk:
    return Asterisk(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1772439631, UTC) + timedelta(seconds=seconds)


def inbound(value: Any, tail: str = "ami", **changed: Any) -> InboundRequest:
    request = InboundRequest(
        method="STREAM",
        path_tail=tail,
        query={},
        headers={},
        body=json.dumps(value).encode() if not isinstance(value, bytes) else value,
        remote_addr="10.0.0.5",
        received_at=NOW,
        token=TOKEN,
    )
    return replace(request, **changed)


class Pbx:
    """Feeds events to a listening operator and shows what the stored requests say."""

    def __init__(self, protocol: str = "ami", **settings: str) -> None:
        self.operator = asterisk(protocol=protocol, **settings)
        self.parser = asterisk(protocol=protocol, **settings)
        self.protocol = protocol
        self.time = 0.0

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def tell(self, name: str, **fields: Any) -> list[CallEvent]:
        if self.protocol == "ami":
            event = {"Event": name, "Timestamp": f"{at(self.time).timestamp():.6f}", **fields}
        else:
            event = {
                "type": name,
                "timestamp": f"{at(self.time):%Y-%m-%dT%H:%M:%S.000%z}",
                **fields,
            }
        requests = list(self.operator._told(event))
        return [event for request in requests for event in self.parser.parse(request)]

    # In AMI's words

    def new(self, channel: str, uid: str, linked: str = "", state: str = "4", **more: str) -> Any:
        return self.tell(
            "Newchannel", **leg(channel, uid, linked or uid, ChannelState=state), **more
        )

    def dial(self, caller: tuple[str, str], peer: tuple[str, str], linked: str, **more: str) -> Any:
        fields = {**leg(*caller, linked), **leg(*peer, linked, "Dest")}
        return self.tell("DialBegin", **fields, **more)

    def dialled(self, caller: tuple[str, str], peer: tuple[str, str], linked: str, how: str) -> Any:
        fields = {**leg(*caller, linked), **leg(*peer, linked, "Dest"), "DialStatus": how}
        return self.tell("DialEnd", **fields)

    def enter(self, channel: str, uid: str, linked: str, bridge: str = "b1") -> Any:
        return self.tell("BridgeEnter", **leg(channel, uid, linked), BridgeUniqueid=bridge)

    def leave(self, channel: str, uid: str, linked: str, bridge: str = "b1") -> Any:
        return self.tell("BridgeLeave", **leg(channel, uid, linked), BridgeUniqueid=bridge)

    def hang(self, channel: str, uid: str, linked: str, cause: str = "16") -> Any:
        return self.tell("Hangup", **leg(channel, uid, linked), Cause=cause)

    def var(self, channel: str, uid: str, linked: str, name: str, value: str) -> Any:
        return self.tell("VarSet", **leg(channel, uid, linked), Variable=name, Value=value)


def leg(channel: str, uid: str, linked: str, prefix: str = "", **more: str) -> dict[str, str]:
    values = {"Channel": channel, "Uniqueid": uid, "Linkedid": linked, **more}
    return {prefix + name: value for name, value in values.items()}


TRUNK, PHONE, OTHER = "PJSIP/msk-0000001a", "PJSIP/101-0000001b", "PJSIP/102-0000001c"


def incoming(pbx: Pbx, **more: str) -> list[CallEvent]:
    return pbx.new(TRUNK, "1.1", CallerIDNum=CLIENT, Exten=LINE, Context="from-trunk", **more)


def kinds(events: Iterable[CallEvent]) -> list[tuple[CallKind, str | None]]:
    return [(event.kind, event.extension) for event in events]


class JournalKeeper:
    """What the file of the PBX tells of a simulated call."""

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        call = f"sim-{scenario.call_key}-{int(scenario.started_at.timestamp())}.1"
        times = {
            "start": scenario.started_at,
            "answer": scenario.answered_at if scenario.answered else None,
            "end": scenario.ended_at,
        }
        told = test_asterisk_cdr.row(
            linkedid=call,
            uniqueid=call,
            src=scenario.client_number,
            dst=scenario.line_number,
            disposition="ANSWERED" if scenario.answered else "NO ANSWER",
            **{name: str(at.timestamp()) if at else "" for name, at in times.items()},
        )
        server = test_asterisk_cdr.FileServer(test_asterisk_cdr.text_of(told))
        with test_asterisk_cdr.connected(server) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestAmiConformance(JournalKeeper, OperatorConformance):
    operator_class = Asterisk
    settings_of = SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )


class TestAriConformance(JournalKeeper, OperatorConformance):
    operator_class = Asterisk
    settings_of = {**SETTINGS, "protocol": "ari"}
    answered_kinds = TestAmiConformance.answered_kinds


@pytest.mark.parametrize("protocol", ["ami", "ari"])
class TestWholeCalls:
    def events(self, protocol: str, **changed: Any) -> list[CallEvent]:
        suite = TestAmiConformance()
        operator: TelephonyOperator = asterisk(protocol=protocol)
        requests = operator.simulate(suite.scenario(**changed))
        return [
            event for request in requests for event in operator.parse(request.received(NOW, TOKEN))
        ]

    def test_an_answered_call(self, protocol: str) -> None:
        events = self.events(protocol)
        assert kinds(events) == [
            (CallKind.RINGING, None),
            (CallKind.RINGING, "101"),
            (CallKind.ANSWERED, "101"),
            (CallKind.LEG_ENDED, "101"),
            (CallKind.ENDED, "101"),
            (CallKind.RECORDING_READY, None),
        ]
        over, recording = events[4:]
        assert (over.final, over.result, over.talk) == (True, CallResult.ANSWERED, 90)
        assert over.duration_total == 101
        assert over.started_at == NOW
        assert over.answered_at == NOW + timedelta(seconds=11)
        assert over.ended_at == over.occurred_at
        assert recording.recording_ref
        assert recording.recording_ref.startswith("2026/11/23/sim-conformance-1-")

    def test_a_missed_call(self, protocol: str) -> None:
        events = self.events(protocol, answered=False)
        assert kinds(events) == [
            (CallKind.RINGING, None),
            (CallKind.RINGING, "101"),
            (CallKind.LEG_ENDED, "101"),
            (CallKind.MISSED, None),
        ]
        assert (events[3].result, events[3].talk) == (CallResult.NO_ANSWER, 0)

    def test_an_outgoing_call(self, protocol: str) -> None:
        events = self.events(protocol, direction=Direction.OUT)
        assert kinds(events) == [
            (CallKind.RINGING, "101"),
            (CallKind.ANSWERED, "101"),
            (CallKind.ENDED, "101"),
            (CallKind.RECORDING_READY, None),
        ]
        assert {event.client_number for event in events} == {"79031234567"}
        assert (events[2].talk, events[2].result) == (90, CallResult.ANSWERED)

    def test_an_outgoing_call_that_nobody_took(self, protocol: str) -> None:
        events = self.events(protocol, direction=Direction.OUT, answered=False)
        assert kinds(events) == [(CallKind.RINGING, "101"), (CallKind.ENDED, "101")]
        assert events[1].result is CallResult.NO_ANSWER


class TestReferenceExample:
    """The packets of the example, one by one, without a listener's memory."""

    def parsed(self, **event: str) -> list[CallEvent]:
        return asterisk().parse(inbound({"protocol": "ami", "event": event}))

    def test_the_first_channel(self) -> None:
        (event,) = self.parsed(
            Event="Newchannel",
            Channel="PJSIP/trunk-msk-0000001a",
            ChannelState="4",
            ChannelStateDesc="Ring",
            CallerIDNum=CLIENT,
            Exten=LINE,
            Context="from-trunk",
            Uniqueid=CALL,
            Linkedid=CALL,
        )
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == (CLIENT, LINE)
        assert (event.provider_call_id, event.event_id) == (CALL, f"new:{CALL}:")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)

    def test_a_telephone_rings(self) -> None:
        (event,) = self.parsed(
            Event="DialBegin",
            Channel="PJSIP/trunk-msk-0000001a",
            CallerIDNum=CLIENT,
            Uniqueid=CALL,
            Linkedid=CALL,
            DestChannel="PJSIP/101-0000001b",
            DestCallerIDNum="101",
            DestUniqueid="crm-pbx-1772439633.27",
            DestLinkedid=CALL,
            DialString="101/sip:101@192.0.2.21",
        )
        assert (event.kind, event.extension) == (CallKind.RINGING, "101")
        assert (event.direction, event.client_number) == (Direction.IN, CLIENT)
        assert event.event_id == f"dial:{CALL}:crm-pbx-1772439633.27"

    def test_an_answer_that_names_no_caller(self) -> None:
        (event,) = self.parsed(
            Event="DialEnd",
            Linkedid=CALL,
            DestChannel="PJSIP/101-0000001b",
            DestUniqueid="crm-pbx-1772439633.27",
            DialStatus="ANSWER",
        )
        assert (event.kind, event.extension) == (CallKind.ANSWERED, "101")
        assert (event.provider_call_id, event.direction) == (CALL, None)

    def test_the_end(self) -> None:
        (event,) = self.parsed(
            Event="Hangup",
            Channel="PJSIP/trunk-msk-0000001a",
            Uniqueid=CALL,
            Linkedid=CALL,
            Cause="16",
            **{"Cause-txt": "Normal Clearing"},
        )
        assert (event.kind, event.final) == (CallKind.MISSED, False)
        assert event.duration_total is None

    def test_the_end_of_a_telephone_alone_ends_nothing(self) -> None:
        assert not self.parsed(
            Event="Hangup", Channel=PHONE, Uniqueid="1.2", Linkedid=CALL, Cause="16"
        )


class TestIncoming:
    def test_a_group_rings_and_one_answers(self) -> None:
        pbx = Pbx()
        trunk, first, second = (TRUNK, "1.1"), (PHONE, "1.2"), (OTHER, "1.3")
        events = incoming(pbx)
        for phone in (first, second):
            assert not pbx.new(*phone, "1.1", "0")
            events += pbx.dial(trunk, phone, "1.1")
        pbx.wait(5)
        events += pbx.dialled(trunk, second, "1.1", "ANSWER")
        events += pbx.dialled(trunk, first, "1.1", "CANCEL")
        events += pbx.hang(*first, "1.1", "26")
        events += pbx.enter(*second, "1.1")
        events += pbx.enter(*trunk, "1.1")
        pbx.wait(60)
        events += pbx.leave(*trunk, "1.1")
        events += pbx.hang(*trunk, "1.1")
        events += pbx.hang(*second, "1.1")
        assert kinds(events) == [
            (CallKind.RINGING, None),
            (CallKind.RINGING, "101"),
            (CallKind.RINGING, "102"),
            (CallKind.ANSWERED, "102"),
            (CallKind.LEG_ENDED, "101"),
            (CallKind.ENDED, "102"),
        ]
        assert {event.provider_call_id for event in events} == {"1.1"}
        assert {event.client_number for event in events} == {CLIENT}
        assert (events[-1].talk, events[-1].duration_total) == (60, 65)
        assert len(pbx.operator._calls) == 0

    def test_a_menu_that_answers_is_no_answer(self) -> None:
        pbx = Pbx()
        events = incoming(pbx)
        pbx.wait(20)
        events += pbx.hang(TRUNK, "1.1", "1.1")
        assert kinds(events) == [(CallKind.RINGING, None), (CallKind.MISSED, None)]
        assert (events[1].result, events[1].duration_total) == (CallResult.NO_ANSWER, 20)

    def test_the_line_comes_later_in_freepbx(self) -> None:
        pbx = Pbx()
        events = pbx.new(TRUNK, "1.1", CallerIDNum=CLIENT, Exten="s", Context="from-pstn")
        assert events[0].line_number is None
        (event,) = pbx.var(TRUNK, "1.1", "1.1", "__FROM_DID", "8(495)000-00-10")
        assert (event.kind, event.line_number) == (CallKind.RINGING, LINE)
        assert not pbx.var(TRUNK, "1.1", "1.1", "FROM_DID", LINE)
        assert not pbx.var(TRUNK, "1.1", "1.1", "FROM_DID", "s")

    def test_a_hint_of_the_dialplan(self) -> None:
        pbx = Pbx()
        pbx.new(TRUNK, "1.1", CallerIDNum=CLIENT, Exten="s", Context="from-pstn")
        hint = {
            **leg(TRUNK, "1.1", "1.1"),
            "UserEvent": "CrmCall",
            "DID": LINE,
            "Rec": "2026/03/02/1.wav",
        }
        (event,) = pbx.tell("UserEvent", **hint)
        assert event.line_number == LINE
        assert not pbx.tell("UserEvent", **{**hint, "UserEvent": "Other"})
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        pbx.hang(PHONE, "1.2", "1.1")
        assert pbx.hang(TRUNK, "1.1", "1.1")[1].recording_ref == "2026/03/02/1.wav"

    def test_chan_sip_shows_an_incoming_channel_as_down(self) -> None:
        pbx = Pbx()
        trunk = ("SIP/msk-0000001a", "1.1")
        (event,) = pbx.new(*trunk, state="0", CallerIDNum=CLIENT, Exten=LINE, Context="from-trunk")
        assert (event.kind, event.line_number) == (CallKind.RINGING, LINE)

    def test_a_line_that_the_pbx_dials_first_is_no_incoming_call(self) -> None:
        pbx = Pbx()
        assert not pbx.new(TRUNK, "1.1", state="0", CallerIDNum="<unknown>", Exten="s")
        assert not pbx.hang(TRUNK, "1.1", "1.1")

    def test_a_hidden_number(self) -> None:
        pbx = Pbx()
        (event,) = pbx.new(TRUNK, "1.1", CallerIDNum="<unknown>", Exten=LINE)
        assert (event.kind, event.client_number) == (CallKind.RINGING, None)

    def test_a_queue_of_local_members(self) -> None:
        pbx = Pbx()
        trunk, half = (TRUNK, "1.1"), ("Local/101@from-queue-00000001;1", "1.2")
        other, phone = ("Local/101@from-queue-00000001;2", "1.3"), (PHONE, "1.4")
        events = incoming(pbx)
        agent = {"Queue": "sales", "Interface": "Local/101@from-queue/n"}
        events += pbx.tell(
            "AgentCalled", **leg(*trunk, "1.1"), **leg(*half, "1.1", "Dest"), **agent
        )
        events += pbx.dial(trunk, half, "1.1")
        events += pbx.dial(other, phone, "1.1")
        pbx.wait(3)
        events += pbx.dialled(other, phone, "1.1", "ANSWER")
        events += pbx.dialled(trunk, half, "1.1", "ANSWER")
        events += pbx.tell(
            "AgentConnect", **leg(*trunk, "1.1"), **leg(*half, "1.1", "Dest"), HoldTime="3"
        )
        assert [event.event_id for event in events[1:3]] == ["dial:1.1:1.2"] * 2
        assert kinds(events[3:]) == [(CallKind.RINGING, "101"), (CallKind.ANSWERED, "101")]

    def test_an_agent_that_does_not_answer(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        caller, agent = leg(TRUNK, "1.1", "1.1"), {"Interface": "PJSIP/101", "Queue": "sales"}
        assert kinds(pbx.tell("AgentCalled", **caller, **agent)) == [(CallKind.RINGING, "101")]
        ended = pbx.tell("AgentRingNoAnswer", **caller, **agent)
        assert kinds(ended) == [(CallKind.LEG_ENDED, "101")]

    def test_a_leg_is_over_when_no_other_telephone_of_the_employee_rings(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        trunk, desk, web = (TRUNK, "1.1"), (PHONE, "1.2"), ("PJSIP/101-web-0000001d", "1.3")
        assert kinds(pbx.dial(trunk, desk, "1.1")) == [(CallKind.RINGING, "101")]
        assert kinds(pbx.dial(trunk, web, "1.1")) == [(CallKind.RINGING, "101")]
        assert not pbx.dialled(trunk, web, "1.1", "CHANUNAVAIL")
        assert kinds(pbx.dialled(trunk, desk, "1.1", "NOANSWER")) == [(CallKind.LEG_ENDED, "101")]

    def test_a_pick_up_by_somebody_else_is_seen_in_the_bridge(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        pbx.dial((TRUNK, "1.1"), (PHONE, "1.2"), "1.1")
        assert not pbx.enter(TRUNK, "1.1", "1.1")
        assert kinds(pbx.enter(OTHER, "1.3", "1.1")) == [(CallKind.ANSWERED, "102")]

    def test_a_call_forwarded_to_a_mobile_is_answered_by_nobody_inside(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        trunk, mobile = (TRUNK, "1.1"), ("PJSIP/msk-0000001e", "1.2")
        assert not pbx.dial(trunk, mobile, "1.1", DestCallerIDNum="79161112233")
        assert kinds(pbx.dialled(trunk, mobile, "1.1", "ANSWER")) == [(CallKind.ANSWERED, None)]
        pbx.hang(*mobile, "1.1")
        (over,) = pbx.hang(*trunk, "1.1")
        assert (over.kind, over.direction, over.client_number) == (
            CallKind.ENDED,
            Direction.IN,
            CLIENT,
        )

    def test_without_bridges_the_talk_is_counted_from_the_answer(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        pbx.wait(4)
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        pbx.wait(30)
        pbx.hang(PHONE, "1.2", "1.1")
        (over,) = pbx.hang(TRUNK, "1.1", "1.1")
        assert (over.talk, over.duration_total) == (30, 34)

    def test_a_hold_is_no_talk(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        trunk, phone = (TRUNK, "1.1"), (PHONE, "1.2")
        pbx.dialled(trunk, phone, "1.1", "ANSWER")
        for pause in (10, 20, 30):
            pbx.enter(*trunk, "1.1")
            pbx.enter(*phone, "1.1")
            pbx.wait(pause)
            pbx.leave(*phone, "1.1")
            pbx.wait(100)
        pbx.hang(*phone, "1.1")
        assert pbx.hang(*trunk, "1.1")[0].talk == 60

    @pytest.mark.parametrize(("cause", "result"), [("17", "busy"), ("16", "no_answer")])
    def test_the_cause_of_a_missed_call(self, cause: str, result: str) -> None:
        pbx = Pbx()
        incoming(pbx)
        assert pbx.hang(TRUNK, "1.1", "1.1", cause)[0].result is CallResult(result)

    def test_the_end_arrives_once(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        assert pbx.hang(TRUNK, "1.1", "1.1")
        assert not pbx.hang(TRUNK, "1.1", "1.1")
        assert not pbx.var(TRUNK, "1.1", "1.1", "FROM_DID", LINE)
        assert not pbx.enter(TRUNK, "1.1", "1.1")
        assert len(pbx.operator._calls) == 0


class TestTransfers:
    def talking(self, pbx: Pbx) -> None:
        incoming(pbx)
        pbx.dial((TRUNK, "1.1"), (PHONE, "1.2"), "1.1")
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        pbx.enter(TRUNK, "1.1", "1.1")
        pbx.enter(PHONE, "1.2", "1.1")

    def test_a_blind_transfer_goes_on_as_one_call(self) -> None:
        pbx = Pbx()
        self.talking(pbx)
        events = pbx.tell(
            "BlindTransfer",
            **leg(PHONE, "1.2", "1.1", "Transferer"),
            **leg(TRUNK, "1.1", "1.1", "Transferee"),
            Extension="102",
        )
        events += pbx.hang(PHONE, "1.2", "1.1")
        events += pbx.dial((TRUNK, "1.1"), (OTHER, "1.3"), "1.1")
        events += pbx.dialled((TRUNK, "1.1"), (OTHER, "1.3"), "1.1", "ANSWER")
        pbx.hang(OTHER, "1.3", "1.1")
        events += pbx.hang(TRUNK, "1.1", "1.1")
        assert kinds(events) == [
            (CallKind.LEG_ENDED, "101"),
            (CallKind.LEG_ENDED, "101"),
            (CallKind.RINGING, "102"),
            (CallKind.ANSWERED, "102"),
            (CallKind.ENDED, "102"),
        ]
        assert all(event.transferred for event in events)
        assert {event.direction for event in events} == {Direction.IN}

    def test_an_attended_transfer_brings_the_colleague_in(self) -> None:
        pbx = Pbx()
        self.talking(pbx)
        ask, colleague = ("PJSIP/101-0000001f", "2.1"), (OTHER, "2.2")
        assert not pbx.new(*ask, CallerIDNum="101", Exten="102", Context="from-internal")
        assert not pbx.dial(ask, colleague, "2.1")
        assert not pbx.dialled(ask, colleague, "2.1", "ANSWER")
        (told,) = pbx.tell(
            "AttendedTransfer",
            **leg(PHONE, "1.2", "1.1", "OrigTransferer"),
            **leg(*ask, "2.1", "SecondTransferer"),
            **leg(TRUNK, "1.1", "1.1", "Transferee"),
            **leg(*colleague, "2.1", "TransferTarget"),
        )
        assert (told.kind, told.extension, told.transferred) == (CallKind.LEG_ENDED, "101", True)
        pbx.hang(PHONE, "1.2", "1.1")
        assert not pbx.hang(*ask, "2.1")
        assert kinds(pbx.enter(*colleague, "1.1")) == [(CallKind.ANSWERED, "102")]
        pbx.hang(*colleague, "1.1")
        (over,) = pbx.hang(TRUNK, "1.1", "1.1")
        assert (over.extension, over.provider_call_id) == ("102", "1.1")
        assert len(pbx.operator._calls) == 0

    def test_two_clients_who_are_joined_stay_two_calls(self) -> None:
        pbx = Pbx()
        self.talking(pbx)
        second = ("PJSIP/msk-00000022", "3.1")
        pbx.new(*second, CallerIDNum="79000000002", Exten=LINE, Context="from-trunk")
        pbx.dialled(second, (PHONE, "3.2"), "3.1", "ANSWER")
        pbx.enter(*second, "1.1")
        pbx.hang(PHONE, "3.2", "3.1")
        (over,) = pbx.hang(*second, "1.1")
        assert (over.provider_call_id, over.client_number) == ("3.1", "79000000002")
        pbx.hang(PHONE, "1.2", "1.1")
        (over,) = pbx.hang(TRUNK, "1.1", "1.1")
        assert (over.provider_call_id, over.client_number) == ("1.1", CLIENT)


class TestOutgoing:
    def test_an_employee_dials(self) -> None:
        pbx = Pbx()
        phone, trunk = (PHONE, "1.1"), (TRUNK, "1.2")
        assert not pbx.new(*phone, CallerIDNum="101", Exten="89161112233", Context="from-internal")
        events = pbx.dial(phone, trunk, "1.1", DestCallerIDNum="89161112233")
        pbx.wait(7)
        events += pbx.dialled(phone, trunk, "1.1", "BUSY")
        pbx.hang(*trunk, "1.1", "17")
        events += pbx.hang(*phone, "1.1", "17")
        assert kinds(events) == [(CallKind.RINGING, "101"), (CallKind.ENDED, "101")]
        assert {event.client_number for event in events} == {"79161112233"}
        assert (events[1].result, events[1].talk) == (CallResult.BUSY, 0)

    def test_the_number_is_taken_from_the_dial_string_or_from_what_was_dialled(self) -> None:
        for told, number in (
            ({"DialString": "msk/sip:89161112233@192.0.2.7:5060"}, "79161112233"),
            ({"DialString": "msk"}, "79167778899"),
            ({"DestCallerIDNum": "101", "DialString": ""}, "79167778899"),
        ):
            pbx = Pbx()
            pbx.new(PHONE, "1.1", CallerIDNum="101", Exten="89167778899", Context="from-internal")
            (event,) = pbx.dial((PHONE, "1.1"), (TRUNK, "1.2"), "1.1", **told)
            assert event.client_number == number

    def test_an_order_of_ours_through_the_dialplan(self) -> None:
        pbx = Pbx()
        one, two = (
            ("Local/101@from-internal-00000003;1", "1.1"),
            (
                "Local/101@from-internal-00000003;2",
                "1.2",
            ),
        )
        phone, trunk = (PHONE, "1.3"), (TRUNK, "1.4")
        assert not pbx.new(*one, state="0")
        assert not pbx.new(*two, "1.1")
        events = pbx.var(*one, "1.1", "CRM_CALL", "kv-0042")
        events += pbx.dial(two, phone, "1.1")
        assert not pbx.dialled(two, phone, "1.1", "ANSWER")
        events += pbx.tell(
            "OriginateResponse",
            Response="Success",
            ActionID="crm:kv-0042",
            Channel=one[0],
            Uniqueid="1.1",
            Reason="4",
        )
        events += pbx.dial(one, trunk, "1.1", DestCallerIDNum="89161112233")
        events += pbx.dialled(one, trunk, "1.1", "ANSWER")
        for channel in (trunk, phone, two, one):
            events += pbx.hang(*channel, "1.1")
        assert {event.direction for event in events} == {Direction.OUT}
        assert {event.crm_request_id for event in events} == {"kv-0042"}
        assert {event.provider_call_id for event in events} == {"1.1"}
        assert kinds(events)[-1] == (CallKind.ENDED, "101")
        assert (CallKind.ANSWERED, "101") in kinds(events)
        assert events[-1].client_number == "79161112233"

    @pytest.mark.parametrize(
        ("reason", "result"), [("3", "no_answer"), ("5", "busy"), ("0", "failed"), ("8", "failed")]
    )
    def test_an_order_that_failed(self, reason: str, result: str) -> None:
        pbx = Pbx()
        failed = {"Response": "Failure", "ActionID": "crm:kv-0042", "Uniqueid": "<null>"}
        (event,) = pbx.tell("OriginateResponse", Channel="PJSIP/101", Reason=reason, **failed)
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult(result))
        assert (event.crm_request_id, event.provider_call_id) == ("kv-0042", "")
        assert event.extension == "101"

    def test_orders_of_others_are_not_ours(self) -> None:
        pbx = Pbx()
        assert not pbx.tell("OriginateResponse", ActionID="17", Response="Failure", Uniqueid="1.1")

    def test_an_internal_call_is_nobodys_business(self) -> None:
        pbx = Pbx()
        pbx.new(PHONE, "1.1", CallerIDNum="101", Exten="102", Context="from-internal")
        events = pbx.dial((PHONE, "1.1"), (OTHER, "1.2"), "1.1")
        events += pbx.dialled((PHONE, "1.1"), (OTHER, "1.2"), "1.1", "ANSWER")
        events += pbx.enter(PHONE, "1.1", "1.1") + pbx.enter(OTHER, "1.2", "1.1")
        events += pbx.hang(OTHER, "1.2", "1.1") + pbx.hang(PHONE, "1.1", "1.1")
        assert events == []
        assert len(pbx.operator._calls) == 0

    def test_an_outgoing_call_that_is_transferred_stays_outgoing(self) -> None:
        pbx = Pbx()
        phone, trunk = (PHONE, "1.1"), (TRUNK, "1.2")
        pbx.new(*phone, CallerIDNum="101", Exten="89161112233", Context="from-internal")
        pbx.dial(phone, trunk, "1.1", DestCallerIDNum="89161112233")
        pbx.dialled(phone, trunk, "1.1", "ANSWER")
        assert kinds(pbx.hang(*phone, "1.1")) == [(CallKind.LEG_ENDED, "101")]
        (event,) = pbx.dial(trunk, (OTHER, "1.3"), "1.1")
        assert (event.direction, event.extension) == (Direction.OUT, "102")
        assert event.client_number == "79161112233"


class TestAri:
    def channel(self, uid: str, name: str, state: str = "Ring", **more: Any) -> dict[str, Any]:
        caller = {"name": "", "number": more.pop("number", "")}
        dialplan = {"context": more.pop("context", ""), "exten": more.pop("exten", "")}
        return {"id": uid, "name": name, "state": state, "caller": caller, "dialplan": dialplan}

    def test_legs_are_grouped_by_dials_and_halves(self) -> None:
        pbx = Pbx("ari")
        trunk = self.channel("1.1", TRUNK, number=CLIENT, exten=LINE, context="from-trunk")
        one = self.channel("1.2", "Local/101@from-queue-00000001;1", "Down")
        two = self.channel("1.3", "Local/101@from-queue-00000001;2", "Ring")
        phone = self.channel("1.4", PHONE, "Down")
        events = pbx.tell("ChannelCreated", channel=trunk)
        for made in (one, two):
            assert not pbx.tell("ChannelCreated", channel=made)
        events += pbx.tell("Dial", caller=trunk, peer=one, dialstatus="")
        assert not pbx.tell("ChannelCreated", channel=phone)
        events += pbx.tell("Dial", caller=two, peer=phone, dialstatus="")
        assert not pbx.tell("Dial", caller=two, peer=phone, dialstatus="RINGING")
        events += pbx.tell("Dial", caller=two, peer=phone, dialstatus="ANSWER")
        assert len(pbx.operator._calls) == 1
        for made in (phone, two, one, trunk):
            events += pbx.tell("ChannelDestroyed", channel=made, cause=16)
        assert {event.provider_call_id for event in events} == {"1.1"}
        assert kinds(events)[-1] == (CallKind.ENDED, "101")
        assert events[-1].final

    def test_an_attended_transfer_is_seen_in_the_bridge(self) -> None:
        pbx = Pbx("ari")
        trunk = self.channel("1.1", TRUNK, number=CLIENT, exten=LINE)
        phone, ask = self.channel("1.2", PHONE, "Down"), self.channel("2.1", PHONE)
        colleague = self.channel("2.2", OTHER, "Down")
        pbx.tell("ChannelCreated", channel=trunk)
        pbx.tell("Dial", caller=trunk, peer=phone, dialstatus="")
        pbx.tell("Dial", caller=trunk, peer=phone, dialstatus="ANSWER")
        pbx.tell("ChannelEnteredBridge", channel=trunk, bridge={"id": "b1"})
        pbx.tell("ChannelEnteredBridge", channel=phone, bridge={"id": "b1"})
        pbx.tell("ChannelCreated", channel=ask)
        pbx.tell("Dial", caller=ask, peer=colleague, dialstatus="")
        pbx.tell("Dial", caller=ask, peer=colleague, dialstatus="ANSWER")
        (told,) = pbx.tell("BridgeAttendedTransfer", transferer_first_leg=phone, transferee=trunk)
        assert told.transferred
        (event,) = pbx.tell("ChannelEnteredBridge", channel=colleague, bridge={"id": "b1"})
        assert (event.kind, event.extension) == (CallKind.ANSWERED, "102")
        assert event.provider_call_id == "1.1"

    def test_a_stored_recording(self) -> None:
        pbx = Pbx("ari")
        pbx.tell("ChannelCreated", channel=self.channel("1.1", TRUNK, number=CLIENT))
        recording = {"name": "calls/1.1", "format": "wav", "target_uri": "channel:1.1"}
        (event,) = pbx.tell("RecordingFinished", recording=recording)
        assert (event.kind, event.recording_ref) == (CallKind.RECORDING_READY, "ari:calls/1.1")
        assert event.provider_call_id == "1.1"
        foreign = {**recording, "target_uri": "channel:9.9"}
        assert not pbx.tell("RecordingFinished", recording=foreign)
        for name in ("../../etc/passwd", "a/../b", ".hidden", "a b"):
            assert not pbx.tell("RecordingFinished", recording={**recording, "name": name})

    def test_an_end_without_a_beginning_tells_nothing(self) -> None:
        pbx = Pbx("ari")
        gone = self.channel("1.1", TRUNK, "Up", number=CLIENT)
        for name in ("ChannelDestroyed", "ChannelEnteredBridge", "ChannelVarset"):
            more = {"bridge": {"id": "b1"}, "variable": "FROM_DID", "value": LINE}
            assert not pbx.tell(name, channel=gone, **more)
        body = {"protocol": "ari", "event": {"type": "ChannelDestroyed", "channel": gone}}
        assert not asterisk().parse(inbound(body, "ari"))

    def test_what_went_on_before_is_listed_again(self) -> None:
        pbx = Pbx("ari")
        trunk = self.channel("1.1", TRUNK, number=CLIENT, exten=LINE)
        other = self.channel("2.1", "PJSIP/msk-0000002a", number="79000000002", exten=LINE)
        for made in (trunk, other):
            pbx.tell("ChannelCreated", channel=made)
        rows = listed_by_ari(
            [trunk, self.channel("9.9", TRUNK)], [{"id": "b", "channels": ["1.1"]}]
        )
        (request,) = pbx.operator._caught_up(rows)
        (event,) = pbx.parser.parse(request)
        assert (event.kind, event.provider_call_id, event.final) == (CallKind.MISSED, "2.1", False)
        assert len(pbx.operator._calls) == 1


class TestCatchingUp:
    """After a break the list of channels says what has changed."""

    def listed(self, pbx: Pbx, *rows: dict[str, str]) -> list[CallEvent]:
        steps = [step for row in rows if (step := listed_by_ami(row)) is not None]
        requests = list(pbx.operator._caught_up(steps))
        return [event for request in requests for event in pbx.parser.parse(request)]

    def test_a_call_that_ended_meanwhile(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        (event,) = self.listed(pbx)
        assert (event.kind, event.extension, event.final) == (CallKind.ENDED, "101", False)
        assert (event.result, event.duration_total) == (CallResult.ANSWERED, None)
        assert event.event_id == "over:1.1:"
        assert not pbx.hang(TRUNK, "1.1", "1.1")

    def test_a_call_that_goes_on(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        assert not self.listed(pbx, leg(TRUNK, "1.1", "1.1", CallerIDNum=CLIENT))
        assert kinds(pbx.hang(TRUNK, "1.1", "1.1")) == [(CallKind.MISSED, None)]

    def test_calls_met_half_way(self) -> None:
        pbx = Pbx()
        rows = [
            leg(PHONE, "1.2", "1.1", BridgeId="b1"),
            leg(TRUNK, "1.1", "1.1", CallerIDNum=CLIENT, Exten=LINE, BridgeId="b1"),
            leg(OTHER, "2.1", "2.1", BridgeId="b2"),
            leg("PJSIP/msk-0000001f", "2.2", "2.1", CallerIDNum="79161112233", BridgeId="b2"),
            leg("PJSIP/103-00000020", "3.1", "3.1"),
            {"Channel": "no id"},
        ]
        assert not self.listed(pbx, *rows)
        pbx.hang(PHONE, "1.2", "1.1")
        (over,) = pbx.hang(TRUNK, "1.1", "1.1")
        assert (over.kind, over.direction, over.client_number) == (
            CallKind.ENDED,
            Direction.IN,
            CLIENT,
        )
        assert (over.final, over.talk, over.answered_at) == (False, None, None)
        pbx.hang(OTHER, "2.1", "2.1")
        (over,) = pbx.hang("PJSIP/msk-0000001f", "2.2", "2.1")
        assert (over.direction, over.client_number) == (Direction.OUT, "79161112233")
        assert not pbx.hang("PJSIP/103-00000020", "3.1", "3.1")

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asterisk_book, "MAX_CALLS", 10)
        monkeypatch.setattr(asterisk_book, "_MAX_GONE", 5)
        pbx = Pbx()
        for number in range(50):
            pbx.new(TRUNK, f"{number}.1", CallerIDNum=CLIENT, Exten=LINE)
        assert len(pbx.operator._calls) == 10
        assert len(pbx.operator._calls._book._gone) <= 5
        assert len(pbx.operator._calls._book._where) == 10


_NAMES = (TRUNK, PHONE, OTHER, "Local/101@q-1;1", "Local/101@q-1;2", "PJSIP/msk-0000002b")
_AMI_KINDS = (
    "Newchannel DialBegin DialEnd BridgeEnter BridgeLeave Hangup VarSet BlindTransfer "
    "AttendedTransfer OriginateResponse"
).split()
_ARI_KINDS = (
    "ChannelCreated Dial ChannelEnteredBridge ChannelLeftBridge ChannelDestroyed ChannelVarset "
    "BridgeBlindTransfer BridgeAttendedTransfer RecordingFinished"
).split()
_PREFIXES = ("", "Dest", "Transferer", "OrigTransferer", "Transferee")
_JUMBLE = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(0, 5),
        st.sampled_from(["ANSWER", "CANCEL", ""]),
    ),
    max_size=60,
)


@pytest.mark.parametrize("protocol", ["ami", "ari"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(jumble=_JUMBLE)
def test_events_in_any_disorder_break_nothing_and_leave_nothing_behind(
    protocol: str, jumble: list[tuple[int, int, int, int, str]]
) -> None:
    pbx = Pbx(protocol)
    for kind, one, two, linked, status in jumble:
        pbx.wait(1)
        if protocol == "ami":
            fields = {"DialStatus": status, "BridgeUniqueid": f"b{linked % 2}"}
            fields |= {"Variable": "CRM_CALL", "Value": "kv-1", "ActionID": "crm:kv-1"}
            for number, prefix in enumerate(_PREFIXES):
                uid = (one, two)[number % 2]
                fields |= leg(_NAMES[uid], f"{uid}.1", f"{linked}.1", prefix)
            events = pbx.tell(_AMI_KINDS[kind], CallerIDNum=CLIENT, Exten=LINE, **fields)
        else:
            first, second = ({"id": f"{uid}.1", "name": _NAMES[uid]} for uid in (one, two))
            told: dict[str, Any] = dict.fromkeys(("channel", "caller", "transferee"), first)
            told |= dict.fromkeys(("peer", "transferer_first_leg"), second)
            told |= {"dialstatus": status, "bridge": {"id": f"b{linked % 2}"}}
            told |= {"recording": {"name": "a", "target_uri": f"channel:{one}.1"}}
            told |= {"variable": "FROM_DID", "value": LINE}
            events = pbx.tell(_ARI_KINDS[kind % len(_ARI_KINDS)], **told)
        assert all(event.provider_call_id for event in events)
    for uid, name in enumerate(_NAMES):
        if protocol == "ami":
            pbx.hang(name, f"{uid}.1", f"{uid}.1")
        else:
            pbx.tell("ChannelDestroyed", channel={"id": f"{uid}.1", "name": name})
    book = pbx.operator._calls._book
    assert (len(book.calls), book._where, book._twins, book.bridges) == (0, {}, {}, {})


class TestDialplan:
    @pytest.mark.parametrize(
        ("name", "role", "extension"),
        [
            ("PJSIP/101-0000001b", Role.EMPLOYEE, "101"),
            ("SIP/101-0000001b", Role.EMPLOYEE, "101"),
            ("PJSIP/101-web-0000001b", Role.EMPLOYEE, "101"),
            ("PJSIP/101", Role.EMPLOYEE, "101"),
            ("Local/101@from-internal-00000001;2", Role.LOCAL, "101"),
            ("Local/s@ivr-00000001;1", Role.LOCAL, None),
            ("PJSIP/msk-0000001a", Role.CLIENT, None),
            ("PJSIP/74950000010-0000001a", Role.CLIENT, None),
            ("DAHDI/12-1", Role.CLIENT, None),
            ("Message/ast_msg_queue", Role.NOBODY, None),
            ("Snoop/1.1-0001", Role.NOBODY, None),
            ("", Role.NOBODY, None),
            ("nonsense", Role.NOBODY, None),
        ],
    )
    def test_names_without_a_list_of_trunks(
        self, name: str, role: Role, extension: str | None
    ) -> None:
        plan, channel = Dialplan([], [], ""), Channel(id="1", name=name)
        assert (plan.role(channel), plan.extension(channel)) == (role, extension)

    def test_a_list_of_trunks_decides(self) -> None:
        plan = Dialplan(["Msk", "700"], [], "3-3")
        roles = {
            name: plan.role(Channel(id="1", name=name))
            for name in ("PJSIP/msk-0000001a", "SIP/700-0000001a", "PJSIP/door-0000001a")
        }
        assert list(roles.values()) == [Role.CLIENT, Role.CLIENT, Role.NOBODY]

    def test_lengths_of_extensions(self) -> None:
        plan = Dialplan([], [], " 3 - 4 ")
        assert [plan.is_extension(number) for number in ("10", "101", "1011", "10111")] == [
            False,
            True,
            True,
            False,
        ]
        assert Dialplan([], [], "много").is_extension("123456")
        assert not plan.is_outside("1011")
        assert plan.is_outside("79000000001")
        assert not plan.is_outside(None)

    def test_a_context_says_where_a_new_channel_comes_from(self) -> None:
        pbx = Pbx(trunk_contexts="from-trunk*, Incoming")
        (event,) = pbx.new("PJSIP/700-0000001a", "1.1", CallerIDNum=CLIENT, Context="from-trunk-7")
        assert event.direction is Direction.IN
        (event,) = pbx.new("PJSIP/700-0000001b", "2.1", CallerIDNum=CLIENT, Context="incoming")
        assert event.direction is Direction.IN
        assert not pbx.new("PJSIP/700-0000001c", "3.1", CallerIDNum="700", Context="from-internal")

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("msk/89161112233", "79161112233"),
            ("89161112233@msk", "79161112233"),
            ("74950000010/sip:+79161112233@10.20.30.40:5060", "79161112233"),
            ("101/sip:101@192.0.2.21", None),
            ("", None),
        ],
    )
    def test_numbers_in_dial_strings(self, text: str, number: str | None) -> None:
        assert dialled_number(text) == number


class TestRecordings:
    @pytest.mark.parametrize(
        ("path", "ref"),
        [
            ("/var/spool/asterisk/monitor/2026/03/02/in-101.wav", "2026/03/02/in-101.wav"),
            ("2026/03/02/1772439631.26.wav", "2026/03/02/1772439631.26.wav"),
            ("in-101.wav", "2026/03/02/in-101.wav"),
            ("/a/..", None),
            ("/2026/03/02/a..wav", None),
            ("/2026/03/02/.wav", None),
            ("/2026/03/02/a b.wav", None),
            ("/2026/03/02/a%2F.wav", None),
            ("", None),
        ],
    )
    def test_names_of_files_are_not_trusted(self, path: str, ref: str | None) -> None:
        assert recording_ref(path, 1772439631, UTC) == ref

    def test_impossible_times_give_no_file(self) -> None:
        for started in (None, -5, 10**18):
            assert recording_ref("a.wav", started, UTC) is None

    def test_a_file_of_an_unanswered_call_is_not_wanted(self) -> None:
        pbx = Pbx()
        incoming(pbx)
        pbx.var(TRUNK, "1.1", "1.1", "MIXMONITOR_FILENAME", "/2026/03/02/a.wav")
        assert kinds(pbx.hang(TRUNK, "1.1", "1.1")) == [(CallKind.MISSED, None)]

    def test_without_an_address_of_files_none_is_announced(self) -> None:
        pbx = Pbx(recordings_url="")
        assert Capability.RECORDINGS not in pbx.operator.capabilities
        incoming(pbx)
        pbx.var(TRUNK, "1.1", "1.1", "MIXMONITOR_FILENAME", "/2026/03/02/a.wav")
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        pbx.hang(PHONE, "1.2", "1.1")
        assert kinds(pbx.hang(TRUNK, "1.1", "1.1")) == [(CallKind.ENDED, "101")]
        assert Capability.RECORDINGS in asterisk(recordings_url="", protocol="ari").capabilities

    def test_the_day_of_a_file_is_the_pbxs_own(self) -> None:
        pbx = Pbx(time_zone="Asia/Vladivostok")
        pbx.time = 10 * 3600
        incoming(pbx)
        pbx.var(TRUNK, "1.1", "1.1", "MIXMONITOR_FILENAME", "a.wav")
        pbx.dialled((TRUNK, "1.1"), (PHONE, "1.2"), "1.1", "ANSWER")
        pbx.hang(PHONE, "1.2", "1.1")
        assert pbx.hang(TRUNK, "1.1", "1.1")[1].recording_ref == "2026/03/03/a.wav"
        assert str(asterisk(time_zone="Mars/Olympus").zone) == "Europe/Moscow"


class TestRoute:
    def asked(self, phone: str | None) -> InboundRequest:
        query = {"phone": phone} if phone is not None else {}
        return inbound(b"", "route", method="GET", query=query)

    def test_the_dialplan_asks_for_the_responsible_manager(self) -> None:
        operator, request = asterisk(), self.asked("+7 900 000-00-01")
        operator.verify(request)
        assert operator.caller_question(request) == CLIENT
        caller = KnownCaller(name="Мария", responsible_extension="101")
        assert operator.reply(request, caller).body == b"101"
        assert operator.parse(request) == []

    @pytest.mark.parametrize("phone", [None, "", "anonymous", "9" * 40])
    def test_a_hidden_number_asks_nothing(self, phone: str | None) -> None:
        assert asterisk().caller_question(self.asked(phone)) is None

    @pytest.mark.parametrize("known", [None, "", "ivanov", "101&102", "1" * 9])
    def test_only_an_extension_is_answered(self, known: str | None) -> None:
        caller = KnownCaller(responsible_extension=known)
        assert asterisk().reply(self.asked(CLIENT), caller).body == b""
        assert asterisk().reply(inbound({}), KnownCaller(responsible_extension="101")).body == b""
        assert asterisk().caller_question(inbound({})) is None


class TestParsing:
    def test_noise_and_the_mark_of_a_connection_say_nothing(self) -> None:
        for event in ({"Event": "Newexten"}, {"Event": "CrmConnected"}, {"event": "PeerStatus"}):
            assert asterisk().parse(inbound({"protocol": "ami", "event": event})) == []
        noise = {"protocol": "ari", "event": {"type": "StasisStart"}}
        assert asterisk().parse(inbound(noise, "ari")) == []
        variable = {"Event": "VarSet", "Variable": "OTHER", **leg(TRUNK, "1.1", "1.1")}
        assert asterisk().parse(inbound({"protocol": "ami", "event": variable})) == []

    @pytest.mark.parametrize(
        ("protocol", "event"), [("ami", {"Event": "Teleported"}), ("ari", {"type": "Teleported"})]
    )
    def test_an_event_of_next_year_is_counted(self, protocol: str, event: dict[str, str]) -> None:
        (told,) = asterisk().parse(inbound({"protocol": protocol, "event": event}, protocol))
        assert told.kind is CallKind.UNKNOWN

    def test_the_tail_may_say_the_protocol(self) -> None:
        event = {"Event": "Newchannel", **leg(TRUNK, "1.1", "1.1", CallerIDNum=CLIENT)}
        assert len(asterisk().parse(inbound({"event": event}))) == 1
        with pytest.raises(MalformedRequest, match="ami или ari"):
            asterisk().parse(inbound({"event": event}, ""))

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            [],
            {"protocol": "ami"},
            {"protocol": "ami", "event": []},
            {"protocol": "ami", "event": {}},
            {"protocol": "ami", "event": {"Event": "Newchannel"}},
            {"protocol": "ami", "event": {"Event": "DialEnd"}},
            {"protocol": "ami", "event": {"Event": "BlindTransfer"}},
            {"protocol": "ami", "event": {"Event": "Hangup", "Uniqueid": "1" * 200}},
            {"protocol": "ari", "event": {"type": "Dial", "peer": []}},
            {"protocol": "ari", "event": {"type": "ChannelCreated", "channel": {"id": {}}}},
            {"protocol": "ari", "event": {"type": "RecordingFinished"}},
            {"protocol": "ari", "event": {"type": "BridgeBlindTransfer"}},
            {
                "protocol": "ami",
                "event": {"Event": "Hangup", "Uniqueid": "1"},
                "call": {"id": [1], "client": "9" * 99, "direction": "x" * 200},
            },
        ],
    )
    def test_an_impossible_event_is_malformed(self, value: Any) -> None:
        with pytest.raises(MalformedRequest):
            asterisk().parse(inbound(value))

    def test_odd_values_are_survived(self) -> None:
        for call in (
            {"id": "1", "started": 10**30, "talk": "x", "is": "over", "files": [1, None]},
            {
                "id": "1",
                "started": -1,
                "talk_from": 5,
                "talk": -9,
                "is": ["over", "whole", "answered"],
            },
            {
                "id": "1",
                "direction": "sideways",
                "files": ["a.wav"] * 99,
                "is": ["over", "answered"],
            },
        ):
            event = {"Event": "Hangup", **leg(TRUNK, "1", "1", Timestamp="9" * 30)}
            events = asterisk().parse(inbound({"protocol": "ami", "event": event, "call": call}))
            assert events[0].kind is CallKind.ENDED
            assert events[0].occurred_at == NOW

    def test_times_with_and_without_a_zone(self) -> None:
        channel = {"id": "1.1", "name": TRUNK, "state": "Ring", "caller": {"number": CLIENT}}
        for text, expected in (
            ("2026-03-02T11:20:31.123+0300", datetime(2026, 3, 2, 8, 20, 31, 123000, UTC)),
            ("2026-03-02T11:20:31", NOW),
            ("yesterday", NOW),
        ):
            event = {"type": "ChannelCreated", "timestamp": text, "channel": channel}
            (told,) = asterisk().parse(inbound({"protocol": "ari", "event": event}, "ari"))
            assert told.occurred_at == expected
            assert told.occurred_at_is_receipt == (expected == NOW)

    def test_long_ids_are_shortened_in_the_id_of_the_event(self) -> None:
        event = {
            "Event": "DialBegin",
            **leg(TRUNK, "1" * 100, "1" * 100),
            **leg(PHONE, "2" * 100, "1" * 100, "Dest"),
        }
        (told,) = asterisk().parse(inbound({"protocol": "ami", "event": event}))
        assert len(told.event_id) <= 128

    def test_a_name_that_repeats_gives_its_first_value(self) -> None:
        event = {"Event": "Newchannel", **leg(TRUNK, "1.1", "1.1"), "CallerIDNum": [CLIENT, "1"]}
        (told,) = asterisk().parse(inbound({"protocol": "ami", "event": event}))
        assert told.client_number == CLIENT

    def test_a_single_step_is_taken_at_its_word(self) -> None:
        step = read(
            "ami",
            {"Event": "VarSet", "Variable": "FROM_DID", "Value": LINE, **leg(TRUNK, "1.1", "1.1")},
        )
        assert step is not None
        known = Calls(Dialplan([], [], ""), alone=True).follow(step, NOW)
        assert known is not None
        assert known.line == LINE
