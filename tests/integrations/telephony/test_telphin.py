"""Телфин against its documents, recorded replies and a server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import telphin_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    ClickToCall,
    Direction,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.telphin import Telphin
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)

FOREIGN = FOREIGN_SAMPLES / "telphin"
APP_ID = "app-0123456789"
APP_SECRET = "not-a-real-secret-of-the-application"
CALL_ID = "C67CBFE9F86C48F9A473DF57FEA1AE65"
RECORD = "300101-01FB19B88BE24A76A5C1F55CCFCCEE76"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")
FORM = {"content-type": "application/x-www-form-urlencoded"}

# The example of the operator's reference: incoming, answered by 101 behind the menu 099.
INCOMING = {
    "CallID": CALL_ID,
    "CallFlow": "in",
    "CallerIDNum": "79000000001",
    "CallerIDName": "79000000001",
    "CalledDID": "74950000010",
}
MENU = {**INCOMING, "SubCallID": "1", "CalledNumber": "15657*099", "CalledExtension": "15657*099"}
PHONE = {**INCOMING, "SubCallID": "2", "CalledNumber": "15657*101", "CalledExtension": "15657*101"}
MENU_RINGS = {
    **MENU,
    "EventType": "dial-in",
    "CallStatus": "CALLING",
    "EventTime": "1772439631105000",
}
PHONE_RINGS = {
    **PHONE,
    "EventType": "dial-in",
    "CallStatus": "CALLING",
    "EventTime": "1772439633410000",
}
PHONE_ANSWERS = {
    **PHONE,
    "EventType": "answer",
    "CallStatus": "ANSWER",
    "EventTime": "1772439641002000",
}
PHONE_ENDS = {
    **PHONE,
    "EventType": "hangup",
    "CallStatus": "ANSWER",
    "Duration": "90",
    "RecID": RECORD,
    "EventTime": "1772439730900000",
}
PHONE_GIVES_UP = {
    **PHONE,
    "EventType": "hangup",
    "CallStatus": "NOANSWER",
    "EventTime": "1772439650000000",
}
MENU_ENDS = {
    **MENU,
    "EventType": "hangup",
    "CallStatus": "ANSWER",
    "Bridged": "yes",
    "EventTime": "1772439730950000",
}
OUTGOING = {
    "CallID": CALL_ID,
    "SubCallID": "1",
    "CallFlow": "OUT",
    "CallerIDNum": "15657*101",
    "CallerExtension": "15657*101@sipproxy.telphin.ru",
    "CallerExtensionID": "300101",
    "CalledNumber": "79000000001",
    "EventTime": "1772439631105000",
}


class QuickTelphin(Telphin):
    """Does not wait for its turn at the history."""

    busy_pause = timedelta(0)
    busy_attempts = 3


def telphin(**changed: str) -> Telphin:
    values = {"app_id": APP_ID, "app_secret": APP_SECRET, **changed}
    return Telphin(7, values, NoNetwork(), webhook_token=TOKEN)


def posted(fields: Mapping[str, str]) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers=FORM,
        body=urlencode(fields).encode(),
        remote_addr="213.170.84.100",
        received_at=NOW,
        token=TOKEN,
    )


def got(fields: Mapping[str, str]) -> InboundRequest:
    return replace(posted({}), method="GET", query=dict(fields), headers={}, body=b"")


def events(fields: Mapping[str, str], **settings: str) -> list[CallEvent]:
    return telphin(**settings).parse(posted(fields))


def only(fields: Mapping[str, str], **settings: str) -> CallEvent:
    (event,) = events(fields, **settings)
    return event


def first(fields: Mapping[str, str], **settings: str) -> CallEvent:
    return events(fields, **settings)[0]


def at(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


Answerer = Callable[[Asked, dict[str, str]], Answer]


class FakeTelphin:
    """Gives tokens, checks them, answers from a table of «METHOD path»."""

    def __init__(self, answers: Mapping[str, Answer | Answerer] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.tokens = 0
        self.refuse_tokens = 0
        self.token_answer: Answer | None = None
        self.expires_in: int | None = 3600

    def __call__(self, asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        if parts.path == "/oauth/token":
            return self._token(asked)
        if asked.headers.get("Authorization") != f"Bearer token-{self.tokens}":
            return said({"message": "Unauthorized"}, 401)
        if self.refuse_tokens:
            self.refuse_tokens -= 1
            return said({"message": "Token expired"}, 401)
        name = f"{asked.method} {parts.path.removeprefix('/api/ver1.0/')}"
        query = dict(parse_qsl(parts.query))
        body = json.loads(asked.body) if asked.body else None
        self.asked.append((name, query, body))
        answer = self.answers.get(name, said({"message": "Not found"}, 404))
        return answer if isinstance(answer, Answer) else answer(asked, query)

    def _token(self, asked: Asked) -> Answer:
        if self.token_answer is not None:
            return self.token_answer
        order = ("client_credentials", APP_ID, APP_SECRET)
        if tuple(asked.form.get(n) for n in ("grant_type", "client_id", "client_secret")) != order:
            return said({"error": "invalid_client"}, 401)
        self.tokens += 1
        value: dict[str, Any] = {"access_token": f"token-{self.tokens}", "token_type": "Bearer"}
        if self.expires_in is not None:
            value["expires_in"] = self.expires_in
        return said(value)


@contextmanager
def connected(fake: FakeTelphin, **changed: str) -> Iterator[QuickTelphin]:
    with serving(fake) as base:
        values = {"app_id": APP_ID, "app_secret": APP_SECRET, "api_base": base, **changed}
        yield QuickTelphin(7, values, PlainClient(), webhook_token=TOKEN)


def written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def row_of(scenario: CallScenario) -> dict[str, Any]:
    """The call of a scenario as the history tells it."""
    inbound = scenario.direction is Direction.IN
    phone = f"15657*{scenario.extension}"
    leg = {
        "extension_type": "phone",
        "extension_name": f"{phone}@sipproxy.telphin.ru",
        "result": "answered" if scenario.answered else "not answered",
        "flow": scenario.direction.value,
        "record_uuid": f"300{scenario.extension}-{telphin_simulation.call_id(scenario)}"
        if scenario.answered
        else None,
    }
    return {
        "call_uuid": telphin_simulation.call_id(scenario),
        "flow": scenario.direction.value,
        "init_time_gmt": written(scenario.started_at) + ".76",
        "start_time_gmt": written(scenario.started_at),
        "bridged_time_gmt": written(scenario.answered_at) if scenario.answered else None,
        "hangup_time_gmt": written(scenario.ended_at),
        "duration": int((scenario.ended_at - scenario.started_at).total_seconds()),
        "bridged": scenario.answered,
        "bridged_duration": int(scenario.talk.total_seconds()) if scenario.answered else None,
        "bridged_username": phone if scenario.answered else None,
        "extension_name": "15657*099@sipproxy.telphin.ru" if inbound else leg["extension_name"],
        "extension_type": "ivr" if inbound else "phone",
        "from_username": scenario.client_number if inbound else phone,
        "to_username": "15657*099" if inbound else scenario.client_number,
        "did_number": scenario.line_number if inbound else None,
        "result": "bridged" if scenario.answered else "not answered",
        "hangup_disposition": "caller_bye" if scenario.answered else "caller_cancel",
        "cdr": [leg],
    }


def call(**changed: Any) -> CallScenario:
    base = CallScenario(
        call_key="history-1",
        client_number="79000000001",
        line_number="74950000010",
        extension="101",
        started_at=NOW,
    )
    return replace(base, **changed)


def history_page(rows: list[Any], page: int = 1, per_page: int = 100) -> Answer:
    return said({"page": page, "per_page": per_page, "order": "asc", "call_history": rows})


class TestTelphinConformance(OperatorConformance):
    operator_class = Telphin
    settings_of = {"app_id": APP_ID, "app_secret": APP_SECRET}
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
        fake = FakeTelphin({"GET client/@me/call_history/": history_page([row_of(scenario)])})
        with connected(fake) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestTelphinByGetConformance(TestTelphinConformance):
    """The same call when the webhooks are set to GET."""

    def requests(self, **changed: object) -> Iterator[InboundRequest]:
        for request in super().requests(**changed):
            yield replace(request, method="GET", query=request.form(), headers={}, body=b"")

    def test_an_unknown_notice_is_counted_not_lost(self) -> None:
        (event,) = telphin().parse(got({"EventType": "of-next-year", "CallID": "1"}))
        assert event.kind is CallKind.UNKNOWN
        assert event.raw == "EventType=of-next-year\nCallID=1"


class TestSender:
    def test_a_list_of_networks_is_off_by_default(self) -> None:
        telphin().verify(replace(posted(MENU_RINGS), remote_addr="192.0.2.1"))

    @pytest.mark.parametrize("address", ["213.170.84.100", "::ffff:213.170.84.100", "2001:db8::1"])
    def test_listed_networks_pass(self, address: str) -> None:
        operator = telphin(allowed_networks="213.170.84.96/27,\n 2001:db8::/64; 192.0.2.7")
        operator.verify(replace(posted(MENU_RINGS), remote_addr=address))

    @pytest.mark.parametrize("address", ["213.170.84.128", "192.0.2.8", "", "unknown"])
    def test_others_are_rejected(self, address: str) -> None:
        operator = telphin(allowed_networks="213.170.84.96/27, 192.0.2.7")
        with pytest.raises(WebhookRejected, match="не из разрешённых"):
            operator.verify(replace(posted(MENU_RINGS), remote_addr=address))

    def test_a_listed_network_does_not_stand_in_for_the_secret(self) -> None:
        operator = telphin(allowed_networks="213.170.84.96/27")
        with pytest.raises(WebhookRejected, match="Секрет"):
            operator.verify(replace(posted(MENU_RINGS), token="of-another-connection"))
        bare = Telphin(7, {"allowed_networks": "213.170.84.96/27"}, NoNetwork())
        with pytest.raises(WebhookRejected):
            bare.verify(replace(posted(MENU_RINGS), token=""))

    def test_a_misspelt_list_lets_nobody_in_and_the_check_says_so(self) -> None:
        operator = telphin(allowed_networks="213.170.84.96/27, телфин")
        with pytest.raises(WebhookRejected, match="с ошибкой"):
            operator.verify(posted(MENU_RINGS))
        check = operator.check()
        assert not check.ok
        assert "с ошибкой" in check.message


class TestNotices:
    @pytest.mark.parametrize("listed", ["099, 200", "15657*200;15657*099", "200\n099"])
    def test_a_call_in_the_menu_rings_for_nobody_in_particular(self, listed: str) -> None:
        event = only(MENU_RINGS, entry_extensions=listed)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert (event.extension, event.employee_key, event.final) == (None, None, False)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(1772439631105000), False)
        assert event.occurred_at == datetime(2026, 3, 2, 8, 20, 31, 105000, UTC)

    def test_an_employee_rings_and_answers(self) -> None:
        rings, answers = only(PHONE_RINGS), only(PHONE_ANSWERS)
        assert (rings.kind, rings.extension, rings.leg_id) == (CallKind.RINGING, "101", "2")
        assert (answers.kind, answers.extension) == (CallKind.ANSWERED, "101")
        assert answers.answered_at == at(1772439641002000)
        assert rings.provider_call_id == answers.provider_call_id == CALL_ID

    def test_a_telephone_that_hangs_up_ends_its_leg_and_names_the_recording(self) -> None:
        over, recording = events(PHONE_ENDS)
        assert (over.kind, over.talk, over.result) == (CallKind.LEG_ENDED, 90, None)
        assert recording.kind is CallKind.RECORDING_READY
        assert (recording.recording_ref, recording.event_id) == (RECORD, f"record:{RECORD}")
        assert recording.leg_id is recording.extension is None

    def test_a_telephone_nobody_answered_ends_its_leg_only(self) -> None:
        event = only(PHONE_GIVES_UP)
        assert (event.kind, event.talk, event.result) == (CallKind.LEG_ENDED, None, None)

    def test_the_menu_tells_that_somebody_took_the_call(self) -> None:
        event = only(MENU_ENDS)
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.ANSWERED)
        assert (event.ended_at, event.extension) == (at(1772439730950000), None)

    @pytest.mark.parametrize(
        ("status", "result"),
        [
            ("ANSWER", CallResult.NO_ANSWER),  # the menu itself picks up
            ("NOANSWER", CallResult.NO_ANSWER),
            ("CANCEL", CallResult.CANCELLED),
            ("BUSY", CallResult.BUSY),
            ("CONGESTION", CallResult.FAILED),
            ("CHANUNAVAIL", CallResult.FAILED),
            ("", CallResult.NO_ANSWER),
        ],
    )
    def test_the_menu_tells_that_nobody_did(self, status: str, result: CallResult) -> None:
        event = only({**MENU_ENDS, "Bridged": "no", "CallStatus": status})
        assert (event.kind, event.result, event.talk) == (CallKind.MISSED, result, 0)

    def test_a_listed_menu_without_the_mark_leaves_the_result_to_the_answers(self) -> None:
        fields = {name: value for name, value in MENU_ENDS.items() if name != "Bridged"}
        event = only(fields, entry_extensions="099")
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, None, None)

    def test_a_menu_that_picks_up_is_no_answer(self) -> None:
        fields = {**MENU_ENDS, "EventType": "answer", "Bridged": ""}
        assert events(fields, entry_extensions="099") == []

    def test_where_only_telephones_send_the_one_who_talked_ends_the_call(self) -> None:
        talked = first(PHONE_ENDS, call_end="phones")
        assert (talked.kind, talked.result, talked.talk) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            90,
        )
        assert only(PHONE_GIVES_UP, call_end="phones").kind is CallKind.LEG_ENDED

    def test_where_numbers_lead_to_telephones_no_answer_is_a_missed_call(self) -> None:
        event = only(PHONE_GIVES_UP, call_end="direct")
        assert (event.kind, event.result, event.talk) == (
            CallKind.MISSED,
            CallResult.NO_ANSWER,
            0,
        )
        assert first(PHONE_ENDS, call_end="direct").kind is CallKind.ENDED

    @pytest.mark.parametrize("call_id", [CALL_ID.lower(), CALL_ID])
    def test_ids_are_compared_without_regard_to_case(self, call_id: str) -> None:
        event = only({**PHONE_RINGS, "CallID": call_id, "CallAPIID": "7-ab"})
        assert (event.provider_call_id, event.alias_call_ids) == (CALL_ID, ("7-AB",))
        assert only({**PHONE_RINGS, "CallAPIID": call_id}).alias_call_ids == ()
        assert only({**PHONE_RINGS, "CallID": "ß" * 128}).provider_call_id == "ß" * 128

    def test_a_colleague_calls_a_colleague(self) -> None:
        inside = {**PHONE_RINGS, "CallerIDNum": "15657*102", "CalledDID": ""}
        event = only(inside)
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)
        short = {**inside, "CallerIDNum": "102"}
        assert only(short).direction is Direction.INTERNAL
        dialled = {**OUTGOING, "EventType": "dial-out", "CalledNumber": "15657*102"}
        assert only(dialled).direction is Direction.INTERNAL
        over = {**dialled, "EventType": "hangup", "CallStatus": "ANSWER", "RecID": RECORD}
        assert [event.direction for event in events(over)] == [Direction.INTERNAL]

    def test_a_call_handed_over_keeps_its_client(self) -> None:
        handed = {**PHONE_RINGS, "CallerIDNum": "15657*102", "RemoteNumber": "79000000001"}
        event = only({**handed, "CalledDID": ""})
        assert (event.direction, event.transferred) == (None, True)
        assert (event.client_number, event.extension) == ("79000000001", "101")
        assert only(handed).direction is Direction.IN

    def test_a_caller_extension_of_the_trunk_does_not_make_the_call_internal(self) -> None:
        event = only({**PHONE_RINGS, "CallerExtension": "0000*000@sipproxy.telphin.ru"})
        assert (event.direction, event.client_number) == (Direction.IN, "79000000001")
        undecided = {
            **PHONE_RINGS,
            "CallerExtension": "15657*102@sipproxy.telphin.ru",
            "CalledDID": "",
        }
        assert only(undecided).direction is None

    @pytest.mark.parametrize("number", ["anonymous", "", "unknown@anonymous.invalid"])
    def test_a_hidden_number_is_no_number(self, number: str) -> None:
        event = only({**PHONE_RINGS, "CallerIDNum": number})
        assert (event.client_number, event.direction) == (None, Direction.IN)

    def test_the_employees_leg_of_a_requested_call_is_not_incoming(self) -> None:
        event = only({**PHONE_RINGS, "CalledDID": "", "CallBackID": "5"})
        assert (event.direction, event.client_number, event.extension) == (None, None, "101")

    def test_the_employee_who_picks_up_a_requested_call_has_not_talked_yet(self) -> None:
        requested = {"CalledDID": "", "CallBackID": "5"}
        assert events({**PHONE_ANSWERS, **requested}) == []
        over = only({**PHONE_ENDS, **requested, "RecID": ""}, call_end="phones")
        assert (over.kind, over.talk) == (CallKind.LEG_ENDED, None)

    @pytest.mark.parametrize(
        ("call_end", "by_legs"), [("entry", False), ("phones", True), ("direct", True)]
    )
    def test_silence_ends_a_call_where_menus_and_queues_tell_nothing(
        self, call_end: str, by_legs: bool
    ) -> None:
        assert telphin(call_end=call_end).ends_by_legs is by_legs

    @pytest.mark.parametrize("flow", ["", "transfer"])
    def test_a_flow_that_is_not_told_is_seen_from_the_parties(self, flow: str) -> None:
        assert only({**PHONE_ANSWERS, "CallFlow": flow}).direction is Direction.IN
        dialled = {**OUTGOING, "EventType": "answer", "CallFlow": flow}
        assert only(dialled).direction is Direction.OUT

    def test_an_outgoing_call(self) -> None:
        rings = only({**OUTGOING, "EventType": "dial-out", "CallStatus": "CALLING"})
        assert (rings.kind, rings.direction) == (CallKind.RINGING, Direction.OUT)
        assert (rings.client_number, rings.extension) == ("79000000001", "101")
        assert only({**OUTGOING, "EventType": "answer"}).kind is CallKind.ANSWERED
        over = {**OUTGOING, "EventType": "hangup", "CallStatus": "ANSWER", "Duration": "24"}
        event = only(over)
        assert (event.kind, event.result, event.talk) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            24,
        )
        for status, result in (("BUSY", CallResult.BUSY), ("", CallResult.UNKNOWN)):
            event = only({**over, "CallStatus": status})
            assert (event.kind, event.result) == (CallKind.ENDED, result)
            assert event.talk is None

    @pytest.mark.parametrize(
        "extra", [{"Transfered": "yes"}, {"CalledDID": "74950000010"}], ids=["transfer", "forward"]
    )
    def test_a_clients_call_that_leaves_the_pbx_again_has_no_other_client(
        self, extra: dict[str, str]
    ) -> None:
        rings = only({**OUTGOING, **extra, "EventType": "dial-out"})
        assert (rings.kind, rings.direction, rings.client_number) == (
            CallKind.RINGING,
            None,
            None,
        )
        over = only({**OUTGOING, **extra, "EventType": "hangup", "CallStatus": "ANSWER"})
        assert (over.kind, over.talk) == (CallKind.LEG_ENDED, None)
        assert rings.transferred is ("Transfered" in extra)

    def test_a_queue_that_calls_its_members_is_told_by_the_members(self) -> None:
        queue = {
            **OUTGOING,
            "CallerIDNum": "79000000001",
            "CallerExtension": "15657*200@sipproxy.telphin.ru",
            "CalledNumber": "15657*101",
            "CalledDID": "74950000010",
        }
        for name in ("dial-out", "answer", "hangup"):
            assert events({**queue, "EventType": name}) == []
        mobile = {**queue, "CalledNumber": "79000000002", "CalledDID": ""}
        event = only({**mobile, "EventType": "dial-out"}, entry_extensions="200")
        assert (event.direction, event.client_number, event.extension) == (None, None, None)

    @pytest.mark.parametrize(
        "name", ["message-in", "Message-Out", "voicemail", "extension-call-status"]
    )
    def test_documented_noise_is_nothing(self, name: str) -> None:
        assert events({"EventType": name, "CallID": CALL_ID}) == []

    def test_what_nobody_documented_is_unknown(self) -> None:
        event = only({"EventType": "queue-login", "QueueName": "sales"})
        assert event.kind is CallKind.UNKNOWN
        assert "QueueName=sales" in event.raw

    @pytest.mark.parametrize(
        "change",
        [
            {"EventType": ""},
            {"CallID": ""},
            {"CallID": "9" * 200},
            {"EventTime": "-5"},
            {"EventTime": "9" * 19},
            {"CallerIDNum": "79000000001\x00"},
            {"SubCallID": "9" * 200},
        ],
    )
    def test_an_impossible_notice_is_malformed(self, change: dict[str, str]) -> None:
        for request in (posted({**PHONE_RINGS, **change}), got({**PHONE_RINGS, **change})):
            with pytest.raises(MalformedRequest):
                telphin().parse(request)

    def test_post_and_get_tell_the_same(self) -> None:
        for fields in (MENU_RINGS, PHONE_RINGS, PHONE_ANSWERS, PHONE_ENDS, MENU_ENDS):
            by_get = telphin().parse(got(fields))
            assert [replace(event, raw="") for event in by_get] == [
                replace(event, raw="") for event in events(fields)
            ]
            assert all("CallerIDNum=79000000001" in event.raw for event in by_get)

    def test_the_asterisk_comes_escaped(self) -> None:
        assert b"15657%2A101" in posted(PHONE_RINGS).body
        raw = posted(PHONE_RINGS).body.replace(b"%2A", b"*")
        (event,) = telphin().parse(replace(posted(PHONE_RINGS), body=raw))
        assert event.extension == "101"

    def test_the_path_and_the_rest_of_the_address_decide_nothing(self) -> None:
        request = replace(posted(PHONE_RINGS), path_tail="hangup", query={"EventType": "hangup"})
        assert telphin().parse(request)[0].kind is CallKind.RINGING

    def test_repeats_are_one_event_and_another_round_is_another(self) -> None:
        again = only({**PHONE_RINGS, "CallerIDName": "Иван"})
        assert again.event_id == only(PHONE_RINGS).event_id
        later = {**PHONE_RINGS, "EventTime": "1772439653410000"}
        assert only(later).event_id != only(PHONE_RINGS).event_id
        timeless = {**PHONE_RINGS, "EventTime": ""}
        assert only(timeless).event_id == telphin().delivery_key(posted(timeless))
        assert only(timeless).occurred_at_is_receipt

    def test_the_order_of_events_does_not_matter(self) -> None:
        """Each event alone tells its part: read in any order they are the same."""
        told = [MENU_RINGS, PHONE_RINGS, PHONE_ANSWERS, PHONE_ENDS, MENU_ENDS]
        operator = telphin()
        forward = [event for fields in told for event in operator.parse(posted(fields))]
        backward = [event for fields in told[::-1] for event in operator.parse(posted(fields))]
        assert sorted(forward, key=lambda e: e.event_id) == sorted(
            backward, key=lambda e: e.event_id
        )

    def test_the_answer_is_ok(self) -> None:
        reply = telphin().reply(posted(PHONE_RINGS))
        assert (reply.status, reply.body) == (200, b"OK")


class TestUnits:
    @pytest.mark.parametrize(
        ("unit", "told", "seconds"),
        [
            ("auto", "90", 90),
            ("auto", "100000", 100000),
            ("auto", "7529999", 7),
            ("", "7529999", 7),
            ("of-the-moon", "90", 90),
            ("seconds", "200000", 200000),
            ("milliseconds", "90500", 90),
            ("microseconds", "45000", 0),
            ("auto", "-1", None),
            ("auto", "", None),
            ("auto", "1:30", None),
            ("seconds", "9" * 18, None),
        ],
    )
    def test_the_duration_is_read_by_the_setting(
        self, unit: str, told: str, seconds: int | None
    ) -> None:
        event = first({**PHONE_ENDS, "Duration": told}, duration_unit=unit)
        assert event.talk == seconds

    def test_the_talk_told_apart_wins(self) -> None:
        assert first({**PHONE_ENDS, "Duration": "99", "BridgedDuration": "90"}).talk == 90
        assert first({**MENU_ENDS, "Duration": "120", "BridgedDuration": "90"}).talk == 90

    @pytest.mark.parametrize(
        ("told", "moment"),
        [
            ("1772439631105000", at(1772439631105000)),
            ("1772439631105", at(1772439631105000)),
            ("1772439631", at(1772439631000000)),
        ],
    )
    def test_the_moment_is_microseconds_and_smaller_ones_are_understood(
        self, told: str, moment: datetime
    ) -> None:
        assert only({**PHONE_RINGS, "EventTime": told}).occurred_at == moment

    @pytest.mark.parametrize("unit", ["auto", "seconds", "milliseconds", "microseconds"])
    def test_a_simulated_call_talks_as_long_whatever_the_unit(self, unit: str) -> None:
        operator = telphin(duration_unit=unit)
        told = [
            event.talk
            for request in operator.simulate(call())
            for event in operator.parse(request.received(NOW, TOKEN))
        ]
        assert {talk for talk in told if talk is not None} == {90}


class TestToken:
    LINES = {"GET client/@me/did": said([{"id": 1, "name": "74950000010"}])}

    def test_it_is_taken_once_and_kept(self) -> None:
        fake = FakeTelphin(self.LINES)
        with connected(fake) as operator:
            assert [line.number for line in operator.lines()] == ["74950000010"]
            operator.lines()
        assert (fake.tokens, len(fake.asked)) == (1, 2)

    @pytest.mark.parametrize(("expires_in", "tokens"), [(None, 1), (120, 1), (60, 2), (1, 2)])
    def test_it_is_renewed_a_minute_before_its_end(
        self, expires_in: int | None, tokens: int
    ) -> None:
        fake = FakeTelphin(self.LINES)
        fake.expires_in = expires_in
        with connected(fake) as operator:
            operator.lines()
            operator.lines()
        assert fake.tokens == tokens

    def test_a_refused_token_is_renewed_once(self) -> None:
        fake = FakeTelphin(self.LINES)
        fake.refuse_tokens = 1
        with connected(fake) as operator:
            assert operator.lines()
        assert fake.tokens == 2
        fake.refuse_tokens = 2
        with connected(fake) as operator, pytest.raises(OperatorError, match="401") as caught:
            operator.lines()
        assert caught.value.permanent
        assert fake.tokens == 4

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"error": "invalid_client"}, 401), True, "App ID или App Secret не приняты"),
            (said({"error": "unauthorized_client"}, 400), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
            (said([1]), False, "не является объектом"),
            (said({"token_type": "Bearer"}), False, "не пришёл"),
        ],
    )
    def test_without_a_token_nothing_is_asked(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeTelphin(self.LINES)
        fake.token_answer = answer
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.lines()
        assert caught.value.permanent is permanent
        assert not fake.asked

    def test_secrets_and_the_token_are_not_shown(self) -> None:
        echo = said({"message": f"token-1 {APP_SECRET} {TOKEN}"}, 400)
        with connected(FakeTelphin({"GET client/@me/did": echo})) as operator:
            with pytest.raises(OperatorError) as caught:
                operator.lines()
            assert "token-1" in operator.secrets()
        shown = f"{caught.value} {caught.value!r} {caught.value.body}"
        assert "HTTP 400" in shown
        assert not [secret for secret in (APP_SECRET, TOKEN, "token-1") if secret in shown]


PHONES = [
    {"id": 300101, "name": "15657*101", "type": "phone", "status": "active", "label": "Петрова"},
    {"id": 300102, "name": "15657*102", "type": "phone", "status": "blocked", "label": "Уволен"},
    {"id": 300103, "name": "15657*103", "type": "phone", "status": "active"},
]


def paged(rows: Mapping[str, list[list[dict[str, Any]]]]) -> Answerer:
    """Pages of extensions by type; past the last one the list is empty."""

    def answer(_: Asked, query: dict[str, str]) -> Answer:
        pages = rows.get(query["type"], [])
        number = int(query["page"])
        return said(pages[number - 1] if number <= len(pages) else [])

    return answer


EXTENSIONS = "GET client/@me/extension/"


class TestEmployees:
    def test_telephones_are_listed_over_pages_without_blocked_ones(self) -> None:
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES[:2], PHONES[2:]]})})
        with connected(fake) as operator:
            found = operator.extensions()
            check = operator.check()
        assert [(item.number, item.name, item.employee_key) for item in found] == [
            ("101", "Петрова", "101"),
            ("103", "15657*103", "103"),
        ]
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 2")
        assert [query["page"] for _, query, _ in fake.asked[:3]] == ["1", "2", "3"]

    @pytest.mark.parametrize("past", [said({"message": "Not found"}, 404), said(PHONES)])
    def test_the_end_of_the_list_is_known_however_it_is_told(self, past: Answer) -> None:
        fake = FakeTelphin(
            {EXTENSIONS: lambda _, query: said(PHONES) if query["page"] == "1" else past}
        )
        with connected(fake) as operator:
            assert len(operator.extensions()) == 2

    def test_another_client_is_asked_by_its_number(self) -> None:
        fake = FakeTelphin({"GET client/37649/extension/": paged({"phone": [PHONES]})})
        with connected(fake, client="37649") as operator:
            assert len(operator.extensions()) == 2

    @pytest.mark.parametrize("answer", [said({}), said([1]), said({}, 404), HTML])
    def test_a_broken_list_is_a_failure(self, answer: Answer) -> None:
        with connected(FakeTelphin({EXTENSIONS: answer})) as operator:
            with pytest.raises(OperatorError):
                operator.extensions()
            assert not operator.check().ok

    def test_lines_are_the_numbers_outside(self) -> None:
        rows = [{"name": "+7 (495) 000-00-10"}, {"name": "84950000011"}, {"name": None}]
        with connected(FakeTelphin({"GET client/@me/did": said(rows)})) as operator:
            assert [line.number for line in operator.lines()] == ["74950000010", "74950000011"]


CALL = ClickToCall(
    extension="101", number="79000000001", request_id="crm-0042", line_number="74950000010"
)
CALLBACK = "POST extension/300101/callback/"


class TestClickToCall:
    @pytest.mark.parametrize("key", ["101", "15657*101", "300101"])
    def test_the_employee_is_rung_first_and_the_id_is_that_of_the_events(self, key: str) -> None:
        told = {"call_id": CALL_ID.lower(), "call_api_id": "02abb9ee"}
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]}), CALLBACK: said(told, 201)})
        with connected(fake) as operator:
            placed = operator.place_call(replace(CALL, extension=key))
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", CALL_ID)
        order = {"src_num": ["15657*101"], "dst_num": "79000000001", "dst_ani": "74950000010"}
        assert fake.asked[-1] == (CALLBACK, {}, order)

    @pytest.mark.parametrize(
        ("told", "call_id"), [({"call_api_id": "7-ab"}, "7-AB"), ({}, None), ({"call_id": 5}, "5")]
    )
    def test_an_answer_without_the_id_is_a_placed_call(
        self, told: dict[str, Any], call_id: str | None
    ) -> None:
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]}), CALLBACK: said(told, 201)})
        with connected(fake) as operator:
            placed = operator.place_call(replace(CALL, line_number=None))
        assert placed.provider_call_id == call_id
        assert "dst_ani" not in fake.asked[-1][2]

    def test_an_unknown_or_blocked_telephone_is_named(self) -> None:
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]})})
        with (
            connected(fake) as operator,
            pytest.raises(OperatorError, match="номером 102") as caught,
        ):
            operator.place_call(replace(CALL, extension="102"))
        assert caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"message": "Bad number"}, 400), True, "Bad number"),
            (said({}, 403), True, "не приняты"),
            (said({}, 404), True, "отклонён"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
            (said([1], 201), False, "не является объектом"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]}), CALLBACK: answer})
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "Телфин"
        assert [name for name, _, _ in fake.asked].count(CALLBACK) == 1

    def test_the_pause_the_operator_asks_for_is_kept(self) -> None:
        busy = Answer(429, b"", headers={"Retry-After": "3"})
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]}), CALLBACK: busy})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert caught.value.retry_after == timedelta(seconds=3)

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeTelphin()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent


HISTORY = "GET client/@me/call_history/"
BUSY = said({"message": "Stats request already exists, concurrent request not allowed"}, 429)


def exported(*rows: Any) -> list[CallEvent]:
    with connected(FakeTelphin({HISTORY: history_page(list(rows))})) as operator:
        return list(operator.history(NOW - timedelta(hours=2), NOW))


class TestHistory:
    def test_an_answered_call_and_its_recording(self) -> None:
        final, recording = exported(row_of(call()))
        assert (final.kind, final.result, final.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (final.direction, final.client_number) == (Direction.IN, "79000000001")
        assert (final.line_number, final.extension) == ("74950000010", "101")
        assert (final.started_at, final.ended_at) == (NOW, NOW + timedelta(seconds=101))
        assert final.answered_at == NOW + timedelta(seconds=11)
        assert (final.duration_total, final.talk, final.transferred) == (101, 90, False)
        assert recording.recording_ref == f"300101-{final.provider_call_id}"

    def test_the_recording_is_the_same_event_as_in_the_notice(self) -> None:
        operator = telphin()
        notices = [
            event.event_id
            for request in operator.simulate(call())
            for event in operator.parse(request.received(NOW, TOKEN))
        ]
        assert exported(row_of(call()))[1].event_id in notices

    def test_a_missed_call(self) -> None:
        (event,) = exported(row_of(call(answered=False)))
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.CANCELLED)
        assert (event.talk, event.answered_at, event.extension) == (0, None, None)

    @pytest.mark.parametrize(
        ("change", "kind", "result"),
        [
            ({"result": "answered"}, CallKind.MISSED, CallResult.NO_ANSWER),
            ({"result": "busy"}, CallKind.MISSED, CallResult.BUSY),
            ({"result": "rejected"}, CallKind.MISSED, CallResult.BUSY),
            ({"result": "failed"}, CallKind.MISSED, CallResult.FAILED),
            ({"result": "vanished"}, CallKind.MISSED, CallResult.UNKNOWN),
            ({"result": "bridged"}, CallKind.ENDED, CallResult.ANSWERED),
            ({"result": "bridged", "bridged": False}, CallKind.MISSED, CallResult.UNKNOWN),
            ({"result": "answered", "bridged": True}, CallKind.ENDED, CallResult.ANSWERED),
        ],
    )
    def test_incoming_is_answered_when_it_was_bridged(
        self, change: dict[str, Any], kind: CallKind, result: CallResult
    ) -> None:
        row = {**row_of(call(answered=False)), "hangup_disposition": "callee_bye"}
        del row["bridged"]
        (event,) = exported({**row, **change})
        assert (event.kind, event.result) == (kind, result)

    def test_an_outgoing_call_names_who_dialled(self) -> None:
        final, _ = exported(row_of(call(direction=Direction.OUT)))
        assert (final.direction, final.client_number) == (Direction.OUT, "79000000001")
        assert (final.extension, final.line_number) == ("101", None)
        row = row_of(call(direction=Direction.OUT, answered=False))
        (event,) = exported({**row, "result": "busy"})
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.BUSY)

    def test_who_talked_is_found_in_the_legs_too(self) -> None:
        row = {**row_of(call()), "bridged_username": None}
        assert exported(row)[0].extension == "101"
        direct = {
            **row_of(call(answered=False)),
            "extension_type": "phone",
            "extension_name": "15657*103@sipproxy.telphin.ru",
        }
        assert exported(direct)[0].extension == "103"

    def test_a_transfer_is_seen_in_the_legs(self) -> None:
        row = row_of(call())
        row["cdr"].append({"flow": "transfer", "record_uuid": "300103-AB", "result": "answered"})
        final, *recordings = exported(row)
        assert final.transferred
        assert [event.recording_ref for event in recordings][1] == "300103-AB"

    def test_colleagues_among_themselves_are_internal(self) -> None:
        row = {**row_of(call(direction=Direction.OUT)), "to_username": "15657*103"}
        (event,) = exported(row)
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    def test_what_cannot_be_is_not_told(self) -> None:
        (event, _) = exported({**row_of(call()), "flow": "sideways", "duration": 10**15})
        assert (event.direction, event.client_number) == (None, None)
        assert event.duration_total == 101

    def test_a_call_that_goes_on_is_left_for_later(self) -> None:
        assert exported({**row_of(call()), "hangup_time_gmt": None}) == []

    def test_a_row_that_has_learnt_more_is_a_new_event(self) -> None:
        row = row_of(call())
        poorer = {**row, "cdr": []}
        assert (
            exported(row)[0].event_id == exported(row)[0].event_id != exported(poorer)[0].event_id
        )

    def test_times_are_asked_and_read_in_gmt(self) -> None:
        fake = FakeTelphin({HISTORY: history_page([])})
        since = datetime.fromisoformat("2026-11-23T12:00:00+03:00")
        with connected(fake) as operator:
            assert list(operator.history(since, since + timedelta(days=1))) == []
        assert fake.asked[0][1] == {
            "start_datetime": "2026-11-23 09:00:00",
            "end_datetime": "2026-11-24 09:00:00",
            "order": "asc",
            "page": "1",
            "per_page": "100",
        }

    @pytest.mark.parametrize("per_page", [100, 40])
    def test_pages_are_read_until_a_short_one(self, per_page: int) -> None:
        rows = [row_of(call(call_key=f"n-{number}", answered=False)) for number in range(230)]

        def page(_: Asked, query: dict[str, str]) -> Answer:
            number = int(query["page"])
            return history_page(rows[(number - 1) * per_page : number * per_page], number, per_page)

        fake = FakeTelphin({HISTORY: page})
        with connected(fake) as operator:
            found = operator.history(NOW - timedelta(days=1), NOW)
            ids = [next(found).provider_call_id]
            assert len(fake.asked) == 1
            ids += [event.provider_call_id for event in found]
        assert ids == [row["call_uuid"] for row in rows]

    def test_a_busy_history_is_asked_again(self) -> None:
        states = iter([BUSY, BUSY, history_page([row_of(call())])])
        fake = FakeTelphin({HISTORY: lambda *_: next(states)})
        with connected(fake) as operator:
            assert len(list(operator.history(NOW, NOW))) == 2
        assert len(fake.asked) == 3

    def test_a_history_busy_for_long_is_put_off(self) -> None:
        fake = FakeTelphin({HISTORY: BUSY})
        with connected(fake) as operator, pytest.raises(OperatorError, match="429") as caught:
            list(operator.history(NOW, NOW))
        assert (caught.value.permanent, len(fake.asked)) == (False, 3)
        assert Telphin.busy_pause == timedelta(seconds=10)
        pause = Answer(429, b"{}", headers={"Retry-After": "90"})
        fake = FakeTelphin({HISTORY: pause})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW, NOW))
        assert (caught.value.retry_after, len(fake.asked)) == (timedelta(seconds=90), 1)

    @pytest.mark.parametrize(
        "answer",
        [
            said([]),
            said({}),
            said({"call_history": {}}),
            said({"call_history": [1]}),
            said({"call_history": [{}]}),
            said({"call_history": [{"call_uuid": "1"}]}),
            said({"call_history": [{"call_uuid": "1", "hangup_time_gmt": "yesterday"}]}),
            said(
                {"call_history": [{"call_uuid": "1", "hangup_time_gmt": "0001-01-01T00:00+14:00"}]}
            ),
            said({"call_history": [], "page": 2}),
            said({"call_history": [row_of(call())], "per_page": 1}),
            said({}, 500),
            Answer(200, b"<html>", "text/html"),
            HTML,
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(self, answer: Answer) -> None:
        fake = FakeTelphin({HISTORY: answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert not caught.value.permanent

    def test_an_interface_out_of_reach_is_permanent(self) -> None:
        fake = FakeTelphin({HISTORY: said({}, 403)})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW, NOW))
        assert caught.value.permanent


RECORD_PATH = f"GET client/@me/record/{RECORD}"


class TestRecordings:
    REF = RecordingRef(recording_ref=RECORD)

    def test_the_file_is_streamed_with_the_token(self) -> None:
        fake = FakeTelphin({RECORD_PATH: Answer(200, MP3, "audio/mpeg")})
        with connected(fake) as operator:
            with operator.fetch_recording(self.REF) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed

    def test_a_refused_token_is_renewed_once(self) -> None:
        fake = FakeTelphin({RECORD_PATH: Answer(200, MP3, "audio/mpeg")})
        fake.refuse_tokens = 1
        with connected(fake) as operator, operator.fetch_recording(self.REF) as recording:
            assert b"".join(recording.chunks) == MP3
        fake.refuse_tokens = 2
        with connected(fake) as operator, pytest.raises(OperatorError, match="401") as caught:
            operator.fetch_recording(self.REF)
        assert caught.value.permanent

    @pytest.mark.parametrize("answer", [said({"message": "Record not found"}, 404), Answer(202)])
    def test_a_file_not_there_yet_is_asked_later(self, answer: Answer) -> None:
        fake = FakeTelphin({RECORD_PATH: answer})
        with connected(fake) as operator, pytest.raises(RecordingNotReady) as caught:
            operator.fetch_recording(self.REF)
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (said({}, 403), True),
            (Answer(429, b"", headers={"Retry-After": "3"}), False),
            (said({"record_url": "https://evil.example/1.mp3"}), False),
            (HTML, False),
            (Answer(200, b"<html>", "text/html"), False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        with connected(FakeTelphin({RECORD_PATH: answer})) as operator:
            with pytest.raises(OperatorError) as caught:
                operator.fetch_recording(self.REF)
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert caught.value.permanent is permanent

    def test_an_id_cannot_lead_elsewhere(self) -> None:
        fake = FakeTelphin()
        ref = RecordingRef(recording_ref="../../user/?x=@evil.example/")
        with connected(fake) as operator, pytest.raises(RecordingNotReady):
            operator.fetch_recording(ref)
        expected = f"GET client/@me/record/{quote(ref.recording_ref or '', safe='')}"
        assert [name for name, _, _ in fake.asked] == [expected]

    def test_a_link_to_another_host_is_refused(self) -> None:
        class Misled(QuickTelphin):
            def url(self, path: str) -> str:
                return f"https://evil.example/{path}"

        with connected(FakeTelphin()) as operator:
            misled = Misled(7, operator._values, PlainClient(), webhook_token=TOKEN)
            with pytest.raises(OperatorError, match="чужой") as caught:
                misled.fetch_recording(self.REF)
        assert caught.value.permanent

    def test_without_an_id_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="идентификатора"):
            telphin().fetch_recording(RecordingRef(recording_url="https://evil.example/1.mp3"))


URL = f"https://crm.example.ru/telephony/telphin/{TOKEN}"


class Subscriptions(FakeTelphin):
    """Remembers subscriptions as the operator does."""

    def __init__(self, limit: int = 1000) -> None:
        rows = {
            "phone": [PHONES],
            "ivr": [[{"id": 300099, "name": "15657*099", "type": "ivr", "status": "active"}]],
        }
        super().__init__({EXTENSIONS: paged(rows)})
        self.limit = limit
        self.kept: dict[int, dict[str, Any]] = {}
        self.next_id = 1

    def __call__(self, asked: Asked) -> Answer:
        parts = urlsplit(asked.path).path.removeprefix("/api/ver1.0/").strip("/").split("/")
        if parts[0] != "extension" or not asked.headers.get("Authorization"):
            return super().__call__(asked)
        if asked.method == "GET":
            return said([row for row in self.kept.values() if row["of"] == parts[1]])
        if asked.method == "DELETE":
            gone = self.kept.pop(int(parts[3]), None)
            return Answer(204) if gone else said({"message": "Not found"}, 404)
        if len(self.kept) >= self.limit:
            return said({"message": "Limit exceeded"}, 403)
        row = {"id": self.next_id, "of": parts[1], **json.loads(asked.body)}
        self.kept[self.next_id] = row
        self.next_id += 1
        return said(row, 201)

    def told(self) -> list[tuple[str, str, str, str]]:
        return [
            (row["of"], row["event_type"], row["method"], row["url"]) for row in self.kept.values()
        ]


class TestSubscription:
    def test_telephones_and_menus_are_subscribed_once(self) -> None:
        fake = Subscriptions()
        with connected(fake) as operator:
            subscription = operator.subscribe(URL, None)
            wanted = [
                *[("300101", name) for name in ("dial-in", "dial-out", "answer", "hangup")],
                *[("300103", name) for name in ("dial-in", "dial-out", "answer", "hangup")],
                ("300099", "dial-in"),
                ("300099", "hangup"),
            ]
            assert fake.told() == [(of, name, "POST", URL) for of, name in wanted]
            again = operator.subscribe(URL, subscription.id)
        assert len(fake.kept) == 10
        assert again.id == subscription.id
        assert TOKEN not in subscription.id
        left = again.expires_at - datetime.now(UTC)
        assert timedelta(hours=23) < left <= timedelta(days=1)

    def test_after_a_new_secret_the_former_address_goes_and_others_stay(self) -> None:
        fake = Subscriptions()
        other = {"event_type": "hangup", "method": "GET", "url": "https://other.example/x"}
        fake.kept[900] = {"id": 900, "of": "300101", **other}
        with connected(fake) as operator:
            first_one = operator.subscribe(URL, None)
            operator.subscribe(URL + "-new", first_one.id)
        assert {url for *_, url in fake.told()} == {URL + "-new", "https://other.example/x"}
        assert len(fake.kept) == 11

    def test_a_used_up_limit_is_said_in_words(self) -> None:
        fake = Subscriptions(limit=3)
        with (
            connected(fake) as operator,
            pytest.raises(OperatorError, match="исчерпан их лимит") as caught,
        ):
            operator.subscribe(URL, None)
        assert caught.value.permanent
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("answer", [said({}), said({}, 500), HTML])
    def test_a_failure_is_not_taken_for_success(self, answer: Answer) -> None:
        fake = FakeTelphin(
            {EXTENSIONS: paged({"phone": [PHONES]}), "GET extension/300101/event/": answer}
        )
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.subscribe(URL, None)
        assert not caught.value.permanent


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def sample(self, name: str, status: int = 200) -> Answer:
        return Answer(status, (FOREIGN / name).read_bytes())

    def test_a_recorded_call_of_the_history(self) -> None:
        row = json.loads((FOREIGN / "get_call_history_200_1.json").read_text("utf-8"))
        final, recording = exported(row)
        assert (final.kind, final.direction) == (CallKind.ENDED, Direction.OUT)
        assert (final.result, final.talk, final.duration_total) == (CallResult.ANSWERED, 24, 37)
        assert (final.client_number, final.extension) == ("71111111111", "0111")
        assert final.provider_call_id == "CAA308E3333C4A19AAED9C0254B9C61B"
        assert final.started_at == datetime(2021, 1, 1, 16, 29, 39, tzinfo=UTC)
        assert final.answered_at == datetime(2021, 1, 1, 16, 29, 52, tzinfo=UTC)
        assert final.ended_at == datetime(2021, 1, 1, 16, 30, 16, tzinfo=UTC)
        assert recording.recording_ref == "469100-5D36E5557F1845FEB577EDE8A19C5108"

    def test_a_recorded_token_and_callback(self) -> None:
        fake = FakeTelphin({EXTENSIONS: paged({"phone": [PHONES]})})
        fake.answers = {**fake.answers, CALLBACK: self.sample("post_callback.json", 201)}
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert placed.provider_call_id == "02ABB9EE685A11EA94BFE17EB6EAECBA"
        fake.token_answer = self.sample("post_token.json")
        with connected(fake) as operator, pytest.raises(OperatorError, match="401"):
            operator.lines()

    def test_a_recorded_refusal_of_a_second_history(self) -> None:
        fake = FakeTelphin({HISTORY: self.sample("get_call_history_429.json", 429)})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW, NOW))
        assert not caught.value.permanent
        assert "concurrent request" in str(caught.value)

    @pytest.mark.parametrize("name", ["error_404.json", "delete_record_404.json"])
    def test_a_recorded_absence_of_a_file(self, name: str) -> None:
        fake = FakeTelphin({RECORD_PATH: self.sample(name, 404)})
        with connected(fake) as operator, pytest.raises(RecordingNotReady):
            operator.fetch_recording(RecordingRef(recording_ref=RECORD))
