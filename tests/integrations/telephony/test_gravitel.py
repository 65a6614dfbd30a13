"""Gravitel (current API) against what is known of it and a server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Capability,
    ClickToCall,
    Direction,
    KnownCaller,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.gravitel import HISTORY_LIMIT, Gravitel
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)

FOREIGN = FOREIGN_SAMPLES / "gravitel"
API_KEY = "api-key-0123456789abcdef"
WEBHOOK_KEY = "webhook-key-fedcba9876543210"
SETTINGS = {"domain": "agency.aicall.ru", "api_key": API_KEY, "webhook_key": WEBHOOK_KEY}
MP3 = b"ID3" + bytes(range(256)) * 100
LINK = "https://records.aicall.ru/agency/3f5a.mp3"
EVENT = {
    "id": "3f5a",
    "direction": "in",
    "stage": "alerting",
    "client": "79000000001",
    "extension": "101",
    "phone": "74950000010",
}
HISTORY = {
    "id": "3f5a",
    "when": 1772439631,
    "direction": "in",
    "result": "success",
    "duration": 90,
    "provision": 10,
    "client": "79000000001",
    "extension": "101",
    "phone": "74950000010",
    "record": LINK,
}
ROW = {
    "id": "3f5a",
    "type": "in",
    "account": "101",
    "client": "79000000001",
    "via": "74950000010",
    "start": "2026-03-02T08:20:31Z",
    "wait": 10,
    "duration": 90,
    "record": LINK,
}
STARTED = datetime(2026, 3, 2, 8, 20, 31, tzinfo=UTC)


def gravitel(**changed: str) -> Gravitel:
    return Gravitel(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(tail: str, value: Any, key: str = WEBHOOK_KEY) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail=tail,
        query={},
        headers={"Content-Type": "application/json", "x-api-key": key},
        body=value if isinstance(value, bytes) else json.dumps(value).encode(),
        remote_addr="192.0.2.1",
        received_at=NOW,
        token=TOKEN,
    )


def parsed(tail: str, value: Any) -> list[CallEvent]:
    return gravitel().parse(inbound(tail, value))


def only(tail: str, value: Any) -> CallEvent:
    (event,) = parsed(tail, value)
    return event


class FakeGravitel:
    """Checks the key and the domain as the operator does, then answers from a table of paths."""

    def __init__(self, **answers: Callable[[Asked], Answer]) -> None:
        self.answers = answers
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.headers.get("X-API-KEY") != API_KEY:
            return Answer(401, b"Unauthorized", "text/plain")
        path = asked.path.split("?")[0].removeprefix("/v1/agency.aicall.ru/")
        return self.answers[path.strip("/").replace("/", "_").replace(".", "_")](asked)

    @property
    def orders(self) -> list[dict[str, Any]]:
        return [json.loads(asked.body) for asked in self.asked]


def said(value: Any, status: int = 200) -> Callable[[Asked], Answer]:
    return lambda _: Answer(status, json.dumps(value).encode())


@contextmanager
def connected(fake: FakeGravitel, **changed: str) -> Iterator[Gravitel]:
    with serving(fake) as base:
        values = {**SETTINGS, "api_base": f"{base}/v1", **changed}
        yield Gravitel(7, values, PlainClient(), webhook_token=TOKEN)


class TestGravitelConformance(OperatorConformance):
    operator_class = Gravitel
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
        row = {
            **ROW,
            "id": f"sim-{scenario.call_key}",
            "type": "in" if scenario.answered else "missed",
            "client": scenario.client_number,
            "start": scenario.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "duration": int(scenario.talk.total_seconds()) if scenario.answered else 0,
            "record": "",
        }
        with connected(FakeGravitel(history=said([row]))) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestSender:
    def test_the_header_must_hold_the_key_of_events(self) -> None:
        gravitel().verify(inbound("event", EVENT))
        for wrong in ("", API_KEY, WEBHOOK_KEY + "x", "ключ"):
            with pytest.raises(WebhookRejected):
                gravitel().verify(inbound("event", EVENT, key=wrong))

    def test_an_unset_key_proves_nothing(self) -> None:
        with pytest.raises(WebhookRejected, match="не заполнен"):
            gravitel(webhook_key="").verify(inbound("event", EVENT, key=""))


class TestEvents:
    def test_an_employee_rings(self) -> None:
        event = only("event", EVENT)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert (event.extension, event.employee_key) == ("101", "101")
        assert (event.provider_call_id, event.event_id) == ("3f5a", "event:3f5a:alerting:101")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)
        assert not event.final

    @pytest.mark.parametrize(
        ("stage", "kind"),
        [
            ("talking", CallKind.ANSWERED),
            ("Talking", CallKind.ANSWERED),
            ("released", CallKind.LEG_ENDED),
            ("teleported", CallKind.UNKNOWN),
        ],
    )
    def test_other_stages(self, stage: str, kind: CallKind) -> None:
        assert only("event", {**EVENT, "stage": stage}).kind is kind

    def test_an_outgoing_call(self) -> None:
        event = only("event", {**EVENT, "direction": "out"})
        assert (event.direction, event.client_number) == (Direction.OUT, "79000000001")

    def test_a_call_between_employees_has_no_client(self) -> None:
        event = only("event", {**EVENT, "client": "102"})
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    def test_numbers_for_texts_and_capitals_in_names_are_read(self) -> None:
        value = {name.title(): item for name, item in EVENT.items()}
        event = only("event", {**value, "Id": 71, "Extension": 101, "Client": "8 (900) 000-00-01"})
        assert (event.provider_call_id, event.extension) == ("71", "101")
        assert event.client_number == "79000000001"

    def test_what_is_absent_stays_unknown(self) -> None:
        event = only("event", {"id": "3f5a", "stage": "released", "extension": 0})
        assert (event.direction, event.client_number, event.extension) == (None, None, None)

    def test_each_employee_of_a_group_rings_by_an_event_of_its_own(self) -> None:
        first, second = (only("event", {**EVENT, "extension": number}) for number in ("101", "102"))
        assert first.provider_call_id == second.provider_call_id
        assert first.event_id != second.event_id

    def test_every_address_is_taken(self) -> None:
        for tail in ("event", "/event/", "prefix/EVENT", ""):
            assert only(tail, EVENT).kind is CallKind.RINGING
        for tail in ("history", ""):
            assert parsed(tail, HISTORY)[0].kind is CallKind.ENDED
        for tail in ("", "of-next-year"):
            assert only(tail, {"id": "3f5a"}).kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        ("tail", "value"),
        [
            ("event", b""),
            ("event", b"[]"),
            ("event", {**EVENT, "id": None}),
            ("event", {**EVENT, "id": "9" * 200}),
            ("history", {**HISTORY, "id": ""}),
            ("history", {**HISTORY, "when": 99999999999999}),
            ("history", {**HISTORY, "when": "yesterday"}),
            ("history", {**HISTORY, "when": "9999-12-31T23:59:59Z", "provision": 604800}),
            ("history", {**HISTORY, "when": "0001-01-01T00:00:00+14:00"}),
        ],
    )
    def test_an_impossible_notice_is_malformed(self, tail: str, value: Any) -> None:
        with pytest.raises(MalformedRequest):
            parsed(tail, value)


def test_a_call_nobody_took_is_over_when_all_telephones_are_silent() -> None:
    assert gravitel().ends_by_legs


class TestFinalRecord:
    def test_an_answered_call_and_its_recording(self) -> None:
        final, recording = parsed("history", HISTORY)
        assert (final.kind, final.result, final.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (final.talk, final.duration_total) == (90, 100)
        assert final.started_at == STARTED
        assert final.answered_at == STARTED + timedelta(seconds=10)
        assert final.ended_at == final.occurred_at == STARTED + timedelta(seconds=100)
        assert (final.client_number, final.line_number) == ("79000000001", "74950000010")
        assert (final.extension, final.recording_url) == ("101", None)
        assert (recording.kind, recording.recording_url) == (CallKind.RECORDING_READY, LINK)
        assert (recording.provider_call_id, recording.final) == ("3f5a", False)

    @pytest.mark.parametrize(
        ("result", "expected"),
        [
            ("missed", CallResult.NO_ANSWER),
            ("not_available", CallResult.FAILED),
            ("forbidden", CallResult.FAILED),
            ("BUSY", CallResult.BUSY),
            ("unknown", CallResult.UNKNOWN),
            ("of_next_year", CallResult.UNKNOWN),
        ],
    )
    def test_any_other_result_of_an_inbound_call_is_missed(
        self, result: str, expected: CallResult
    ) -> None:
        value = {**HISTORY, "result": result, "duration": 0, "record": ""}
        event = only("history", value)
        assert (event.kind, event.result, event.talk) == (CallKind.MISSED, expected, 0)
        assert (event.answered_at, event.duration_total) == (None, 10)
        outgoing = only("history", {**value, "direction": "out"})
        assert (outgoing.kind, outgoing.result) == (CallKind.ENDED, expected)
        inner = only("history", {**value, "client": "102"})
        assert (inner.kind, inner.direction) == (CallKind.ENDED, Direction.INTERNAL)

    def test_the_time_in_a_menu_is_no_talk_of_a_missed_call(self) -> None:
        event = only("history", {**HISTORY, "result": "missed", "duration": 40, "record": ""})
        assert (event.kind, event.talk) == (CallKind.MISSED, 0)

    def test_a_talk_without_a_known_result_is_an_answer(self) -> None:
        event = only("history", {**HISTORY, "result": "unknown", "record": ""})
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.ANSWERED)

    @pytest.mark.parametrize(
        "when",
        [
            "1772439631",
            1772439631.0,
            "2026-03-02T08:20:31Z",
            "2026-03-02T11:20:31+03:00",
            "2026-03-02T08:20:31",
        ],
    )
    def test_the_start_is_read_in_several_forms(self, when: object) -> None:
        assert parsed("history", {**HISTORY, "when": when})[0].started_at == STARTED

    def test_without_times_the_receipt_stands_in(self) -> None:
        value = {"id": "3f5a", "direction": "in", "result": "missed"}
        event = only("history", value)
        assert (event.kind, event.occurred_at) == (CallKind.MISSED, NOW)
        assert (event.occurred_at_is_receipt, event.started_at) == (True, None)

    def test_a_recording_that_comes_late_is_the_only_new_event(self) -> None:
        (first,) = parsed("history", {**HISTORY, "record": ""})
        again, recording = parsed("history", HISTORY)
        assert again.event_id == first.event_id
        assert recording.event_id != first.event_id

    def test_a_record_that_knows_more_is_a_new_event(self) -> None:
        first, longer = (parsed("history", {**HISTORY, "duration": n})[0] for n in (90, 91))
        assert first.event_id != longer.event_id

    def test_the_notice_and_the_list_tell_the_same(self) -> None:
        with connected(FakeGravitel(history=said([ROW]))) as operator:
            listed = list(operator.history(STARTED, STARTED + timedelta(hours=1)))
        told = parsed("history", HISTORY)
        assert [event.event_id for event in listed] == [event.event_id for event in told]
        assert [replace(event, raw="") for event in listed] == [
            replace(event, raw="") for event in told
        ]


class TestWhoCalls:
    QUESTION = {"id": "3f5a", "clientPhone": "+7 900 000-00-01", "phone": "74950000010"}

    @pytest.mark.parametrize("name", ["clientPhone", "client", "ClientPhone"])
    def test_the_number_is_found_under_its_known_names(self, name: str) -> None:
        request = inbound("client", {"id": "3f5a", name: "79000000001"})
        assert gravitel().caller_question(request) == "79000000001"
        assert gravitel().parse(request) == []

    def test_nothing_else_asks(self) -> None:
        operator = gravitel()
        assert operator.caller_question(inbound("event", self.QUESTION)) is None
        assert operator.caller_question(inbound("client", b"{")) is None
        assert operator.caller_question(inbound("client", {"id": "1"})) is None

    def test_the_answer_uses_the_names_of_the_settings(self) -> None:
        caller = KnownCaller(name="Анна", responsible_extension="101")
        request = inbound("client", self.QUESTION)
        reply = gravitel().reply(request, caller)
        assert json.loads(reply.body) == {"contact_name": "Анна", "responsible": "101"}
        assert (reply.status, reply.content_type) == (200, "application/json")
        other = gravitel(name_fields="title, name", responsible_fields="extension")
        assert json.loads(other.reply(request, caller).body) == {
            "title": "Анна",
            "name": "Анна",
            "extension": "101",
        }

    def test_a_stranger_gets_an_empty_answer(self) -> None:
        for caller in (None, KnownCaller()):
            assert json.loads(gravitel().reply(inbound("client", self.QUESTION), caller).body) == {}
        assert json.loads(gravitel().reply(inbound("event", EVENT)).body) == {"status": "ok"}


CALL = ClickToCall(
    extension="101", number="79000000001", request_id="crm-42", line_number="74950000010"
)


class TestClickToCall:
    COMMAND = (
        'POST call/make?via={line} {"from": "{extension}", "to": "{number}", "ref": "{request}"}'
    )

    def test_without_a_command_there_is_no_button(self) -> None:
        assert Capability.CLICK_TO_CALL not in gravitel().capabilities
        assert Capability.CLICK_TO_CALL in gravitel(call_command="make").capabilities
        assert Capability.CLICK_TO_CALL not in Gravitel.capabilities

    def test_the_typed_command_is_sent(self) -> None:
        fake = FakeGravitel(call_make=said({"ok": True}))
        with connected(fake, call_command=self.COMMAND) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-42", None)
        assert (fake.asked[0].method, fake.asked[0].path) == (
            "POST",
            "/v1/agency.aicall.ru/call/make?via=74950000010",
        )
        assert fake.orders == [{"from": "101", "to": "79000000001", "ref": "crm-42"}]

    def test_a_command_may_be_only_an_address(self) -> None:
        fake = FakeGravitel(make=lambda _: Answer(200, b""))
        with connected(fake, call_command="GET /make?a={extension}&b={number}") as operator:
            operator.place_call(replace(CALL, extension="1/&"))
        assert fake.asked[0].method == "GET"
        assert fake.asked[0].path.endswith("/make?a=1%2F%26&b=79000000001")

    @pytest.mark.parametrize("command", ['POST make {"a": }', "make and more", "{}"])
    def test_a_wrong_command_is_told(self, command: str) -> None:
        with pytest.raises(OperatorError, match="с ошибкой") as caught:
            gravitel(call_command=command).place_call(CALL)
        assert caught.value.permanent

    def test_a_refusal_under_a_successful_status_is_no_success(self) -> None:
        fake = FakeGravitel(make=said({"error": "Invalid parameters"}))
        with (
            connected(fake, call_command="make") as operator,
            pytest.raises(OperatorError, match="отказала") as caught,
        ):
            operator.place_call(CALL)
        assert caught.value.permanent

    def test_a_page_is_no_success(self) -> None:
        fake = FakeGravitel(make=lambda _: Answer(200, b"<html>", "text/html"))
        with connected(fake, call_command="make") as operator, pytest.raises(OperatorError):
            operator.place_call(CALL)


REFUSALS = [
    (Answer(401, b"Bad key", "text/plain"), True, "не приняты"),
    (Answer(403), True, "не приняты"),
    (Answer(404), True, "отклонён"),
    (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
    (Answer(500), False, "временная ошибка"),
    (Answer(502, b"<html>", "text/html"), False, "временная ошибка"),
    (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
    (Answer(200, b'{"rows": []}'), False, "вместо списка"),
    (Answer(200, b"[1]"), False, "строка ответа"),
]


class TestLists:
    def test_employees(self) -> None:
        rows = [{"extension": "101", "name": "Анна"}, {"extension": 102}, {"name": "без номера"}]
        with connected(FakeGravitel(accounts=said(rows))) as operator:
            found = operator.extensions()
            check = operator.check()
        assert [(item.number, item.name, item.employee_key) for item in found] == [
            ("101", "Анна", "101"),
            ("102", "102", "102"),
        ]
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 2")

    def test_lines(self) -> None:
        rows = [{"number": "+7 495 000-00-10", "name": "Сайт"}, {"number": "", "name": "нет"}]
        with connected(FakeGravitel(numbers=said(rows))) as operator:
            assert [(line.number, line.name) for line in operator.lines()] == [
                ("74950000010", "Сайт")
            ]

    def test_the_domain_may_be_pasted_as_an_address(self) -> None:
        fake = FakeGravitel(accounts=said([]))
        with connected(fake, domain="https://agency.aicall.ru/") as operator:
            assert operator.extensions() == []
        assert fake.asked[0].path == "/v1/agency.aicall.ru/accounts"

    @pytest.mark.parametrize(("answer", "permanent", "words"), REFUSALS)
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeGravitel(accounts=lambda _: answer, history=lambda _: answer)
        with connected(fake) as operator:
            for ask in (operator.extensions, lambda: list(operator.history(STARTED, NOW))):
                with pytest.raises(OperatorError, match=words) as caught:
                    ask()
                assert caught.value.permanent is permanent
                assert caught.value.provider == "Гравител"

    def test_the_pause_of_a_busy_server_is_kept(self) -> None:
        busy = Answer(429, b"", headers={"Retry-After": "3"})
        fake = FakeGravitel(numbers=lambda _: busy)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.lines()
        assert caught.value.retry_after == timedelta(seconds=3)

    def test_a_wrong_key_is_told_without_showing_it(self) -> None:
        def answer(asked: Asked) -> Answer:
            return Answer(400, f"{asked.headers['X-API-KEY']} {WEBHOOK_KEY}".encode(), "text/plain")

        fake = FakeGravitel(accounts=answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.extensions()
        shown = f"{caught.value} {caught.value!r}"
        assert "HTTP 400" in shown
        assert API_KEY not in shown
        assert WEBHOOK_KEY not in shown

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeGravitel()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.extensions()
        assert not caught.value.permanent


def row(number: int, moment: datetime) -> dict[str, Any]:
    return {**ROW, "id": f"call-{number}", "start": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}


class TestHistory:
    def test_rows_become_final_events(self) -> None:
        rows = [
            {**ROW, "record": None},
            {**ROW, "id": "m", "type": "missed", "duration": 0, "record": ""},
            {**ROW, "id": "n", "type": "in", "duration": 0, "record": ""},
            {**ROW, "id": "o", "type": "out", "duration": 0, "record": ""},
            {**ROW, "id": "i", "type": "internal", "client": "102", "record": ""},
        ]
        with connected(FakeGravitel(history=said(rows))) as operator:
            events = list(operator.history(STARTED, STARTED + timedelta(hours=2)))
        assert all(event.final for event in events)
        assert [(event.kind, event.direction, event.result) for event in events] == [
            (CallKind.ENDED, Direction.IN, CallResult.ANSWERED),
            (CallKind.MISSED, Direction.IN, CallResult.NO_ANSWER),
            (CallKind.MISSED, Direction.IN, CallResult.NO_ANSWER),
            (CallKind.ENDED, Direction.OUT, CallResult.NO_ANSWER),
            (CallKind.ENDED, Direction.INTERNAL, CallResult.ANSWERED),
        ]

    def test_a_row_without_a_length_does_not_claim_that_nobody_talked(self) -> None:
        rows = [{name: item for name, item in ROW.items() if name not in ("duration", "record")}]
        with connected(FakeGravitel(history=said(rows))) as operator:
            (event,) = operator.history(STARTED, STARTED + timedelta(hours=1))
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, None, None)

    def test_it_asks_for_a_day_at_a_time(self) -> None:
        fake = FakeGravitel(history=said([]))
        moscow = datetime.fromisoformat("2026-03-02T11:20:31+03:00")
        with connected(fake) as operator:
            assert list(operator.history(moscow, moscow + timedelta(hours=30))) == []
        assert [asked.method for asked in fake.asked] == ["POST", "POST"]
        assert fake.orders == [
            {
                "start": "2026-03-02T08:20:31Z",
                "end": "2026-03-03T08:20:31Z",
                "type": "all",
                "limit": HISTORY_LIMIT,
            },
            {
                "start": "2026-03-03T08:20:31Z",
                "end": "2026-03-03T14:20:31Z",
                "type": "all",
                "limit": HISTORY_LIMIT,
            },
        ]

    def test_a_full_answer_is_asked_again_in_halves(self) -> None:
        rows = [row(number, STARTED + timedelta(minutes=number)) for number in range(250)]

        def answer(asked: Asked) -> Answer:
            order = json.loads(asked.body)
            found = [item for item in rows if order["start"] <= item["start"] < order["end"]]
            return Answer(200, json.dumps(found[: order["limit"]]).encode())

        fake = FakeGravitel(history=answer)
        with connected(fake) as operator:
            events = list(operator.history(STARTED, STARTED + timedelta(hours=5)))
        ids = [event.provider_call_id for event in events if event.final]
        assert ids == [f"call-{number}" for number in range(250)]
        assert len(fake.asked) == 7

    def test_an_answer_that_is_always_full_is_a_failure(self) -> None:
        rows = [row(number, STARTED) for number in range(HISTORY_LIMIT)]
        fake = FakeGravitel(history=said(rows))
        with connected(fake) as operator, pytest.raises(OperatorError, match="больше") as caught:
            list(operator.history(STARTED, STARTED + timedelta(seconds=8)))
        assert not caught.value.permanent

    @pytest.mark.parametrize("broken", [{}, {"id": "1", "start": "?"}, None, []])
    def test_a_broken_row_is_a_failure(self, broken: Any) -> None:
        fake = FakeGravitel(history=said([ROW, broken]))
        with connected(fake) as operator, pytest.raises(OperatorError, match="строка ответа"):
            list(operator.history(STARTED, NOW))


class TestRecordings:
    def test_the_file_is_asked_for_with_the_key(self) -> None:
        fake = FakeGravitel(records_1_mp3=lambda _: Answer(200, MP3, "audio/mpeg"))
        with connected(fake) as operator:
            link = operator.credential("api_base").removesuffix("/v1") + "/records/1.mp3"
            with operator.fetch_recording(RecordingRef(recording_url=link)) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.asked[0].headers["X-API-KEY"] == API_KEY

    @pytest.mark.parametrize(
        ("answer", "permanent", "kind"),
        [
            (Answer(404), False, RecordingNotReady),
            (Answer(403), True, OperatorError),
            (Answer(429), False, OperatorError),
            (Answer(500), False, OperatorError),
            (Answer(200, b"<html>", "text/html"), False, OperatorError),
        ],
    )
    def test_other_answers_are_failures(
        self, answer: Answer, permanent: bool, kind: type[OperatorError]
    ) -> None:
        with connected(FakeGravitel(records_1_mp3=lambda _: answer)) as operator:
            link = operator.credential("api_base").removesuffix("/v1") + "/records/1.mp3"
            with pytest.raises(kind) as caught:
                operator.fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "http://records.aicall.ru/1.mp3",
            "https://records.aicall.ru.evil.example/1.mp3",
            "https://evil.aicall.ru/1.mp3",
            "file:///etc/passwd",
            "//",
        ],
    )
    def test_the_key_never_goes_to_another_host(self, link: str) -> None:
        with pytest.raises(OperatorError, match="чужой") as caught:
            gravitel().fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent

    def test_without_an_address_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="нет адреса"):
            gravitel().fetch_recording(RecordingRef(recording_ref="3f5a"))


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
def test_a_foreign_notice_becomes_a_whole_call() -> None:
    body = (FOREIGN / "rest_history_webhook.json").read_bytes()
    final, recording = parsed("history", body)
    assert (final.kind, final.result, final.talk) == (CallKind.ENDED, CallResult.ANSWERED, 120)
    assert (final.provider_call_id, final.extension) == ("abc123", "701")
    assert (final.client_number, final.line_number) == ("79991234567", "74951112233")
    assert final.started_at == datetime(2024, 3, 13, 14, 0, tzinfo=UTC)
    assert final.duration_total == 125
    assert recording.recording_url == "https://records.aicall.ru/test/abc123.mp3"
