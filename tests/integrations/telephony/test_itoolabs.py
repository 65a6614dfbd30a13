"""ITooLabs platform: what all its brands share, shown by a brand of our own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import itoolabs, registry
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    Capability,
    ClickToCall,
    Direction,
    KnownCaller,
    NotSupported,
    WebhookRejected,
)
from crm.integrations.telephony.itoolabs import Brand, ITooLabs
from crm.integrations.telephony.itoolabs_events import moment, result_of
from crm.integrations.telephony.itoolabs_history import csv_rows, rows_between
from crm.integrations.telephony.payload import Payload
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import NOW, TOKEN

CRM_TOKEN = "crm-token-of-the-test-0123456789abcdef"
API_KEY = "9b2c1d7e-0000-4000-8000-0123456789ab"
SETTINGS = {
    "crm_token": CRM_TOKEN,
    "api_key": API_KEY,
    "api_url": "https://agency.pbx.example.ru/crmapi/v1",
}
CALL = ClickToCall(
    extension="701", number="79001112233", request_id="crm-0042", line_number="74950001122"
)


class OwnBrand(ITooLabs):
    """A brand outside the package: the registry does not see it."""

    slug = "own_brand"
    title = "Своя АТС"
    brand = Brand(protocols=(itoolabs.REST, itoolabs.COMMANDS))
    credentials = itoolabs.credential_fields(brand, "https://agency.pbx.example.ru")
    request_pause: ClassVar[timedelta] = timedelta(0)


def own(token: str = TOKEN, **changed: str) -> OwnBrand:
    return OwnBrand(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=token)


def inbound(text: str = "", /, method: str = "POST", **fields: str) -> InboundRequest:
    """A form of the given fields after the decoded ones of `text`, with our secret."""
    form = {**dict(parse_qsl(text)), **{name: value for name, value in fields.items() if value}}
    return InboundRequest(
        method=method,
        path_tail="",
        query={},
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=urlencode({"crm_token": CRM_TOKEN, **form}).encode(),
        remote_addr="203.0.113.7",
        received_at=NOW,
        token=TOKEN,
    )


EVENT = "cmd=event&phone=79001112233&diversion=74950001122&user=anna&ext=701&callid=A1B2-0001"
HISTORY = (
    "cmd=history&type=in&status=Success&phone=79001112233&diversion=74950001122&user=anna&ext=701"
    "&telnum=79260000701&start=20260101T090000Z&wait=11&duration=101&callid=A1B2-0001"
)
LINK = "https://agency.pbx.example.ru/records/0001.mp3"


def parsed(text: str, /, **fields: str) -> list[CallEvent]:
    return own().parse(inbound(text, **fields))


def only(text: str, /, **fields: str) -> CallEvent:
    (event,) = parsed(text, **fields)
    return event


def at(seconds: int) -> datetime:
    return datetime(2026, 1, 1, 9, tzinfo=UTC) + timedelta(seconds=seconds)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")
PAGE = Answer(200, b"<html><body>Log in</body></html>", "text/html")


class FakePbx:
    """Answers by path (REST) or by command; refuses a wrong key as the platform does."""

    def __init__(self, **answers: Callable[[Mapping[str, str]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[Mapping[str, str]] = []

    def __call__(self, asked: Asked) -> Answer:
        self.headers.append(asked.headers)
        parts = urlsplit(asked.path)
        if parts.path == "/sys/crm_api.wcgp":
            fields = dict(asked.form)
            name, key = fields.pop("cmd", ""), fields.pop("token", "")
        elif parts.path.startswith("/crmapi/v1/"):
            fields = dict(parse_qsl(parts.query, keep_blank_values=True))
            if asked.method == "POST":
                fields = json.loads(asked.body)
            name, key = parts.path.removeprefix("/crmapi/v1/"), asked.headers.get("X-API-KEY", "")
        else:
            return self.answers["file"]({})
        if key != API_KEY:
            return said({"error": "Invalid token"}, 401)
        self.asked.append((name, fields))
        return self.answers[name.replace("/", "_")](fields)


@contextmanager
def connected(
    fake: FakePbx, brand: type[ITooLabs] = OwnBrand, **changed: str
) -> Iterator[ITooLabs]:
    """An account at the fake server: only its host is written as the address."""
    with serving(fake) as base:
        values = {**SETTINGS, "api_url": base, **changed}
        yield brand(7, values, PlainClient(), webhook_token=TOKEN)


class TestBrands:
    def test_the_platform_itself_is_nobodys_operator(self) -> None:
        assert inspect.isabstract(ITooLabs)
        found = {operator.slug for operator in registry.all_operators()}
        assert {"megafon", "gravitel_older"} <= found
        assert "own_brand" not in found

    def test_a_brand_with_two_protocols_lets_choose_one_of_them(self) -> None:
        names = [field.name for field in OwnBrand.credentials]
        assert names == [
            "crm_token",
            "api_url",
            "api_key",
            "protocol",
            "durations",
            "recording_host",
            "name_fields",
            "responsible_fields",
        ]
        assert Capability.LINES in own().capabilities
        assert Capability.LINES not in own(protocol="commands").capabilities
        assert own(protocol="of-next-year").protocol == "rest"
        with pytest.raises(NotSupported, match="Не поддерживается"):
            own(protocol="commands").lines()

    def test_a_brand_with_one_protocol_asks_nothing(self) -> None:
        fields = itoolabs.credential_fields(Brand(protocols=("commands",)), "")
        assert "protocol" not in [field.name for field in fields]


class TestSender:
    def test_the_right_token_passes(self) -> None:
        own().verify(inbound(EVENT, type="INCOMING"))
        with pytest.raises(WebhookRejected, match="нет секрета"):
            own(token="").verify(replace(inbound(EVENT, type="INCOMING"), token=""))

    @pytest.mark.parametrize("token", ["wrong", CRM_TOKEN + "x", "токен", " "])
    def test_another_token_is_rejected(self, token: str) -> None:
        with pytest.raises(WebhookRejected, match="crm_token"):
            own().verify(inbound(EVENT, type="INCOMING", crm_token=token))

    def test_an_absent_token_is_rejected_even_when_ours_is_empty(self) -> None:
        request = replace(inbound(), body=EVENT.encode())
        for operator in (own(), own(crm_token="")):
            with pytest.raises(WebhookRejected):
                operator.verify(request)

    def test_the_address_does_not_replace_the_token_of_a_post(self) -> None:
        request = replace(inbound(), body=EVENT.encode(), query={"crm_token": CRM_TOKEN})
        with pytest.raises(WebhookRejected):
            own().verify(request)


class TestForms:
    def test_get_has_its_fields_in_the_address(self) -> None:
        query = {**dict(parse_qsl(HISTORY)), "crm_token": CRM_TOKEN}
        request = replace(inbound(), method="GET", body=b"", query=query)
        own().verify(request)
        (event,) = own().parse(request)
        assert (event.kind, event.provider_call_id) == (CallKind.ENDED, "A1B2-0001")
        assert "crm_token=•••" in event.raw
        assert "phone=79001112233" in event.raw
        assert CRM_TOKEN not in event.raw

    def test_get_with_a_zero_character_is_malformed(self) -> None:
        request = replace(inbound(), method="GET", query={"cmd": "event", "callid": "\x00"})
        with pytest.raises(MalformedRequest):
            own().parse(request)

    @pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
    def test_json_is_read_as_the_form(self, content_type: str) -> None:
        fields = {**dict(parse_qsl(HISTORY)), "crm_token": CRM_TOKEN, "duration": 101, "ext": 701}
        request = replace(
            inbound(), body=json.dumps(fields).encode(), headers={"Content-Type": content_type}
        )
        own().verify(request)
        (event,) = own().parse(request)
        assert (event.duration_total, event.extension) == (101, "701")
        assert CRM_TOKEN not in event.raw

    def test_order_secret_and_flag_of_the_platform_do_not_make_another_request(self) -> None:
        request = inbound(EVENT, type="ACCEPTED")
        reordered = "z-flag=1&crm_token=rotated&type=ACCEPTED&" + "&".join(
            reversed(EVENT.split("&"))
        )
        other = replace(request, body=reordered.encode())
        assert own().delivery_key(other) == own().delivery_key(request)
        assert own().parse(other)[0].event_id == own().parse(request)[0].event_id
        assert own().delivery_key(inbound(EVENT, type="COMPLETED")) != own().delivery_key(request)

    def test_answers_are_empty_objects(self) -> None:
        for request in (inbound(EVENT, type="INCOMING"), inbound(HISTORY), inbound("cmd=rating")):
            reply = own().reply(request)
            assert (reply.status, reply.body) == (200, b"{}")
            assert reply.content_type == "application/json"


class TestEvents:
    @pytest.mark.parametrize(
        ("word", "kind", "direction", "result"),
        [
            ("INCOMING", CallKind.RINGING, Direction.IN, None),
            ("OUTGOING", CallKind.RINGING, Direction.OUT, None),
            ("ACCEPTED", CallKind.ANSWERED, None, None),
            ("COMPLETED", CallKind.ENDED, None, CallResult.ANSWERED),
            ("CANCELLED", CallKind.LEG_ENDED, None, None),
            ("cancelled", CallKind.LEG_ENDED, None, None),
        ],
    )
    def test_types_become_kinds(
        self, word: str, kind: CallKind, direction: Direction | None, result: CallResult | None
    ) -> None:
        event = only(EVENT, type=word)
        assert (event.kind, event.direction, event.result) == (kind, direction, result)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert (event.extension, event.employee_key) == ("701", "anna")
        assert (event.provider_call_id, event.leg_id) == ("A1B2-0001", "A1B2-0001:anna")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)
        assert not event.final

    def test_the_newer_field_tells_the_direction(self) -> None:
        assert only(EVENT, type="ACCEPTED", direction="out").direction is Direction.OUT
        assert only(EVENT, type="ACCEPTED", direction="sideways").direction is None

    def test_a_group_call_has_a_leg_for_every_employee(self) -> None:
        legs = {only(EVENT, type="INCOMING", user=user).leg_id for user in ("anna", "oleg")}
        assert legs == {"A1B2-0001:anna", "A1B2-0001:oleg"}
        cancelled = only(EVENT, type="CANCELLED", user="oleg")
        assert (cancelled.kind, cancelled.result) == (CallKind.LEG_ENDED, None)

    def test_a_transfer_joins_two_calls_and_frees_the_first_employee(self) -> None:
        event = only(EVENT, type="TRANSFERRED", second_callid="A1B2-0002", direction="in")
        assert (event.transferred, event.kind) == (True, CallKind.LEG_ENDED)
        assert (event.provider_call_id, event.alias_call_ids) == ("A1B2-0001", ("A1B2-0002",))
        assert only(EVENT, type="TRANSFERRED", second_callid="A1B2-0001").alias_call_ids == ()

    def test_the_domain_of_a_login_and_the_plus_of_a_number_are_dropped(self) -> None:
        event = only(
            EVENT, type="INCOMING", user="anna@agency.pbx.example.ru", phone="+79001112233"
        )
        assert (event.employee_key, event.client_number) == ("anna", "79001112233")
        assert only(EVENT, type="INCOMING", phone="89001112233").client_number == "79001112233"

    def test_without_a_login_the_extension_is_the_key(self) -> None:
        event = only("cmd=event&type=INCOMING&phone=79001112233&ext=701&callid=A1B2-0001")
        assert (event.extension, event.employee_key, event.line_number) == ("701", "701", None)

    @pytest.mark.parametrize("phone", ["anonymous", "Скрыт", "-"])
    def test_a_hidden_number_keeps_the_call(self, phone: str) -> None:
        event = only(EVENT, type="INCOMING", phone=phone)
        assert (event.kind, event.client_number) == (CallKind.RINGING, None)

    def test_calls_between_employees_are_ignored(self) -> None:
        assert parsed(EVENT, type="INCOMING", phone="101") == []
        assert parsed(EVENT, type="INCOMING", direction="internal") == []
        assert parsed(HISTORY, phone="101") == []
        assert parsed(HISTORY, type="internal") == []
        assert parsed("cmd=contact&phone=101&callid=A1B2-0001") == []

    def test_a_mark_of_a_client_is_noise_and_news_are_unknown(self) -> None:
        assert parsed("cmd=rating&phone=79001112233&callid=A1B2-0001&rating=5") == []
        for text in (
            "cmd=of-next-year&callid=A1B2-0001",
            EVENT + "&type=TELEPORTED",
            "cmd=history&type=sideways&callid=A1B2-0001",
        ):
            assert only(text).kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "type=INCOMING&callid=A1B2-0001",
            "cmd=event&type=INCOMING&phone=79001112233",
            "cmd=event&type=INCOMING&callid=" + "9" * 129,
            "cmd=history&type=in&status=Success",
            "cmd=contact&phone=79001112233",
        ],
    )
    def test_a_request_without_its_call_is_malformed(self, text: str) -> None:
        with pytest.raises(MalformedRequest):
            own().parse(replace(inbound(), body=text.encode()))

    def test_a_long_leg_still_fits(self) -> None:
        event = only(EVENT, type="INCOMING", callid="c" * 128)
        assert len(event.leg_id or "") == 64


class TestFinishedCalls:
    def test_an_answered_call(self) -> None:
        event = only(HISTORY)
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.direction, event.extension, event.employee_key) == (
            Direction.IN,
            "701",
            "anna",
        )
        assert (event.started_at, event.answered_at, event.ended_at) == (at(0), at(11), at(101))
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(101), False)

    @pytest.mark.parametrize(
        ("meaning", "total", "talk"),
        [("as_told", 101, None), ("total", 101, 90), ("talk", 112, 101), ("unheard-of", 101, None)],
    )
    def test_a_setting_says_what_a_duration_is(
        self, meaning: str, total: int, talk: int | None
    ) -> None:
        (event,) = own(durations=meaning).parse(inbound(HISTORY))
        assert (event.duration_total, event.talk) == (total, talk)
        assert event.ended_at == at(total)

    def test_without_a_wait_the_talk_is_not_invented(self) -> None:
        text = HISTORY.replace("wait=11", "")
        (event,) = own(durations="total").parse(inbound(text))
        assert (event.duration_total, event.talk, event.answered_at) == (101, None, None)

    def test_a_recording_is_told_with_the_call_and_apart(self) -> None:
        ended, ready = parsed(HISTORY, link=LINK)
        assert (ended.kind, ended.recording_url) == (CallKind.ENDED, LINK)
        assert (ready.kind, ready.recording_url) == (CallKind.RECORDING_READY, LINK)
        assert (ready.provider_call_id, ready.employee_key) == ("A1B2-0001", "anna")
        assert ready.event_id != ended.event_id
        assert not ready.recording_url_temporary

    def test_the_same_recording_in_a_later_record_is_the_same_fact(self) -> None:
        first, again = parsed(HISTORY, link=LINK), parsed(HISTORY, link=LINK, rating="5")
        assert first[1].event_id == again[1].event_id
        assert first[0].event_id != again[0].event_id

    @pytest.mark.parametrize("link", ["", "-", "file:///etc/passwd", "javascript:alert(1)"])
    def test_what_is_no_address_is_no_recording(self, link: str) -> None:
        assert only(HISTORY, link=link).recording_url is None

    @pytest.mark.parametrize(
        ("status", "result"),
        [
            ("missed", CallResult.NO_ANSWER),
            ("Missed", CallResult.NO_ANSWER),
            ("Cancel", CallResult.CANCELLED),
            ("Busy", CallResult.BUSY),
        ],
    )
    def test_an_inbound_call_that_nobody_took_is_missed(
        self, status: str, result: CallResult
    ) -> None:
        event = only(HISTORY, status=status, wait="20", duration="0")
        assert (event.kind, event.result, event.final) == (CallKind.MISSED, result, True)
        assert (event.talk, event.duration_total, event.answered_at) == (0, 0, None)
        assert event.ended_at == at(20)

    @pytest.mark.parametrize(
        ("status", "result"),
        [
            ("Success", CallResult.ANSWERED),
            ("Busy", CallResult.BUSY),
            ("NotAvailable", CallResult.NO_ANSWER),
            ("NotAllowed", CallResult.FAILED),
            ("NotFound", CallResult.FAILED),
            ("Cancel", CallResult.CANCELLED),
            ("callAerror", CallResult.FAILED),
            ("CALLAERROR", CallResult.FAILED),
            ("Teleported", CallResult.UNKNOWN),
        ],
    )
    def test_an_outgoing_call_is_never_missed(self, status: str, result: CallResult) -> None:
        event = only(HISTORY, type="out", status=status)
        assert (event.kind, event.result) == (CallKind.ENDED, result)
        assert event.direction is Direction.OUT

    def test_a_menu_that_answered_is_not_an_employee(self) -> None:
        event = only(HISTORY, user="ivr", ext="")
        assert (event.kind, event.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert event.employee_key == "701"
        nobody = only(HISTORY.replace("&ext=701", ""), user="ivr")
        assert nobody.employee_key is None

    @pytest.mark.parametrize("start", ["", "yesterday", "99991231T235959Z", "00010101T000000Z"])
    def test_without_a_time_the_receipt_stands_in(self, start: str) -> None:
        text = HISTORY.replace("start=20260101T090000Z", f"start={start}")
        event = only(text)
        assert (event.occurred_at, event.started_at) == (NOW, None)
        assert event.occurred_at_is_receipt

    @pytest.mark.parametrize("number", ["", "many", "-5", "99999999999", "1.5"])
    def test_an_impossible_duration_is_none(self, number: str) -> None:
        event = only(HISTORY.replace("duration=101", f"duration={number}"))
        assert (event.duration_total, event.talk, event.ended_at) == (None, None, None)

    @pytest.mark.parametrize(
        "text",
        [
            "20260101T090000Z",
            "2026-01-01T09:00:00Z",
            "2026-01-01T12:00:00+03:00",
            "2026-01-01 09:00:00",
        ],
    )
    def test_moments_are_utc(self, text: str) -> None:
        assert moment(text) == at(0)

    @pytest.mark.parametrize("word", ["noanswer", "no answer", "NO_ANSWER", "NotAvailable"])
    def test_separators_of_a_status_do_not_matter(self, word: str) -> None:
        assert result_of(word) is CallResult.NO_ANSWER


class TestWhoCalls:
    QUESTION = "cmd=contact&phone=%2B79001112233&callid=A1B2-0001"

    def test_a_question_is_the_first_sign_of_a_call(self) -> None:
        event = only(self.QUESTION)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.extension, event.line_number) == (None, None)
        assert only(self.QUESTION, diversion="74950001122").line_number == "74950001122"

    def test_only_a_question_about_a_client_is_asked(self) -> None:
        assert own().caller_question(inbound(self.QUESTION)) == "79001112233"
        assert own().caller_question(inbound(self.QUESTION, phone="101")) is None
        assert own().caller_question(inbound(self.QUESTION, phone="anonymous")) is None
        assert own().caller_question(inbound(EVENT, type="INCOMING")) is None
        assert own().caller_question(replace(inbound(), body=b"\xff")) is None

    @pytest.mark.parametrize(
        ("caller", "expected"),
        [
            (None, {}),
            (KnownCaller(), {}),
            (KnownCaller(name="Анна «Новая»"), {"contact_name": "Анна «Новая»"}),
            (
                KnownCaller(name="Анна", responsible_key="oleg"),
                {"contact_name": "Анна", "responsible": "oleg"},
            ),
        ],
    )
    def test_the_answer_names_whom_we_know(
        self, caller: KnownCaller | None, expected: dict[str, str]
    ) -> None:
        reply = own().reply(inbound(self.QUESTION), caller)
        assert json.loads(reply.body) == expected
        assert reply.content_type == "application/json"

    def test_the_names_of_the_answer_are_settings(self) -> None:
        caller = KnownCaller(name="Анна", responsible_key="oleg")
        operator = own(name_fields="name, display_name", responsible_fields="user")
        assert json.loads(operator.reply(inbound(self.QUESTION), caller).body) == {
            "name": "Анна",
            "display_name": "Анна",
            "user": "oleg",
        }

    def test_what_is_known_goes_to_nobody_else(self) -> None:
        reply = own().reply(inbound(EVENT, type="INCOMING"), KnownCaller(name="Анна"))
        assert reply.body == b"{}"


class TestPeriods:
    """The rows between two moments when an answer holds three rows at most."""

    LIMIT = 3

    def rows(
        self, starts: list[int], length: int = 1000, *, inclusive: bool = True
    ) -> tuple[list[int], int]:
        asked = []

        def ask(start: datetime, end: datetime) -> list[Payload]:
            asked.append((start, end))
            found = [
                second
                for second in starts
                if start <= at(second) and (at(second) <= end if inclusive else at(second) < end)
            ]
            newest_first = sorted(found, reverse=True)[: self.LIMIT]
            return [Payload({"uid": str(second)}) for second in newest_first]

        found = rows_between(at(0), at(length), ask, limit=self.LIMIT, pause=timedelta(0))
        return [int(row.required("uid")) for row in found], len(asked)

    def test_a_short_answer_is_whole(self) -> None:
        assert self.rows([5, 1]) == ([5, 1], 1)
        assert self.rows([], length=0) == ([], 0)

    @pytest.mark.parametrize("inclusive", [True, False])
    def test_a_full_one_is_asked_by_halves_and_borders_are_not_lost(self, inclusive: bool) -> None:
        starts = [0, 1, 2, 3, 250, 499, 500, 501, 750, 998, 999]
        found, asked = self.rows(starts, inclusive=inclusive)
        assert sorted(found) == starts
        assert asked > 2

    def test_too_many_calls_in_a_second_are_a_failure(self) -> None:
        with pytest.raises(MalformedRequest, match="одну секунду"):
            self.rows([7, 7, 7, 7])


class TestCsv:
    LINE = "A1,in,79001112233,anna@agency.pbx.example.ru,74950001122,2026-01-01T09:00:00Z,11,90,"

    def test_lines_become_rows_whatever_ends_them(self) -> None:
        rows = csv_rows("\ufeff" + self.LINE + LINK + "\r\n\n" + self.LINE.removesuffix(",") + "\n")
        assert [row.text("record") for row in rows] == [LINK, None]
        assert rows[0].text("account") == "anna@agency.pbx.example.ru"
        assert csv_rows("") == csv_rows("\r\n") == []
        assert len(csv_rows(self.LINE + LINK + ",5")) == 1

    @pytest.mark.parametrize(
        "text",
        [
            "<html>",
            '{"error":"Invalid parameters"}',
            "A1,in,79001112233",
            "OK",
            "A1\x00",
            "a" * 200_000,
        ],
    )
    def test_another_text_is_malformed(self, text: str) -> None:
        with pytest.raises(MalformedRequest):
            csv_rows(text)
