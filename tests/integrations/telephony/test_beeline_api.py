"""Beeline: what we ask of it, against a local server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from crm.integrations.telephony.base import (
    ClickToCall,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
)
from crm.integrations.telephony.beeline import Beeline
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import TOKEN

API_TOKEN = "0d1e2f30-4152-4637-8495-a6b7c8d9e0f1"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")
PAGE = Answer(200, b"<html>", "text/html")
HOOK = "https://crm.example.ru/telephony/beeline/secret-of-the-address"
CALL_ID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
ANNA = "SIP00DEMO001@ip.beeline.ru"
OLEG = "SIP00DEMO002@ip.beeline.ru"
Respond = Callable[[dict[str, str]], Answer]


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def refused(status: int, code: str = "RECORD_NOT_FOUND") -> Answer:
    return said({"errorCode": code, "description": "нет"}, status)


class FakeBeeline:
    """Checks the token as the operator does, then answers from a table of methods and paths."""

    def __init__(self, answers: dict[str, Respond | Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[Any] = []

    def __call__(self, asked: Asked) -> Answer:
        address = urlsplit(asked.path)
        path = address.path.removeprefix("/apis/portal/")
        if asked.headers.get("X-MPBX-API-AUTH-TOKEN") != API_TOKEN:
            return refused(401, "UNAUTHORIZED")
        name, query = f"{asked.method} {path}", dict(parse_qsl(address.query))
        self.asked.append((name, query))
        self.bodies.append(json.loads(asked.body) if asked.body else None)
        answer = self.answers.get(name, Answer(404))
        return answer if isinstance(answer, Answer) else answer(query)


@contextmanager
def connected(fake: FakeBeeline, **changed: str) -> Iterator[Beeline]:
    with serving(fake) as base:
        values = {"api_token": API_TOKEN, "api_base": f"{base}/apis/portal/", **changed}
        yield Beeline(7, values, PlainClient(), webhook_token=TOKEN)


CALL = ClickToCall(extension="204", employee_key=ANNA, number="79161112233", request_id="crm-0042")
CALL_PATH = f"POST abonents/{ANNA}/call"


class TestClickToCall:
    @pytest.mark.parametrize("body", [b'"callhalf-1:0"', b"callhalf-1:0", b"", b'{"id":"1"}'])
    def test_the_employee_is_asked_to_dial_ten_digits(self, body: bytes) -> None:
        fake = FakeBeeline({CALL_PATH: Answer(200, body)})
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", None)
        assert fake.asked == [(CALL_PATH, {"phoneNumber": "9161112233"})]

    def test_without_a_key_the_extension_dials_and_a_foreign_number_stays_whole(self) -> None:
        fake = FakeBeeline({"POST abonents/204/call": said("x")})
        with connected(fake) as operator:
            operator.place_call(
                ClickToCall(extension="204", number="380441234567", request_id="crm-1")
            )
        assert fake.asked == [("POST abonents/204/call", {"phoneNumber": "380441234567"})]

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (refused(400, "NUMBER_WRONG"), True, "отклонён"),
            (refused(200, "NUMBER_WRONG"), True, "отказ NUMBER_WRONG: нет"),
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(404), True, "отклонён"),
            (Answer(429, b"", headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (HTML, False, "временная ошибка"),
            (PAGE, False, "вместо JSON"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeBeeline({CALL_PATH: answer})
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "Билайн"
        wait = timedelta(seconds=3) if answer.status == 429 else None
        assert caught.value.retry_after == wait

    def test_an_answer_that_repeats_the_token_does_not_show_it(self) -> None:
        fake = FakeBeeline({CALL_PATH: said({"errorCode": API_TOKEN, "you": TOKEN}, 400)})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        shown = f"{caught.value} {caught.value!r}"
        assert "HTTP 400" in shown
        assert not [secret for secret in (API_TOKEN, TOKEN) if secret in shown]

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeBeeline({})) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent


class TestLists:
    ABONENTS = [
        {
            "userId": ANNA,
            "phone": "9001112233",
            "firstName": "Анна",
            "lastName": "Петрова",
            "email": "anna@example.ru",
            "department": "Продажи",
            "extension": "204",
        },
        {"userId": OLEG, "phone": "9001112244", "firstName": None, "lastName": None, "email": None},
        {"phone": "9001112255"},
    ]

    def test_employees_are_known_by_their_user_id(self) -> None:
        with connected(FakeBeeline({"GET abonents": said(self.ABONENTS)})) as operator:
            found = operator.extensions()
            check = operator.check()
        assert [(item.number, item.name, item.employee_key) for item in found] == [
            ("204", "Петрова Анна", ANNA),
            ("9001112244", "9001112244", OLEG),
        ]
        assert (found[0].email, found[0].department) == ("anna@example.ru", "Продажи")
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 2")

    def test_lines_are_whole_numbers(self) -> None:
        rows = [{"numberId": "1", "phone": "4950001122"}, {"numberId": "2", "phone": None}]
        with connected(FakeBeeline({"GET numbers": said(rows)})) as operator:
            assert [line.number for line in operator.lines()] == ["74950001122"]

    @pytest.mark.parametrize("answer", [said({}), said("x"), said([1]), PAGE, HTML])
    def test_another_answer_is_a_transient_failure(self, answer: Answer) -> None:
        fake = FakeBeeline({"GET numbers": answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.lines()
        assert not caught.value.permanent

    def test_a_wrong_token_is_told_in_words(self) -> None:
        with connected(FakeBeeline({}), api_token="another") as operator:
            check = operator.check()
        assert not check.ok
        assert "не приняты" in check.message


class TestSubscription:
    def subscribed(self, current_id: str | None, **answers: Any) -> tuple[FakeBeeline, Any]:
        made = said({"subscriptionId": "new", "expires": 86400})
        fake = FakeBeeline({"PUT subscription": made, "DELETE subscription": said({}), **answers})
        before = datetime.now(UTC)
        with connected(fake) as operator:
            found = operator.subscribe(HOOK, current_id)
        left = (found.expires_at - before).total_seconds()
        return fake, (found.id, round(left, -1))

    def living(self, **changed: Any) -> dict[str, Answer]:
        value = {"subscriptionId": "old", "expires": 80000, "url": HOOK, **changed}
        return {"GET subscription": said(value)}

    def test_the_first_is_for_all_employees_and_for_a_day(self) -> None:
        fake, found = self.subscribed(None)
        assert found == ("new", 86400)
        assert [name for name, _ in fake.asked] == ["PUT subscription"]
        assert fake.bodies == [
            {"expires": 86400, "subscriptionType": "BASIC_CALL", "url": HOOK},
        ]

    def test_one_that_lives_long_enough_is_left_alone(self) -> None:
        fake, found = self.subscribed("old", **self.living())
        assert found == ("old", 80000)
        assert fake.asked == [("GET subscription", {"subscriptionId": "old"})]

    @pytest.mark.parametrize(
        "changed",
        [
            {"expires": 3000},
            {"expires": 86400},  # the ordered value: it does not count down
            {"expires": 1795424400000},
            {"expires": None},
            {"url": "https://crm.example.ru/telephony/beeline/before-the-rotation"},
        ],
    )
    def test_one_near_its_end_or_for_another_address_is_replaced(
        self, changed: dict[str, Any]
    ) -> None:
        fake, found = self.subscribed("old", **self.living(**changed))
        assert found == ("new", 86400)
        names = [name for name, _ in fake.asked]
        assert names == ["GET subscription", "PUT subscription", "DELETE subscription"]
        assert fake.asked[-1][1] == {"subscriptionId": "old"}

    @pytest.mark.parametrize(
        "gone", [refused(200, "NOT_FOUND"), refused(400), refused(500), Answer(404)]
    )
    def test_one_that_is_gone_is_made_anew(self, gone: Answer) -> None:
        fake, found = self.subscribed("old", **{"GET subscription": gone})
        assert found == ("new", 86400)
        assert [name for name, _ in fake.asked] == ["GET subscription", "PUT subscription"]

    @pytest.mark.parametrize("stuck", [refused(401), Answer(500), HTML, Answer(429), PAGE])
    def test_what_became_of_it_must_be_known(self, stuck: Answer) -> None:
        with pytest.raises(OperatorError):
            self.subscribed("old", **{"GET subscription": stuck})

    @pytest.mark.parametrize(
        ("answer", "lives"),
        [
            (said({"subscriptionId": "old", "expires": 86400, "url": HOOK}), True),
            (said({"subscriptionId": "old", "url": "https://other.example.ru/hook"}), False),
            (refused(200, "NOT_FOUND"), False),
            (Answer(404), False),
        ],
    )
    def test_it_is_looked_for_before_its_end(self, answer: Answer, lives: bool) -> None:
        fake = FakeBeeline({"GET subscription": answer})
        with connected(fake) as operator:
            assert operator.subscription_lives(HOOK, "old") is lives
        assert fake.asked == [("GET subscription", {"subscriptionId": "old"})]

    @pytest.mark.parametrize("stuck", [refused(401), Answer(500), HTML, Answer(429), PAGE])
    def test_a_broken_server_does_not_mean_that_it_is_gone(self, stuck: Answer) -> None:
        with (
            connected(FakeBeeline({"GET subscription": stuck})) as operator,
            pytest.raises(OperatorError),
        ):
            operator.subscription_lives(HOOK, "old")

    def test_an_old_one_that_cannot_be_taken_away_does_not_lose_the_new_one(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        answers = {**self.living(expires=10), "DELETE subscription": HTML}
        _, found = self.subscribed("old", **answers)
        assert found == ("new", 86400)
        assert "until its end" in caplog.text
        assert API_TOKEN not in caplog.text

    def test_the_id_may_have_another_name_and_the_life_may_be_shorter(self) -> None:
        answer = said({"id": "other", "expires": 3600})
        assert self.subscribed(None, **{"PUT subscription": answer})[1] == ("other", 3600)

    @pytest.mark.parametrize("answer", [said({}), said([]), PAGE, HTML, refused(200, "BAD_URL")])
    def test_an_order_without_an_id_is_a_failure(self, answer: Answer) -> None:
        with pytest.raises(OperatorError):
            self.subscribed(None, **{"PUT subscription": answer})


class TestRecordings:
    PATH = f"GET v2/records/{CALL_ID}/{ANNA}/download"
    REF = RecordingRef(recording_ref=f"{CALL_ID}/{ANNA}")

    @pytest.mark.parametrize(
        ("ref", "path"),
        [
            (REF, PATH),
            (RecordingRef(provider_call_id=CALL_ID, employee_key=ANNA), PATH),
            (RecordingRef(recording_ref="4711"), "GET v2/records/4711/download"),
        ],
    )
    def test_the_bytes_are_streamed(self, ref: RecordingRef, path: str) -> None:
        fake = FakeBeeline({path: Answer(200, MP3, "audio/mpeg")})
        with connected(fake) as operator:
            with operator.fetch_recording(ref) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed

    @pytest.mark.parametrize(
        "answer",
        [
            refused(200),
            refused(400),
            refused(404),
            refused(500),
            Answer(404),
            Answer(202),
            PAGE,
        ],
    )
    def test_a_file_not_there_yet_is_asked_later(self, answer: Answer) -> None:
        fake = FakeBeeline({self.PATH: answer})
        with connected(fake) as operator, pytest.raises(RecordingNotReady) as caught:
            operator.fetch_recording(self.REF)
        assert (caught.value.permanent, caught.value.retry_after) == (False, timedelta(minutes=1))
        assert isinstance(operator.http, PlainClient)
        assert operator.http.responses[-1].closed

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (refused(401), True),
            (refused(403), True),
            (said({}, 400), True),
            (Answer(429, b"", headers={"Retry-After": "30"}), False),
            (HTML, False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        fake = FakeBeeline({self.PATH: answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.fetch_recording(self.REF)
        assert not isinstance(caught.value, RecordingNotReady)
        assert caught.value.permanent is permanent

    def test_a_dead_server_is_no_absent_recording(self) -> None:
        with connected(FakeBeeline({})) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.fetch_recording(self.REF)
        assert not isinstance(caught.value, RecordingNotReady)

    @pytest.mark.parametrize(
        "ref",
        [
            RecordingRef(recording_url="https://evil.example/1.mp3"),
            RecordingRef(provider_call_id=CALL_ID),
            RecordingRef(employee_key=ANNA),
        ],
    )
    def test_without_an_id_nothing_is_asked(self, ref: RecordingRef) -> None:
        operator = Beeline(7, {"api_token": API_TOKEN}, NoNetwork())
        with pytest.raises(OperatorError, match="идентификатора"):
            operator.fetch_recording(ref)

    def test_an_id_cannot_lead_to_another_path(self) -> None:
        fake = FakeBeeline({})
        with connected(fake) as operator, pytest.raises(RecordingNotReady):
            operator.fetch_recording(RecordingRef(recording_ref="a?b#c/../../abonents"))
        (asked,) = fake.asked
        assert asked == ("GET v2/records/a%3Fb%23c/..%2F..%2Fabonents/download", {})
