"""Rostelecom against its published samples and a server that behaves like it."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import rostelecom_history
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    ClickToCall,
    Direction,
    KnownCaller,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.rostelecom import Rostelecom, signature
from crm.integrations.telephony.rostelecom_history import COLUMNS
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)

FOREIGN = FOREIGN_SAMPLES / "rostelecom"
ID = "A1B2C3D4E5F60718293A4B5C6D7E8F90"
KEY = "0F1E2D3C4B5A69788796A5B4C3D2E1F0"
SETTINGS = {"client_id": ID, "client_key": KEY, "domain": "agency.20.rt.ru"}
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(200, b"<html><body>Login</body></html>", "text/html")
NEW = (
    '{"session_id":"SDtest01-0001","timestamp":"2026-03-02 11:20:31.105","type":"incoming",'
    '"state":"new","from_number":"sip:79000000001@192.0.2.10","from_pin":"",'
    '"request_number":"sip:74950000010@agency.20.rt.ru","request_pin":"",'
    '"disconnect_reason":"","is_record":""}'
)
QUESTION = '{"domain":"d","from_number":"79000000001","request_number":"74950000010"}'


def rostelecom(**changed: str) -> Rostelecom:
    return Rostelecom(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(tail: str, text: str, **headers: str) -> InboundRequest:
    body = text.encode()
    sent = {"X-Client-ID": ID, "X-Client-Sign": signature(ID, body, KEY)}
    return InboundRequest(
        method="POST",
        path_tail=tail,
        query={},
        headers={"Content-Type": "application/json", **sent, **headers},
        body=body,
        remote_addr="192.0.2.1",
        received_at=NOW,
        token=TOKEN,
    )


def parsed(tail: str = "call_events", **changed: Any) -> list[CallEvent]:
    return rostelecom().parse(inbound(tail, json.dumps({**json.loads(NEW), **changed})))


def only(**changed: Any) -> CallEvent:
    (event,) = parsed(**changed)
    return event


class QuickRostelecom(Rostelecom):
    """Does not wait between questions about the report."""

    poll_interval = timedelta(0)
    poll_attempts = 4
    empty_attempts = 2


class FakeRostelecom:
    """Checks the signature as the operator does, then answers from a table of methods."""

    def __init__(self, **answers: Callable[[dict[str, Any]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.base = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self.answers["file"]({})
        given = (asked.headers["X-Client-ID"], asked.headers["X-Client-Sign"])
        if given != (ID, signature(ID, asked.body, KEY)) or KEY.encode() in asked.body:
            return said({"result": 1}, 403)
        name = asked.path.strip("/")
        self.asked.append((name, json.loads(asked.body)))
        return self.answers[name](json.loads(asked.body))


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def always(*answers: Answer) -> Callable[[dict[str, Any]], Answer]:
    """The answers one after another, then the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def connected(fake: FakeRostelecom, **changed: str) -> Iterator[QuickRostelecom]:
    with serving(fake) as base:
        fake.base = base
        values = {**SETTINGS, "api_base": base, **changed}
        yield QuickRostelecom(7, values, PlainClient(), webhook_token=TOKEN)


def row(**changed: str) -> dict[str, str]:
    values = {
        "session_id": "SDtest01-0001",
        "call_type": "1",
        "direction": "1",
        "state": "1",
        "orig_number": "sip:79000000001@192.0.2.10",
        "dest_number": "sip:74950000010@agency.20.rt.ru",
        "answering_sipuri": "sip:user101@agency.20.rt.ru",
        "answering_pin": "101",
        "start_call_date": "2026-03-02 11:20:31.1",
        "duration": "89",
        "is_voicemail": "false",
        "is_record": "false",
        "is_fax": "false",
    }
    return dict.fromkeys(COLUMNS, "") | values | changed


def table(*rows: dict[str, str], separator: str = ";", header: bool = True) -> bytes:
    lines = [separator.join(COLUMNS)] if header else []
    lines += [separator.join(item[name] for name in COLUMNS) for item in rows]
    return "".join(f"{line}\r\n" for line in lines).encode()


