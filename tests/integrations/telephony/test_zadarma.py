"""Zadarma and Novofon against their reference, and against a server that behaves like them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import zadarma_events, zadarma_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    ClickToCall,
    Direction,
    KnownCaller,
    Line,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.zadarma import Zadarma, request_signature, signature
from tests.integrations.fake_http import (
    Answer,
    Asked,
    NoNetwork,
    PlainClient,
    PlainResponse,
    serving,
)
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)

FOREIGN = FOREIGN_SAMPLES / "zadarma"
KEY = "fedcba98765432100123"
SECRET = "0123456789abcdef0123"
SETTINGS = {"user_key": KEY, "secret": SECRET}
IN_ID = "in_0f1e2d3c4b5a69788796a5b4c3d2e1f0a1b2c3d4"
OUT_ID = "out_11223344556677889900aabbccddeeff00112233"
PART = "1767258000.123456"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")

START = (
    "event=NOTIFY_START&call_start=2026-01-01+12%3A00%3A00&pbx_call_id=" + IN_ID + "&"
    "caller_id=79001112233&called_did=74950001122"
)
INTERNAL = START.replace("NOTIFY_START", "NOTIFY_INTERNAL") + "&internal=101"
ANSWER = (
    "event=NOTIFY_ANSWER&caller_id=79001112233&destination=101&"
    f"call_start=2026-01-01+12%3A00%3A00&pbx_call_id={IN_ID}&internal=101"
)
END = START.replace("NOTIFY_START", "NOTIFY_END") + (
    "&internal=101&duration=90&disposition=answered&status_code=16&is_recorded=1"
    f"&call_id_with_rec={PART}"
)
RECORD = f"event=NOTIFY_RECORD&call_id_with_rec={PART}&pbx_call_id={IN_ID}"
OUT_START = (
    f"event=NOTIFY_OUT_START&call_start=2026-01-01+12%3A10%3A00&pbx_call_id={OUT_ID}&"
    "destination=79001112233&internal=101"
)
OUT_END = (
    f"event=NOTIFY_OUT_END&call_start=2026-01-01+12%3A10%3A00&pbx_call_id={OUT_ID}&"
    "caller_id=74950001122&destination=79001112233&internal=101&duration=0&"
    "disposition=no+answer&status_code=19&is_recorded=0"
)


class QuickZadarma(Zadarma):
    """Does not wait between questions about the statistics."""

    statistics_pause = timedelta(0)


class Loopback(PlainClient):
    """Goes to the local server only."""

    def request(self, method: str, url: str, **options: Any) -> PlainResponse:
        if urlsplit(url).hostname != "127.0.0.1":
            raise AssertionError(f"unexpected request {method} {url}")
        return super().request(method, url, **options)


def zadarma(**changed: str) -> QuickZadarma:
    return QuickZadarma(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(body: str, sign: str | None = None, **changed: str) -> InboundRequest:
    fields = dict(parse_qsl(body, keep_blank_values=True))
    fields |= changed
    names = zadarma_events.SIGNED.get(fields.get("event", ""), ())
    own = signature(SECRET, "".join(fields.get(name, "") for name in names))
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "signature": own if sign is None else sign,
        },
        body=urlencode(fields).encode(),
        remote_addr="185.45.152.42",
        received_at=NOW,
        token=TOKEN,
    )


def only(body: str, **changed: str) -> CallEvent:
    (event,) = zadarma().parse(inbound(body, **changed))
    return event


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


class FakeZadarma:
    """Checks the signature as the operator does, then answers from a table of paths."""

    def __init__(self, **answers: Callable[[dict[str, str]], Answer]) -> None:
        zone = {"status": "success", "unixtime": 1, "datetime": "", "timezone": "UTC+3"}
        self.answers = {"info_timezone": lambda _: said(zone), **answers}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def __call__(self, asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        if parts.path.startswith("/files/"):
            assert "Authorization" not in asked.headers
            return self.answers["file"]({})
        sign = request_signature(SECRET, parts.path, parts.query)
        if asked.headers.get("Authorization") != f"{KEY}:{sign}":
            return said({"status": "error", "message": "Not authorized"}, 401)
        params = dict(parse_qsl(parts.query))
        assert params.pop("format") == "json"
        assert parts.path.endswith("/")
        name = parts.path.removeprefix("/v1/").strip("/")
        self.asked.append((name, params))
        return self.answers[name.replace("/", "_")](params)


@contextmanager
def connected(fake: FakeZadarma, **changed: str) -> Iterator[QuickZadarma]:
    with serving(fake) as base:
        values = {**SETTINGS, "api_base": base, **changed}
        yield QuickZadarma(7, values, Loopback(), webhook_token=TOKEN)


def rows_answer(*rows: dict[str, Any]) -> Callable[[dict[str, str]], Answer]:
    return lambda _: said({"status": "success", "version": 2, "stats": list(rows)})


def row(**changed: Any) -> dict[str, Any]:
    base = {
        "call_id": PART,
        "sip": "101",
        "callstart": "2026-01-01 12:00:00",
        "clid": "79001112233",
        "destination": "101",
        "disposition": "answered",
        "seconds": 90,
        "is_recorded": True,
        "pbx_call_id": IN_ID,
    }
    return {**base, **changed}


def history(*rows: dict[str, Any]) -> list[CallEvent]:
    fake = FakeZadarma(statistics_pbx=rows_answer(*rows))
    with connected(fake) as operator:
        return list(operator.history(NOW - timedelta(days=1), NOW))


class TestZadarmaConformance(OperatorConformance):
    operator_class = Zadarma
    settings_of = SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        return history(
            row(
                call_id=zadarma_simulation.record_id(scenario),
                sip=scenario.extension,
                callstart=(scenario.started_at + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S"),
                clid=scenario.client_number,
                destination=scenario.extension,
                disposition="answered" if scenario.answered else "cancel",
                seconds=int((scenario.ended_at - scenario.answered_at).total_seconds()),
                is_recorded=scenario.answered,
                pbx_call_id=zadarma_simulation.call_id(scenario),
            )
        )

    def test_the_simulated_times_are_of_the_zone_of_the_settings(self) -> None:
        for zone in ("UTC+0", "UTC+3", "UTC+10"):
            operator = zadarma(timezone=zone)
            first = operator.simulate(self.scenario())[0].received(NOW, TOKEN)
            (event,) = operator.parse(first)
            assert event.occurred_at == NOW


VECTORS = {
    "79001112233749500011222026-01-01 12:00:00": (
        "OWVhOTI4MmUwZjY3MTg4YTJkYWU5NTM5YTEyMGI4Mzk2OTRjYTFjYw=="
    ),
    "790011122331012026-01-01 12:00:00": (
        "OGFlYjNiOTE5YTE4YWZkMWNhYTgwMTFhMTM5MzNhNDNhM2U4ZjdmMg=="
    ),
    "101790011122332026-01-01 12:10:00": (
        "MmJkM2U1M2Y2MGNjNWQyMjMxNzdhM2E0MTQxYmMzOGUzMDc2YzQzZA=="
    ),
    f"{IN_ID}1-1767258000.123456-101-2026-01-01-120000": (
        "YmIxOWEwMDE2M2ViMmE3ZmQ2MGUyNjNiNmViMmI3ZTM2OTVmYmVjMg=="
    ),
}
OF_RAW_BYTES = "nqkoLg9nGIotrpU5oSC4OWlMocw="


class TestSignature:
    @pytest.mark.parametrize(("text", "expected"), VECTORS.items())
    def test_it_equals_the_vectors(self, text: str, expected: str) -> None:
        assert signature(SECRET, text) == expected

    @pytest.mark.parametrize(
        ("path", "query", "expected"),
        [
            (
                "/v1/request/callback/",
                "format=json&from=101&to=79001112233",
                "M2FlNzY1Nzc5OTI4YTkyN2UwNDA0YTA3NjRjZTk5NGFhNWM4OWIyMw==",
            ),
            (
                "/v1/statistics/pbx/",
                "end=2026-01-01+23%3A59%3A59&format=json&start=2026-01-01+00%3A00%3A00&version=2",
                "NjI3M2I5MjA5NjBmNzVlMDY1NzNjMTI0ODZlNTA5NTYzMDY5MWIzNA==",
            ),
        ],
    )
    def test_our_own_requests_equal_the_vectors(self, path: str, query: str, expected: str) -> None:
        assert request_signature(SECRET, path, query) == expected

    @pytest.mark.parametrize(
        ("body", "vector"),
        [(START, 0), (ANSWER, 1), (OUT_START, 2), (RECORD.replace(PART, "1-" + PART), None)],
    )
    def test_the_fields_of_each_notice_are_signed(self, body: str, vector: int | None) -> None:
        request = inbound(body)
        zadarma().verify(request)
        if vector is not None:
            assert request.headers["Signature"] == list(VECTORS.values())[vector]

    @pytest.mark.parametrize("body", [START, INTERNAL, ANSWER, END, RECORD, OUT_START, OUT_END])
    @pytest.mark.parametrize("sign", ["", "x", "подпись", OF_RAW_BYTES])
    def test_a_forged_notice_is_rejected(self, body: str, sign: str) -> None:
        with pytest.raises(WebhookRejected, match="Подпись"):
            zadarma().verify(inbound(body, sign))

    def test_a_changed_field_breaks_the_signature(self) -> None:
        good = inbound(START)
        forged = inbound(START, good.headers["Signature"], caller_id="79001112234")
        with pytest.raises(WebhookRejected):
            zadarma().verify(forged)

    def test_absent_fields_are_signed_as_empty(self) -> None:
        body = "event=NOTIFY_OUT_START&destination=79001112233&call_start=2026-01-01+12%3A10%3A00"
        zadarma().verify(inbound(body, signature(SECRET, "790011122332026-01-01 12:10:00")))

    def test_a_multipart_body_is_read_too(self) -> None:
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in parse_qsl(START)
        )
        request = inbound(START)
        multipart = replace(
            request,
            headers={**request.headers, "content-type": "multipart/form-data; boundary=b"},
            body=f"{parts}--b--\r\n".encode(),
        )
        zadarma().verify(multipart)
        (event,) = zadarma().parse(multipart)
        assert event.client_number == "79001112233"

    def test_a_notice_without_a_document_passes_by_its_secret_address_only(self) -> None:
        request = inbound("event=NOTIFY_INTERNAL_END&internal=101", "")
        zadarma().verify(request)
        assert zadarma().parse(request) == []
        with pytest.raises(WebhookRejected):
            zadarma().verify(replace(request, token="wrong"))
        with pytest.raises(WebhookRejected, match="нет секрета"):
            Zadarma(7, SETTINGS, NoNetwork()).verify(request)
        with pytest.raises(WebhookRejected, match="Неизвестное"):
            zadarma().verify(inbound("internal=101", ""))


class TestEcho:
    def echo(self, value: str, **changed: Any) -> InboundRequest:
        request = replace(inbound(START), method="GET", headers={}, body=b"")
        return replace(request, query={"zd_echo": value}, **changed)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_check_of_the_cabinet_is_answered_with_its_value(self, method: str) -> None:
        request = self.echo("AbC123", method=method)
        zadarma().verify(request)
        assert zadarma().parse(request) == []
        assert zadarma().caller_question(request) is None
        reply = zadarma().reply(request)
        assert (reply.status, reply.body) == (200, b"AbC123")
        assert reply.content_type.startswith("text/plain")

    def test_it_is_answered_before_the_keys_are_filled_in(self) -> None:
        zadarma(user_key="", secret="").verify(self.echo("1"))

    def test_a_foreign_address_is_not_answered(self) -> None:
        with pytest.raises(WebhookRejected):
            zadarma().verify(self.echo("AbC123", token="wrong"))
        with pytest.raises(WebhookRejected):
            Zadarma(7, SETTINGS, NoNetwork()).verify(self.echo("AbC123", token=""))

    @pytest.mark.parametrize("value", ["", "<script>", "a" * 65, "a b", "эхо", "a\n"])
    def test_only_short_plain_text_is_echoed(self, value: str) -> None:
        with pytest.raises(WebhookRejected):
            zadarma().verify(self.echo(value))
        assert zadarma().reply(self.echo(value)).body == b""

    def test_an_echo_does_not_replace_a_signature(self) -> None:
        with pytest.raises(WebhookRejected, match="Подпись"):
            zadarma().verify(replace(inbound(START, "x"), query={"zd_echo": "1"}))


class TestWhoCalls:
    def test_a_call_that_reached_the_pbx_asks(self) -> None:
        assert zadarma().caller_question(inbound(START)) == "79001112233"
        assert zadarma().caller_question(inbound(START, caller_id="+7 900 111-22-33")) == (
            "79001112233"
        )
        assert zadarma().caller_question(inbound(START, caller_id="anonymous")) is None

    @pytest.mark.parametrize("body", [INTERNAL, ANSWER, END, RECORD, OUT_START, OUT_END])
    def test_other_notices_do_not(self, body: str) -> None:
        assert zadarma().caller_question(inbound(body)) is None

    def test_the_name_is_shown(self) -> None:
        known = KnownCaller(name="Анна, сделка 15", responsible_extension="101")
        reply = zadarma().reply(inbound(START), known)
        assert reply.content_type == "application/json"
        assert json.loads(reply.body) == {"caller_name": "Анна, сделка 15"}

    def test_the_call_is_led_to_the_responsible_when_the_agency_wants_it(self) -> None:
        known = KnownCaller(name="Анна", responsible_extension="101")
        reply = zadarma(steering="route").reply(inbound(START), known)
        assert json.loads(reply.body) == {
            "caller_name": "Анна",
            "redirect": "101",
            "return_timeout": 15,
        }
        stranger = KnownCaller(responsible_extension="blacklist")
        assert zadarma(steering="route").reply(inbound(START), stranger) == Reply()

    def test_about_strangers_nothing_is_said(self) -> None:
        assert zadarma().reply(inbound(START), KnownCaller()) == Reply()
        assert zadarma().reply(inbound(START)) == Reply()


class TestEvents:
    def test_a_call_reached_the_pbx(self) -> None:
        event = only(START)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert (event.provider_call_id, event.extension, event.final) == (IN_ID, None, False)
        assert event.occurred_at == event.started_at == utc("2026-01-01 09:00:00")
        assert not event.occurred_at_is_receipt
        assert event.event_id == f"NOTIFY_START:{IN_ID}::"

    def test_the_time_is_of_the_zone_of_the_settings(self) -> None:
        (event,) = zadarma(timezone="UTC+10").parse(inbound(START))
        assert event.occurred_at == utc("2026-01-01 02:00:00")

    def test_an_extension_rings_at_the_time_of_receipt(self) -> None:
        event = only(INTERNAL)
        assert (event.kind, event.extension, event.employee_key) == (
            CallKind.RINGING,
            "101",
            "101",
        )
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)
        assert event.started_at == utc("2026-01-01 09:00:00")

    def test_each_extension_of_a_group_is_an_event(self) -> None:
        assert only(INTERNAL).event_id != only(INTERNAL, internal="102").event_id

    def test_an_employee_answers(self) -> None:
        event = only(ANSWER)
        assert (event.kind, event.direction) == (CallKind.ANSWERED, Direction.IN)
        assert (event.client_number, event.extension) == ("79001112233", "101")
        assert event.occurred_at == NOW

    def test_the_destination_names_the_extension_when_nothing_else_does(self) -> None:
        assert only(ANSWER, internal="").extension == "101"

    def test_a_scenario_that_answers_is_nobody(self) -> None:
        for destination in ("0-1", "0-main", ""):
            request = inbound(ANSWER, internal="", destination=destination)
            zadarma().verify(request)
            assert zadarma().parse(request) == []
        outside = only(ANSWER, internal="", destination="79161112233")
        assert (outside.kind, outside.extension) == (CallKind.ANSWERED, None)

    def test_an_answer_without_the_prefix_is_read_by_its_sides(self) -> None:
        assert only(ANSWER, pbx_call_id="x").direction is Direction.IN
        outgoing = only(ANSWER, pbx_call_id="x", caller_id="101", destination="79001112233")
        assert (outgoing.direction, outgoing.client_number) == (Direction.OUT, "79001112233")
        unclear = only(ANSWER, pbx_call_id="x", destination="79161112233")
        assert unclear.direction is None

    def test_the_client_answers_an_outgoing_call(self) -> None:
        event = only(ANSWER, pbx_call_id=OUT_ID, caller_id="74950001122", destination="79001112233")
        assert (event.kind, event.direction) == (CallKind.ANSWERED, Direction.OUT)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")

    def test_an_answered_call_is_over_and_its_recording_is_named(self) -> None:
        event = only(END)
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.talk, event.duration_total, event.extension) == (90, None, "101")
        assert (event.recording_ref, event.alias_call_ids) == (PART, (PART,))

    @pytest.mark.parametrize(
        ("disposition", "result"),
        [
            ("no answer", CallResult.NO_ANSWER),
            ("busy", CallResult.BUSY),
            ("cancel", CallResult.CANCELLED),
            ("failed", CallResult.FAILED),
            ("no money, no limit", CallResult.FAILED),
            ("Unallocated Number", CallResult.FAILED),
        ],
    )
    def test_any_other_end_of_an_inbound_call_is_missed(
        self, disposition: str, result: CallResult
    ) -> None:
        event = only(END, disposition=disposition, duration="0", is_recorded="0")
        assert (event.kind, event.result, event.talk) == (CallKind.MISSED, result, 0)
        assert event.recording_ref is None

    def test_an_answering_machine_is_no_employee(self) -> None:
        event = only(END, internal="")
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.talk, event.duration_total) == (None, 90)
        assert event.recording_ref == PART

    def test_an_end_that_does_not_tell_how_decides_nothing(self) -> None:
        event = only(END, disposition="")
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, None, None)

    def test_a_recording_without_its_id_is_asked_by_the_call(self) -> None:
        assert only(END, call_id_with_rec="").recording_ref == IN_ID

    def test_a_recording_is_made(self) -> None:
        event = only(RECORD)
        assert (event.kind, event.recording_ref) == (CallKind.RECORDING_READY, PART)
        assert (event.provider_call_id, event.direction, event.final) == (IN_ID, None, False)

    def test_an_outgoing_call(self) -> None:
        event = only(OUT_START)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.OUT)
        assert (event.client_number, event.extension) == ("79001112233", "101")
        assert (event.line_number, event.occurred_at) == (None, utc("2026-01-01 09:10:00"))
        assert only(OUT_START, caller_id="+74950001122").line_number == "74950001122"

    def test_an_unsuccessful_outgoing_call_is_ended_not_missed(self) -> None:
        event = only(OUT_END)
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.NO_ANSWER,
            True,
        )
        assert (event.line_number, event.talk) == ("74950001122", 0)

    def test_the_employees_part_of_an_ordered_call_is_no_conversation(self) -> None:
        assert zadarma().parse(inbound(OUT_END, calltype="callback_leg1")) == []
        assert only(OUT_END, calltype="callback_leg2").final

    def test_a_call_between_employees_has_no_client(self) -> None:
        event = only(OUT_START, destination="102")
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    def test_a_login_with_the_number_of_the_pbx_is_an_extension(self) -> None:
        assert only(INTERNAL, internal="654321-101").extension == "101"

    @pytest.mark.parametrize("caller", ["anonymous", "", "Restricted"])
    def test_a_hidden_number_is_no_number(self, caller: str) -> None:
        assert only(START, caller_id=caller).client_number is None

    @pytest.mark.parametrize("moment", ["", "вчера", "0001-01-01 00:00:00", "2026-13-01"])
    def test_an_unreadable_time_is_the_time_of_receipt(self, moment: str) -> None:
        event = only(START, call_start=moment)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)
        assert event.started_at is None

    def test_what_is_documented_but_not_about_calls_is_noise(self) -> None:
        ivr = inbound(START, event="NOTIFY_IVR", wait_dtmf="1")
        zadarma().verify(ivr)
        assert zadarma().parse(ivr) == []
        assert only("event=NOTIFY_NEXT_YEAR").kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        "body", ["", "internal=101", "event=NOTIFY_RECORD", START + "9" * 200 + "&pbx_call_id="]
    )
    def test_a_notice_without_its_essence_is_malformed_or_without_an_id(self, body: str) -> None:
        if body.startswith("event=NOTIFY_START"):
            assert only(body).provider_call_id == ""
            return
        with pytest.raises(MalformedRequest):
            zadarma().parse(inbound(body))

    def test_too_long_an_id_is_malformed(self) -> None:
        with pytest.raises(MalformedRequest):
            zadarma().parse(inbound(START, pbx_call_id="in_" + "9" * 200))


CALL = ClickToCall(extension="101", number="79001112233", request_id="crm-1")


class TestClickToCall:
    def test_it_is_ordered_and_no_id_comes_back(self) -> None:
        answer = {"status": "success", "from": "101", "to": "79001112233", "time": 1435573082}
        fake = FakeZadarma(request_callback=lambda _: said(answer))
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-1", None)
        assert fake.asked == [("request/callback", {"from": "101", "to": "79001112233"})]

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"status": "error", "message": "Wrong parameters"}), True, "Wrong parameters"),
            (said({"status": "error", "message": "Wrong"}, 400), True, "отклонён"),
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (said({}), False, "не выполнен"),
            (Answer(429, b""), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
            (said([1]), False, "не является объектом"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeZadarma(request_callback=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "Zadarma / Novofon"

    @pytest.mark.parametrize(("headers", "pause"), [({}, 60), ({"Retry-After": "7"}, 7)])
    def test_a_used_up_limit_says_when_to_come_again(
        self, headers: dict[str, str], pause: int
    ) -> None:
        fake = FakeZadarma(request_callback=lambda _: Answer(429, b"", headers=headers))
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert caught.value.retry_after == timedelta(seconds=pause)

    def test_wrong_keys_are_told_without_showing_them(self) -> None:
        with connected(FakeZadarma(), secret="another-secret") as operator:
            with pytest.raises(OperatorError, match="не приняты") as caught:
                operator.place_call(CALL)
            assert not [
                secret
                for secret in ("another-secret", KEY)
                if secret in f"{caught.value} {caught.value!r}"
            ]

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeZadarma()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent

    @pytest.mark.parametrize("service", ["https://api.zadarma.com", "https://api.novofon.com"])
    def test_the_host_is_the_chosen_service(self, service: str) -> None:
        operator = zadarma(service=service)
        with pytest.raises(AssertionError, match=f"unexpected request GET {service}/v1/request/"):
            operator.place_call(CALL)


class TestSettings:
    def test_employees_are_listed_with_their_names(self) -> None:
        fake = FakeZadarma(
            pbx_internal=lambda _: said(
                {"status": "success", "pbx_id": 1234, "numbers": [100, 101]}
            ),
            pbx_internal_100_info=lambda _: said({"status": "success", "name": "Анна Петрова"}),
            pbx_internal_101_info=lambda _: said({"status": "success", "name": ""}),
        )
        with connected(fake) as operator:
            found = operator.extensions()
        assert [(item.number, item.name) for item in found] == [
            ("100", "Анна Петрова"),
            ("101", "101"),
        ]

    def test_one_number_without_a_card_hides_no_other(self) -> None:
        refused = said({"status": "error", "message": "Not found"}, 404)
        fake = FakeZadarma(
            pbx_internal=lambda _: said({"status": "success", "numbers": [100, 101]}),
            pbx_internal_100_info=lambda _: refused,
            pbx_internal_101_info=lambda _: said({"status": "success", "name": "Анна"}),
        )
        with connected(fake) as operator:
            assert [item.name for item in operator.extensions()] == ["100", "Анна"]
        fake.answers["pbx_internal_100_info"] = lambda _: said({}, 401)
        with connected(fake) as operator, pytest.raises(OperatorError, match="не приняты"):
            operator.extensions()

    def test_names_are_asked_only_as_far_as_the_limit_goes(self) -> None:
        numbers = list(range(100, 200))
        names = {
            f"pbx_internal_{number}_info": lambda _: said({"status": "success", "name": "Имя"})
            for number in numbers
        }
        fake = FakeZadarma(
            pbx_internal=lambda _: said({"status": "success", "numbers": numbers}), **names
        )
        with connected(fake) as operator:
            found = operator.extensions()
        assert (len(found), len(fake.asked)) == (100, 81)
        assert (found[0].name, found[-1].name) == ("Имя", "199")

    def test_a_list_without_numbers_is_a_failure(self) -> None:
        fake = FakeZadarma(pbx_internal=lambda _: said({"status": "success"}))
        with connected(fake) as operator, pytest.raises(OperatorError, match="нет списка"):
            operator.extensions()

    def test_lines_are_listed(self) -> None:
        info = [
            {"number": "+74950001122", "number_name": "Москва", "status": "on"},
            {"number": "78120001122", "number_name": None},
            {"number_name": "без номера"},
        ]
        fake = FakeZadarma(direct_numbers=lambda _: said({"status": "success", "info": info}))
        with connected(fake) as operator:
            assert operator.lines() == [
                Line(number="74950001122", name="Москва"),
                Line(number="78120001122", name=""),
            ]

    def test_the_check_compares_the_zones(self) -> None:
        with connected(FakeZadarma()) as operator:
            check = operator.check()
        assert (check.ok, check.message) == (True, "Связь есть. Часовой пояс кабинета: UTC+3")
        with connected(FakeZadarma(), timezone="UTC+5") as operator:
            check = operator.check()
        assert not check.ok
        assert "UTC+03:00" in check.message
        assert "UTC+5" in check.message

    @pytest.mark.parametrize(
        ("answer", "hours"),
        [
            ({"timezone": "UTC+3"}, 3),
            ({"timezone": "UTC-3:30"}, -3.5),
            ({"timezone": "UTC"}, 0),
            ({"timezone": "?", "unixtime": 1483228800, "datetime": "2017-01-01 05:00:02"}, 5),
            ({"unixtime": "1483228800", "datetime": "2016-12-31 18:30:00"}, -5.5),
        ],
    )
    def test_the_zone_is_read_in_every_spelling(self, answer: dict[str, Any], hours: float) -> None:
        fake = FakeZadarma(
            info_timezone=lambda _: said({"status": "success", **answer}),
            statistics_pbx=rows_answer(row()),
        )
        with connected(fake) as operator:
            (event,) = operator.history(NOW - timedelta(hours=1), NOW)
        assert event.started_at == utc("2026-01-01 12:00:00") - timedelta(hours=hours)

    @pytest.mark.parametrize("text", ["UTC+99", "Moscow", ""])
    def test_an_unknown_zone_stops_the_history(self, text: str) -> None:
        answer = said({"status": "success", "timezone": text})
        fake = FakeZadarma(info_timezone=lambda _: answer, statistics_pbx=rows_answer(row()))
        with connected(fake) as operator, pytest.raises(OperatorError, match="пояс"):
            list(operator.history(NOW - timedelta(hours=1), NOW))


class TestHistory:
    def test_an_answered_call_of_several_rows_is_one_event(self) -> None:
        (event,) = history(
            row(
                call_id="1767258000.100000",
                sip="0",
                destination="0-main",
                seconds=5,
                is_recorded=False,
            ),
            row(destination="102", sip="102", disposition="cancel", seconds=0, is_recorded=False),
            row(callstart="2026-01-01 12:00:10"),
        )
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.direction, event.client_number) == (Direction.IN, "79001112233")
        assert (event.extension, event.employee_key, event.talk) == ("101", "101", 90)
        assert event.started_at == utc("2026-01-01 09:00:00")
        assert event.occurred_at == utc("2026-01-01 09:01:40")
        assert (event.provider_call_id, event.line_number) == (IN_ID, None)
        assert (event.recording_ref, event.id_is_made_up) == (PART, False)
        assert set(event.alias_call_ids) == {PART, "1767258000.100000"}

    def test_a_call_that_only_the_menu_took_is_missed(self) -> None:
        (event,) = history(
            row(sip="", destination="0-main", disposition="answered", seconds=20),
            row(disposition="no answer", seconds=0, is_recorded=False),
        )
        assert (event.kind, event.talk) == (CallKind.MISSED, 0)
        assert event.recording_ref == PART

    @pytest.mark.parametrize(
        ("destination", "kind", "result"),
        [
            ("79161112233", CallKind.ENDED, CallResult.ANSWERED),
            ("+7 495 000-11-22", CallKind.MISSED, CallResult.NO_ANSWER),
        ],
    )
    def test_an_answer_at_an_outside_telephone_counts_but_not_of_the_line_itself(
        self, destination: str, kind: CallKind, result: CallResult
    ) -> None:
        asked = []

        def lines(_: Any) -> Answer:
            asked.append(1)
            return said({"status": "success", "info": [{"number": "74950001122"}]})

        menu = row(sip="", destination=destination)
        other = {**menu, "pbx_call_id": f"{IN_ID}2", "call_id": "1767258000.2"}
        fake = FakeZadarma(statistics_pbx=rows_answer(menu, other), direct_numbers=lines)
        with connected(fake) as operator:
            events = list(operator.history(NOW - timedelta(hours=1), NOW))
        told = {(event.kind, event.result, event.extension) for event in events}
        assert (told, len(events), len(asked)) == ({(kind, result, None)}, 2, 1)

    def test_an_outgoing_call_is_answered_by_the_client_only(self) -> None:
        to_employee = row(pbx_call_id=OUT_ID, sip="101", clid="101", destination="101", seconds=30)
        to_client = row(
            pbx_call_id=OUT_ID,
            clid="101",
            destination="+79001112233",
            disposition="busy",
            seconds=0,
        )
        (event,) = history(to_employee, to_client)
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, CallResult.BUSY, 0)
        assert (event.direction, event.client_number) == (Direction.OUT, "79001112233")
        assert event.extension == "101"

    def test_an_outgoing_call_to_a_hidden_number_is_told(self) -> None:
        (event,) = history(row(pbx_call_id=OUT_ID, destination=None))
        assert (event.direction, event.result) == (Direction.OUT, CallResult.NO_ANSWER)
        assert event.client_number is None

    def test_a_call_between_employees_has_no_client(self) -> None:
        (event,) = history(row(pbx_call_id=OUT_ID, clid="101", destination="102"))
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    def test_an_id_written_as_a_number_keeps_its_digits(self) -> None:
        text = json.dumps({"status": "success", "stats": [row(call_id=0)]}).replace(
            '"call_id": 0', '"call_id": 1458313316.343450'
        )
        fake = FakeZadarma(statistics_pbx=lambda _: Answer(200, text.encode()))
        with connected(fake) as operator:
            (event,) = operator.history(NOW - timedelta(hours=1), NOW)
        assert event.recording_ref == "1458313316.343450"

    def test_a_row_without_the_calls_id_is_matched_by_other_things(self) -> None:
        (event,) = history(row(pbx_call_id=None))
        assert (event.provider_call_id, event.id_is_made_up) == (PART, True)
        assert event.direction is Direction.IN

    def test_a_name_before_the_number_is_left_out(self) -> None:
        (event,) = history(row(clid="Анна 2 <79001112233>"))
        assert event.client_number == "79001112233"

    def test_a_later_export_that_knows_more_is_another_event(self) -> None:
        (early,), (late,) = history(row(is_recorded=False)), history(row())
        assert early.event_id != late.event_id
        assert history(row())[0].event_id == late.event_id

    def test_dates_are_of_the_account_and_windows_shorter_than_a_month(self) -> None:
        fake = FakeZadarma(statistics_pbx=rows_answer())
        since = datetime(2026, 1, 1, 21, 30, tzinfo=UTC)
        with connected(fake) as operator:
            assert list(operator.history(since, since + timedelta(days=40))) == []
        orders = [params for name, params in fake.asked if name == "statistics/pbx"]
        assert [(order["start"], order["end"]) for order in orders] == [
            ("2026-01-02 00:30:00", "2026-01-30 00:29:59"),
            ("2026-01-30 00:30:00", "2026-02-11 00:30:00"),
        ]
        assert {(order["version"], order["skip"]) for order in orders} == {("2", "0")}

    def test_pages_are_read_by_offset_and_a_call_on_two_pages_is_one(self) -> None:
        def moment(number: int) -> str:
            start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
            return start.strftime("%Y-%m-%d %H:%M:%S")

        rows = [
            row(call_id=f"part-{number}", pbx_call_id=f"in_{number}", callstart=moment(number))
            for number in range(2100)
        ]
        rows[999] |= {"disposition": "no answer", "seconds": 0, "pbx_call_id": "in_1000"}

        def page(params: dict[str, str]) -> Answer:
            skip = int(params["skip"])
            return said({"status": "success", "stats": rows[skip : skip + int(params["limit"])]})

        fake = FakeZadarma(statistics_pbx=page)
        with connected(fake) as operator:
            events = list(operator.history(NOW - timedelta(days=2), NOW))
        skips = [params["skip"] for name, params in fake.asked if name == "statistics/pbx"]
        assert skips == ["0", "1000", "2000"]
        ids = [event.provider_call_id for event in events]
        assert (len(ids), len(set(ids))) == (2099, 2099)
        assert {event.kind for event in events} == {CallKind.ENDED}

    def test_a_page_is_told_before_the_next_one_is_asked(self) -> None:
        rows = [
            row(pbx_call_id=f"in_{number}", callstart=f"2026-01-{1 + number // 50:02} 12:00:00")
            for number in range(1000)
        ]
        fake = FakeZadarma(statistics_pbx=rows_answer(*rows))
        with connected(fake) as operator:
            told = operator.history(NOW - timedelta(days=28), NOW)
            for _ in range(900):
                next(told)
            assert [name for name, _ in fake.asked] == ["info/timezone", "statistics/pbx"]
            told.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "answer",
        [
            said({"status": "success"}),
            said({"status": "success", "stats": {}}),
            said({"status": "success", "stats": [1]}),
            said({"status": "success", "stats": [{"call_id": "1"}]}),
            said({"status": "success", "stats": [row(callstart="?")]}),
            said({"status": "success", "stats": [row(pbx_call_id=None, call_id=None)]}),
            said({}, 429),
            HTML,
            Answer(200, b"<html>", "text/html"),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(self, answer: Answer) -> None:
        fake = FakeZadarma(statistics_pbx=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert not caught.value.permanent

    def test_an_empty_period_asks_nothing(self) -> None:
        assert list(zadarma().history(NOW, NOW)) == []


class TestRecordings:
    def served(self, answer: dict[str, Any], file: Answer) -> FakeZadarma:
        fake = FakeZadarma(file=lambda _: file)
        fake.answers["pbx_record_request"] = lambda _: said({"status": "success", **answer})
        return fake

    @pytest.mark.parametrize(
        ("ref", "asked", "name"),
        [
            (RecordingRef(recording_ref=PART), {"call_id": PART}, "link"),
            (RecordingRef(recording_ref=IN_ID), {"pbx_call_id": IN_ID}, "links"),
            (RecordingRef(provider_call_id=OUT_ID), {"pbx_call_id": OUT_ID}, "links"),
        ],
    )
    def test_the_link_is_asked_by_the_part_or_by_the_call(
        self, ref: RecordingRef, asked: dict[str, str], name: str
    ) -> None:
        fake = self.served({}, Answer(200, MP3, "audio/mpeg"))
        with serving(fake) as base:
            link = f"{base}/files/1.mp3"
            links = {"link": link} if name == "link" else {"links": [f"{base}/none", link]}
            fake.answers["pbx_record_request"] = lambda _: said({"status": "success", **links})
            operator = QuickZadarma(7, {**SETTINGS, "api_base": base}, Loopback())
            with operator.fetch_recording(ref) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.asked == [("pbx/record/request", asked)]

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://api.zadarma.com.evil.example/1.mp3",
            "https://evil.example/api.zadarma.com",
            "file:///etc/passwd",
            "http://[",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        fake = self.served({"link": link}, Answer(200, MP3, "audio/mpeg"))
        with connected(fake) as operator, pytest.raises(OperatorError, match="чужой") as caught:
            operator.fetch_recording(RecordingRef(recording_ref=PART))
        assert caught.value.permanent

    @pytest.mark.parametrize(
        "answer",
        [
            said({"status": "error", "message": "Recording not found"}, 404),
            said({"status": "error", "message": "Recording not found"}, 400),
            said({"status": "error", "message": "Recording not found"}),
            said({"status": "success", "links": []}),
        ],
    )
    def test_a_file_not_there_yet_is_asked_later(self, answer: Answer) -> None:
        fake = FakeZadarma(pbx_record_request=lambda _: answer)
        with connected(fake) as operator, pytest.raises(RecordingNotReady) as caught:
            operator.fetch_recording(RecordingRef(recording_ref=PART))
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (said({}, 401), True),
            (said({}, 403), True),
            (said({}, 429), False),
            (HTML, False),
            (Answer(200, b"<html>", "text/html"), False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        fake = FakeZadarma(pbx_record_request=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.fetch_recording(RecordingRef(recording_ref=PART))
        assert caught.value.permanent is permanent
        assert not isinstance(caught.value, RecordingNotReady)

    def test_without_an_id_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="идентификатора"):
            zadarma().fetch_recording(RecordingRef(recording_url="https://evil.example/1.mp3"))

    def test_the_first_try_waits_as_the_operator_advises(self) -> None:
        assert zadarma().recording_delay == timedelta(seconds=45)


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def test_they_become_what_is_expected(self) -> None:
        for case in json.loads((FOREIGN / "expected.json").read_text("utf-8"))["cases"]:
            body = (FOREIGN / case["file"]).read_bytes().strip()
            (event,) = zadarma().parse(replace(inbound(START), body=body))
            for name in case.keys() - {"file", "comment"}:
                value = getattr(event, name)
                assert (getattr(value, "value", value) or None) == case[name], name

    def answer(self, name: str) -> Callable[[dict[str, str]], Answer]:
        return lambda _: Answer(200, (FOREIGN / name).read_bytes())

    def test_answers_of_the_api_are_read(self) -> None:
        fake = FakeZadarma(
            info_timezone=self.answer("timezone.json"),
            statistics_pbx=self.answer("statistics_pbx.json"),
            pbx_internal=self.answer("pbx_internal.json"),
            request_callback=self.answer("request_callback.json"),
            pbx_record_request=self.answer("record_request_single.json"),
            **{
                f"pbx_internal_{number}_info": lambda _: said({"status": "success"})
                for number in (100, 101, 102)
            },
        )
        with connected(fake) as operator:
            (event,) = operator.history(NOW - timedelta(hours=1), NOW)
            assert operator.place_call(CALL).provider_call_id is None
            assert [item.number for item in operator.extensions()] == ["100", "101", "102"]
            with pytest.raises(AssertionError, match=r"GET https://api\.zadarma\.com/v1/"):
                operator.fetch_recording(RecordingRef(recording_ref="1458313316.343456"))
        assert event.provider_call_id == "in_ae6b03b3b0765d127ec0b739209346bbc4f0d52d"
        assert (event.kind, event.talk, event.extension) == (CallKind.ENDED, 5, "200")
        assert event.recording_ref == "1439981389.2702773"
        assert event.started_at == utc("2015-06-01 00:00:00")
