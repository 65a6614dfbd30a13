"""Гравител, older API: foreign payloads and commands on a server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import ClassVar
from urllib.parse import urlencode

import pytest

from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Direction,
    KnownCaller,
    OperatorError,
    RecordingRef,
)
from crm.integrations.telephony.gravitel_itoolabs import GravitelOlder
from tests.integrations.fake_http import Answer, NoNetwork
from tests.integrations.telephony.conformance import (
    FOREIGN_SAMPLES,
    NOW,
    TOKEN,
    OperatorConformance,
)
from tests.integrations.telephony.test_itoolabs import (
    API_KEY,
    CALL,
    CRM_TOKEN,
    HTML,
    PAGE,
    SETTINGS,
    FakePbx,
    at,
    connected,
    inbound,
    said,
)

FOREIGN = FOREIGN_SAMPLES / "gravitel"
GRAVITEL_SETTINGS = {**SETTINGS, "api_url": "https://agency.gravitel.ru/sys/crm_api.wcgp"}
LINE = "{uid},{type},{client},{user}@agency.gravitel.ru,{line},{start},{wait},{talk},{link}\r\n"


class QuickGravitel(GravitelOlder):
    """Does not wait between requests."""

    request_pause: ClassVar[timedelta] = timedelta(0)


def gravitel(**changed: str) -> GravitelOlder:
    return GravitelOlder(7, {**GRAVITEL_SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def text(body: str, content_type: str = "text/csv") -> Callable[[Mapping[str, str]], Answer]:
    return lambda _: Answer(200, body.encode(), content_type)


def line(**changed: object) -> str:
    values = {
        "uid": "28187487-0000-4d23-9f95-000000000001",
        "type": "in",
        "client": "+79000000001",
        "user": "ivanov",
        "line": "+74950000010",
        "start": "2026-01-01T12:00:00+03:00",
        "wait": 11,
        "talk": 90,
        "link": "",
    }
    return LINE.format(**{**values, **changed})


class TestGravitelOlderConformance(OperatorConformance):
    operator_class = GravitelOlder
    settings_of = GRAVITEL_SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        body = line(
            uid=f"sim:{scenario.call_key}",
            type="in" if scenario.answered else "missed",
            client=scenario.client_number,
            user=f"user{scenario.extension}",
            line=scenario.line_number,
            start=scenario.started_at.isoformat(),
            talk=int((scenario.ended_at - scenario.answered_at).total_seconds()),
        )
        with connected(FakePbx(history=text(body)), QuickGravitel) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestRequests:
    def test_the_example_of_the_reference(self) -> None:
        request = inbound(
            "cmd=event&type=INCOMING&phone=79000000001&diversion=74950000010&user=ivanov&ext=101"
            "&callid=28187487-0000-4d23-9f95-000000000001"
        )
        gravitel().verify(request)
        (event,) = gravitel().parse(request)
        assert (event.kind, event.direction) == (CallKind.RINGING, Direction.IN)
        assert (event.client_number, event.line_number) == ("79000000001", "74950000010")
        assert (event.extension, event.employee_key) == ("101", "ivanov")

    def test_success_is_an_empty_body_but_a_question_is_answered(self) -> None:
        assert gravitel().reply(inbound("cmd=event&callid=1")).body == b""
        question = inbound("cmd=contact&phone=79000000001&callid=1")
        caller = KnownCaller(name="Анна", responsible_key="ivanov")
        assert json.loads(gravitel().reply(question, caller).body) == {
            "contact_name": "Анна",
            "responsible": "ivanov",
        }
        assert gravitel().reply(question).body == b"{}"

    def test_one_protocol_leaves_no_choice(self) -> None:
        assert "protocol" not in [field.name for field in GravitelOlder.credentials]
        assert gravitel().protocol == "commands"


class TestClickToCall:
    @pytest.mark.parametrize(
        ("body", "found"),
        [
            ('{"uuid":"28187487-0000-4d23-9f95-000000000001"}', True),
            ('"28187487-0000-4d23-9f95-000000000001"', True),
            ("28187487-0000-4d23-9f95-000000000001\r\n", True),
            ("", False),
            ("OK", False),
            ('"OK"', False),
            ("null", False),
            ("[1]", False),
            ("Звонок принят", False),
            ("Success", False),
        ],
    )
    def test_a_success_may_name_the_call(self, body: str, found: bool) -> None:
        fake = FakePbx(makeCall=text(body, "text/plain"))
        with connected(fake, QuickGravitel) as operator:
            placed = operator.place_call(CALL)
        expected = "28187487-0000-4d23-9f95-000000000001" if found else None
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", expected)
        sent = {"phone": "79001112233", "user": "701", "clid": "74950001122"}
        assert fake.asked == [("makeCall", sent)]

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"error": "Invalid parameters"}, 400), True, "Invalid parameters"),
            (said({"error": "Invalid parameters"}), True, "Invalid parameters"),
            (said({"error": "Invalid token"}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(429, headers={"Retry-After": "3"}), False, "слишком много"),
            (Answer(500, "сбой".encode(), "text/plain"), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (PAGE, False, "страница"),
            (Answer(200, b"{broken"), False, "вместо JSON"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakePbx(makeCall=lambda _: answer)
        with (
            connected(fake, QuickGravitel) as operator,
            pytest.raises(OperatorError, match=words) as caught,
        ):
            operator.place_call(CALL)
        assert caught.value.permanent is permanent

    def test_a_wrong_key_is_not_shown(self) -> None:
        with connected(FakePbx(), QuickGravitel, api_key="wrong-key-of-the-test") as operator:
            with pytest.raises(OperatorError) as caught:
                operator.place_call(CALL)
            assert not operator.check().ok
        shown = f"{caught.value} {caught.value!r}"
        assert "Invalid token" in shown
        assert not [item for item in ("wrong-key", API_KEY, CRM_TOKEN) if item in shown]

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakePbx(), QuickGravitel) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent


class TestHistory:
    def history(self, body: str) -> list[CallEvent]:
        with connected(FakePbx(history=text(body)), QuickGravitel) as operator:
            return list(operator.history(NOW - timedelta(hours=2), NOW))

    def test_lines_become_final_events_and_recordings(self) -> None:
        link = "https://records.gravitel.ru/0001.mp3"
        events = self.history(
            line(link=link)
            + line(uid="call-2", type="missed", talk=0, user="ivr")
            + line(uid="call-3", type="out", talk=0)
            + line(uid="call-4", client="101")
        )
        ended, ready, missed, out = events
        assert (ended.kind, ended.talk, ended.duration_total) == (CallKind.ENDED, 90, 101)
        assert (ended.started_at, ended.answered_at, ended.ended_at) == (at(0), at(11), at(101))
        assert (ended.employee_key, ended.line_number) == ("ivanov", "74950000010")
        assert (ready.kind, ready.recording_url) == (CallKind.RECORDING_READY, link)
        assert (missed.kind, missed.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (missed.employee_key, missed.talk, missed.duration_total) == (None, 0, 11)
        assert (out.kind, out.result) == (CallKind.ENDED, CallResult.NO_ANSWER)
        assert out.direction is Direction.OUT

    def test_an_inbound_line_without_seconds_is_a_missed_call(self) -> None:
        (event,) = self.history(line(talk=0))
        assert event.kind is CallKind.MISSED

    def test_the_command_and_its_period(self) -> None:
        fake = FakePbx(history=text(""))
        with connected(fake, QuickGravitel) as operator:
            assert list(operator.history(at(0), at(7200))) == []
        period = {"start": "20260101T090000Z", "end": "20260101T110000Z"}
        assert fake.asked == [("history", {**period, "type": "all", "limit": "1000"})]

    def test_a_full_answer_is_asked_by_halves(self) -> None:
        starts = {f"call-{number}": at(number * 6) for number in range(1100)}

        def history(asked: Mapping[str, str]) -> Answer:
            found = [
                line(uid=uid, start=start.isoformat())
                for uid, start in starts.items()
                if asked["start"] <= f"{start:%Y%m%dT%H%M%SZ}" <= asked["end"]
            ]
            newest_first = reversed(found)
            return Answer(200, "".join(list(newest_first)[:1000]).encode(), "text/csv")

        fake = FakePbx(history=history)
        with connected(fake, QuickGravitel) as operator:
            found = [event.provider_call_id for event in operator.history(at(0), at(7200))]
        assert sorted(found) == sorted(starts)
        assert len(fake.asked) == 3

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (Answer(200, b"OK", "text/plain"), False),
            (Answer(200, b"call-1,in,79000000001", "text/csv"), False),
            (Answer(200, line(start="yesterday").encode(), "text/csv"), False),
            (said({"error": "Invalid parameters"}), True),
            (said({}, 401), True),
            (said({}, 403), True),
            (said({}, 429), False),
            (HTML, False),
            (PAGE, False),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(
        self, answer: Answer, permanent: bool
    ) -> None:
        fake = FakePbx(history=lambda _: answer)
        with connected(fake, QuickGravitel) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert caught.value.permanent is permanent


class TestRecordings:
    @pytest.mark.parametrize(
        "link", ["https://gravitel.ru.evil.example/1.mp3", "https://records.megapbx.ru/1.mp3"]
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        with pytest.raises(OperatorError, match="чужой") as caught:
            gravitel().fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def read(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((FOREIGN / name).read_text("utf-8"))
        return found

    def only(self, name: str) -> CallEvent:
        operator = gravitel(crm_token="1")
        request = inbound(urlencode(self.read(name)))
        operator.verify(request)
        (event,) = operator.parse(request)
        return event

    def test_a_cancelled_leg_is_not_a_missed_call(self) -> None:
        event = self.only("older_event_cancelled.form.json")
        assert (event.kind, event.result, event.final) == (CallKind.LEG_ENDED, None, False)
        assert (event.client_number, event.employee_key) == ("74951234567", "admin")

    def test_an_outgoing_call_to_a_busy_client(self) -> None:
        event = self.only("older_history_out_busy.form.json")
        assert (event.kind, event.result, event.final) == (CallKind.ENDED, CallResult.BUSY, True)
        assert (event.direction, event.extension) == (Direction.OUT, "701")
        assert event.started_at is not None
        assert event.started_at.isoformat() == "2017-09-05T15:08:52+00:00"

    def test_their_answer_to_a_click_to_call_names_the_call(self) -> None:
        answer = self.read("older_makecall_reply.json")
        fake = FakePbx(makeCall=text(json.dumps(answer), "application/json"))
        with connected(fake, QuickGravitel) as operator:
            assert operator.place_call(CALL).provider_call_id == answer["uuid"]