def zipped(*files: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.mkdir("export")
        for number, content in enumerate(files):
            archive.writestr(f"export/{number}.csv", content)
    return packed.getvalue()


def reported(*files: Answer) -> FakeRostelecom:
    return FakeRostelecom(
        domain_call_history=always(said({"result": "0", "order_id": "42"})),
        download_call_history=always(*files),
    )


def report(content: bytes) -> Answer:
    return Answer(200, content, "application/octet-stream")


def told_by(*files: Answer) -> list[CallEvent]:
    with connected(reported(*files)) as operator:
        return list(operator.history(NOW - timedelta(hours=2), NOW))


class TestRostelecomConformance(OperatorConformance):
    operator_class = Rostelecom
    settings_of = SETTINGS
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
        started = int(scenario.started_at.timestamp())
        told = row(
            session_id=f"SDsim-{scenario.call_key}",
            state="1" if scenario.answered else "2",
            orig_number=f"sip:{scenario.client_number}@192.0.2.10",
            dest_number=f"sip:{scenario.line_number}@agency.20.rt.ru",
            answering_sipuri="sip:user@agency.20.rt.ru" if scenario.answered else "",
            answering_pin=scenario.extension if scenario.answered else "",
            start_call_date=str(started),
            duration=str(int(scenario.talk.total_seconds())) if scenario.answered else "0",
            is_record=str(scenario.answered and scenario.recorded).lower(),
        )
        return told_by(report(zipped(table(told))))


REPLY = '{"result":0,"resultMessage":"ok","displayName":"Иванов Пётр — сделка 42","PIN":"101"}'
VECTORS = {
    NEW: "0e4b943239f67e34799f78613ad2e3e3108d5f80bc0d13e99e6c30a6845ad6a9",
    '{"request_number":"+79000000001","from_pin":"101"}': (
        "eb14d1fa125990789f98cec10301e2bfe3ab376a545c071fd64ac315f1422108"
    ),
    REPLY: "4d86d427fa6cdcc4dee0690adc49feaed4ded4d99cc34da99509b191d7e5a534",
    json.dumps(json.loads(REPLY), separators=(",", ":")): (
        "94651d8683fad96c690a44cee553e7e6828246b055ad295e4d5ecd801ca539a3"
    ),
    "{}": "fdf299c6ecfccd5b642ba4049c7887f7b4de22cb951c7c5a48a2a5bede34e0ef",
}


class TestSignature:
    @pytest.mark.parametrize(("text", "expected"), VECTORS.items())
    def test_it_equals_the_vectors(self, text: str, expected: str) -> None:
        assert signature(ID, text.encode(), KEY) == expected

    def test_it_equals_the_example_of_the_manual(self) -> None:
        body = b'{"request_number": "+74951234567","from_sipuri": "test_user@cloudpbx.rt.ru"}'
        expected = "fc95a524342dc68df90f7488e6d821c5a8a3b667d585490b50ebf939f1202c36"
        example = ("000003C405E6525C64C184258C44EC99", "00000716ABDA6D4DFF10F82BCBBFC532")
        assert signature(example[0], body, example[1]) == expected

    def test_the_exact_bytes_are_signed_and_the_case_of_hex_does_not_matter(self) -> None:
        request = inbound("call_events", '{ "b" : 1 }')
        rostelecom().verify(request)
        sign = request.headers["X-Client-Sign"]
        rostelecom().verify(
            inbound("call_events", '{ "b" : 1 }', **{"X-Client-Sign": sign.upper()})
        )
        with pytest.raises(WebhookRejected, match="Подпись"):
            rostelecom().verify(replace(request, body=b'{"b":1}'))

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Client-Sign": ""},
            {"X-Client-Sign": "0" * 64},
            {"X-Client-ID": ""},
            {"X-Client-ID": "другой"},
        ],
    )
    def test_a_forged_request_is_rejected(self, headers: dict[str, str]) -> None:
        with pytest.raises(WebhookRejected):
            rostelecom().verify(inbound("call_events", NEW, **headers))

    @pytest.mark.parametrize("name", ["client_id", "client_key"])
    def test_another_pair_of_keys_rejects(self, name: str) -> None:
        for value in ("other", ""):
            with pytest.raises(WebhookRejected):
                rostelecom(**{name: value}).verify(inbound("call_events", NEW))


