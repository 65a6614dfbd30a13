"""The general protocol against its contract, and PBXs that the administrator describes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

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
    NotSupported,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
    WebhookRejected,
)
from crm.integrations.telephony.generic import Generic
from crm.integrations.telephony.generic_events import BadField
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import NOW, TOKEN, OperatorConformance

KEY = "0123456789abcdef0123456789abcdef"
API_TOKEN = "pbx-api-token-0001/+"
EXAMPLE = (
    b'{"event":"ringing","call_id":"bmi-1","direction":"in","client":"+79000000001",'
    b'"line":"+74950000010","extension":"101","time":"2026-03-02T11:20:31+03:00"}'
)
EXAMPLE_SIGNATURE = "sha256=d895763f822d69136ef0c9357eab73fd40239d9f70b0262ef2ee0c0c32c628df"
ENDED = {
    "event": "ended",
    "call_id": "c-1",
    "direction": "in",
    "client": "+79000000001",
    "line": "+74950000010",
    "extension": "101",
    "time": "2026-03-02T11:22:10+03:00",
    "answered": True,
    "duration": 99,
    "talk": 90,
}
RINGING = {"event": "ringing", "call_id": "c-1", "direction": "in", "client": "+79000000001"}
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(200, b"<html><body>Welcome</body></html>", "text/html")
CALL = ClickToCall(extension="101", number="79161112233", request_id="crm-0042")


def generic(**settings: str) -> Generic:
    return Generic(7, settings, NoNetwork(), webhook_token=TOKEN)


def inbound(value: Any, content_type: str = "application/json", **headers: str) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"Content-Type": content_type, **headers},
        body=value if isinstance(value, bytes) else json.dumps(value).encode(),
        remote_addr="127.0.0.1",
        received_at=NOW,
        token=TOKEN,
    )


def parsed(value: Any, **settings: str) -> CallEvent:
    (event,) = generic(**settings).parse(inbound(value))
    return event


def replied(value: Any, caller: KnownCaller | None = None) -> tuple[int, Any]:
    reply = generic().reply(inbound(value), caller)
    assert reply.content_type.startswith("application/json")
    return reply.status, json.loads(reply.body)


def moment(hour: int, minute: int, second: int) -> datetime:
    return datetime(2026, 3, 2, hour, minute, second, tzinfo=UTC)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode())


@contextmanager
def connected(
    respond: Callable[[Asked], Answer], **settings: str
) -> Iterator[tuple[Generic, list[Asked]]]:
    """A connection whose templates lead to a local server: `BASE` stands for its address."""
    asked: list[Asked] = []

    def remember(request: Asked) -> Answer:
        asked.append(request)
        return respond(request)

    with serving(remember) as base:
        values = {name: text.replace("BASE", base) for name, text in settings.items()}
        yield Generic(7, values, PlainClient(), webhook_token=TOKEN), asked


def history_of(scenario: CallScenario) -> dict[str, Any]:
    return {
        "call_id": f"sim-{scenario.call_key}",
        "direction": scenario.direction.value,
        "client": scenario.client_number,
        "line": scenario.line_number,
        "time": scenario.ended_at.isoformat(),
        "answered": scenario.answered,
        "duration": 101,
        "talk": 90,
    }


class TestGenericConformance(OperatorConformance):
    operator_class = Generic
    content_with_any_2xx = frozenset({Capability.CLICK_TO_CALL})
    settings_of = {
        "signing": "on",
        "signing_key": KEY,
        "api_token": API_TOKEN,
        "call_url": "https://pbx.example.ru/call?token={token}",
        "history_url": "https://pbx.example.ru/calls?page={page}",
        "recording_hosts": "records.example.ru",
    }
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        pages = iter([said([history_of(scenario)]), said([])])
        with connected(lambda _: next(pages), history_url="BASE/calls?p={page}") as (operator, _):
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestGenericConformanceByAddressAlone(OperatorConformance):
    """Nothing is filled in: the secret of the address is the only proof."""

    operator_class = Generic
    settings_of: dict[str, str] = {}


class TestSignature:
    SIGNED = {"signing": "on", "signing_key": KEY}

    def test_it_equals_the_vector(self) -> None:
        assert len(EXAMPLE) == 153
        request = inbound(EXAMPLE, **{"X-Signature": EXAMPLE_SIGNATURE})
        generic(**self.SIGNED).verify(request)

    @pytest.mark.parametrize(
        "signature",
        ["", "sha256=", EXAMPLE_SIGNATURE[7:], EXAMPLE_SIGNATURE[:-1] + "0", "sha256=подпись"],
    )
    def test_another_signature_is_rejected(self, signature: str) -> None:
        with pytest.raises(WebhookRejected, match="Подпись"):
            generic(**self.SIGNED).verify(inbound(EXAMPLE, **{"X-Signature": signature}))

    def test_the_exact_bytes_are_signed(self) -> None:
        respelled = EXAMPLE.replace(b'{"', b'{ "', 1)
        with pytest.raises(WebhookRejected):
            generic(**self.SIGNED).verify(inbound(respelled, **{"X-Signature": EXAMPLE_SIGNATURE}))

    def test_it_is_not_asked_for_while_it_is_switched_off(self) -> None:
        generic(signing_key=KEY).verify(inbound(EXAMPLE))
        with pytest.raises(WebhookRejected, match="Секрет"):
            generic(signing_key=KEY).verify(replace(inbound(EXAMPLE), token="other"))

    def test_switched_on_without_a_key_it_rejects_and_says_what_is_missing(self) -> None:
        operator = generic(signing="on")
        with pytest.raises(WebhookRejected, match="не заполнен"):
            operator.verify(inbound(EXAMPLE, **{"X-Signature": EXAMPLE_SIGNATURE}))
        assert [item.name for item in operator.missing_credentials()] == ["signing_key"]
        assert "Ключ подписи" in operator.check().message

    def test_the_secret_of_the_address_is_asked_for_all_the_same(self) -> None:
        operator = Generic(7, self.SIGNED, NoNetwork())
        request = replace(inbound(EXAMPLE, **{"X-Signature": EXAMPLE_SIGNATURE}), token="")
        with pytest.raises(WebhookRejected, match="нет секрета"):
            operator.verify(request)


class TestNotices:
    def test_the_example_of_the_contract_rings(self) -> None:
        event = parsed(EXAMPLE)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.provider_call_id, event.extension) == ("bmi-1", "101")
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (moment(8, 20, 31), False)
        assert not event.final

    def test_an_answer(self) -> None:
        event = parsed({**RINGING, "event": "answered", "extension": 101, "time": 1772439640})
        assert (event.kind, event.extension) == (CallKind.ANSWERED, "101")
        assert event.answered_at == moment(8, 20, 40)

    def test_an_answered_call_ends(self) -> None:
        event = parsed(ENDED)
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.duration_total, event.talk) == (99, 90)
        assert (event.started_at, event.answered_at, event.ended_at) == (
            moment(8, 20, 31),
            moment(8, 20, 40),
            moment(8, 22, 10),
        )

    def test_an_unanswered_inbound_call_is_missed_though_the_menu_talked(self) -> None:
        event = parsed({**ENDED, "answered": False})
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.talk, event.answered_at) == (0, None)

    def test_an_unanswered_outgoing_call_is_ended_not_missed(self) -> None:
        event = parsed({**ENDED, "answered": False, "direction": "out"})
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.NO_ANSWER)

    def test_without_a_time_the_receipt_counts_and_no_times_are_invented(self) -> None:
        event = parsed({**ENDED, "time": ""})
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)
        assert (event.started_at, event.answered_at, event.ended_at) == (None, None, None)
        assert (event.duration_total, event.talk) == (99, 90)

    def test_a_recording_is_ready(self) -> None:
        link = "https://records.example.ru/1.mp3"
        event = parsed({**RINGING, "event": "recording", "recording_url": link})
        assert (event.kind, event.recording_url) == (CallKind.RECORDING_READY, link)
        assert parsed({**ENDED, "recording_url": link}).recording_url == link

    def test_plain_http_is_for_hosts_that_the_administrator_listed_so(self) -> None:
        value = {**ENDED, "recording_url": "http://10.0.0.5:8080/1.mp3"}
        with pytest.raises(BadField):
            parsed(value, recording_hosts="10.0.0.5")
        assert parsed(value, recording_hosts="http://10.0.0.5:8080").recording_url

    def test_an_internal_call_has_no_client(self) -> None:
        event = parsed({**RINGING, "direction": "internal", "client": "102"})
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    @pytest.mark.parametrize("client", ["", None, "anonymous"])
    def test_a_hidden_number_is_no_number(self, client: str | None) -> None:
        assert parsed({**RINGING, "client": client}).client_number is None

    @pytest.mark.parametrize(
        ("raw", "digits"),
        [
            ("8 (900) 000-00-01", "79000000001"),
            ("9000000001", "79000000001"),
            (79000000001, "79000000001"),
            ("sip:+79000000001@pbx.example.ru;user=phone", "79000000001"),
            ("+4915112345678", "4915112345678"),
        ],
    )
    def test_numbers_are_normalised(self, raw: object, digits: str) -> None:
        assert parsed({**RINGING, "client": raw}).client_number == digits

    @pytest.mark.parametrize(
        "time",
        [
            "2026-03-02T11:20:31+03:00",
            "2026-03-02T11:20:31 03:00",
            "2026-03-02T08:20:31Z",
            "2026-03-02 08:20:31+00:00",
            1772439631,
            1772439631.0,
            "1772439631",
        ],
    )
    def test_times_are_read_in_every_form_of_the_contract(self, time: object) -> None:
        assert parsed({**RINGING, "time": time}).occurred_at == moment(8, 20, 31)

    def test_a_form_says_the_same(self) -> None:
        fields = {**{name: str(value) for name, value in ENDED.items()}, "answered": "1"}
        request = inbound(urlencode(fields).encode(), "application/x-www-form-urlencoded")
        (event,) = generic().parse(request)
        assert replace(event, raw="") == replace(parsed(ENDED), raw="")
        assert generic().delivery_key(request) == generic().delivery_key(inbound(ENDED))

    def test_json_that_calls_itself_a_form_is_json(self) -> None:
        request = inbound(EXAMPLE, "application/x-www-form-urlencoded")
        assert generic().parse(request)[0].provider_call_id == "bmi-1"

    def test_a_repeat_is_told_by_call_event_and_employee(self) -> None:
        key = generic().delivery_key
        same = inbound({**ENDED, "time": "2026-03-02T11:22:11+03:00"})
        assert key(inbound(ENDED)) == key(same)
        assert parsed(ENDED).event_id == generic().parse(same)[0].event_id
        others = [{**ENDED, "extension": "102"}, {**ENDED, "call_id": "c-2"}, RINGING]
        assert len({key(inbound(value)) for value in (ENDED, *others)}) == 4

    def test_a_wrong_event_does_not_hide_the_corrected_one(self) -> None:
        key = generic().delivery_key
        assert key(inbound({**ENDED, "answered": "maybe"})) != key(inbound(ENDED))

    def test_what_is_stored_for_people_is_masked(self) -> None:
        event = parsed({**RINGING, "note": f"see {TOKEN}"})
        assert "+79000000001" in event.raw
        assert TOKEN not in event.raw


class TestReplies:
    CALLER = KnownCaller(name="Анна Петрова", responsible_extension="101")

    def test_ringing_is_answered_with_who_calls(self) -> None:
        assert replied(RINGING, self.CALLER) == (
            200,
            {"ok": True, "contact": "Анна Петрова", "responsible": "101"},
        )
        assert replied(RINGING, KnownCaller()) == (200, {"ok": True})

    def test_everything_else_is_answered_shortly(self) -> None:
        assert replied(ENDED, self.CALLER) == (200, {"ok": True})

    def test_the_caller_is_asked_about_only_while_the_telephone_rings(self) -> None:
        asks = generic().caller_question
        assert asks(inbound(RINGING)) == "79000000001"
        assert asks(inbound({**RINGING, "client": ""})) is None
        assert asks(inbound({**RINGING, "direction": "internal"})) is None
        assert asks(inbound(ENDED)) is None
        assert asks(inbound(b"{")) is None

    @pytest.mark.parametrize(
        ("value", "field"),
        [
            ({**RINGING, "event": "teleported"}, "event"),
            ({**RINGING, "event": None}, "event"),
            ({**RINGING, "call_id": ""}, "call_id"),
            ({**RINGING, "call_id": "9" * 129}, "call_id"),
            ({**RINGING, "call_id": {}}, "call_id"),
            ({**RINGING, "direction": "inbound"}, "direction"),
            ({"event": "ringing", "call_id": "1", "direction": "in"}, "client"),
            ({**RINGING, "client": ["+79000000001"]}, "client"),
            ({**RINGING, "client": "1" * 21}, "client"),
            ({**RINGING, "line": True}, "line"),
            ({**RINGING, "extension": "1" * 65}, "extension"),
            ({**RINGING, "time": "2026-03-02T11:20:31"}, "time"),
            ({**RINGING, "time": "0001-01-01T00:00:00+03:00"}, "time"),
            ({**RINGING, "time": 1772439631000}, "time"),
            ({**RINGING, "time": 0}, "time"),
            ({**RINGING, "time": True}, "time"),
            ({name: value for name, value in ENDED.items() if name != "answered"}, "answered"),
            ({**ENDED, "answered": "maybe"}, "answered"),
            ({**ENDED, "duration": -1}, "duration"),
            ({**ENDED, "talk": "полторы"}, "talk"),
            ({**ENDED, "talk": 9e99}, "talk"),
            ({**ENDED, "recording_url": "http://records.example.ru/1.mp3"}, "recording_url"),
            ({**ENDED, "recording_url": "https://[/1.mp3"}, "recording_url"),
            ({**RINGING, "event": "recording"}, "recording_url"),
        ],
    )
    def test_a_wrong_field_is_named(self, value: dict[str, Any], field: str) -> None:
        status, answer = replied(value)
        assert (status, answer["field"]) == (422, field)
        assert field in answer["error"]
        with pytest.raises(BadField):
            parsed(value)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"NaN", b'{"event":"\\u0000"}'])
    def test_what_is_no_event_at_all_is_refused_in_words(self, body: bytes) -> None:
        status, answer = replied(body)
        assert (status, answer["field"]) == (422, None)
        assert answer["error"]
        with pytest.raises(MalformedRequest):
            parsed(body)

    def test_a_visit_of_a_browser_is_no_event(self) -> None:
        visit = replace(inbound(RINGING), method="GET")
        assert "POST" in json.loads(generic().reply(visit).body)["error"]


class TestWhatItCanDo:
    def test_it_depends_on_what_is_filled_in(self) -> None:
        assert generic().capabilities == Capability.SYNCHRONOUS_REPLY
        able = generic(call_url="https://a.ru/", history_url="https://a.ru/").capabilities
        assert Capability.CLICK_TO_CALL in able
        assert Capability.HISTORY in able
        assert Capability.RECORDINGS not in able
        assert Capability.RECORDINGS in generic(recording_hosts="a.ru").capabilities

    def test_what_is_not_filled_in_is_said(self) -> None:
        with pytest.raises(NotSupported, match="не вписан адрес для звонка"):
            generic().place_call(CALL)
        with pytest.raises(NotSupported, match="не вписан её адрес"):
            list(generic().history(NOW, NOW))
        with pytest.raises(NotSupported, match="не указаны их серверы"):
            generic().fetch_recording(RecordingRef(recording_url="https://a.ru/1.mp3"))

    def test_a_key_is_missing_only_where_a_template_uses_it(self) -> None:
        template = "https://pbx.example.ru/call?key={token}"
        missing = generic(call_url=template).missing_credentials()
        assert [item.name for item in missing] == ["api_token"]
        assert generic(call_url=template, api_token="x").missing_credentials() == []

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"call_url": "pbx.example.ru/call"}, "должен начинаться с https"),
            ({"call_url": "ftp://pbx.example.ru/"}, "должен начинаться с https"),
            ({"call_url": "https://pbx.example.ru:port/"}, "должен начинаться с https"),
            ({"call_url": "https://pbx.example.ru\\@evil.example/"}, "должен начинаться"),
            ({"call_url": "https://{extension}.example.ru/"}, "не может быть подстановок"),
            ({"call_url": "https://{token}@example.ru/", "api_token": "x"}, "не может быть"),
            ({"call_url": "https://u:p@pbx.example.ru/"}, "не может быть"),
            ({"call_url": "https://pbx.example.ru/{number}"}, "подстановка {number}"),
            ({"history_url": "https://pbx.example.ru/{phone}"}, "подстановка {phone}"),
            ({"call_body": '{"to": {phone}'}, "неправильный JSON"),
            ({"history_fields": "client"}, "не понята строка «client»"),
            ({"history_fields": "customer = phone"}, "не понята строка"),
            ({"recording_hosts": "*.ru"}, "не похоже на сервер"),
            ({"recording_hosts": "ftp://records.example.ru"}, "не похоже на сервер"),
        ],
    )
    def test_a_wrong_setting_is_named_by_the_check(
        self, settings: dict[str, str], words: str
    ) -> None:
        check = generic(**settings).check()
        assert not check.ok
        assert words in check.message

    def test_right_settings_pass_the_check(self) -> None:
        assert generic(**TestGenericConformance.settings_of).check().ok


class TestClickToCall:
    def test_values_are_escaped_in_the_address_and_in_the_body(self) -> None:
        order = replace(CALL, extension='1"&#/?', line_number="74950000010")
        with connected(
            lambda _: said({"result": [{"id": 15}]}),
            call_url="BASE/call/{extension}?to=%2B{phone}&line={line}&key={token}",
            call_body='{"from": "{extension}", "to": {phone}, "key": "{token}", "x": "{y}"}',
            call_id_path="result.0.id",
            api_token=API_TOKEN,
        ) as (operator, asked):
            placed = operator.place_call(order)
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", "15")
        (request,) = asked
        assert request.method == "POST"
        parts = urlsplit(request.path)
        assert parts.path == "/call/1%22%26%23%2F%3F"
        query = {"to": ["+79161112233"], "line": ["74950000010"], "key": [API_TOKEN]}
        assert parse_qs(parts.query) == query
        assert json.loads(request.body) == {
            "from": '1"&#/?',
            "to": 79161112233,
            "key": API_TOKEN,
            "x": "{y}",
        }
        assert request.headers["Content-Type"] == "application/json"

    def test_a_value_is_never_taken_for_a_placeholder(self) -> None:
        with connected(lambda _: said({}), call_url="BASE/{extension}", api_token=API_TOKEN) as (
            operator,
            asked,
        ):
            operator.place_call(replace(CALL, extension="{token}"))
        assert asked[0].path == "/%7Btoken%7D"

    def test_get_has_no_body(self) -> None:
        with connected(
            lambda _: Answer(204), call_url="BASE/c", call_method="GET", call_body="{}"
        ) as (operator, asked):
            assert operator.place_call(CALL).provider_call_id is None
        assert (asked[0].method, asked[0].body) == ("GET", b"")

    @pytest.mark.parametrize(
        "answer", [Answer(204), HTML, said({}), said([1]), said({"id": True}), said({"id": {}})]
    )
    def test_an_accepted_call_without_an_id_is_no_failure(self, answer: Answer) -> None:
        with connected(lambda _: answer, call_url="BASE/", call_id_path="id") as (operator, _):
            assert operator.place_call(CALL).provider_call_id is None

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (said({}, 404), True, "отклонён"),
            (Answer(302, b"", headers={"Location": "https://evil.example/"}), True, "отклонён"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (Answer(502, b"<html>", "text/html"), False, "временная ошибка"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        with (
            connected(lambda _: answer, call_url="BASE/call") as (operator, asked),
            pytest.raises(OperatorError, match=words) as caught,
        ):
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert len(asked) == 1
        wait = timedelta(seconds=3) if answer.status == 429 else None
        assert caught.value.retry_after == wait

    def test_a_dead_server_is_a_transient_failure_and_shows_no_key(self) -> None:
        settings = {"call_url": "BASE/call?key={token}", "api_token": API_TOKEN}
        with connected(lambda _: said({}), **settings) as (operator, _):
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent
        assert API_TOKEN not in f"{caught.value} {caught.value!r}"

    def test_an_answer_that_repeats_the_key_does_not_show_it(self) -> None:
        with (
            connected(
                lambda _: said({"you": API_TOKEN}, 400),
                call_url="BASE/{token}",
                api_token=API_TOKEN,
            ) as (operator, _),
            pytest.raises(OperatorError, match="HTTP 400") as caught,
        ):
            operator.place_call(CALL)
        assert API_TOKEN not in f"{caught.value} {caught.value!r}"


def row(number: int, **changed: Any) -> dict[str, Any]:
    return {**ENDED, "call_id": f"c-{number}", **changed}


class TestHistory:
    SINCE = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)

    def told(self, operator: Generic) -> list[CallEvent]:
        return list(operator.history(self.SINCE, self.SINCE + timedelta(days=1)))

    def test_pages_are_read_until_an_empty_one(self) -> None:
        pages = [[row(1), row(2)], [row(3, answered=False)], []]

        def respond(asked: Asked) -> Answer:
            query = parse_qs(urlsplit(asked.path).query)
            assert query["from"] == ["2026-03-02T00:00:00Z"]
            assert query["to"] == ["2026-03-03T00:00:00Z"]
            assert query["key"] == [API_TOKEN]
            return said({"data": {"calls": pages[int(query["page"][0]) - 1]}})

        with connected(
            respond,
            history_url="BASE/h?from={from}&to={to}&page={page}&key={token}",
            history_path="data.calls",
            api_token=API_TOKEN,
        ) as (operator, asked):
            events = self.told(operator)
        assert len(asked) == 3
        assert [event.provider_call_id for event in events] == ["c-1", "c-2", "c-3"]
        assert [event.kind for event in events][1:] == [CallKind.ENDED, CallKind.MISSED]
        assert (events[0].final, events[0].talk) == (True, 90)
        assert events[0].occurred_at == moment(8, 22, 10)
        assert not events[0].id_is_made_up

    def test_without_pages_one_answer_is_the_whole_history(self) -> None:
        with connected(
            lambda _: said([row(1)]), history_url="BASE/h?from={from}", history_time="unix"
        ) as (operator, asked):
            assert len(self.told(operator)) == 1
        assert [request.path for request in asked] == ["/h?from=1772409600"]

    def test_fields_may_have_other_names(self) -> None:
        answer = said(
            [
                {
                    "uniqueid": "u-1",
                    "direction": "out",
                    "who": {"number": "89161112233"},
                    "end": 1772439730,
                    "answered": 1,
                    "billsec": "90",
                    "record": "https://records.example.ru/1.mp3",
                }
            ]
        )
        names = (
            "call_id = uniqueid\n\nclient=who.number\ntime = end\n"
            "talk=billsec\nrecording_url=record"
        )
        with connected(lambda _: answer, history_url="BASE/", history_fields=names) as (
            operator,
            _,
        ):
            (event,) = self.told(operator)
        assert (event.provider_call_id, event.client_number) == ("u-1", "79161112233")
        assert (event.talk, event.recording_url) == (90, "https://records.example.ru/1.mp3")

    @pytest.mark.parametrize("separator", [",", ";"])
    def test_a_csv_is_read_by_its_columns(self, separator: str) -> None:
        lines = [
            ["call.id", "direction", "src", "line", "time", "answered", "talk", "extension"],
            ["c-1", "in", "+7 900 000-00-01", "74950000010", "1772439730", "true", "90", "101"],
            ["c-2", "in", "", "", "1772439740", "false", "", ""],
        ]
        text = "\ufeff" + "\r\n".join(separator.join(line) for line in lines) + "\r\n"
        with connected(
            lambda _: Answer(200, text.encode(), "text/csv; charset=utf-8"),
            history_url="BASE/",
            history_format="csv",
            history_fields="client = src\ncall_id = call.id",
        ) as (operator, _):
            answered, missed = self.told(operator)
        assert (answered.provider_call_id, answered.extension) == ("c-1", "101")
        assert (answered.client_number, answered.talk) == ("79000000001", 90)
        assert (missed.kind, missed.client_number) == (CallKind.MISSED, None)

    def test_a_row_without_an_id_gets_a_stable_one(self) -> None:
        nameless = {name: value for name, value in ENDED.items() if name != "call_id"}
        answer = said([nameless, {**nameless, "client": "+79000000002"}])
        with connected(lambda _: answer, history_url="BASE/") as (operator, _):
            first, second = self.told(operator)
            again = self.told(operator)
        assert first.id_is_made_up
        assert first.provider_call_id == again[0].provider_call_id != second.provider_call_id

    def test_a_row_that_knows_more_is_another_event_of_the_same_call(self) -> None:
        later = row(1, recording_url="https://records.example.ru/1.mp3")
        with connected(lambda _: said([row(1), later]), history_url="BASE/") as (operator, _):
            first, second = self.told(operator)
        assert first.provider_call_id == second.provider_call_id
        assert first.event_id != second.event_id

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(429, b""), False, "слишком много"),
            (said({}, 500), False, "временная"),
            (HTML, False, "вместо JSON"),
            (said({}), False, "нет списка звонков"),
            (said([1]), False, "нет списка звонков"),
            (said([row(1, time=None)]), False, "время обязательно"),
            (said([row(1, direction="?")]), False, "direction"),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        with (
            connected(lambda _: answer, history_url="BASE/?p={page}") as (operator, _),
            pytest.raises(OperatorError, match=words) as caught,
        ):
            self.told(operator)
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize(
        "text",
        [b"", b"<html></html>", b"a,b\r\n1,2\r\n", b"client,\x00", b'time,"' + b"x" * 200000],
    )
    def test_a_broken_csv_is_a_failure(self, text: bytes) -> None:
        answer = Answer(200, text, "text/csv")
        with (
            connected(lambda _: answer, history_url="BASE/", history_format="csv") as (operator, _),
            pytest.raises(OperatorError, match="CSV") as caught,
        ):
            self.told(operator)
        assert not caught.value.permanent

    def test_a_server_that_does_not_know_pages_is_noticed(self) -> None:
        with (
            connected(lambda _: said([row(1)]), history_url="BASE/?p={page}") as (operator, asked),
            pytest.raises(OperatorError, match="одну и ту же"),
        ):
            self.told(operator)
        assert len(asked) == 2

    def test_a_history_without_an_end_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Generic, "max_pages", 3)
        with (
            connected(
                lambda asked: said([row(int(asked.path[-1]))]), history_url="BASE/?p={page}"
            ) as (operator, _),
            pytest.raises(OperatorError, match="длиннее 3 страниц"),
        ):
            self.told(operator)


class TestRecordings:
    def test_the_bytes_are_streamed_from_a_listed_server(self) -> None:
        with connected(lambda _: Answer(200, MP3, "audio/mpeg"), recording_hosts="BASE") as (
            operator,
            asked,
        ):
            assert operator.recording_hosts == ("127.0.0.1",)
            with operator.fetch_recording(self.at(operator, "/1.mp3?key=a")) as recording:
                assert b"".join(recording.chunks) == MP3
        assert asked[0].path == "/1.mp3?key=a"

    @pytest.mark.parametrize(
        "link",
        [
            "https://evil.example/1.mp3",
            "https://records.example.ru.evil.example/1.mp3",
            "https://example.ru/1.mp3",
            "http://records.example.ru/1.mp3",
            "file:///etc/passwd",
            "https://[/1.mp3",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        operator = generic(recording_hosts="*.example.ru, http://10.0.0.5")
        with pytest.raises(OperatorError, match="чужой") as caught:
            operator.fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "kind", "permanent"),
        [
            (Answer(404), RecordingNotReady, False),
            (Answer(401), OperatorError, True),
            (Answer(503), OperatorError, False),
            (HTML, OperatorError, False),
        ],
    )
    def test_other_answers_are_failures(
        self, answer: Answer, kind: type[OperatorError], permanent: bool
    ) -> None:
        with connected(lambda _: answer, recording_hosts="BASE") as (operator, _):
            with pytest.raises(kind) as caught:
                operator.fetch_recording(self.at(operator, "/1.mp3"))
            assert caught.value.permanent is permanent
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed

    def test_without_an_address_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="нет адреса"):
            generic(recording_hosts="a.ru").fetch_recording(RecordingRef(recording_ref="1"))

    def at(self, operator: Generic, path: str) -> RecordingRef:
        base = operator.credential("recording_hosts")
        return RecordingRef(recording_url=base + path)
