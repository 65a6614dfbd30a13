"""UIS / CoMagic: texts that people type, and the question of a scenario."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import uis_events, uis_templates
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Direction,
    KnownCaller,
)
from crm.integrations.telephony.uis import Uis
from crm.integrations.telephony.uis_simulation import session_id
from tests.integrations.fake_http import Answer, NoNetwork
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)
from tests.integrations.telephony.test_uis_api import (
    CALL,
    KEY,
    NOON,
    FakeUis,
    at,
    connected,
    listed,
)

FOREIGN = FOREIGN_SAMPLES / "uis"
INCOMING: dict[str, Any] = {
    "event": "incoming",
    "call_session_id": 9100200301,
    "virtual_phone_number": "74950001122",
    "contact_phone_number": "79001112233",
    "contact_id": None,
    "contact_full_name": None,
    "scenario_name": "Main",
    "notification_time": "2026-01-01 12:00:00",
    "notification_timestamp": 1767258000,
}
RINGING: dict[str, Any] = {
    **INCOMING,
    "event": "ringing",
    "leg_id": 9100200999,
    "direction": "in",
    "employee_id": 25,
    "employee_full_name": "Ivanova Anna",
    "external_id": None,
    "notification_timestamp": 1767258006,
}
ANSWERED: dict[str, Any] = {
    **INCOMING,
    "event": "answered",
    "leg_ids": [9100200998, 9100200999],
    "direction": "in",
    "employee_id": 25,
    "notification_timestamp": 1767258011,
}
CALL_END: dict[str, Any] = {
    **INCOMING,
    "event": "call_end",
    "direction": "in",
    "employee_id": 25,
    "talk_time_duration": 90,
    "total_time_duration": 101,
    "wait_time_duration": 11,
    "external_id": None,
    "notification_timestamp": 1767258101,
}
RECORD: dict[str, Any] = {
    **INCOMING,
    "event": "record",
    "employee_id": 25,
    "file_link": "https://media.uiscom.ru/9100200301/0123456789abcdef0123456789abcdef",
    "file_duration": 90,
    "notification_timestamp": 1767258130,
}


def uis(**changed: str) -> Uis:
    return Uis(7, {"access_token": KEY, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(body: str | Mapping[str, Any], **changed: Any) -> InboundRequest:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    request = InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"content-type": "application/json"},
        body=text.encode(),
        remote_addr="192.0.2.7",
        received_at=NOW,
        token=TOKEN,
    )
    return replace(request, **changed)


def only(body: str | Mapping[str, Any], operator: Uis | None = None, **changed: Any) -> CallEvent:
    (event,) = (operator or uis()).parse(inbound(body, **changed))
    return event


class TestUisConformance(OperatorConformance):
    operator_class = Uis
    settings_of = {"access_token": KEY}
    answered_kinds = frozenset(
        {
            CallKind.RINGING,
            CallKind.ANSWERED,
            CallKind.LEG_ENDED,
            CallKind.ENDED,
            CallKind.RECORDING_READY,
        }
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        talk = int((scenario.ended_at - scenario.answered_at).total_seconds())
        row = {
            "id": session_id(scenario.call_key),
            "start_time": (scenario.started_at + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S"),
            "finish_time": (scenario.ended_at + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S"),
            "direction": "in",
            "is_lost": not scenario.answered,
            "virtual_phone_number": scenario.line_number,
            "contact_phone_number": scenario.client_number,
            "talk_duration": talk,
            "employees": [],
        }
        with connected(FakeUis(**{"get.calls_report": lambda _: listed([row])})) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestTemplates:
    def test_a_text_is_that_of_the_reference(self) -> None:
        assert uis_templates.template("call_end") == (
            '{"event":"call_end","call_session_id":{{call_session_id}},'
            '"virtual_phone_number":{{virtual_phone_number}},'
            '"contact_phone_number":{{contact_phone_number}},"direction":{{direction}},'
            '"employee_id":{{employee_id}},"employee_full_name":{{employee_full_name}},'
            '"talk_time_duration":{{talk_time_duration}},'
            '"total_time_duration":{{total_time_duration}},'
            '"wait_time_duration":{{wait_time_duration}},"external_id":{{external_id}},'
            '"notification_time":{{notification_time}},'
            '"notification_timestamp":{{notification_timestamp}}}'
        )

    def test_there_is_a_text_for_each_notice_and_each_is_json_once_it_is_filled(self) -> None:
        assert len(Uis.setup_texts) == 8
        for item in Uis.setup_texts:
            filled = json.loads(re.sub(r"\{\{\w+\}\}", "1", item.text))
            assert uis_templates.CABINET_NAMES[filled["event"]] == item.title

    @pytest.mark.parametrize("event", uis_templates.FIELDS.keys() - {"record"})
    def test_what_the_operator_did_not_replace_is_absent(self, event: str) -> None:
        text = uis_templates.template(event).replace("{{call_session_id}}", "9100200301")
        found = only(text)
        assert found.provider_call_id == "9100200301"
        assert (found.client_number, found.employee_key, found.talk) == (None, None, None)
        assert (found.occurred_at, found.occurred_at_is_receipt) == (NOW, True)

    def test_a_notice_that_names_no_call_is_malformed(self) -> None:
        with pytest.raises(MalformedRequest, match="call_session_id"):
            uis().parse(inbound(uis_templates.template("ringing")))
        with pytest.raises(MalformedRequest, match="file_link"):
            uis().parse(inbound({**RECORD, "file_link": "{{file_link}}"}))


class TestEvents:
    def test_a_call_comes_to_a_line(self) -> None:
        event = only(INCOMING)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert (event.employee_key, event.extension, event.final) == (None, None, False)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(0), False)
        assert event.event_id == "incoming:9100200301"

    def test_an_employee_rings_and_answers_under_one_name(self) -> None:
        ringing, answered = only(RINGING), only(ANSWERED)
        assert (ringing.kind, answered.kind) == (CallKind.RINGING, CallKind.ANSWERED)
        assert ringing.employee_key == answered.employee_key == "25"
        assert ringing.leg_id is answered.leg_id is None
        assert (answered.answered_at, ringing.answered_at) == (at(11), None)
        assert ringing.event_id == "ringing:9100200301:9100200999"
        assert answered.event_id == "answered:9100200301:9100200998,9100200999"

    def test_a_telephone_of_nobody_is_known_by_its_leg(self) -> None:
        event = only({**RINGING, "employee_id": None})
        assert (event.leg_id, event.employee_key) == ("9100200999", None)

    def test_without_legs_the_same_employee_may_ring_twice(self) -> None:
        value = {**RINGING, "leg_id": None}
        again = {**value, "notification_timestamp": 1767258066}
        assert only(value).event_id == only(value).event_id != only(again).event_id
        bare = {"event": "ringing", "call_session_id": 9100200301}
        assert only(bare).event_id == only(bare).event_id

    def test_an_internal_number_is_used_when_the_text_asks_for_it(self) -> None:
        event = only({**RINGING, "extension_phone_number": "104"})
        assert (event.employee_key, event.extension) == ("25", "104")

    def test_an_outgoing_call(self) -> None:
        value = {
            **INCOMING,
            "event": "outgoing",
            "employee_id": 25,
            "employee_phone_number": "74950001199...2345",
        }
        event = only(value)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.OUT)
        assert (event.client_number, event.employee_key) == ("79001112233", "25")

    def test_the_end_of_a_talk_is_the_end_of_one_employee(self) -> None:
        event = only({**ANSWERED, "event": "talk_end", "talk_time_duration": 90})
        assert (event.kind, event.final, event.result) == (CallKind.LEG_ENDED, False, None)
        assert (event.employee_key, event.talk) == ("25", None)

    def test_the_end_of_an_answered_call(self) -> None:
        event = only(CALL_END)
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.talk, event.duration_total) == (90, 101)
        assert (event.started_at, event.answered_at, event.ended_at) == (at(0), at(11), at(101))
        assert event.event_id == "call_end:9100200301"

    def test_the_end_of_a_missed_call(self) -> None:
        event = only({**CALL_END, "talk_time_duration": 0, "wait_time_duration": 101})
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.talk, event.answered_at, event.final) == (0, None, True)

    def test_an_unsuccessful_outgoing_call_is_ended_not_missed(self) -> None:
        event = only({**CALL_END, "direction": "out", "talk_time_duration": 0})
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.NO_ANSWER)

    def test_without_the_talk_nothing_is_said_of_the_result(self) -> None:
        event = only({**CALL_END, "talk_time_duration": "{{talk_time_duration}}"})
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.UNKNOWN)
        assert (event.talk, event.answered_at) == (None, None)

    def test_a_lost_call_is_missed_but_not_the_final_record(self) -> None:
        value = {**INCOMING, "event": "lost", "wait_time_duration": 31, "employee_ids": [25, 26]}
        event = only(value)
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.direction, event.final, event.employee_key) == (Direction.IN, False, None)

    def test_after_a_transfer_the_last_one_talked(self) -> None:
        event = only({**CALL_END, "is_transfer": True, "last_talked_employee_id": 31})
        assert (event.employee_key, event.transferred) == ("31", True)

    def test_our_id_comes_back(self) -> None:
        assert only({**CALL_END, "external_id": "crm-0042"}).crm_request_id == "crm-0042"
        assert only({**CALL_END, "external_id": "x" * 500}).crm_request_id is None

    def test_a_recording_has_an_address(self) -> None:
        event = only(RECORD)
        assert (event.kind, event.final) == (CallKind.RECORDING_READY, False)
        assert event.recording_url == RECORD["file_link"]
        assert event.event_id == only(RECORD).event_id
        second = {**RECORD, "file_link": "https://media.uiscom.ru/9100200301/ffff"}
        assert only(second).event_id != event.event_id
        both = {**RECORD, "file_link": [RECORD["file_link"], second["file_link"]]}
        assert len(uis().parse(inbound(both))) == 2

    @pytest.mark.parametrize("marks", [{"is_internal": True}, {"contact_phone_number": "104"}])
    def test_an_internal_call_has_no_client(self, marks: dict[str, Any]) -> None:
        event = only({**RINGING, **marks})
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    @pytest.mark.parametrize("number", ["anonymous", "", None, "{{contact_phone_number}}"])
    def test_a_hidden_number_is_no_number(self, number: str | None) -> None:
        assert only({**INCOMING, "contact_phone_number": number}).client_number is None


class TestTime:
    def test_seconds_are_preferred_to_the_text(self) -> None:
        value = {**INCOMING, "notification_time": "2025-05-05 05:05:05"}
        assert only(value).occurred_at == at(0)

    @pytest.mark.parametrize(
        ("zone", "hour"), [("", 9), ("Asia/Novosibirsk", 5), ("Europe/Kaliningrad", 10), ("x", 9)]
    )
    def test_the_text_is_in_the_zone_of_the_account(self, zone: str, hour: int) -> None:
        value = {**INCOMING, "notification_timestamp": None}
        assert only(value, uis(time_zone=zone)).occurred_at == NOON.replace(hour=hour)

    def test_fractions_and_zones_of_its_own_are_read(self) -> None:
        value = {**INCOMING, "notification_timestamp": None}
        told = only({**value, "notification_time": "2026-01-01 12:00:00.234"}).occurred_at
        assert told.replace(microsecond=0) == at(0)
        assert only({**value, "notification_time": "2026-01-01T09:00:00Z"}).occurred_at == at(0)

    @pytest.mark.parametrize("stamp", ["1767258000", 1767258000.0, 1767258000000])
    def test_seconds_may_be_a_text_a_fraction_or_milliseconds(self, stamp: object) -> None:
        value = {**INCOMING, "notification_timestamp": stamp, "notification_time": None}
        assert only(value).occurred_at == at(0)

    @pytest.mark.parametrize("text", ["вчера", "0001-01-01 00:00:00", "9999-12-31 23:59:59", ""])
    def test_an_impossible_time_is_that_of_the_receipt(self, text: str) -> None:
        value = {**INCOMING, "notification_timestamp": "-5", "notification_time": text}
        event = only(value)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)


class TestTypedByPeople:
    def test_numbers_may_be_texts(self) -> None:
        value = {name: str(item) for name, item in CALL_END.items() if item is not None}
        event = only({**value, "external_id": "null"})
        assert (event.talk, event.employee_key, event.crm_request_id) == (90, "25", None)
        assert event.event_id == only(CALL_END).event_id

    @pytest.mark.parametrize(
        "text",
        [
            '{"event":"ringing","call_session_id":""9100200301"","employee_id":{{employee_id}}}',
            '{"event":"ringing","call_session_id":"{{x}}","call_session_id":9100200301,}',
            '{"event":"ringing","call_session_id":9100200301,"employee_id":,"leg_id":}',
            '{"event":"ringing","call_session_id":9100200301,"note":"до {{x}} после","a":{{b}}}',
            '\ufeff  {"event":"ringing","call_session_id":9100200301}',
            '{"Event":"Ожидание ответа","Call_Session_Id":9100200301}',
            (
                '{"event":"мой звонок","notification_name":"Ожидание ответа",'
                '"call_session_id":9100200301}'
            ),
            '{"notification_mnemonic":"waiting_for_answer","call_session_id":9100200301}',
        ],
    )
    def test_slips_of_the_hand_are_forgiven(self, text: str) -> None:
        event = only(text)
        assert (event.kind, event.provider_call_id) == (CallKind.RINGING, "9100200301")
        assert event.employee_key is None

    def test_members_may_be_grouped(self) -> None:
        value = {
            "event": "CALL_END",
            "call_session_id": 9100200301,
            "contact_info": {"contact_phone_number": "79001112233"},
            "employee_info": {"employee_id": 25},
            "call_info": {"talk_time_duration": 90, "total_time_duration": 101},
            "direction": "in",
        }
        event = only(value)
        assert (event.kind, event.talk, event.employee_key) == (CallKind.ENDED, 90, "25")
        assert event.client_number == "79001112233"

    def test_a_form_and_an_address_pass_too(self) -> None:
        form = urlencode({name: item for name, item in CALL_END.items() if item is not None})
        as_form = {"content-type": "application/x-www-form-urlencoded"}
        assert only(form, headers=as_form).talk == 90
        assert only(CALL_END, headers=as_form).talk == 90
        assert only(CALL_END, headers={"content-type": "text/plain"}).talk == 90
        fields = {name: str(item) for name, item in CALL_END.items()}
        assert only("", method="GET", query=fields).talk == 90
        unnamed = {name: item for name, item in CALL_END.items() if name != "event"}
        assert only(unnamed, path_tail="/call_end/").talk == 90

    def test_an_unknown_name_is_unknown_unless_its_members_tell(self) -> None:
        assert only({**INCOMING, "event": "of next year"}).kind is CallKind.UNKNOWN
        assert only({**CALL_END, "event": "CallEnd"}).kind is CallKind.ENDED
        assert only({**RECORD, "event": "rec"}).kind is CallKind.RECORDING_READY

    def test_what_is_stored_for_people_is_readable(self) -> None:
        assert '"contact_phone_number": "79001112233"' in only(INCOMING).raw

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "[]",
            "{}",
            "{{",
            '{"event":"ringing"}',
            '{"event":"ringing","call_session_id":{}}',
            '{"event":"ringing","call_session_id":[1]}',
            '{"event":"ringing","call_session_id":"' + "9" * 200 + '"}',
            '{"event":"ringing","call_session_id":"\\u0000"}',
            '{"event":"ringing","call_session_id":1e999}',
        ],
    )
    def test_an_impossible_notice_is_malformed(self, body: str) -> None:
        with pytest.raises(MalformedRequest):
            uis().parse(inbound(body))

    def test_a_deep_notice_is_no_reason_to_fall(self) -> None:
        deep = '{"a":' * 300 + "1" + "}" * 300
        lists = '{"event":"lost","call_session_id":1,"a":' + "[" * 300 + "]" * 300 + "}"
        assert only(deep).kind is CallKind.UNKNOWN
        assert only(lists).kind is CallKind.MISSED


QUESTION = {
    "cdr_id": "777",
    "start_time": "1200",
    "input_result": "None",
    "numa": "79001112233",
    "numb": "74950001122",
}


class TestQuestion:
    def ask(self, **changed: str) -> InboundRequest:
        return inbound("", method="GET", query={**QUESTION, **changed})

    def answer(self, operator: Uis, caller: KnownCaller | None) -> Any:
        reply = operator.reply(self.ask(), caller)
        assert (reply.status, reply.content_type) == (200, "application/json")
        return json.loads(reply.body)

    def test_the_caller_is_asked_about_however_the_question_comes(self) -> None:
        form = {"content-type": "application/x-www-form-urlencoded"}
        for request in (
            self.ask(),
            inbound(urlencode(QUESTION), headers=form),
            inbound(QUESTION),
        ):
            assert uis().caller_question(request) == "79001112233"
        assert uis().caller_question(self.ask(numa="anonymous")) is None
        assert uis().caller_question(inbound(INCOMING)) is None
        assert uis().caller_question(inbound("{")) is None

    def test_the_call_goes_to_the_responsible(self) -> None:
        operator = uis(forwarding="25 = 79001112255, 84950001133\n26: +7 900 111-22-66\nтекст")
        known = KnownCaller(name="Анна", responsible_key="25")
        assert self.answer(operator, known) == {"phones": ["79001112255", "74950001133"]}
        other = KnownCaller(responsible_key="26")
        assert self.answer(operator, other) == {"phones": ["79001112266"]}

    @pytest.mark.parametrize(
        "caller", [None, KnownCaller(name="Анна"), KnownCaller(responsible_key="99")]
    )
    def test_nobody_known_leaves_it_to_the_scenario(self, caller: KnownCaller | None) -> None:
        assert self.answer(uis(forwarding="25 = 79001112255"), caller) == {}
        assert self.answer(uis(fallback_code="3"), caller) == {"returned_code": 3}
        assert self.answer(uis(fallback_code="три"), caller) == {}

    def test_a_notice_is_answered_without_words(self) -> None:
        reply = uis(fallback_code="3").reply(inbound(INCOMING))
        assert (reply.status, reply.body) == (200, b"")

    def test_a_call_is_not_made_of_the_id_of_a_leg(self) -> None:
        assert uis().parse(self.ask()) == []
        (event,) = uis().parse(self.ask(call_session_id="9100200301"))
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert "numa=79001112233" in event.raw

    def test_a_zero_character_in_the_address_is_malformed(self) -> None:
        with pytest.raises(MalformedRequest):
            uis().parse(self.ask(numa="7\x00"))


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    KINDS = {
        "incoming": CallKind.RINGING,
        "waiting_for_answer": CallKind.RINGING,
        "outbound": CallKind.RINGING,
        "talk_started": CallKind.ANSWERED,
        "talk_finished": CallKind.LEG_ENDED,
        "call_finished": CallKind.ENDED,
        "lost_call": CallKind.MISSED,
        "recording_completed": CallKind.RECORDING_READY,
    }

    def test_their_templates_are_understood(self) -> None:
        known = {**RINGING, **ANSWERED, **CALL_END, **RECORD, "employee_ids": [25]}
        text = (FOREIGN / "notification_templates.txt").read_text("utf-8")
        kinds = {}
        for line in text.splitlines()[1:]:
            name, _, fields = line.partition(": ")
            values = {field: known.get(field) for field in fields.split()}
            kinds[name] = only({**values, "notification_mnemonic": name}).kind
        assert kinds == self.KINDS

    def test_their_answer_to_a_call_is_understood(self) -> None:
        body = (FOREIGN / "start_employee_call_response.json").read_bytes()
        fake = FakeUis(**{"start.employee_call": lambda _: Answer(200, body)})
        with connected(fake) as operator:
            assert operator.place_call(CALL).provider_call_id == "237859081"

    def test_extra_dialling_after_a_number_is_cut(self) -> None:
        value = json.loads((FOREIGN / "list_calls_response.json").read_text("utf-8"))
        leg = value["result"]["data"][0]["legs"][0]
        event = only({**INCOMING, "contact_phone_number": leg["called_phone_number"]})
        assert event.client_number == "74950000086"


def test_a_local_time_of_the_report_is_aware() -> None:
    moscow = ZoneInfo("Europe/Moscow")
    assert uis_events.local_time("2026-01-01 12:00:00", moscow) == NOON
    assert uis_events.local_time(None, moscow) is None