class TestEvents:
    def test_a_new_call_rings_without_an_extension(self) -> None:
        event = only()
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert (event.extension, event.final, event.result) == (None, False, None)
        assert event.occurred_at == datetime(2026, 3, 2, 8, 20, 31, 105000, tzinfo=UTC)
        assert (event.provider_call_id, event.started_at) == ("SDtest01-0001", event.occurred_at)

    def test_each_employee_of_a_group_rings_by_an_event_of_its_own(self) -> None:
        first, second = (
            only(state="calling", request_pin="101"),
            only(state="calling", request_pin="102"),
        )
        assert (first.kind, first.extension, second.extension) == (CallKind.RINGING, "101", "102")
        assert first.event_id != second.event_id

    def test_an_answer_and_the_end_of_a_leg(self) -> None:
        answered = only(state="connected", request_pin="101")
        assert (answered.kind, answered.answered_at) == (CallKind.ANSWERED, answered.occurred_at)
        over = only(state="disconnected", request_pin="101", disconnect_reason="4")
        assert (over.kind, over.extension, over.result) == (CallKind.LEG_ENDED, "101", None)

    def test_the_end_of_a_recorded_call_proves_the_talk_and_names_the_recording(self) -> None:
        ended, recording = parsed(state="end", request_pin="101", is_record="true")
        assert (ended.kind, ended.result) == (CallKind.ENDED, CallResult.ANSWERED)
        assert (ended.ended_at, ended.final, ended.talk) == (ended.occurred_at, False, None)
        assert (recording.kind, recording.recording_ref) == (
            CallKind.RECORDING_READY,
            "SDtest01-0001",
        )
        assert len(parsed(state="end", is_record=True)) == 2

    @pytest.mark.parametrize(
        ("changed", "kind"),
        [
            ({"request_pin": "101", "is_record": "false"}, CallKind.ENDED),
            ({"request_pin": "", "is_record": "false"}, CallKind.MISSED),
            ({"request_pin": "", "is_record": "", "type": "outbound"}, CallKind.ENDED),
        ],
    )
    def test_an_end_without_a_recording_tells_no_result(
        self, changed: dict[str, str], kind: CallKind
    ) -> None:
        event = only(state="end", **changed)
        assert (event.kind, event.result) == (kind, None)

    def test_an_outgoing_call(self) -> None:
        event = only(
            type="outbound",
            from_number="sip:user101@agency.20.rt.ru",
            from_pin="101",
            request_number="sip:+79000000001@192.0.2.10",
        )
        assert (event.direction, event.client_number) == (Direction.OUT, "79000000001")
        assert (event.extension, event.employee_key, event.line_number) == ("101", "101", None)

    def test_an_internal_call_has_no_client(self) -> None:
        event = only(type="internal", from_number="sip:ivanov@agency.20.rt.ru", from_pin="101")
        assert (event.direction, event.client_number, event.line_number) == (
            Direction.INTERNAL,
            None,
            None,
        )

    def test_without_a_type_the_direction_and_the_client_are_left_to_others(self) -> None:
        event = only(type="", state="calling", request_pin="101")
        assert (event.kind, event.direction, event.client_number) == (CallKind.RINGING, None, None)
        assert event.extension == "101"

    @pytest.mark.parametrize(
        ("written", "number"),
        [
            ("sip:+79000000001@h", "79000000001"),
            ("sip:89000000001@h", "79000000001"),
            ("79000000001", "79000000001"),
            ("sip:ivanov@agency.20.rt.ru", None),
            ("sip:anonymous@h", None),
            ("sip:111@test@domain.com", None),
            ("", None),
            (None, None),
        ],
    )
    def test_numbers_of_clients(self, written: str | None, number: str | None) -> None:
        assert only(from_number=written).client_number == number

    def test_what_is_documented_but_tells_nothing_is_noise(self) -> None:
        assert parsed(state="analytics", words=["..."]) == []
        assert rostelecom().parse(inbound("history_file_completed", '{"order_id":"1"}')) == []
        assert rostelecom().parse(inbound("get_number_info", QUESTION)) == []

    @pytest.mark.parametrize("changed", [{"state": "parked"}, {"type": "conference"}])
    def test_what_nobody_documented_is_counted(self, changed: dict[str, str]) -> None:
        assert only(**changed).kind is CallKind.UNKNOWN
        assert only(tail="of_next_year").kind is CallKind.UNKNOWN

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"session_id":{},"state":"new"}'])
    def test_garbage_is_malformed(self, text: str) -> None:
        with pytest.raises(MalformedRequest):
            rostelecom().parse(inbound("call_events", text))

    @pytest.mark.parametrize("timestamp", ["", "вчера", "0001-01-01 00:00:00", "9" * 30, None])
    def test_without_a_readable_time_the_receipt_stands_in(self, timestamp: str | None) -> None:
        event = only(timestamp=timestamp)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)

    def test_a_repeat_is_one_however_it_is_spelled_or_addressed(self) -> None:
        first = inbound("call_events", NEW)
        turned = json.dumps(dict(reversed(json.loads(NEW).items())))
        again = replace(inbound("x/call_events/", turned), query={"again": "1"})
        operator = rostelecom()
        assert operator.delivery_key(first) == operator.delivery_key(again)
        assert operator.parse(first)[0].event_id == operator.parse(again)[0].event_id


