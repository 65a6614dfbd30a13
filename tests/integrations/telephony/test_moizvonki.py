"""Moi Zvonki against what is known of its guide and a server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import moizvonki_simulation
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
from crm.integrations.telephony.moizvonki import PAGE, Moizvonki
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)

FOREIGN = FOREIGN_SAMPLES / "moizvonki"
KEY = "api-key-0123456789abcdef"
OWN_KEY = "own-key-of-an-employee-42"
SETTINGS = {
    "api_base": "https://agency.moizvonki.ru/api/v1",
    "user_name": "owner@agency.example",
    "api_key": KEY,
}
MP3 = b"ID3" + bytes(range(256)) * 100
LINK = "https://agency.moizvonki.ru/rec/700123.mp3"
WEBHOOK = {
    "account_id": "90001",
    "account_name": "agency",
    "user_id": "17",
    "user_login": "Ivanov@agency.example",
}
LIVE = {
    "direction": 0,
    "type": 1,
    "client_number": "+79000000001",
    "client_name": "",
    "event_age": 2,
    "event_created": 1772439631,
    "user_name": "Иванов",
    "event_pbx_call_id": "pbx-700123",
    "src_number": "+79000000101",
    "src_slot": 0,
}
RECORD = {
    "start_time": 1772439631,
    "answer_time": 1772439641,
    "end_time": 1772439731,
    "duration": 90,
    "answered": 1,
    "recording": LINK,
    "db_call_id": 700123,
}
ROW = {
    **RECORD,
    "event_pbx_call_id": "pbx-700123",
    "direction": 0,
    "client_number": "+79000000001",
    "client_name": "",
    "user_account": "ivanov@agency.example",
    "user_id": 17,
    "src_number": "+79000000101",
    "src_id": 1,
    "src_slot": 0,
}
MISSED = {"answered": 0, "answer_time": 0, "duration": 0, "recording": ""}


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(1772439631 + seconds, UTC)


class QuickMoizvonki(Moizvonki):
    """Does not wait between attempts."""

    pauses = (timedelta(0), timedelta(0))


def moizvonki(**changed: str) -> Moizvonki:
    return Moizvonki(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(value: Any, **changed: Any) -> InboundRequest:
    request = InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"Content-Type": "application/json"},
        body=value if isinstance(value, bytes) else json.dumps(value).encode(),
        remote_addr="192.0.2.1",
        received_at=NOW,
        token=TOKEN,
    )
    return replace(request, **changed)


def notice(action: str, **changed: Any) -> dict[str, Any]:
    event = {**LIVE, **(RECORD if action == "call.finish" else {}), **changed}
    return {"webhook": {**WEBHOOK, "action": action}, "event": event}


def parsed(action: str, **changed: Any) -> list[CallEvent]:
    return moizvonki().parse(inbound(notice(action, **changed)))


def only(action: str, **changed: Any) -> CallEvent:
    (event,) = parsed(action, **changed)
    return event


class FakeMoizvonki:
    """Checks login and key as the operator does, then answers from a table of actions."""

    def __init__(self, *, shape: str = "json", **answers: Callable[[dict[str, Any]], Answer]):
        self.answers = answers
        self.shape = shape
        self.asked: list[dict[str, Any]] = []
        self.sent: list[Asked] = []

    def __call__(self, asked: Asked) -> Answer:
        self.sent.append(asked)
        if asked.method == "GET":
            return self.answers["file"]({})
        if "json" not in asked.headers.get("Content-Type", "") and self.shape == "json":
            return Answer(415, b"Content-Type", "text/plain")
        if "form" not in asked.headers.get("Content-Type", "") and self.shape == "form":
            return Answer(400, b"request_data is empty", "text/plain")
        order = json.loads(asked.form["request_data"] if self.shape == "form" else asked.body)
        if order["api_key"] not in (KEY, OWN_KEY):
            return Answer(403, b"Username or password is invalid", "text/plain")
        self.asked.append(order)
        return self.answers[order["action"].replace(".", "_")](order)


def said(value: Any, status: int = 200) -> Callable[[dict[str, Any]], Answer]:
    return lambda _: Answer(status, json.dumps(value).encode())


def listed(*rows: Any) -> Callable[[dict[str, Any]], Answer]:
    return said(
        {
            "results": list(rows),
            "results_count": len(rows),
            "results_next_offset": 0,
            "results_remains": 0,
        }
    )


@contextmanager
def connected(fake: FakeMoizvonki, **changed: str) -> Iterator[QuickMoizvonki]:
    with serving(fake) as base:
        values = {**SETTINGS, "api_base": f"{base}/api/v1", **changed}
        yield QuickMoizvonki(7, values, PlainClient(), webhook_token=TOKEN)


class TestMoizvonkiConformance(OperatorConformance):
    operator_class = Moizvonki
    settings_of = SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        row = {
            **ROW,
            **moizvonki_simulation.record(scenario),
            "event_pbx_call_id": moizvonki_simulation.call_id(scenario),
            "client_number": f"+{scenario.client_number}",
            "recording": "",
        }
        with connected(FakeMoizvonki(calls_list=listed(row))) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestSender:
    def test_only_the_secret_address_proves_it(self) -> None:
        request = inbound(notice("call.start"))
        moizvonki().verify(request)
        with pytest.raises(WebhookRejected):
            moizvonki().verify(replace(request, token="wrong"))
        for account in ("", "agency"):
            bare = Moizvonki(7, {**SETTINGS, "account": account}, NoNetwork())
            with pytest.raises(WebhookRejected, match="нет секрета"):
                bare.verify(replace(request, token=""))

    @pytest.mark.parametrize("account", ["agency", "AGENCY", "90001"])
    def test_the_own_company_is_known_by_name_or_number(self, account: str) -> None:
        moizvonki(account=account).verify(inbound(notice("call.start")))

    def test_another_company_is_refused(self) -> None:
        operator = moizvonki(account="other")
        with pytest.raises(WebhookRejected, match="другой компании"):
            operator.verify(inbound(notice("call.start")))
        with pytest.raises(WebhookRejected):
            operator.verify(inbound(b"{"))
        operator.verify(inbound({"webhook": {"action": "call.start"}}))


class TestLiveEvents:
    def test_a_telephone_rings(self) -> None:
        event = only("call.start")
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79000000001", "79000000101")
        assert event.employee_key == event.extension == "ivanov@agency.example"
        assert (event.provider_call_id, event.event_id) == ("pbx-700123", "ringing:pbx-700123")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(0), False)
        assert not event.final

    def test_an_outgoing_call_rings_and_its_answer_says_nothing(self) -> None:
        assert only("call.start", direction=1).direction is Direction.OUT
        assert parsed("call.answer", direction=1) == []

    def test_an_answer(self) -> None:
        event = only("call.answer", event_created=1772439641)
        assert (event.kind, event.occurred_at) == (CallKind.ANSWERED, at(10))
        assert event.event_id == "answered:pbx-700123"

    def test_a_late_report_keeps_its_own_time(self) -> None:
        received = at(7200)
        request = inbound(notice("call.start", event_age=7200), received_at=received)
        assert moizvonki().parse(request)[0].occurred_at == at(0)
        # The telephone's clock is ahead by an hour: the age decides.
        wrong = notice("call.start", event_age=7200, event_created=1772439631 + 3600)
        assert moizvonki().parse(inbound(wrong, received_at=received))[0].occurred_at == at(0)

    def test_without_a_time_it_is_counted_back_or_the_receipt(self) -> None:
        counted = only("call.start", event_created=None, event_age=30)
        assert (counted.occurred_at, counted.occurred_at_is_receipt) == (
            NOW - timedelta(seconds=30),
            False,
        )
        for age in (None, -5, 10**15):
            event = only("call.start", event_created=None, event_age=age)
            assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)

    def test_a_hidden_client_and_an_unknown_direction(self) -> None:
        event = only("call.start", client_number="", direction=None)
        assert (event.client_number, event.direction) == (None, None)

    def test_without_a_login_the_sim_names_the_employee(self) -> None:
        value = notice("call.start")
        del value["webhook"]["user_login"]
        (event,) = moizvonki().parse(inbound(value))
        assert event.employee_key == event.extension == event.line_number == "79000000101"

    def test_a_blank_sim_number_comes_from_the_settings(self) -> None:
        sims = "IVANOV@agency.example 0 +7 (900) 000-01-01\nivanov@agency.example 1: 79000000102\n?"
        operator = moizvonki(sims=sims)
        for slot, number in ((0, "79000000101"), ("1", "79000000102"), (2, None), (None, None)):
            request = inbound(notice("call.start", src_number="", src_slot=slot))
            assert operator.parse(request)[0].line_number == number

    def test_messages_are_noise_and_new_notices_are_counted(self) -> None:
        assert parsed("sms.message") == []
        (event,) = moizvonki().parse(inbound({"webhook": {"action": "phone.lost"}}))
        assert event.kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            [],
            {},
            {"webhook": []},
            {"webhook": {"action": "call.start"}},
            notice("call.start", event_pbx_call_id=""),
            notice("call.start", event_pbx_call_id="9" * 200),
            notice("call.start", event_created=99999999999999),
            notice("call.finish", event_pbx_call_id="", db_call_id=None, start_time=0),
        ],
    )
    def test_an_impossible_notice_is_malformed(self, value: Any) -> None:
        with pytest.raises(MalformedRequest):
            moizvonki().parse(inbound(value))

    def test_a_repeat_is_known_though_it_is_older(self) -> None:
        keys = {
            moizvonki().delivery_key(inbound(notice("call.start", event_age=age)))
            for age in (2, 31, "61")
        }
        assert len(keys) == 1
        other = moizvonki().delivery_key(inbound(notice("call.start", event_created=1)))
        assert other not in keys


class TestFinalRecord:
    def test_an_answered_call_and_its_recording(self) -> None:
        final, recording = parsed("call.finish")
        assert (final.kind, final.result) == (CallKind.ENDED, CallResult.ANSWERED)
        assert (final.final, final.id_is_made_up) == (True, False)
        assert (final.talk, final.duration_total) == (90, 100)
        assert (final.started_at, final.answered_at, final.ended_at) == (at(0), at(10), at(100))
        assert (final.provider_call_id, final.alias_call_ids) == ("pbx-700123", ("db:700123",))
        assert final.employee_key == "ivanov@agency.example"
        assert (recording.kind, recording.recording_url) == (CallKind.RECORDING_READY, LINK)
        assert recording.provider_call_id == "pbx-700123"

    def test_nobody_at_the_telephone_is_missed(self) -> None:
        event = only("call.finish", **MISSED)
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (event.talk, event.answered_at, event.duration_total) == (0, None, 100)

    def test_an_outgoing_call_without_an_answer_is_ended(self) -> None:
        # `answer_time` of an outgoing call may be there although nobody picked up.
        event = only("call.finish", **{**MISSED, "direction": 1, "answer_time": 1772439632})
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, CallResult.NO_ANSWER, 0)
        assert event.answered_at is None

    def test_flags_and_numbers_may_be_of_other_types(self) -> None:
        changed = {"answered": True, "db_call_id": "700123", "duration": 90.0, "direction": "0"}
        assert [event.event_id for event in parsed("call.finish", **changed)] == [
            event.event_id for event in parsed("call.finish")
        ]

    def test_the_length_stands_in_for_absent_times(self) -> None:
        final, _ = parsed("call.finish", answer_time=0, end_time=None)
        assert (final.talk, final.duration_total, final.ended_at) == (90, 90, None)
        reversed_, _ = parsed("call.finish", end_time=1772439600)
        assert (reversed_.talk, reversed_.duration_total) == (90, 90)

    def test_without_a_flag_the_talk_decides(self) -> None:
        assert parsed("call.finish", answered=None)[0].kind is CallKind.ENDED
        assert only("call.finish", **{**MISSED, "answered": None}).kind is CallKind.MISSED

    def test_a_repeat_has_the_same_ids_and_a_late_recording_is_the_only_new_event(self) -> None:
        (early,) = parsed("call.finish", recording="", event_age=2)
        late, recording = parsed("call.finish", event_age=600)
        assert early.event_id == late.event_id
        assert recording.event_id != late.event_id

    def test_without_the_telephones_id_the_servers_is_used(self) -> None:
        final, _ = parsed("call.finish", event_pbx_call_id=None)
        assert (final.provider_call_id, final.alias_call_ids) == ("db:700123", ())

    def test_without_any_id_one_is_made_up_the_same_each_time(self) -> None:
        nameless = {"event_pbx_call_id": None, "db_call_id": None}
        first, again = (parsed("call.finish", **nameless)[0] for _ in range(2))
        assert first.id_is_made_up
        assert first.provider_call_id == again.provider_call_id
        other = parsed("call.finish", **nameless, client_number="+79000000002")[0]
        assert other.provider_call_id != first.provider_call_id


CALL = ClickToCall(
    extension="ivanov@agency.example",
    employee_key="ivanov@agency.example",
    number="79000000001",
    request_id="crm-42",
)


class TestClickToCall:
    def test_the_employees_telephone_dials(self) -> None:
        fake = FakeMoizvonki(calls_make_call=said({}))
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-42", None)
        order = {
            "user_name": "ivanov@agency.example",
            "api_key": KEY,
            "action": "calls.make_call",
            "to": "+79000000001",
        }
        assert fake.asked == [order]
        assert fake.sent[0].path == "/api/v1"

    def test_an_employee_may_have_a_key_of_his_own(self) -> None:
        fake = FakeMoizvonki(calls_make_call=said({}))
        keys = f"petrova@agency.example other\nIvanov@agency.example: {OWN_KEY}\n"
        with connected(fake, employee_keys=keys) as operator:
            operator.place_call(CALL)
            assert OWN_KEY not in str(operator.failure(f"сбой {OWN_KEY}", permanent=True))
        assert fake.asked[0]["api_key"] == OWN_KEY

    def test_a_sim_card_is_no_login(self) -> None:
        with pytest.raises(OperatorError, match="логин") as caught:
            moizvonki().place_call(replace(CALL, employee_key="79000000101"))
        assert caught.value.permanent

    @pytest.mark.parametrize("body", [b"", b"OK", b'{"results": []}', b"null"])
    def test_the_form_of_a_success_is_not_known(self, body: bytes) -> None:
        with connected(FakeMoizvonki(calls_make_call=lambda _: Answer(200, body))) as operator:
            assert operator.place_call(CALL).request_id == "crm-42"

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (Answer(401), True, "не приняты"),
            (Answer(403), True, "не приняты"),
            (
                Answer(400, "Неверный ключ".encode(), "text/plain; charset=utf-8"),
                True,
                "не приняты",
            ),
            (Answer(500, b"api_key is wrong", "text/plain"), True, "не приняты"),
            (Answer(404, b"Not Found", "text/plain"), True, "имя компании"),
            (Answer(418), True, "отклонён"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (Answer(500), False, "временная ошибка"),
            (Answer(502, b"<html>access", "text/html"), False, "временная ошибка"),
            (Answer(200, b"<html>", "text/html"), False, "страница"),
            (Answer(200, b'{"error": "phone is offline"}'), True, "оператор отказал"),
            (Answer(200, b'{"error": {"text": "bad login"}}'), True, "не приняты"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat_and_is_never_repeated_by_us(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeMoizvonki(calls_make_call=lambda _: answer)
        with (
            connected(fake, shape="json") as operator,
            pytest.raises(OperatorError, match=words) as caught,
        ):
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "Мои Звонки"
        assert len(fake.sent) == 1

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeMoizvonki()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent

    def test_an_answer_that_repeats_the_secrets_does_not_show_them(self) -> None:
        fake = FakeMoizvonki(
            calls_make_call=lambda order: said({"you": order, "t": TOKEN}, 400)({})
        )
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        shown = f"{caught.value} {caught.value!r}"
        assert "HTTP 400" in shown
        assert KEY not in shown
        assert TOKEN not in shown


class TestShapeOfRequests:
    def test_the_form_is_tried_once_and_remembered(self) -> None:
        fake = FakeMoizvonki(shape="form", company_list_group=listed())
        with connected(fake) as operator:
            assert operator.check().ok
            assert operator.check().ok
        kinds = ["json" in asked.headers["Content-Type"] for asked in fake.sent]
        assert kinds == [True, False, False]

    def test_a_form_that_is_read_tells_why_it_is_refused(self) -> None:
        fake = FakeMoizvonki(shape="form", company_list_group=listed())
        with connected(fake, api_key="wrong") as operator:
            check = operator.check()
        assert (check.ok, len(fake.sent)) == (False, 2)
        assert "логин или ключ" in check.message

    @pytest.mark.parametrize(("shape", "ok"), [("form", True), ("json", False)])
    def test_a_chosen_shape_is_not_changed(self, shape: str, ok: bool) -> None:
        fake = FakeMoizvonki(shape="form", company_list_group=listed())
        with connected(fake, shape=shape) as operator:
            assert operator.check().ok is ok
        assert len(fake.sent) == 1

    def test_a_refused_key_is_not_tried_in_another_shape(self) -> None:
        fake = FakeMoizvonki(company_list_group=lambda _: Answer(400, b"api_key", "text/plain"))
        with connected(fake) as operator:
            check = operator.check()
        assert (check.ok, len(fake.sent)) == (False, 1)
        assert "логин или ключ" in check.message

    @pytest.mark.parametrize(
        ("typed", "address"),
        [
            ("agency", "https://agency.moizvonki.ru/api/v1"),
            ("agency.moizvonki.ru", "https://agency.moizvonki.ru/api/v1"),
            ("https://agency.moizvonki.ru/", "https://agency.moizvonki.ru/api/v1"),
            ("https://agency.moizvonki.ru/api/v1/", "https://agency.moizvonki.ru/api/v1"),
        ],
    )
    def test_the_address_may_be_typed_in_short(self, typed: str, address: str) -> None:
        with pytest.raises(AssertionError, match=f"POST {address}$"):
            moizvonki(api_base=typed).place_call(CALL)

    def test_a_wrong_address_is_told(self) -> None:
        check = moizvonki(api_base="https://[agency").check()
        assert (check.ok, "адрес API" in check.message) == (False, True)


class TestEmployees:
    def test_they_are_known_by_their_logins(self) -> None:
        rows = [
            {"id": 17, "email": "Ivanov@agency.example", "display_name": "Иванов", "role": 1},
            {"id": 18, "user_login": "petrova", "group_name": "Продажи"},
            {"id": 19},
        ]
        with connected(FakeMoizvonki(company_list_employee=listed(*rows))) as operator:
            first, second = operator.extensions()
        assert (first.number, first.name) == ("Ivanov@agency.example", "Иванов")
        assert (first.employee_key, first.email) == (
            "ivanov@agency.example",
            "Ivanov@agency.example",
        )
        assert (second.name, second.email, second.department) == ("petrova", None, "Продажи")

    def test_a_list_without_logins_is_a_failure(self) -> None:
        fake = FakeMoizvonki(company_list_employee=listed({"id": 17}, 5))
        with connected(fake) as operator, pytest.raises(OperatorError, match="логинов"):
            operator.extensions()

    def test_the_check_asks_for_the_groups(self) -> None:
        fake = FakeMoizvonki(company_list_group=listed())
        with connected(fake) as operator:
            check = operator.check()
        assert (check.ok, check.message.startswith("Связь есть")) == (True, True)
        assert (fake.asked[0]["action"], fake.asked[0]["max_results"]) == ("company.list_group", 1)


class TestSubscription:
    def test_the_three_seen_shapes_are_sent_together(self) -> None:
        fake = FakeMoizvonki(webhook_subscribe=said({"ok": 1}))
        url = f"https://crm.example.ru/telephony/moizvonki/{TOKEN}"
        with connected(fake) as operator:
            subscription = operator.subscribe(url, None)
        events = ["call.start", "call.answer", "call.finish"]
        assert fake.asked == [
            {
                "user_name": "owner@agency.example",
                "api_key": KEY,
                "action": "webhook.subscribe",
                "url": url,
                "events": events,
                "hooks": dict.fromkeys(events, url),
                **dict.fromkeys(events, url),
            }
        ]
        assert subscription.id
        assert subscription.expires_at > datetime.now(UTC) + timedelta(days=1)

    def test_a_refusal_does_not_show_the_secret_address(self) -> None:
        fake = FakeMoizvonki(webhook_subscribe=lambda order: said({"error": order["url"]})({}))
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.subscribe(f"https://crm.example.ru/{TOKEN}", "agency")
        assert TOKEN not in f"{caught.value} {caught.value!r}"


class TestHistory:
    def test_rows_tell_the_same_as_webhooks(self) -> None:
        with connected(FakeMoizvonki(calls_list=listed(ROW))) as operator:
            events = list(operator.history(at(0), at(3600)))
        told = parsed("call.finish")
        assert [event.event_id for event in events] == [event.event_id for event in told]
        assert [replace(event, raw="") for event in events] == [
            replace(event, raw="") for event in told
        ]

    def test_all_employees_and_the_last_day_are_asked_for(self) -> None:
        fake = FakeMoizvonki(calls_list=listed())
        with connected(fake) as operator:
            assert list(operator.history(at(-7200), at(0))) == []
            assert list(operator.history(at(-3 * 86_400), at(0))) == []
        assert [(order["from_date"], order["to_date"]) for order in fake.asked] == [
            (1772439631 - 86_400, 1772439632),
            (1772439631 - 3 * 86_400, 1772439632),
        ]
        assert {(order["supervised"], order["max_results"]) for order in fake.asked} == {(1, PAGE)}

    @pytest.mark.parametrize("with_remains", [True, False])
    def test_pages_are_read_by_offset(self, with_remains: bool) -> None:
        rows = [
            {**ROW, "db_call_id": number, "event_pbx_call_id": f"pbx-{number}", "recording": ""}
            for number in range(250)
        ]

        def answer(order: dict[str, Any]) -> Answer:
            start = order["from_offset"]
            page = rows[start : start + order["max_results"]]
            left = len(rows) - start - len(page)
            value: dict[str, Any] = {"results": page, "results_next_offset": left and start + 100}
            if with_remains:
                value["results_remains"] = left
            return said(value)({})

        fake = FakeMoizvonki(calls_list=answer)
        with connected(fake) as operator:
            ids = [event.provider_call_id for event in operator.history(at(0), at(60))]
        assert ids == [f"pbx-{number}" for number in range(250)]
        assert [order["from_offset"] for order in fake.asked] == [0, 100, 200]

    def test_a_broken_gateway_is_asked_three_times(self) -> None:
        answers = iter([Answer(502, b"<html>", "text/html"), Answer(504), listed(ROW)({})])
        fake = FakeMoizvonki(calls_list=lambda _: next(answers))
        with connected(fake) as operator:
            assert len(list(operator.history(at(0), at(60)))) == 2
        assert len(fake.sent) == 3

    @pytest.mark.parametrize(
        ("answer", "permanent", "sent"),
        [
            (Answer(503), False, 3),
            (Answer(500), False, 1),
            (Answer(429), False, 1),
            (Answer(401), True, 1),
            (Answer(403), True, 1),
            (Answer(200, b"<html>", "text/html"), False, 1),
            (Answer(200, b"[]"), False, 1),
            (Answer(200, b"{}"), False, 1),
            (said({"error": "supervised"})({}), True, 1),
            (said({"results": [], "results_remains": 5})({}), False, 1),
            (said({"results": [ROW], "results_remains": 5})({}), False, 1),
            (said({"results": [5]})({}), False, 1),
            (said({"results": [{"start_time": 0}]})({}), False, 1),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(
        self, answer: Answer, permanent: bool, sent: int
    ) -> None:
        fake = FakeMoizvonki(calls_list=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(at(0), at(60)))
        assert caught.value.permanent is permanent
        assert len(fake.sent) == sent

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeMoizvonki()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            list(operator.history(at(0), at(60)))
        assert not caught.value.permanent


class TestRecordings:
    @pytest.mark.parametrize("link", ["/rec/1.mp3", "rec/1.mp3", "{host}/rec/1.mp3"])
    def test_an_address_may_be_whole_or_relative(self, link: str) -> None:
        fake = FakeMoizvonki(file=lambda _: Answer(200, MP3, "audio/mpeg"))
        with connected(fake) as operator:
            host = operator.credential("api_base").removesuffix("/api/v1")
            ref = RecordingRef(recording_url=link.format(host=host))
            with operator.fetch_recording(ref) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.sent[0].path == "/rec/1.mp3"
        assert KEY not in str(fake.sent[0].headers)

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
        fake = FakeMoizvonki(file=lambda _: answer)
        with connected(fake) as operator, pytest.raises(kind) as caught:
            operator.fetch_recording(RecordingRef(recording_url="/rec/1.mp3"))
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "//evil.example/1.mp3",
            "https://agency.moizvonki.ru.evil.example/1.mp3",
            "https://evil.example/agency.moizvonki.ru",
            "http://agency.moizvonki.ru/1.mp3",
            "file:///etc/passwd",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        with pytest.raises(OperatorError, match="чужой") as caught:
            moizvonki().fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent

    @pytest.mark.parametrize(
        ("link", "words"), [(None, "нет адреса"), ("https://[", "не разобрать")]
    )
    def test_without_an_address_nothing_is_asked(self, link: str | None, words: str) -> None:
        with pytest.raises(OperatorError, match=words) as caught:
            moizvonki().fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
def test_a_foreign_notice_becomes_a_whole_call() -> None:
    request = inbound((FOREIGN / "call_finish_webhook.json").read_bytes())
    moizvonki(account="98073").verify(request)
    (event,) = moizvonki().parse(request)
    assert (event.kind, event.result) == (CallKind.ENDED, CallResult.ANSWERED)
    assert (event.provider_call_id, event.alias_call_ids) == ("pbx-1", ("db:1",))
    assert (event.client_number, event.line_number) == ("998900000001", "998000000000")
    assert event.employee_key == "manager@example.test"
    assert (event.talk, event.duration_total) == (9, 10)
    assert event.ended_at == datetime.fromtimestamp(1800000011, UTC)
