"""UIS / CoMagic: what we ask of both APIs, against a local server that behaves like them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    ClickToCall,
    Direction,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
)
from crm.integrations.telephony.uis import Uis
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import TOKEN

KEY = "uis-access-token-of-the-test-4f0c1d"
MP3 = b"ID3" + bytes(range(256)) * 100
HTML = Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html")
NOON = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)

ROW: dict[str, Any] = {
    "id": 9100200301,
    "start_time": "2026-01-01 12:00:00",
    "finish_time": "2026-01-01 12:01:41",
    "finish_reason": "subscriber_disconnects",
    "direction": "in",
    "source": "va",
    "is_lost": False,
    "is_transfer": False,
    "virtual_phone_number": "74950001122",
    "contact_phone_number": "79001112233",
    "communication_id": 550001,
    "wait_duration": 11,
    "talk_duration": 90,
    "total_duration": 101,
    "call_records": ["0123456789abcdef0123456789abcdef"],
    "full_record_file_link": "https://media.uiscom.ru/550001/fedcba9876543210",
    "employees": [
        {"employee_id": 24, "is_answered": False, "is_talked": False},
        {"employee_id": 25, "is_answered": True, "is_talked": True},
    ],
    "last_talked_employee_id": 25,
    "call_api_external_id": None,
}


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


class QuickUis(Uis):
    """Does not wait for the points of the next minute."""

    longest_pause = timedelta(0)


class FakeUis:
    """Opens the envelope, then answers from a table of methods; files come by GET."""

    def __init__(self, **answers: Callable[[dict[str, Any]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.paths: list[str] = []

    def __call__(self, asked: Asked) -> Answer:
        self.paths.append(asked.path)
        if asked.method == "GET":
            return self.answers["file"]({"path": asked.path})
        envelope = json.loads(asked.body)
        assert (envelope["jsonrpc"], bool(envelope["id"])) == ("2.0", True)
        assert asked.headers["Content-Type"] == "application/json; charset=UTF-8"
        params = envelope["params"]
        if params.pop("access_token") != KEY:
            return refused(-32001, "access_token_invalid")
        self.asked.append((envelope["method"], params))
        return self.answers[envelope["method"]](params)


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def result(data: Any, **metadata: Any) -> Answer:
    return said({"jsonrpc": "2.0", "id": "1", "result": {"data": data, "metadata": metadata}})


def listed(rows: Sequence[Mapping[str, Any]], total: int | None = None, **limits: int) -> Answer:
    count = len(rows) if total is None else total
    return result(rows, total_items=count, limits={"day_remaining": 700, **limits})


def refused(code: int, mnemonic: str, status: int = 200, **data: Any) -> Answer:
    error = {"code": code, "message": "Refused", "data": {"mnemonic": mnemonic, **data}}
    return said({"jsonrpc": "2.0", "id": None, "error": error}, status)


@contextmanager
def connected(fake: FakeUis, **changed: str) -> Iterator[QuickUis]:
    with serving(fake) as base:
        values = {
            "access_token": KEY,
            "line_number": "8 (495) 000-11-22",
            "data_api_base": f"{base}/v2.0",
            "call_api_base": f"{base}/v4.0",
            "recordings_base": base,
            **changed,
        }
        yield QuickUis(7, values, PlainClient(), webhook_token=TOKEN)


CALL = ClickToCall(extension="25", number="79001112233", request_id="crm-0042")
REFUSALS = [
    (refused(-32001, "access_token_invalid"), True, "ключ доступа не найден"),
    (refused(-32003, "ip_not_whitelisted"), True, "список разрешённых"),
    (refused(-32003, "ip_not_whitelisted", 403), True, "список разрешённых"),
    (refused(-32007, "virtual_phone_number_not_found"), True, "виртуального номера"),
    (refused(-32008, "method_component_disabled"), True, "не подключена"),
    (refused(-32602, "of_next_year"), True, "of_next_year: Refused"),
    (refused(-32029, "limit_exceeded"), False, "баллы"),
    (refused(-32603, "internal_error"), False, "на стороне оператора"),
    (said({"error": {"code": -32603}}), False, "-32603"),
    (said({}, 401), True, "не приняты"),
    (said({}, 403), True, "не приняты"),
    (said({}, 404), True, "отклонён"),
    (refused(-32029, "limit_exceeded", 429), False, "слишком много"),
    (said({}, 500), False, "временная ошибка"),
    (HTML, False, "временная ошибка"),
    (Answer(200, b"<html>", "text/html"), False, "вместо JSON"),
    (said([1]), False, "не является объектом"),
    (said({"jsonrpc": "2.0"}), False, "нет результата"),
]


class TestClickToCall:
    def test_it_rings_the_employee_first_and_calls_it_outgoing(self) -> None:
        fake = FakeUis(**{"start.employee_call": lambda _: result({"call_session_id": 237859081})})
        with connected(fake) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", "237859081")
        assert fake.paths == ["/v4.0"]
        order = {
            "first_call": "employee",
            "switch_at_once": True,
            "early_switching": True,
            "virtual_phone_number": "74950001122",
            "contact": "79001112233",
            "employee": {"id": 25},
            "external_id": "crm-0042",
            "direction": "out",
        }
        assert fake.asked == [("start.employee_call", order)]

    def test_the_line_of_the_call_is_preferred(self) -> None:
        fake = FakeUis(**{"start.employee_call": lambda _: result({"call_session_id": 1})})
        with connected(fake) as operator:
            operator.place_call(replace(CALL, line_number="74950001199", employee_key="26"))
        assert fake.asked[0][1]["virtual_phone_number"] == "74950001199"
        assert fake.asked[0][1]["employee"] == {"id": 26}

    @pytest.mark.parametrize(
        ("call", "settings", "words"),
        [
            (CALL, {"line_number": ""}, "виртуальный номер"),
            (replace(CALL, extension="anna"), {}, "не ID сотрудника"),
            (replace(CALL, number="104"), {}, "внутренний номер"),
        ],
    )
    def test_what_cannot_be_asked_is_said(
        self, call: ClickToCall, settings: dict[str, str], words: str
    ) -> None:
        fake = FakeUis()
        with (
            connected(fake, **settings) as operator,
            pytest.raises(OperatorError, match=words) as e,
        ):
            operator.place_call(call)
        assert e.value.permanent
        assert not fake.asked

    @pytest.mark.parametrize(("answer", "permanent", "words"), REFUSALS)
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeUis(**{"start.employee_call": lambda _: answer})
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "UIS / CoMagic"

    @pytest.mark.parametrize(
        ("answer", "seconds"),
        [
            (refused(-32029, "limit_exceeded"), 60),
            (
                refused(
                    -32029,
                    "limit_exceeded",
                    params={"limit_type": "day"},
                    metadata={"limits": {"day_reset": 7200, "minute_reset": 5}},
                ),
                7200,
            ),
            (
                refused(
                    -32029,
                    "limit_exceeded",
                    metadata={"limits": {"day_remaining": 9, "minute_reset": 17}},
                ),
                17,
            ),
            (Answer(429, b"", headers={"Retry-After": "3"}), 3),
        ],
    )
    def test_spent_points_say_when_to_come_again(self, answer: Answer, seconds: int) -> None:
        fake = FakeUis(**{"start.employee_call": lambda _: answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert caught.value.retry_after == timedelta(seconds=seconds)

    def test_an_answer_that_repeats_the_key_does_not_show_it(self) -> None:
        fake = FakeUis(
            **{"start.employee_call": lambda _: refused(-32602, "data_type_error", value=KEY)}
        )
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert KEY not in f"{caught.value} {caught.value!r}"

    def test_a_dead_server_is_a_transient_failure(self) -> None:
        with connected(FakeUis()) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("platform", "host"),
        [("uiscom", "uiscom.ru"), ("comagic", "comagic.ru"), ("", "uiscom.ru")],
    )
    def test_the_platform_decides_the_hosts(self, platform: str, host: str) -> None:
        class Recorder:
            def request(self, method: str, url: str, **_: Any) -> Any:
                raise AssertionError(f"{method} {url}")

        operator = Uis(7, {"access_token": KEY, "platform": platform}, Recorder())
        with pytest.raises(AssertionError, match=f"POST https://dataapi.{host}/v2.0"):
            operator.lines()
        with pytest.raises(AssertionError, match=f"POST https://callapi.{host}/v4.0"):
            operator.place_call(replace(CALL, line_number="74950001122"))
        ref = RecordingRef(recording_ref="550001/key")
        with pytest.raises(AssertionError, match=f"GET https://app.{host}/system/media/talk/5500"):
            operator.fetch_recording(ref)


class TestDirectory:
    EMPLOYEES: Sequence[Mapping[str, Any]] = [
        {
            "id": 25,
            "full_name": "Петрова Анна",
            "email": "anna@example.ru",
            "extension": {"extension_phone_number": "104"},
            "phone_numbers": [],
        },
        {"id": 26, "full_name": "Сидоров Олег", "phone_numbers": [{"phone_number": "79001112266"}]},
        {"id": 27, "full_name": None, "extension": {}},
        {"full_name": "без ID"},
    ]

    def test_employees_are_known_by_their_ids(self) -> None:
        with connected(FakeUis(**{"get.employees": lambda _: listed(self.EMPLOYEES)})) as operator:
            found, check = operator.extensions(), operator.check()
        assert [(item.employee_key, item.number, item.name) for item in found] == [
            ("25", "104", "Петрова Анна"),
            ("26", "79001112266", "Сидоров Олег"),
            ("27", "27", "27"),
        ]
        assert found[0].email == "anna@example.ru"
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 3")

    def test_lines_bring_the_name_that_people_know(self) -> None:
        rows: list[dict[str, Any]] = [
            {"virtual_phone_number": "74950001122", "name": "Сайт"},
            {"virtual_phone_number": "84950001133", "campaigns": [{"campaign_name": "Реклама"}]},
            {"virtual_phone_number": None},
        ]
        with connected(FakeUis(**{"get.virtual_numbers": lambda _: listed(rows)})) as operator:
            found = operator.lines()
        assert [(line.number, line.name) for line in found] == [
            ("74950001122", "Сайт"),
            ("74950001133", "Реклама"),
        ]

    def test_a_failed_check_is_told_in_words(self) -> None:
        fake = FakeUis()
        with connected(fake, access_token="wrong") as operator:
            check = operator.check()
        assert not check.ok
        assert "площадку" in check.message


class TestHistory:
    def told(self, *rows: dict[str, Any]) -> list[CallEvent]:
        fake = FakeUis(**{"get.calls_report": lambda _: listed(list(rows))})
        with connected(fake) as operator:
            return list(operator.history(NOON, NOON + timedelta(days=1)))

    def test_a_call_becomes_a_final_event_and_a_recording(self) -> None:
        final, record = self.told(ROW)
        assert (final.kind, final.final, final.result) == (
            CallKind.ENDED,
            True,
            CallResult.ANSWERED,
        )
        assert (final.started_at, final.answered_at, final.ended_at) == (at(0), at(11), at(101))
        assert (final.talk, final.duration_total) == (90, 101)
        assert (final.provider_call_id, final.employee_key) == ("9100200301", "25")
        assert (final.client_number, final.line_number) == ("79001112233", "74950001122")
        assert final.recording_url == ROW["full_record_file_link"]
        assert record.recording_ref == "550001/0123456789abcdef0123456789abcdef"
        assert (record.kind, record.provider_call_id) == (CallKind.RECORDING_READY, "9100200301")

    def test_the_same_row_has_the_same_id_until_it_tells_more(self) -> None:
        first, second = self.told(ROW)[0], self.told(ROW)[0]
        later = self.told({**ROW, "full_record_file_link": None})[0]
        assert first.event_id == second.event_id != later.event_id

    @pytest.mark.parametrize(
        ("reason", "result"),
        [
            ("operator_busy", CallResult.BUSY),
            ("subscriber_disconnects", CallResult.CANCELLED),
            ("no_success_operator_call", CallResult.NO_ANSWER),
            ("no_money", CallResult.FAILED),
            ("of_next_year", CallResult.UNKNOWN),
            (None, CallResult.NO_ANSWER),
        ],
    )
    def test_a_missed_call_keeps_the_reason(self, reason: str | None, result: CallResult) -> None:
        row = {**ROW, "talk_duration": 0, "is_lost": True, "finish_reason": reason}
        (event,) = self.told({**row, "call_records": [], "full_record_file_link": None})
        assert (event.kind, event.result, event.answered_at) == (CallKind.MISSED, result, None)
        assert (event.employee_key, event.recording_url) == (None, None)

    def test_an_unsuccessful_outgoing_call_names_who_dialled(self) -> None:
        row = {**ROW, "direction": "out", "talk_duration": 0, "call_records": []}
        extra = {"last_talked_employee_id": None, "call_api_external_id": "crm-0042"}
        (event,) = self.told({**row, **extra, "employees": [{"employee_id": 24}]})
        assert (event.kind, event.direction) == (CallKind.ENDED, Direction.OUT)
        assert (event.employee_key, event.crm_request_id) == ("24", "crm-0042")

    def test_dates_are_in_the_zone_and_windows_of_a_month(self) -> None:
        fake = FakeUis(**{"get.calls_report": lambda _: listed([])})
        since = datetime(2026, 1, 1, 21, 30, tzinfo=UTC)
        with connected(fake, time_zone="Asia/Novosibirsk") as operator:
            assert list(operator.history(since, since + timedelta(days=40))) == []
        orders = [params for _, params in fake.asked]
        assert [(order["date_from"], order["date_till"]) for order in orders] == [
            ("2026-01-02 04:30:00", "2026-02-01 04:30:00"),
            ("2026-02-01 04:30:00", "2026-02-11 04:30:00"),
        ]
        assert orders[0]["sort"] == [{"field": "start_time", "order": "asc"}]
        assert {"employees", "call_api_external_id"} <= set(orders[0]["fields"])

    @pytest.mark.parametrize("told", [True, False])
    def test_pages_are_read_by_offset(self, told: bool) -> None:
        def report(params: dict[str, Any]) -> Answer:
            assert params["limit"] == 1000
            start = params["offset"]
            rows = [{"id": number} for number in range(start, min(start + 1000, 2300))]
            return listed(rows, total=2300) if told else result(rows)

        fake = FakeUis(**{"get.calls_report": report})
        with connected(fake) as operator:
            events = operator.history(NOON, NOON + timedelta(days=1))
            assert next(events).provider_call_id == "0"
            assert len(fake.asked) == 1
            rest = [event.provider_call_id for event in events]
        assert rest == [str(number) for number in range(1, 2300)]
        assert [params["offset"] for _, params in fake.asked] == [0, 1000, 2000]

    @pytest.mark.parametrize(
        ("limits", "retry"),
        [
            ({"minute_remaining": 0, "minute_reset": 17}, 17),
            ({"minute_remaining": 0}, 60),
            ({"day_remaining": 0, "day_reset": 7200}, 7200),
        ],
    )
    def test_without_points_the_next_page_is_not_asked(
        self, limits: dict[str, int], retry: int
    ) -> None:
        fake = FakeUis(**{"get.calls_report": lambda _: listed([ROW], total=2, **limits)})
        with connected(fake) as operator, pytest.raises(OperatorError, match="баллы") as caught:
            list(operator.history(NOON, NOON + timedelta(days=1)))
        assert (caught.value.permanent, len(fake.asked)) == (False, 1)
        assert caught.value.retry_after == timedelta(seconds=retry)

    def test_the_points_of_the_next_minute_are_waited_for(self) -> None:
        limits = {"minute_remaining": 0, "minute_reset": 0}
        fake = FakeUis(**{"get.calls_report": lambda _: listed([ROW], total=2, **limits)})
        with connected(fake) as operator:
            assert len(list(operator.history(NOON, NOON + timedelta(days=1)))) == 4

    def test_the_last_page_needs_no_more_points(self) -> None:
        fake = FakeUis(**{"get.calls_report": lambda _: listed([ROW], day_remaining=0)})
        with connected(fake) as operator:
            assert len(list(operator.history(NOON, NOON + timedelta(days=1)))) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            listed([], total=5),
            result(None),
            result([1]),
            listed([{"start_time": "2026-01-01 12:00:00"}]),
            said({"result": []}),
            refused(-32603, "internal_error"),
            HTML,
        ],
    )
    def test_an_unfinished_history_is_a_failure_not_an_empty_list(self, answer: Answer) -> None:
        fake = FakeUis(**{"get.calls_report": lambda _: answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOON, NOON + timedelta(days=1)))
        assert not caught.value.permanent

    def test_a_list_longer_than_the_operator_gives_is_a_failure(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crm.integrations.telephony.uis_api.MAX_OFFSET", 1)
        fake = FakeUis(**{"get.calls_report": lambda _: listed([ROW], total=99)})
        with connected(fake) as operator, pytest.raises(OperatorError, match="больше 1 строк") as e:
            list(operator.history(NOON, NOON + timedelta(days=1)))
        assert (e.value.permanent, len(fake.asked)) == (True, 2)

    @pytest.mark.parametrize(("answer", "permanent", "words"), REFUSALS)
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakeUis(**{"get.calls_report": lambda _: answer})
        with connected(fake) as operator, pytest.raises(OperatorError, match=words) as caught:
            list(operator.history(NOON, NOON + timedelta(days=1)))
        assert caught.value.permanent is permanent


class TestRecordings:
    OFFLINE = Uis(7, {"access_token": KEY}, NoNetwork())
    REF = RecordingRef(recording_ref="550001/0123abcd", provider_call_id="9100200301")

    def test_the_address_of_the_notice_is_streamed(self) -> None:
        fake = FakeUis(file=lambda _: Answer(200, MP3, "audio/mpeg"))
        with connected(fake) as operator:
            link = f"{operator.credential('recordings_base')}/9100200301/0123abcd"
            with operator.fetch_recording(RecordingRef(recording_url=link)) as recording:
                assert recording.content_type == "audio/mpeg"
                assert b"".join(recording.chunks) == MP3
            assert isinstance(operator.http, PlainClient)
            assert operator.http.responses[-1].closed
        assert fake.paths == ["/9100200301/0123abcd"]

    def test_a_key_is_tried_at_both_addresses(self) -> None:
        def file(asked: dict[str, Any]) -> Answer:
            is_media = asked["path"] == "/9100200301/0123abcd"
            return Answer(200, MP3, "audio/mpeg") if is_media else Answer(404)

        fake = FakeUis(file=file)
        with connected(fake) as operator, operator.fetch_recording(self.REF) as recording:
            assert b"".join(recording.chunks) == MP3
        assert fake.paths == ["/system/media/talk/550001/0123abcd/", "/9100200301/0123abcd"]

    def test_a_file_not_there_yet_is_asked_later(self) -> None:
        fake = FakeUis(file=lambda _: Answer(404))
        with connected(fake) as operator, pytest.raises(RecordingNotReady):
            operator.fetch_recording(self.REF)

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (said({}, 401), True),
            (said({}, 403), True),
            (Answer(429, b"", headers={"Retry-After": "9"}), False),
            (said({"error": "no"}), False),
            (HTML, False),
            (Answer(200, b"<html>", "text/html"), False),
        ],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        fake = FakeUis(file=lambda _: answer)
        with connected(fake) as operator:
            with pytest.raises(OperatorError) as caught:
                operator.fetch_recording(self.REF)
            assert caught.value.permanent is permanent
            assert isinstance(operator.http, PlainClient)
            assert all(response.closed for response in operator.http.responses)
        assert len(fake.paths) == (1 if caught.value.retry_after else 2)

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://media.uiscom.ru.evil.example/1.mp3",
            "https://evil.example/media.uiscom.ru",
            "http://media.uiscom.ru/1.mp3",
            "file:///etc/passwd",
            "https://[/",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        with pytest.raises(OperatorError, match="чужой") as caught:
            self.OFFLINE.fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent

    @pytest.mark.parametrize("ref", [None, "", "../../etc", "550001", "1/../2", "1/2?a=b"])
    def test_what_is_no_key_is_not_put_into_an_address(self, ref: str | None) -> None:
        with pytest.raises(OperatorError, match="ни ключа") as caught:
            self.OFFLINE.fetch_recording(RecordingRef(recording_ref=ref))
        assert caught.value.permanent