class TestWhoCalls:
    def ask(self, text: str, caller: KnownCaller | None) -> tuple[int, dict[str, Any]]:
        reply = rostelecom().reply(inbound("get_number_info", text), caller)
        assert reply.headers["X-Client-ID"] == ID
        assert reply.headers["X-Client-Sign"] == signature(ID, reply.body, KEY)
        assert reply.content_type.startswith("application/json")
        return reply.status, json.loads(reply.body)

    def test_the_caller_is_asked_about(self) -> None:
        for number in ("79000000001", "+79000000001", "sip:89000000001@h"):
            request = inbound("get_number_info", json.dumps({"from_number": number, "new": 1}))
            assert rostelecom().caller_question(request) == "79000000001"

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"from_number":"101"}'])
    def test_without_a_number_nobody_is_asked_about(self, text: str) -> None:
        assert rostelecom().caller_question(inbound("get_number_info", text)) is None
        assert self.ask(text, None)[0] == 404

    def test_events_ask_nothing(self) -> None:
        assert rostelecom().caller_question(inbound("call_events", NEW)) is None

    def test_a_known_caller_is_named_and_led_to_the_manager(self) -> None:
        caller = KnownCaller(name="Иванов Пётр — сделка 42", responsible_extension="101")
        reply = rostelecom().reply(inbound("get_number_info", QUESTION), caller)
        assert reply.body.decode() == REPLY
        assert reply.headers["X-Client-Sign"] == VECTORS[REPLY]

    def test_without_a_manager_only_the_name_is_told(self) -> None:
        status, value = self.ask(QUESTION, KnownCaller(name="Пётр"))
        assert (status, value["displayName"]) == (200, "Пётр")
        assert "PIN" not in value

    def test_a_stranger_is_not_found(self) -> None:
        for caller in (None, KnownCaller()):
            assert self.ask(QUESTION, caller) == (
                404,
                {"result": 404, "resultMessage": "not found"},
            )

    def test_notices_are_acknowledged(self) -> None:
        for tail in ("call_events", "history_file_completed"):
            reply = rostelecom().reply(inbound(tail, NEW))
            assert (reply.status, reply.body) == (200, b'{"result":"0","resultMessage":"OK"}')


CALL = ClickToCall(extension="101", number="79000000001", request_id="crm-0042")
USERS = {
    "result": 0,
    "users": [
        {"display_name": "Петрова Анна", "name": "petrova", "pin": "101", "email": "a@example.ru"},
        {"name": "sidorov", "pin": 102},
        {"display_name": "Без номера", "name": "robot", "pin": None},
    ],
    "groups": [{"name": "Продажи", "pin": "200"}],
}


