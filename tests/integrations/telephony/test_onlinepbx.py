"""OnlinePBX against its reference, and against a server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import onlinepbx_simulation
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
from crm.integrations.telephony.onlinepbx import OnlinePbx
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

FOREIGN = FOREIGN_SAMPLES / "onlinepbx"
DOMAIN = "pbx12345.onpbx.ru"
KEY = "0123456789abcdefghijklmnopqrstuv"
SESSION = "fedcba9876543210-session"
SETTINGS = {"domain": DOMAIN, "api_key": KEY}
UUID = "0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8"
LINK = "https://api2.onlinepbx.ru/calls-records/download/0123456789abcdef/rec.mp3"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")
BASE = 1767258000

COMMON = {
    "domain": DOMAIN,
    "event": "call_start",
    "direction": "inbound",
    "uuid": UUID,
    "caller": "79001112233",
    "callee": "101",
    "from_domain": "",
    "to_domain": DOMAIN,
    "gateway": "74950001122",
    "date": str(BASE),
}
END = COMMON | {
    "event": "call_end",
    "date": str(BASE + 101),
    "call_duration": "101",
    "dialog_duration": "90",
    "hangup_cause": "NORMAL_CLEARING",
    "download_url": LINK,
}


class Loopback(PlainClient):
    """Goes to the local server only."""

    def request(self, method: str, url: str, **options: Any) -> PlainResponse:
        if urlsplit(url).hostname != "127.0.0.1":
            raise AssertionError(f"unexpected request {method} {url}")
        return super().request(method, url, **options)


class QuickOnlinePbx(OnlinePbx):
    """Does not wait between requests."""

    request_pause = timedelta(0)


def onlinepbx(**changed: str) -> QuickOnlinePbx:
    return QuickOnlinePbx(7, {**SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def inbound(fields: dict[str, Any], **changed: Any) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"content-type": "application/json"},
        body=json.dumps({**fields, **changed}).encode(),
        remote_addr="127.0.0.1",
        received_at=NOW,
        token=TOKEN,
    )


def parsed(fields: dict[str, Any], **changed: Any) -> list[CallEvent]:
    return onlinepbx().parse(inbound(fields, **changed))


def only(fields: dict[str, Any], **changed: Any) -> CallEvent:
    (event,) = parsed(fields, **changed)
    return event


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(BASE + seconds, UTC)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def good(data: Any) -> Answer:
    return said({"status": "1", "comment": "", "data": data})


def refused(comment: str, **extra: Any) -> Answer:
    return said({"status": "0", "comment": comment, "errorCode": "E1", **extra})


class FakeOnlinePbx:
    """Lets in by `auth.json`, then answers from a table of paths."""

    def __init__(self, **answers: Callable[[dict[str, str]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.entries: list[dict[str, str]] = []
        self.lives = 1

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            assert "x-pbx-authentication" not in {name.lower() for name in asked.headers}
            return self.answers["file"]({})
        name = asked.path.removeprefix(f"/{DOMAIN}/")
        form = dict(asked.form)
        if name == "auth.json":
            return self.enter(form)
        self.asked.append((name, form))
        headers = {name.lower(): value for name, value in asked.headers.items()}
        if headers.get("x-pbx-authentication") != f"7:{SESSION}-{self.lives}":
            return refused("not authenticated", isNotAuth=True)
        return self.answers[name.removesuffix(".json").replace("/", "_")](form)

    def enter(self, form: dict[str, str]) -> Answer:
        self.entries.append(form)
        if form["auth_key"] != KEY:
            return refused("API key is wrong")
        return good({"key_id": 7, "key": f"{SESSION}-{len(self.entries)}"})


@contextmanager
def connected(fake: FakeOnlinePbx, **changed: str) -> Iterator[QuickOnlinePbx]:
    with serving(fake) as base:
        values = {**SETTINGS, "api_base": base, **changed}
        yield QuickOnlinePbx(7, values, Loopback(), webhook_token=TOKEN)


def row(**changed: Any) -> dict[str, Any]:
    base = {
        "uuid": UUID,
        "caller_id_name": "79001112233",
        "caller_id_number": "79001112233",
        "destination_number": "74950001122",
        "start_stamp": BASE,
        "end_stamp": BASE + 101,
        "duration": 101,
        "user_talk_time": 90,
        "hangup_cause": "NORMAL_CLEARING",
        "accountcode": "inbound",
        "gateway": "74950001122",
        "contacted": True,
        "events": [
            {"type": "ivr", "number": "5001", "answered_stamp": BASE + 1},
            {"type": "user", "number": "102", "answered_stamp": 0},
            {"type": "user", "number": "101", "answered_stamp": BASE + 11},
        ],
    }
    return {**base, **changed}


def history(*rows: dict[str, Any], **changed: str) -> list[CallEvent]:
    fake = FakeOnlinePbx(mongo_history_search=lambda _: good(list(rows)))
    with connected(fake, **changed) as operator:
        return list(operator.history(NOW - timedelta(hours=2), NOW))


class TestOnlinePbxConformance(OperatorConformance):
    operator_class = OnlinePbx
    settings_of = SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        talk = int((scenario.ended_at - scenario.answered_at).total_seconds())
        return history(
            row(
                uuid=onlinepbx_simulation.call_id(scenario),
                caller_id_number=scenario.client_number,
                destination_number=scenario.line_number,
                start_stamp=int(scenario.started_at.timestamp()),
                end_stamp=str(int(scenario.ended_at.timestamp())),
                user_talk_time=talk,
                events=[],
            )
        )


class TestSender:
    def test_the_secret_address_is_required_even_with_a_domain(self) -> None:
        request = inbound(COMMON)
        onlinepbx().verify(request)
        with pytest.raises(WebhookRejected, match="нет секрета"):
            OnlinePbx(7, SETTINGS, NoNetwork()).verify(request)

    @pytest.mark.parametrize("domain", ["other.onpbx.ru", "", None, f"{DOMAIN}.evil.example"])
    def test_another_pbx_is_rejected(self, domain: str | None) -> None:
        with pytest.raises(WebhookRejected, match="другой АТС"):
            onlinepbx().verify(inbound(COMMON, domain=domain))

    @pytest.mark.parametrize(
        "typed", [DOMAIN.upper(), f"https://{DOMAIN}/", f"http://{DOMAIN}/panel", f" {DOMAIN} "]
    )
    def test_the_domain_may_be_copied_with_the_address(self, typed: str) -> None:
        onlinepbx(domain=typed).verify(inbound(COMMON))

    def test_the_header_is_checked_when_it_is_agreed(self) -> None:
        request = inbound(COMMON)
        strict = onlinepbx(pbx_token="agreed-secret")
        with pytest.raises(WebhookRejected, match="X-Pbx-Token"):
            strict.verify(request)
        headers = {**request.headers, "X-Pbx-Token": "agreed-secret"}
        strict.verify(replace(request, headers=headers))

    def test_a_form_is_read_like_json(self) -> None:
        form = replace(
            inbound(END),
            headers={"content-type": "application/x-www-form-urlencoded"},
            body=urlencode(END).encode(),
        )
        onlinepbx().verify(form)
        assert [event.event_id for event in onlinepbx().parse(form)] == [
            event.event_id for event in parsed(END)
        ]
        unmarked = replace(inbound(END), headers={})
        assert len(onlinepbx().parse(unmarked)) == 2


class TestEvents:
    def test_a_call_rings(self) -> None:
        event = only(COMMON)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79001112233", "74950001122")
        assert (event.extension, event.employee_key) == ("101", "101")
        assert (event.provider_call_id, event.final) == (UUID, False)
        assert (event.occurred_at, event.occurred_at_is_receipt) == (at(0), False)

    @pytest.mark.parametrize("callee", ["74950001122", "sales", ""])
    def test_a_line_or_a_group_is_no_employee(self, callee: str) -> None:
        event = only(COMMON, callee=callee)
        assert (event.extension, event.client_number) == (None, "79001112233")

    def test_each_extension_of_a_group_is_an_event(self) -> None:
        rings = COMMON | {"event": "call_user_start"}
        assert only(rings).kind is CallKind.RINGING
        assert only(rings).event_id != only(rings, callee="102").event_id
        assert only(rings).event_id == only(rings).event_id

    def test_an_employee_answers(self) -> None:
        event = only(COMMON, event="call_answered", date=str(BASE + 11))
        assert (event.kind, event.extension, event.answered_at) == (
            CallKind.ANSWERED,
            "101",
            at(11),
        )

    def test_a_line_that_answers_is_nobody(self) -> None:
        assert parsed(COMMON, event="call_answered", callee="74950001122") == []
        client = only(
            COMMON,
            event="call_answered",
            direction="outbound",
            caller="74950001122",
            callee="79001112233",
        )
        assert (client.kind, client.client_number) == (CallKind.ANSWERED, "79001112233")

    def test_an_answered_call_is_over_and_has_a_temporary_link(self) -> None:
        over, recording = parsed(END)
        assert (over.kind, over.result, over.final) == (CallKind.ENDED, CallResult.ANSWERED, True)
        assert (over.duration_total, over.talk, over.ended_at) == (101, 90, at(101))
        assert (recording.kind, recording.recording_ref) == (CallKind.RECORDING_READY, UUID)
        assert (recording.recording_url, recording.recording_url_temporary) == (LINK, True)
        assert recording.event_id == f"record:{UUID}"

    def test_numbers_may_be_numbers_and_the_link_is_made_secure(self) -> None:
        over, recording = parsed(
            END,
            date=BASE + 101,
            call_duration=101,
            dialog_duration=90,
            download_url=LINK.replace("https", "http"),
        )
        assert (over.talk, recording.recording_url) == (90, LINK)

    def test_an_unanswered_inbound_call_is_missed(self) -> None:
        event = only(END, dialog_duration="0", hangup_cause="NO_ANSWER")
        assert (event.kind, event.result, event.talk) == (
            CallKind.MISSED,
            CallResult.NO_ANSWER,
            0,
        )
        assert event.final

    def test_a_missed_notice_of_its_own_is_read_alike(self) -> None:
        event = only(COMMON, event="call_missed")
        assert (event.kind, event.result, event.final) == (
            CallKind.MISSED,
            CallResult.NO_ANSWER,
            True,
        )

    def test_an_end_that_does_not_tell_the_talk_decides_nothing(self) -> None:
        event = only(END, dialog_duration="")
        assert (event.kind, event.result, event.talk) == (CallKind.ENDED, None, None)

    @pytest.mark.parametrize(
        ("cause", "result"),
        [
            ("USER_BUSY", CallResult.BUSY),
            ("CALL_REJECTED", CallResult.BUSY),
            ("NO_USER_RESPONSE", CallResult.NO_ANSWER),
            ("ORIGINATOR_CANCEL", CallResult.NO_ANSWER),
            ("", CallResult.NO_ANSWER),
        ],
    )
    def test_an_unsuccessful_outgoing_call_is_ended_not_missed(
        self, cause: str, result: CallResult
    ) -> None:
        event = only(
            END,
            direction="outbound",
            caller="101",
            callee="79001112233",
            dialog_duration=0,
            hangup_cause=cause,
        )
        assert (event.kind, event.result) == (CallKind.ENDED, result)
        assert (event.client_number, event.extension) == ("79001112233", "101")

    def test_a_call_between_employees_has_no_client(self) -> None:
        event = only(COMMON, direction="local", caller="102")
        assert (event.direction, event.client_number) == (Direction.INTERNAL, None)

    @pytest.mark.parametrize(
        ("caller", "callee", "direction"),
        [
            ("79001112233", "101", Direction.IN),
            ("101", "79001112233", Direction.OUT),
            ("101", "102", Direction.INTERNAL),
            ("", "101", None),
        ],
    )
    def test_without_a_direction_the_lengths_tell(
        self, caller: str, callee: str, direction: Direction | None
    ) -> None:
        assert only(COMMON, direction="", caller=caller, callee=callee).direction is direction

    def test_a_hidden_number_is_no_number(self) -> None:
        event = only(COMMON, caller="anonymous")
        assert (event.direction, event.client_number) == (Direction.IN, None)

    def test_without_a_time_the_receipt_counts(self) -> None:
        event = only(COMMON, date="")
        assert (event.occurred_at, event.occurred_at_is_receipt) == (NOW, True)

    def test_a_new_event_is_unknown(self) -> None:
        assert only(COMMON, event="call_of_next_year").kind is CallKind.UNKNOWN

    @pytest.mark.parametrize(
        "changed",
        [
            {"uuid": ""},
            {"uuid": "9" * 200},
            {"event": ""},
            {"event": {}},
            {"date": "99999999999999"},
        ],
    )
    def test_an_impossible_event_is_malformed(self, changed: dict[str, Any]) -> None:
        with pytest.raises(MalformedRequest):
            parsed(COMMON, **changed)

    def test_a_temporary_link_is_not_shown(self) -> None:
        form = replace(
            inbound(END),
            headers={"content-type": "application/x-www-form-urlencoded"},
            body=urlencode(END).encode(),
        )
        for request in (inbound(END), form):
            shown = onlinepbx().mask(request)
            assert "0123456789abcdef" not in shown
            assert "79001112233" in shown
        over, recording = parsed(END)
        assert "0123456789abcdef" not in over.raw + repr(recording)


class TestSession:
    def test_the_pair_is_asked_once_and_sent_with_every_command(self) -> None:
        fake = FakeOnlinePbx(user_get=lambda _: good([]))
        with connected(fake) as operator:
            operator.extensions()
            operator.extensions()
        assert fake.entries == [{"auth_key": KEY}]
        assert fake.asked == [("user/get.json", {})] * 2

    def test_an_ended_session_is_renewed_and_the_command_repeated_once(self) -> None:
        fake = FakeOnlinePbx(user_get=lambda _: good([{"num": "101", "name": "Анна"}]))
        with connected(fake) as operator:
            fake.lives = 2
            assert [item.number for item in operator.extensions()] == ["101"]
            assert fake.entries == [{"auth_key": KEY}, {"auth_key": KEY, "new": "true"}]
            fake.lives = 100
            with pytest.raises(OperatorError, match="not authenticated") as caught:
                operator.extensions()
        assert caught.value.permanent
        assert len(fake.asked) == 4

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_by_status_is_an_ended_session_too(self, status: int) -> None:
        fake = FakeOnlinePbx(user_get=lambda _: said({}, status))
        fake.enter = lambda form: good({"key_id": 7, "key": f"{SESSION}-1"})  # type: ignore[method-assign]
        with connected(fake) as operator, pytest.raises(OperatorError, match="не приняты"):
            operator.extensions()
        assert len(fake.asked) == 2

    def test_a_wrong_key_is_told(self) -> None:
        with connected(FakeOnlinePbx(), api_key="another-key") as operator:
            check = operator.check()
        assert not check.ok
        assert "API key is wrong" in check.message

    @pytest.mark.parametrize("data", [None, [], {"key_id": "7"}, {"key": "x"}])
    def test_an_answer_without_a_pair_is_a_failure(self, data: Any) -> None:
        fake = FakeOnlinePbx()
        fake.enter = lambda form: good(data)  # type: ignore[method-assign]
        with connected(fake) as operator, pytest.raises(OperatorError, match="вход не выполнен"):
            operator.extensions()

    def test_secrets_are_not_shown_in_errors(self) -> None:
        fake = FakeOnlinePbx(
            user_get=lambda _: said({"status": "0", "comment": f"{KEY} {SESSION}-1"}, 400)
        )
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.extensions()
        shown = f"{caught.value} {caught.value!r} {caught.value.body}"
        assert not [secret for secret in (KEY, SESSION) if secret in shown]


CALL = ClickToCall(extension="101", number="79001112233", request_id="crm-1")


class TestClickToCall:
    def test_the_uuid_of_the_answer_is_not_relied_upon(self) -> None:
        fake = FakeOnlinePbx(call_now=lambda _: good({"uuid": UUID}))
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
            operator.place_call(replace(CALL, line_number="74950001122"))
        assert (placed.request_id, placed.provider_call_id) == ("crm-1", None)
        order = {"from": "101", "to": "79001112233"}
        assert fake.asked == [
            ("call/now.json", order),
            ("call/now.json", {**order, "gate_to": "74950001122"}),
        ]

    @pytest.mark.parametrize(
        ("trunks", "line", "sent"),
        [
            ("7", "74950001122", "74950001122"),
            ("8", "74950001122", "84950001122"),
            ("+7", "74950001122", "+74950001122"),
            ("10", "74950001122", "4950001122"),
            ("no", "74950001122", None),
            ("8", "442037691880", "442037691880"),
            ("7", "505", None),
        ],
    )
    def test_the_line_is_written_as_in_the_panel(
        self, trunks: str, line: str, sent: str | None
    ) -> None:
        fake = FakeOnlinePbx(call_now=lambda _: good({"uuid": UUID}))
        with connected(fake, trunks=trunks) as operator:
            operator.place_call(replace(CALL, line_number=line))
        assert fake.asked[0][1].get("gate_to") == sent

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (refused("user is offline"), True, "user is offline"),
            (said({}), True, "причина не названа"),
            (said({}, 404), True, "отклонён"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
            (said([1]), False, "не является объектом"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeOnlinePbx(call_now=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "OnlinePBX"
        assert len(fake.asked) == 1
        if answer.status == 429:
            assert caught.value.retry_after == timedelta(seconds=3)

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeOnlinePbx()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent


class TestEmployees:
    def test_users_that_are_switched_on_are_listed(self) -> None:
        users = [
            {"num": 101, "name": "Анна Петрова", "enabled": True},
            {"num": "102", "name": "", "enabled": "1"},
            {"num": "103", "name": "Уволен", "enabled": "0"},
            {"num": "104", "name": "Уволен", "enabled": False},
            {"name": "Без номера"},
        ]
        fake = FakeOnlinePbx(user_get=lambda _: good(users))
        with connected(fake) as operator:
            found = operator.extensions()
            assert operator.check().message == "Связь есть. Внутренних номеров: 2"
        assert [(item.number, item.name) for item in found] == [
            ("101", "Анна Петрова"),
            ("102", "102"),
        ]

    def test_one_user_may_come_without_a_list(self) -> None:
        fake = FakeOnlinePbx(user_get=lambda _: good({"num": "101", "name": "Анна"}))
        with connected(fake) as operator:
            assert [item.name for item in operator.extensions()] == ["Анна"]


class TestHistory:
    def test_an_answered_call_names_who_talked(self) -> None:
        (event,) = history(row())
        assert (event.kind, event.result, event.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (event.direction, event.client_number) == (Direction.IN, "79001112233")
        assert (event.line_number, event.extension) == ("74950001122", "101")
        assert (event.started_at, event.answered_at, event.ended_at) == (at(0), at(11), at(101))
        assert (event.duration_total, event.talk, event.provider_call_id) == (101, 90, UUID)
        assert event.recording_ref == UUID

    def test_recordings_are_not_looked_for_when_there_are_none(self) -> None:
        (event,) = history(row(), recording="no")
        assert event.recording_ref is None

    def test_without_steps_the_answer_is_counted_back_from_the_end(self) -> None:
        (event,) = history(row(events=None, destination_number="101"))
        assert (event.extension, event.answered_at) == ("101", at(11))

    def test_a_missed_call(self) -> None:
        (event,) = history(row(user_talk_time=0, hangup_cause="ORIGINATOR_CANCEL", events=[]))
        assert (event.kind, event.result, event.talk) == (
            CallKind.MISSED,
            CallResult.NO_ANSWER,
            0,
        )
        assert (event.answered_at, event.extension, event.recording_ref) == (None, None, None)

    def test_an_outgoing_call(self) -> None:
        (event,) = history(
            row(
                accountcode="outbound",
                caller_id_number=101,
                destination_number="+7 900 111-22-33",
                user_talk_time="0",
                hangup_cause="USER_BUSY",
            )
        )
        assert (event.kind, event.result) == (CallKind.ENDED, CallResult.BUSY)
        assert (event.client_number, event.extension) == ("79001112233", "101")

    @pytest.mark.parametrize("code", ["", None, "callback"])
    def test_without_a_known_direction_the_lengths_tell(self, code: str | None) -> None:
        (event,) = history(row(accountcode=code))
        assert event.direction is Direction.IN

    def test_times_and_lengths_are_tolerant_of_types(self) -> None:
        (event,) = history(
            row(start_stamp=str(BASE), end_stamp=None, duration=101.0, user_talk_time=90.4)
        )
        assert (event.ended_at, event.talk) == (at(101), 90)

    def test_a_talk_that_is_not_told_decides_nothing(self) -> None:
        (event,) = history(row(user_talk_time=None))
        assert (event.kind, event.result) == (CallKind.ENDED, None)

    def test_a_later_export_that_knows_more_is_another_event(self) -> None:
        (early,), (late,) = history(row(quality_score=None)), history(row(quality_score=5))
        assert early.event_id != late.event_id
        assert history(row(quality_score=5))[0].event_id == late.event_id

    def test_it_is_asked_by_days(self) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good([]))
        since = at(0)
        with connected(fake) as operator:
            assert list(operator.history(since, since + timedelta(days=2, hours=6))) == []
        day = 86_400
        assert [
            (int(form["start_stamp_from"]) - BASE, int(form["start_stamp_to"]) - BASE)
            for _, form in fake.asked
        ] == [(0, day - 1), (day, 2 * day - 1), (2 * day, 2 * day + 21_600)]

    def test_a_crowded_day_is_asked_by_parts_so_that_nothing_is_cut_off(self) -> None:
        calls = [
            row(uuid=f"call-{number}", start_stamp=BASE + number * 600) for number in range(144)
        ]

        def search(form: dict[str, str]) -> Answer:
            first, last = int(form["start_stamp_from"]), int(form["start_stamp_to"])
            found = [call for call in calls if first <= call["start_stamp"] <= last]
            return good(found[:60])

        fake = FakeOnlinePbx(mongo_history_search=search)
        with connected(fake) as operator:
            told = [event.provider_call_id for event in operator.history(at(0), at(86_400))]
        assert told == [f"call-{number}" for number in range(144)]
        assert len(fake.asked) == 7

    def test_a_storm_of_calls_is_told_as_it_is(self) -> None:
        calls = [row(uuid=f"call-{number}") for number in range(80)]
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good(calls))
        with connected(fake) as operator:
            assert len(list(operator.history(at(0), at(600)))) == 80
        assert len(fake.asked) == 1

    @pytest.mark.parametrize("data", [None, [], {}])
    def test_no_calls_is_an_empty_list(self, data: Any) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good(data))
        with connected(fake) as operator:
            assert list(operator.history(at(0), at(600))) == []

    @pytest.mark.parametrize(
        "answer",
        [
            said({"status": "1"}),
            good("https://api2.onlinepbx.ru/1.tar"),
            good([1]),
            good([{"uuid": UUID}]),
            good([row(uuid=None)]),
            good([row(start_stamp=10**15)]),
            said({}, 429),
            HTML,
            Answer(200, b"<html>", "text/html"),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(self, answer: Answer) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(at(0), at(600)))
        assert not caught.value.permanent


class TestRecordings:
    REF = RecordingRef(recording_ref=UUID, provider_call_id=UUID)
    FILE = Answer(200, MP3, "audio/mpeg")

    @pytest.mark.parametrize("wrap", [lambda link: link, lambda link: [link]])
    def test_a_new_link_is_asked_by_the_uuid(self, wrap: Callable[[str], Any]) -> None:
        fake = FakeOnlinePbx(file=lambda _: self.FILE)
        with serving(fake) as base:
            fake.answers["mongo_history_search"] = lambda _: good(wrap(f"{base}/rec.mp3"))
            operator = OnlinePbx(7, {**SETTINGS, "api_base": base}, Loopback())
            with operator.fetch_recording(self.REF) as recording:
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.asked == [("mongo_history/search.json", {"uuid": UUID, "download": "1"})]

    def test_the_link_of_the_event_is_tried_first(self) -> None:
        fake = FakeOnlinePbx(file=lambda _: self.FILE)
        with serving(fake) as base:
            operator = OnlinePbx(7, {**SETTINGS, "api_base": base}, Loopback())
            ref = replace(self.REF, recording_url=f"{base}/rec.mp3")
            with operator.fetch_recording(ref) as recording:
                assert b"".join(recording.chunks) == MP3
        assert fake.asked == []

    @pytest.mark.parametrize("dead", [Answer(404), Answer(403), HTML])
    def test_a_dead_link_of_the_event_is_asked_anew(self, dead: Answer) -> None:
        files = iter([dead, self.FILE])
        fake = FakeOnlinePbx(file=lambda _: next(files))
        with serving(fake) as base:
            fake.answers["mongo_history_search"] = lambda _: good(f"{base}/new.mp3")
            operator = OnlinePbx(7, {**SETTINGS, "api_base": base}, Loopback())
            ref = replace(self.REF, recording_url=f"{base}/old.mp3")
            with operator.fetch_recording(ref) as recording:
                assert b"".join(recording.chunks) == MP3

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://api2.onlinepbx.ru.evil.example/1.mp3",
            "https://evilonlinepbx.ru/1.mp3",
            "https://evil.example/api2.onlinepbx.ru",
            "file:///etc/passwd",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good(link))
        with connected(fake) as operator, pytest.raises(OperatorError, match="чужой") as caught:
            operator.fetch_recording(replace(self.REF, recording_url=link))
        assert caught.value.permanent

    @pytest.mark.parametrize("host", ["api2.onlinepbx.ru", "pbx12345.onpbx.ru"])
    def test_links_of_the_operator_are_followed_by_https(self, host: str) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good(f"http://{host}/1.mp3"))
        with (
            connected(fake) as operator,
            pytest.raises(AssertionError, match=f"GET https://{host}/1.mp3"),
        ):
            operator.fetch_recording(self.REF)

    @pytest.mark.parametrize("data", [None, "", [], [None], {}, [row()]])
    def test_a_file_not_there_yet_is_asked_later(self, data: Any) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: good(data))
        with connected(fake) as operator, pytest.raises(RecordingNotReady) as caught:
            operator.fetch_recording(self.REF)
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (refused("access denied"), True),
            (said({}, 404), True),
            (said({}, 429), False),
            (HTML, False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        fake = FakeOnlinePbx(mongo_history_search=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.fetch_recording(self.REF)
        assert caught.value.permanent is permanent

    def test_without_an_id_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="идентификатора"):
            onlinepbx().fetch_recording(RecordingRef())
        with pytest.raises(OperatorError, match="чужой"):
            onlinepbx().fetch_recording(RecordingRef(recording_url="https://evil.example/1.mp3"))

    def test_the_first_try_is_at_once(self) -> None:
        assert onlinepbx().recording_delay == timedelta()


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def test_they_become_what_is_expected(self) -> None:
        for case in json.loads((FOREIGN / "expected.json").read_text("utf-8"))["cases"]:
            body = (FOREIGN / case["file"]).read_bytes().strip()
            request = replace(inbound(COMMON), body=body)
            operator = onlinepbx(domain="onlinepbx.ru")
            operator.verify(request)
            (event,) = operator.parse(request)
            for name in case.keys() - {"file"}:
                assert plain(getattr(event, name)) == case[name], (case["file"], name)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return getattr(value, "value", value)
