"""Mango Office: what we ask of it, against a local server that behaves like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crm.integrations.telephony.base import (
    CallKind,
    CallResult,
    ClickToCall,
    Direction,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
)
from crm.integrations.telephony.mango import Mango, signature
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import NOW, TOKEN

SAMPLES = Path(__file__).parent / "samples" / "mango"
KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
SALT = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")


class QuickMango(Mango):
    """Does not wait between questions about the history."""

    poll_interval = timedelta(0)
    poll_attempts = 3


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(1795424400 + seconds, UTC)


class FakeMango:
    """Checks the signature as the operator does, then answers from a table of paths."""

    def __init__(self, **answers: Callable[[dict[str, Any]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.base = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self.answers["file"]({})
        text = asked.form["json"]
        if asked.form["vpbx_api_key"] != KEY or asked.form["sign"] != signature(KEY, text, SALT):
            return said({"result": 3102})
        name = asked.path.removeprefix("/vpbx/").strip("/")
        self.asked.append((name, json.loads(text)))
        return self.answers[name.replace("/", "_")](json.loads(text))


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def sample(name: str) -> Callable[[dict[str, Any]], Answer]:
    return lambda _: Answer(200, (SAMPLES / name).read_bytes())


@contextmanager
def connected(fake: FakeMango, **changed: str) -> Iterator[QuickMango]:
    with serving(fake) as base:
        fake.base = base
        values = {"api_key": KEY, "api_salt": SALT, "api_base": f"{base}/vpbx", **changed}
        yield QuickMango(7, values, PlainClient(), webhook_token=TOKEN)


CALL = ClickToCall(
    extension="204", number="79161112233", request_id="crm-0042", line_number="74957654321"
)


class TestClickToCall:
    def test_it_sends_the_command_and_our_id(self) -> None:
        fake = FakeMango(commands_callback=lambda _: said({"result": 1000}))
        with connected(fake) as operator:
            assert operator.place_call(CALL).request_id == "crm-0042"
        value = {
            "command_id": "crm-0042",
            "from": {"extension": "204"},
            "to_number": "79161112233",
            "line_number": "74957654321",
        }
        assert fake.asked == [("commands/callback", value)]

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"result": 3104}), True, "неверный формат"),
            (said({"result": 3102}), True, "неверная подпись"),
            (said({"result": 2001}), True, "лицевого счёта"),
            (said({"result": 4200}), False, "соединить нельзя"),
            (said({"result": 5000}), False, "ошибка сервера"),
            (said({}, 401), True, "блокировка на 2 минуты"),
            (said({}, 403), True, "не приняты"),
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
        fake = FakeMango(commands_callback=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "Mango Office"
        assert len(fake.asked) == 1

    def test_the_pause_after_a_wrong_request_is_two_minutes(self) -> None:
        fake = FakeMango(commands_callback=lambda _: said({}, 401))
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert caught.value.retry_after == timedelta(minutes=2)

    def test_an_answer_that_repeats_the_secrets_does_not_show_them(self) -> None:
        fake = FakeMango(commands_callback=lambda value: said({"you": KEY, "salt": SALT}, 400))
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert "HTTP 400" in str(caught.value)
        assert not [
            secret for secret in (KEY, SALT) if secret in f"{caught.value} {caught.value!r}"
        ]

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeMango()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent


class TestEmployees:
    def test_those_with_a_number_are_listed(self) -> None:
        fake = FakeMango(config_users_request=sample("users.json"))
        with connected(fake) as operator:
            found = operator.extensions()
            check = operator.check()
        assert [(item.number, item.name) for item in found] == [
            ("204", "Петрова Анна"),
            ("205", "Сидоров Олег"),
        ]
        assert found[0].department == "Продажи"
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 2")

    def test_a_failed_check_is_told_in_words(self) -> None:
        fake = FakeMango(config_users_request=lambda _: said({"result": 3105}))
        with connected(fake) as operator:
            check = operator.check()
        assert not check.ok
        assert "неверный код АТС" in check.message


class TestHistory:
    def test_calls_become_final_events_and_recordings(self) -> None:
        states = iter(["request", "work", "complete"])

        def result(_: dict[str, Any]) -> Answer:
            value = json.loads((SAMPLES / "history_complete.json").read_text("utf-8"))
            return said({**value, "status": next(states)})

        fake = FakeMango(
            stats_calls_request=lambda _: said({"result": 1000, "key": "k1"}),
            stats_calls_result=result,
        )
        with connected(fake) as operator:
            events = list(operator.history(NOW - timedelta(days=1), NOW))
        answered, recording, missed, outgoing, *recordings = events
        assert (answered.kind, answered.final, answered.talk) == (CallKind.ENDED, True, 90)
        assert (answered.extension, answered.answered_at) == ("204", at(11))
        assert (answered.client_number, answered.line_number) == ("79031234567", "74957654321")
        assert recording.event_id == "record:MToyMDAwMDAxOjcwMTIzNDU2Nzg6MA==:0"
        assert (missed.kind, missed.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (outgoing.direction, outgoing.client_number) == (Direction.OUT, "79161112233")
        assert (outgoing.extension, outgoing.employee_key) == ("204", "204")
        assert outgoing.answered_at == at(910)
        assert [event.recording_ref for event in recordings] == ["cmVjLW91dC0x", "cmVjLW91dC0y"]
        assert fake.asked[1:] == [("stats/calls/result", {"key": "k1"})] * 3

    def test_dates_are_moscow_and_windows_shorter_than_thirty_days(self) -> None:
        fake = FakeMango(
            stats_calls_request=lambda _: said({"result": 1000, "key": "k"}),
            stats_calls_result=lambda _: said({"result": 1000, "status": "complete", "data": []}),
        )
        since = datetime(2026, 1, 1, 21, 30, tzinfo=UTC)
        with connected(fake) as operator:
            assert list(operator.history(since, since + timedelta(days=40))) == []
        orders = [value for name, value in fake.asked if name == "stats/calls/request"]
        assert [(order["start_date"], order["end_date"]) for order in orders] == [
            ("02.01.2026 00:30:00", "31.01.2026 00:30:00"),
            ("31.01.2026 00:30:00", "11.02.2026 00:30:00"),
        ]

    def test_pages_are_read_by_offset_until_a_short_one(self) -> None:
        def result(value: dict[str, Any]) -> Answer:
            first = int(value["key"])
            rows = [
                {"entry_id": f"call-{number}", "context_type": 1, "context_start_time": 1795424400}
                for number in range(first, min(first + 500, 1100))
            ]
            data = [{"list": rows[:300]}, {"list": rows[300:]}]
            return said({"result": 1000, "status": "complete", "data": data})

        fake = FakeMango(
            stats_calls_request=lambda value: said({"result": 1000, "key": str(value["offset"])}),
            stats_calls_result=result,
        )
        with connected(fake) as operator:
            ids = [event.provider_call_id for event in operator.history(NOW - timedelta(1), NOW)]
        assert ids == [f"call-{number}" for number in range(1100)]

    @pytest.mark.parametrize(
        "answer",
        [
            said({"result": 1000, "status": "work", "data": [{"list": [{"entry_id": "1"}]}]}),
            said({"result": 1000, "status": "error"}),
            said({"result": 1000, "status": "complete", "data": [{"list": [{}]}]}),
            Answer(204),
            HTML,
        ],
    )
    def test_an_unfinished_history_is_a_failure_not_an_empty_list(self, answer: Answer) -> None:
        fake = FakeMango(
            stats_calls_request=lambda _: said({"result": 1000, "key": "k"}),
            stats_calls_result=lambda _: answer,
        )
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert not caught.value.permanent


class TestRecordings:
    REF = RecordingRef(recording_ref="MToyMDAwMDAxOjcwMTIzNDU2Nzg6MA==")

    def redirect(self, to: str) -> Callable[[dict[str, Any]], Answer]:
        return lambda _: Answer(302, b"", headers={"Location": to})

    def test_the_one_time_link_is_followed_and_the_bytes_are_streamed(self) -> None:
        fake = FakeMango(
            queries_recording_post=self.redirect("/vpbx/files/once?token=abc"),
            file=lambda _: Answer(200, MP3, "audio/mp3"),
        )
        with connected(fake) as operator:
            with operator.fetch_recording(self.REF) as recording:
                assert recording.content_type == "audio/mp3"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        expected = {"recording_id": self.REF.recording_ref, "action": "download"}
        assert fake.asked == [("queries/recording/post", expected)]

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://files.mango-office.ru.evil.example/1.mp3",
            "https://evil.example/files.mango-office.ru",
            "file:///etc/passwd",
            "ftp://files.mango-office.ru/1.mp3",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        fake = FakeMango(queries_recording_post=self.redirect(link))
        with connected(fake) as operator, pytest.raises(OperatorError, match="чужой") as caught:
            operator.fetch_recording(self.REF)
        assert caught.value.permanent

    @pytest.mark.parametrize("answer", [said({"result": 3320}), said({}, 404), Answer(404)])
    def test_a_file_not_there_yet_is_asked_later(self, answer: Answer) -> None:
        fake = FakeMango(queries_recording_post=lambda _: answer)
        with connected(fake) as operator, pytest.raises(RecordingNotReady) as caught:
            operator.fetch_recording(self.REF)
        assert (caught.value.permanent, caught.value.retry_after) == (False, timedelta(minutes=1))

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (said({"result": 3105}), True),
            (said({}, 401), True),
            (said({}, 429), False),
            (HTML, False),
            (Answer(200, b"<html>", "text/html"), False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        fake = FakeMango(queries_recording_post=lambda _: answer)
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.fetch_recording(self.REF)
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize("answer", [HTML, Answer(200, b"<html>", "text/html")])
    def test_a_page_instead_of_sound_is_not_stored(self, answer: Answer) -> None:
        fake = FakeMango(
            queries_recording_post=self.redirect("/vpbx/files/once"), file=lambda _: answer
        )
        with connected(fake) as operator:
            with pytest.raises(OperatorError) as caught:
                operator.fetch_recording(self.REF)
            assert not caught.value.permanent
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed

    def test_without_an_id_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="идентификатора"):
            QuickMango(7, {"api_key": KEY, "api_salt": SALT}, NoNetwork()).fetch_recording(
                RecordingRef(recording_url="https://evil.example/1.mp3")
            )