class TestCommands:
    def test_a_call_is_ordered_by_the_internal_number(self) -> None:
        fake = FakeRostelecom(call_back=always(said({"result": "0", "session_id": "maybe"})))
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", None)
        assert fake.asked == [("call_back", {"request_number": "+79000000001", "from_pin": "101"})]

    def test_a_call_may_be_ordered_by_the_sip_address(self) -> None:
        fake = FakeRostelecom(call_back=always(said({"result": 0})), users_info=always(said(USERS)))
        with connected(fake, dial_by="sipuri") as operator:
            operator.place_call(CALL)
            with pytest.raises(OperatorError, match="SIP-адрес"):
                operator.place_call(replace(CALL, extension="109"))
        expected = {"request_number": "+79000000001", "from_sipuri": "petrova@agency.20.rt.ru"}
        assert fake.asked[1] == ("call_back", expected)

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"result": 5, "resultMessage": "user is not found"}), True, "user is not found"),
            (said({"result": "5"}), True, "отказ 5"),
            (said({}), False, "не подтвердила"),
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "вместо JSON"),
            (said([1]), False, "не является объектом"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeRostelecom(call_back=always(answer))
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.retry_after == (timedelta(seconds=3) if answer.status == 429 else None)

    def test_an_answer_that_repeats_the_key_does_not_show_it(self) -> None:
        for status in (200, 400):
            answer = said({"result": 1, "resultMessage": KEY}, status)
            fake = FakeRostelecom(call_back=always(answer))
            with connected(fake) as operator, pytest.raises(OperatorError) as caught:
                operator.place_call(CALL)
            assert KEY not in f"{caught.value} {caught.value!r}"

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeRostelecom()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent

    def test_employees_with_a_number_are_listed(self) -> None:
        fake = FakeRostelecom(users_info=always(said(USERS)))
        with connected(fake) as operator:
            found = operator.extensions()
            assert operator.check().message == "Связь есть. Внутренних номеров: 2"
        assert [(item.number, item.name) for item in found] == [
            ("101", "Петрова Анна"),
            ("102", "sidorov"),
        ]
        assert (found[0].employee_key, found[0].email) == ("101", "a@example.ru")
        assert fake.asked[0] == ("users_info", {"domain": "agency.20.rt.ru"})

    def test_any_result_proves_the_keys_but_is_no_list(self) -> None:
        for answer in (said({"result": "17"}), said({"result": 0})):
            fake = FakeRostelecom(users_info=always(answer))
            with connected(fake, domain="") as operator:
                check = operator.check()
                assert check.ok
                assert "ключи приняты" in check.message
                with pytest.raises(OperatorError):
                    operator.extensions()
            assert fake.asked[0] == ("users_info", {})

    def test_refused_keys_are_told_by_the_check(self) -> None:
        with connected(FakeRostelecom(), client_key="wrong") as operator:
            check = operator.check()
        assert (check.ok, "не приняты" in check.message) == (False, True)

    def test_certificates_of_the_operator_can_be_trusted(self) -> None:
        fields = {item.name: item for item in Rostelecom.credentials}
        field = fields[Rostelecom.ca_credential]
        assert (field.multiline, field.secret, field.required) == (True, False, False)


SHORT = (
    b"session_id;direction;start_call_date;state;orig_number;dest_number;new\n"
    b"SDtest01-0001;1;1772439631;1;sip:79000000001@h;sip:74950000010@h;?\n"
)


class TestHistory:
    def test_the_report_is_ordered_waited_for_and_read(self) -> None:
        absent = said({"result": "1", "resultMessage": "File [42] not found"})
        page = Answer(200, b"<html>File [42.zip] not found</html>", "text/html")
        missed = row(session_id="2", state="2", answering_pin="", answering_sipuri="")
        fake = reported(Answer(404), absent, page, report(zipped(table(row(), missed))))
        since = datetime(2026, 3, 1, 21, tzinfo=UTC)
        with connected(fake) as operator:
            answered, lost = operator.history(since, since + timedelta(days=1))
        period = {"date_start": "2026-03-02 00:00:00", "date_end": "2026-03-03 00:00:00"}
        assert fake.asked[0] == ("domain_call_history", {**period, "direction": 0, "state": 0})
        assert fake.asked[1:] == [("download_call_history", {"order_id": "42"})] * 4
        assert (answered.kind, answered.final, answered.talk) == (CallKind.ENDED, True, 89)
        assert (answered.extension, answered.employee_key) == ("101", "101")
        assert (answered.client_number, answered.line_number) == ("79000000001", "74950000010")
        assert answered.started_at == datetime(2026, 3, 2, 8, 20, 31, 100000, tzinfo=UTC)
        assert (answered.recording_ref, answered.id_is_made_up) == (None, False)
        assert (lost.kind, lost.result, lost.talk) == (CallKind.MISSED, CallResult.NO_ANSWER, 0)

    def test_each_week_is_a_report_of_its_own(self) -> None:
        def file(asked: dict[str, Any]) -> Answer:
            return report(zipped(table(row(session_id=f"of-{asked['order_id']}"))))

        fake = FakeRostelecom(
            domain_call_history=lambda asked: said({"result": 0, "order_id": asked["date_start"]}),
            download_call_history=file,
        )
        since = datetime(2026, 3, 1, 21, tzinfo=UTC)
        with connected(fake) as operator:
            found = list(operator.history(since, since + timedelta(days=9)))
            assert list(operator.history(since, since)) == []
        assert [event.provider_call_id for event in found] == [
            "of-2026-03-02 00:00:00",
            "of-2026-03-09 00:00:00",
        ]

    @pytest.mark.parametrize(
        "file",
        [
            zipped(table(row())),
            zipped(table(row()), method=zipfile.ZIP_STORED),
            zipped(b"", table(row(), header=False)),
            gzip.compress(table(row(), separator=",")),
            table(row()),
            table(row(), header=False, separator=","),
            b"\xef\xbb\xbf" + table(row(), header=False),
            b"\xef\xbb\xbf\r\n" + table(row(), separator="\t"),
            table(row()).decode().encode("utf-16"),
            table(row(status_string="Абонент занят")).decode().encode("cp1251"),
            table(row()).replace(b"\r\n", b"\n\n"),
            table(row(status_string='"занят; ""сброс"""')),
            SHORT,
        ],
        ids=range(13),
    )
    def test_packing_separator_encoding_and_header_may_be_any(self, file: bytes) -> None:
        (event,) = told_by(report(file))
        assert (event.provider_call_id, event.kind) == ("SDtest01-0001", CallKind.ENDED)
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert event.started_at is not None
        assert event.started_at.replace(microsecond=0) == datetime(
            2026, 3, 2, 8, 20, 31, tzinfo=UTC
        )

    def test_an_outgoing_and_an_internal_call(self) -> None:
        parties = {"orig_number": "sip:user101@d", "orig_pin": "101"}
        out = row(direction="2", state="2", dest_number="sip:79000000001@h", **parties)
        inner = row(direction="3", dest_number="sip:user102@d", session_id="2", **parties)
        outgoing, internal = told_by(report(table(out, inner)))
        assert (outgoing.kind, outgoing.result) == (CallKind.ENDED, CallResult.NO_ANSWER)
        assert (outgoing.direction, outgoing.client_number) == (Direction.OUT, "79000000001")
        assert (outgoing.extension, outgoing.line_number) == ("101", None)
        assert (internal.direction, internal.client_number) == (Direction.INTERNAL, None)

    @pytest.mark.parametrize(
        ("changed", "kind", "result", "talk"),
        [
            ({"is_voicemail": "true"}, CallKind.MISSED, CallResult.NO_ANSWER, 0),
            ({"is_fax": "1"}, CallKind.MISSED, CallResult.NO_ANSWER, 0),
            ({}, CallKind.ENDED, CallResult.ANSWERED, 89),
            ({"state": ""}, CallKind.ENDED, CallResult.ANSWERED, 89),
            ({"state": "", "duration": ""}, CallKind.ENDED, CallResult.UNKNOWN, None),
        ],
    )
    def test_a_call_that_no_employee_took(
        self, changed: dict[str, str], kind: CallKind, result: CallResult, talk: int | None
    ) -> None:
        told = row(answering_pin="", answering_sipuri="", **changed)
        (event,) = told_by(report(table(told)))
        assert (event.kind, event.result, event.talk) == (kind, result, talk)

    def test_a_later_report_that_knows_the_recording_is_a_new_event(self) -> None:
        (first,) = told_by(report(table(row())))
        (same,) = told_by(report(zipped(table(row(), separator=",", header=False))))
        (later,) = told_by(report(table(row(is_record="true"))))
        assert first.event_id == same.event_id != later.event_id
        assert later.recording_ref == "SDtest01-0001"

    @pytest.mark.parametrize(
        "empty", [b"", b"\r\n", table(), zipped(table()), gzip.compress(b"")], ids=range(5)
    )
    def test_an_empty_report_is_asked_again_and_then_believed(self, empty: bytes) -> None:
        (late,) = told_by(report(empty), report(table(row())))
        assert late.final
        assert told_by(report(empty)) == []

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (Answer(404), False, "не подготовлена"),
            (HTML, False, "страница"),
            (report(zipped(table(row()))[:-30]), False, "повреждён"),
            (report(gzip.compress(table(row()))[:-10]), False, "повреждён"),
            (report(b"PK\x03\x04"), False, "повреждён"),
            (report(b"\x00" * 100), False, "не похож"),
            (report(b"a;b\r\n"), False, "строка истории"),
            (report(table(row(session_id=""))), False, "session_id"),
            (report(table(row(start_call_date="вчера"))), False, "времени"),
            (report(zipped(table(row()), method=zipfile.ZIP_LZMA)), False, "неизвестным"),
            (report(zipped(*[table(row())] * 40)), False, "слишком много"),
            (report(b"x" * 100_000), False, "не похож"),
            (said({"result": 3, "resultMessage": "нет доступа"}), True, "нет доступа"),
            (said({}, 401), True, "не приняты"),
            (said({}, 429), False, "слишком много"),
            (said({}, 503), False, "временная ошибка"),
        ],
        ids=range(16),
    )
    def test_an_unfinished_or_broken_report_is_a_failure_not_an_empty_list(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        with pytest.raises(OperatorError, match=words) as caught:
            told_by(answer)
        assert caught.value.permanent is permanent

    def test_a_period_ordered_before_is_left_for_later(self) -> None:
        refusal = said({"result": "7", "resultMessage": "Такой заказ уже существует"})
        fake = FakeRostelecom(domain_call_history=always(refusal))
        with connected(fake) as operator, pytest.raises(OperatorError, match="уже") as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert (caught.value.permanent, caught.value.retry_after) == (False, timedelta(minutes=10))

    @pytest.mark.parametrize("answer", [said({"result": 0}), said({}, 403), HTML])
    def test_an_order_without_a_number_is_a_failure(self, answer: Answer) -> None:
        fake = FakeRostelecom(domain_call_history=always(answer))
        with connected(fake) as operator, pytest.raises(OperatorError):
            list(operator.history(NOW - timedelta(hours=2), NOW))


class TestReportFile:
    LINE = table(row(), header=False)

    def test_what_unpacks_without_end_is_stopped(self) -> None:
        for packed in (
            zipped(self.LINE * 20_000),
            zipped(*[self.LINE * 1000] * 20),
            gzip.compress(self.LINE * 20_000),
        ):
            read = 0
            with pytest.raises(MalformedRequest, match="слишком велик"):  # noqa: PT012
                for _ in rostelecom_history.rows(io.BytesIO(packed), max_unpacked=1_000_000):
                    read += 1
            assert read <= 1_000_000 // len(self.LINE)

    def test_a_download_without_end_is_stopped(self) -> None:
        chunks = (b"x" * 1024 * 1024 for _ in range(1000))
        with (
            rostelecom_history.new_file() as file,
            pytest.raises(MalformedRequest, match="слишком велик"),
        ):
            rostelecom_history.fill(file, chunks)
        assert len(list(chunks)) > 900

    def test_a_locked_archive_is_damaged(self) -> None:
        packed = bytearray(zipped(self.LINE))
        packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
        packed[packed.rindex(b"PK\x03\x04") + 6] |= 1
        with pytest.raises(MalformedRequest, match="повреждён"):
            list(rostelecom_history.rows(io.BytesIO(packed)))

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_a_damaged_file_gives_rows_or_words(self, data: st.DataObject) -> None:
        whole = data.draw(st.sampled_from([zipped(self.LINE), gzip.compress(self.LINE)]))
        at = data.draw(st.integers(0, len(whole) - 1))
        file = io.BytesIO(whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :])
        with suppress(MalformedRequest):
            assert all(isinstance(item, dict) for item in rostelecom_history.rows(file))


class TestRecordings:
    REF = RecordingRef(recording_ref="SDtest01-0001")

    def linked(self, link: str, file: Answer = HTML) -> FakeRostelecom:
        return FakeRostelecom(
            get_record=always(said({"result": "0", "url": link})), file=always(file)
        )

    def test_the_one_time_link_is_asked_for_and_followed_at_once(self) -> None:
        fake = self.linked("/records/once?token=abc", Answer(200, MP3, "audio/mpeg"))
        with connected(fake) as operator:
            with operator.fetch_recording(self.REF) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.asked == [("get_record", {"session_id": "SDtest01-0001"})]

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://api.cloudpbx.rt.ru.evil.example/1.mp3",
            "https://evil.example/api.cloudpbx.rt.ru",
            "file:///etc/passwd",
            "ftp://api.cloudpbx.rt.ru/1.mp3",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        with (
            connected(self.linked(link)) as operator,
            pytest.raises(OperatorError, match="чужой") as caught,
        ):
            operator.fetch_recording(self.REF)
        assert caught.value.permanent

    @pytest.mark.parametrize("answer", [said({"result": "9"}), said({"result": 0, "url": ""})])
    def test_a_recording_not_there_yet_is_asked_later(self, answer: Answer) -> None:
        with (
            connected(FakeRostelecom(get_record=always(answer))) as operator,
            pytest.raises(RecordingNotReady) as caught,
        ):
            operator.fetch_recording(self.REF)
        assert (caught.value.permanent, caught.value.retry_after) == (False, timedelta(seconds=30))

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [(said({}, 401), True), (said({}, 429), False), (said({}, 500), False), (HTML, False)],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        with (
            connected(FakeRostelecom(get_record=always(answer))) as operator,
            pytest.raises(OperatorError) as caught,
        ):
            operator.fetch_recording(self.REF)
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize("file", [HTML, Answer(404), said({"result": 1})])
    def test_a_page_instead_of_sound_is_not_stored(self, file: Answer) -> None:
        with (
            connected(self.linked("/records/once", file)) as operator,
            pytest.raises(OperatorError) as caught,
        ):
            operator.fetch_recording(self.REF)
        assert not caught.value.permanent

    def test_without_an_id_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="идентификатора"):
            rostelecom().fetch_recording(RecordingRef(recording_url="https://evil.example/1.mp3"))


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def test_the_published_notice(self) -> None:
        body = (FOREIGN / "call_events_disconnected_outbound.json").read_bytes()
        sign = (FOREIGN / "call_events_disconnected_outbound.sign").read_text("ascii").strip()
        request = inbound("call_events", body.decode(), **{"X-Client-Sign": sign})
        rostelecom().verify(request)
        (event,) = rostelecom().parse(request)
        assert (event.kind, event.direction) == (CallKind.LEG_ENDED, Direction.OUT)
        assert (event.provider_call_id, event.extension) == ("1674-aFEQBQE", "201")
        assert event.client_number == "78912345678"
        assert event.occurred_at == datetime(2020, 5, 12, 7, 46, 56, 725000, tzinfo=UTC)

    def test_the_example_of_the_manual(self) -> None:
        case = json.loads((FOREIGN / "signature_manual_v75.json").read_text("utf-8"))
        body = case["body"].encode()
        assert signature(case["client_id"], body, case["client_key"]) == case["sign"]
