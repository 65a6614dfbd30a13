"""МегаФон: foreign payloads and both APIs on a server that behaves like them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    CallScenario,
    Capability,
    Direction,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
)
from crm.integrations.telephony.megafon import MegaFon
from tests.integrations.fake_http import Answer, NoNetwork, PlainClient, serving
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

FOREIGN = FOREIGN_SAMPLES / "megafon"
MP3 = b"ID3" + bytes(range(256)) * 100
MEGAFON_SETTINGS = {**SETTINGS, "api_url": "https://agency.megapbx.ru/crmapi/v1"}


class QuickMegaFon(MegaFon):
    """Does not wait between requests."""

    request_pause: ClassVar[timedelta] = timedelta(0)


def megafon(**changed: str) -> MegaFon:
    return MegaFon(7, {**MEGAFON_SETTINGS, **changed}, NoNetwork(), webhook_token=TOKEN)


def answering(value: Any, status: int = 200) -> Callable[[Mapping[str, str]], Answer]:
    return lambda _: said(value, status)


def text(body: str) -> Callable[[Mapping[str, str]], Answer]:
    return lambda _: Answer(200, body.encode(), "text/plain")


def json_row(scenario: CallScenario) -> dict[str, Any]:
    waited = (scenario.answered_at - scenario.started_at).total_seconds()
    talked = (scenario.ended_at - scenario.answered_at).total_seconds()
    return {
        "uid": f"sim:{scenario.call_key}",
        "type": "in" if scenario.direction is Direction.IN else "out",
        "status": "success" if scenario.answered else "missed",
        "client": scenario.client_number,
        "diversion": scenario.line_number,
        "user": f"user{scenario.extension}",
        "start": scenario.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wait": int(waited),
        "duration": int(talked),
    }


class TestMegaFonConformance(OperatorConformance):
    operator_class = MegaFon
    settings_of = MEGAFON_SETTINGS
    answered_kinds = frozenset(
        {CallKind.RINGING, CallKind.ANSWERED, CallKind.ENDED, CallKind.RECORDING_READY}
    )

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        fake = FakePbx(history_json=answering([json_row(scenario)]))
        with connected(fake, QuickMegaFon) as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestOlderMegaFonConformance(OperatorConformance):
    operator_class = MegaFon
    settings_of = {
        **MEGAFON_SETTINGS,
        "protocol": "commands",
        "api_url": "https://agency.megapbx.ru/sys/crm_api.wcgp",
    }

    def history_of(self, scenario: CallScenario) -> list[CallEvent]:
        row = json_row(scenario)
        word = row["type"] if scenario.answered else "missed"
        line = [row["uid"], word, row["client"], row["user"], row["diversion"], row["start"]]
        body = ",".join([*line, str(row["wait"]), str(row["duration"]), ""]) + "\r\n"
        fake = FakePbx(history=text(body))
        with connected(fake, QuickMegaFon, protocol="commands") as operator:
            return list(operator.history(scenario.started_at, scenario.ended_at))


class TestReferenceExamples:
    """Requests as the reference writes them, decoded and with our token."""

    def test_the_life_of_a_call(self) -> None:
        common = "phone=79001112233&callid=A1B2C3D4E5F60718-0001"
        live = f"cmd=event&{common}&diversion=74950001122&user=anna&ext=701&direction=in&type="
        history = (
            f"cmd=history&type=in&status=Success&{common}&diversion=74950001122&user=anna&ext=701"
            "&telnum=79260000701&start=20260101T090000Z&wait=11&duration=101"
            "&link=https://example.megapbx.ru/records/0001.mp3"
        )
        told = [f"cmd=contact&{common}", *(f"{live}{word}" for word in ("INCOMING", "ACCEPTED"))]
        events = [
            event
            for line in (*told, f"{live}COMPLETED", history)
            for event in megafon().parse(inbound(line))
        ]
        assert [event.kind for event in events] == [
            CallKind.RINGING,
            CallKind.RINGING,
            CallKind.ANSWERED,
            CallKind.ENDED,
            CallKind.ENDED,
            CallKind.RECORDING_READY,
        ]
        assert [event.final for event in events] == [False] * 4 + [True] * 2
        assert {event.provider_call_id for event in events} == {"A1B2C3D4E5F60718-0001"}

    def test_an_empty_call_id_is_malformed(self) -> None:
        with pytest.raises(MalformedRequest, match="callid"):
            megafon().parse(inbound("cmd=event&type=INCOMING&phone=79001112233", callid=""))


class TestClickToCall:
    def test_rest_sends_the_line_and_learns_the_call(self) -> None:
        fake = FakePbx(makecall=answering({"callid": "A1B2-0009", "clid": "74950001122"}))
        with connected(fake, QuickMegaFon) as operator:
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("crm-0042", "A1B2-0009")
        sent = {"phone": "79001112233", "user": "701", "clid": "74950001122"}
        assert fake.asked == [("makecall", sent)]

    def test_commands_know_no_line(self) -> None:
        fake = FakePbx(makeCall=text("A1B2-0009"))
        with connected(fake, QuickMegaFon, protocol="commands") as operator:
            assert operator.place_call(CALL).provider_call_id == "A1B2-0009"
        assert fake.asked == [("makeCall", {"phone": "79001112233", "user": "701"})]

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (said({"error": "Invalid parameters"}, 400), True, "Invalid parameters"),
            (said({"error": "Invalid parameters"}), True, "Invalid parameters"),
            (said({}, 401), True, "не приняты"),
            (said({}, 403), True, "не приняты"),
            (Answer(301, headers={"Location": "https://evil.example/"}), True, "отклонён"),
            (Answer(429, headers={"Retry-After": "3"}), False, "слишком много"),
            (said({}, 500), False, "временная ошибка"),
            (said({}, 501), True, "закрыта"),
            (HTML, False, "временная ошибка"),
            (PAGE, False, "вместо JSON"),
        ],
    )
    def test_a_refusal_says_whether_to_repeat(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        fake = FakePbx(makecall=lambda _: answer)
        with (
            connected(fake, QuickMegaFon) as operator,
            pytest.raises(OperatorError, match=words) as caught,
        ):
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert caught.value.provider == "МегаФон"
        wait = timedelta(seconds=3) if answer.status == 429 else None
        assert caught.value.retry_after == wait

    def test_an_answer_that_repeats_the_secrets_does_not_show_them(self) -> None:
        fake = FakePbx(makecall=answering({"error": f"{API_KEY} {CRM_TOKEN}"}, 400))
        with connected(fake, QuickMegaFon) as operator, pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        shown = f"{caught.value} {caught.value!r}"
        assert "HTTP 400" in shown
        assert not [secret for secret in (API_KEY, CRM_TOKEN) if secret in shown]

    @pytest.mark.parametrize("protocol", ["rest", "commands"])
    def test_a_dead_server_is_a_transient_failure(self, protocol: str) -> None:
        with connected(FakePbx(), QuickMegaFon, protocol=protocol) as operator:
            pass
        with pytest.raises(OperatorError, match="Нет связи") as caught:
            operator.place_call(CALL)
        assert not caught.value.permanent

    @pytest.mark.parametrize("address", ["http://[", "ftp://agency.megapbx.ru", "https://a:b/c"])
    def test_a_wrong_address_is_told(self, address: str) -> None:
        with pytest.raises(OperatorError, match="адрес АТС") as caught:
            megafon(api_url=address).place_call(CALL)
        assert caught.value.permanent


class TestLists:
    USERS: ClassVar[list[dict[str, Any]]] = [
        {"login": "anna", "name": "Петрова Анна", "ext": "701", "email": "anna@example.ru"},
        {"login": "oleg@agency.megapbx.ru", "name": "Сидоров Олег"},
        {"name": "без логина"},
    ]

    def test_employees_come_in_pages(self) -> None:
        def users(asked: Mapping[str, str]) -> Answer:
            if asked["start"] == "2":
                return said({"items": self.USERS[2:], "info": {"start": 2, "total": 3}})
            return said({"items": self.USERS[:2], "info": {"start": 0, "total": 3, "next": 2}})

        fake = FakePbx(users=users)
        with connected(fake, QuickMegaFon) as operator:
            found = operator.extensions()
            check = operator.check()
        assert [(item.number, item.name, item.employee_key) for item in found] == [
            ("701", "Петрова Анна", "anna"),
            ("oleg", "Сидоров Олег", "oleg"),
        ]
        assert (check.ok, check.message) == (True, "Связь есть. Внутренних номеров: 2")
        assert fake.asked[:2] == [
            ("users", {"search": "", "start": start, "limit": "200"}) for start in ("0", "2")
        ]

    def test_lines_come_by_full_pages_when_nothing_tells_the_next_one(self) -> None:
        numbers = [f"7495000{number:04}" for number in range(150)]

        def telnums(asked: Mapping[str, str]) -> Answer:
            start, limit = int(asked["start"]), int(asked["limit"])
            part = numbers[start : start + limit]
            return said([{"telnum": number, "name": "Сайт"} for number in part])

        fake = FakePbx(telnums=telnums)
        with connected(fake, QuickMegaFon) as operator:
            found = operator.lines()
        assert [line.number for line in found] == numbers
        assert found[0].name == "Сайт"
        assert len(fake.asked) == 2

    def test_a_list_without_an_end_is_a_failure(self) -> None:
        fake = FakePbx(users=answering([{"login": "anna"}] * 200))
        with (
            connected(fake, QuickMegaFon) as operator,
            pytest.raises(OperatorError, match="не кончается"),
        ):
            operator.extensions()

    def test_accounts_of_the_older_api(self) -> None:
        accounts = [
            {"name": "anna", "realName": "Петрова Анна", "ext": 701, "email": "anna@example.ru"}
        ]
        fake = FakePbx(accounts=answering(accounts))
        with connected(fake, QuickMegaFon, protocol="commands") as operator:
            (found,) = operator.extensions()
            assert Capability.LINES not in operator.capabilities
        assert (found.number, found.employee_key, found.email) == ("701", "anna", "anna@example.ru")

    def test_an_impossible_login_is_a_failure_of_the_operator(self) -> None:
        fake = FakePbx(users=answering([{"login": "a" * 200}]))
        with connected(fake, QuickMegaFon) as operator:
            check = operator.check()
        assert not check.ok
        assert "сотрудники" in check.message

    @pytest.mark.parametrize("answer", [{}, {"items": None}, ["anna"], "OK", {"items": "x"}])
    def test_what_is_no_list_is_a_failure(self, answer: object) -> None:
        fake = FakePbx(users=answering(answer))
        with connected(fake, QuickMegaFon) as operator:
            with pytest.raises(OperatorError, match="списка") as caught:
                operator.extensions()
            assert not caught.value.permanent
            assert not operator.check().ok


ROW = {
    "uid": "A1B2-0001",
    "type": "in",
    "status": "success",
    "client": "+79001112233",
    "diversion": "74950001122",
    "user": "anna",
    "user_name": "Петрова Анна",
    "start": "2026-01-01T09:00:00Z",
    "wait": 11,
    "duration": 90,
    "record": "https://records.megapbx.ru/record/0001.mp3",
}


class TestHistory:
    def history(self, rows: object, **changed: str) -> list[CallEvent]:
        fake = FakePbx(history_json=answering(rows))
        with connected(fake, QuickMegaFon, **changed) as operator:
            return list(operator.history(NOW - timedelta(hours=2), NOW))

    @pytest.mark.parametrize("wrapped", [True, False])
    def test_rows_become_final_events_and_recordings(self, wrapped: bool) -> None:
        out = {**ROW, "uid": "A1B2-0002", "type": "out", "status": "Busy", "record": None}
        inner = {**ROW, "uid": "A1B2-0003", "client": "101"}
        rows = [ROW, {**out, "duration": None}, inner]
        ended, ready, busy = self.history({"items": rows} if wrapped else rows)
        assert (ended.kind, ended.result, ended.final) == (
            CallKind.ENDED,
            CallResult.ANSWERED,
            True,
        )
        assert (ended.duration_total, ended.talk) == (101, 90)
        assert (ended.answered_at, ended.ended_at) == (at(11), at(101))
        assert (ended.client_number, ended.employee_key) == ("79001112233", "anna")
        assert (ready.kind, ready.recording_url) == (CallKind.RECORDING_READY, ROW["record"])
        assert (busy.kind, busy.result, busy.talk) == (CallKind.ENDED, CallResult.BUSY, 0)
        assert busy.direction is Direction.OUT

    def test_members_may_also_be_named_as_in_the_request(self) -> None:
        row = {
            "callid": "A1B2-0001",
            "type": "in",
            "status": "Missed",
            "phone": "79001112233",
            "diversion": "74950001122",
            "user": "anna",
            "ext": "701",
            "start": "20260101T090000Z",
            "wait": "20",
            "duration": "0",
        }
        (event,) = self.history([row])
        assert (event.kind, event.extension) == (CallKind.MISSED, "701")
        assert (event.duration_total, event.talk) == (20, 0)

    @pytest.mark.parametrize(
        ("meaning", "total", "talk"), [("as_told", 101, 90), ("total", 90, 79), ("talk", 101, 90)]
    )
    def test_a_row_counts_the_talk_if_nothing_else_was_chosen(
        self, meaning: str, total: int, talk: int
    ) -> None:
        event = self.history([ROW], durations=meaning)[0]
        assert (event.duration_total, event.talk) == (total, talk)

    def test_a_request_and_a_row_tell_of_one_recording_alike(self) -> None:
        request = inbound(
            "cmd=history&type=in&status=Success&callid=A1B2-0001&phone=79001112233",
            link=str(ROW["record"]),
        )
        assert megafon().parse(request)[1].event_id == self.history([ROW])[1].event_id

    def test_a_row_that_has_changed_is_a_new_event(self) -> None:
        first = self.history([{**ROW, "record": ""}])
        later = self.history([ROW])
        assert first[0].event_id != later[0].event_id
        assert self.history([ROW])[0].event_id == later[0].event_id

    def test_nothing_is_told_as_null_too(self) -> None:
        assert self.history(None) == []
        assert self.history([]) == []

    def test_a_full_answer_is_asked_by_halves(self) -> None:
        rows = [
            {**ROW, "uid": f"call-{number}", "start": f"{at(number * 6):%Y%m%dT%H%M%SZ}"}
            for number in range(1100)
        ]

        def history(asked: Mapping[str, str]) -> Answer:
            found = [row for row in rows if asked["start"] <= str(row["start"]) <= asked["end"]]
            return said(found[: int(asked["limit"])])

        fake = FakePbx(history_json=history)
        with connected(fake, QuickMegaFon) as operator:
            events = list(operator.history(at(0), at(7200)))
        ended = [event.provider_call_id for event in events if event.kind is CallKind.ENDED]
        assert sorted(ended) == sorted(str(row["uid"]) for row in rows)
        assert [asked for _, asked in fake.asked] == [
            {"start": start, "end": end, "type": "all", "limit": "1000"}
            for start, end in (
                ("20260101T090000Z", "20260101T110000Z"),
                ("20260101T090000Z", "20260101T100000Z"),
                ("20260101T100000Z", "20260101T110000Z"),
            )
        ]

    def test_dates_are_utc(self) -> None:
        fake = FakePbx(history_json=answering([]))
        moscow = datetime.fromisoformat("2026-01-01T12:00:00+03:00")
        with connected(fake, QuickMegaFon) as operator:
            assert list(operator.history(moscow, datetime(2026, 1, 2, tzinfo=UTC))) == []
        assert fake.asked[0][1]["start"] == "20260101T090000Z"

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (said([{**ROW, "uid": None}]), False),
            (said([{**ROW, "start": "yesterday"}]), False),
            (said(["row"]), False),
            (said({"error": "Invalid parameters"}), True),
            (said({}, 401), True),
            (said({}, 403), True),
            (said({}, 429), False),
            (said({}, 501), True),
            (HTML, False),
            (PAGE, False),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(
        self, answer: Answer, permanent: bool
    ) -> None:
        fake = FakePbx(history_json=lambda _: answer)
        with connected(fake, QuickMegaFon) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW - timedelta(hours=2), NOW))
        assert caught.value.permanent is permanent


class TestRecordings:
    def fetch(self, link: str, fake: FakePbx, **changed: str) -> tuple[str, bytes]:
        with connected(fake, QuickMegaFon, **changed) as operator:
            address = link.replace("http://pbx", operator.credential("api_url"))
            with operator.fetch_recording(RecordingRef(recording_url=address)) as recording:
                return recording.content_type, b"".join(recording.chunks)

    def test_the_key_goes_to_the_pbx_itself(self) -> None:
        fake = FakePbx(file=lambda _: Answer(200, MP3, "audio/mpeg"))
        assert self.fetch("http://pbx/records/1.mp3", fake) == ("audio/mpeg", MP3)
        assert fake.headers[-1]["X-API-KEY"] == API_KEY

    def test_the_key_of_the_older_api_stays_here(self) -> None:
        fake = FakePbx(file=lambda _: Answer(200, MP3, "audio/mpeg"))
        self.fetch("http://pbx/records/1.mp3", fake, protocol="commands")
        assert "X-API-KEY" not in fake.headers[-1]

    def test_another_server_on_the_same_host_does_not_see_the_key(self) -> None:
        files = FakePbx(file=lambda _: Answer(200, MP3, "audio/mpeg"))
        with serving(files) as elsewhere:
            assert self.fetch(f"{elsewhere}/1.mp3", FakePbx())[1] == MP3
        assert "X-API-KEY" not in files.headers[-1]

    @pytest.mark.parametrize(
        "link",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://megapbx.ru.evil.example/1.mp3",
            "https://evil.example/records.megapbx.ru",
            "http://records.megapbx.ru.evil.example/1.mp3",
            "ftp://records.megapbx.ru/1.mp3",
            "https://[/1.mp3",
            "records.megapbx.ru/1.mp3",
        ],
    )
    def test_a_link_to_another_host_is_refused(self, link: str) -> None:
        with pytest.raises(OperatorError, match="чужой") as caught:
            megafon().fetch_recording(RecordingRef(recording_url=link))
        assert caught.value.permanent

    @pytest.mark.parametrize("host", ["records.example.ru", "https://Records.Example.ru/files/"])
    def test_the_administrator_may_name_another_host(self, host: str) -> None:
        hosts = list(megafon(recording_host=host).recording_hosts)
        assert hosts == ["*.megapbx.ru", "records.example.ru"]
        assert list(megafon().recording_hosts) == ["*.megapbx.ru"]

    def test_a_file_not_there_yet_is_asked_later(self) -> None:
        with pytest.raises(RecordingNotReady) as caught:
            self.fetch("http://pbx/records/1.mp3", FakePbx(file=lambda _: Answer(404)))
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [(Answer(401), True), (Answer(429), False), (HTML, False), (PAGE, False)],
    )
    def test_other_answers_are_failures(self, answer: Answer, permanent: bool) -> None:
        with pytest.raises(OperatorError) as caught:
            self.fetch("http://pbx/records/1.mp3", FakePbx(file=lambda _: answer))
        assert caught.value.permanent is permanent

    def test_without_a_link_nothing_is_asked(self) -> None:
        with pytest.raises(OperatorError, match="ссылки") as caught:
            megafon().fetch_recording(RecordingRef(recording_ref="A1B2-0001"))
        assert caught.value.permanent


@pytest.mark.skipif(not FOREIGN.exists(), reason="the samples of others are not here")
class TestForeignSamples:
    def parsed(self, name: str) -> list[CallEvent]:
        operator = megafon(crm_token="test-token")
        request = inbound((FOREIGN / name).read_text("utf-8").strip())
        operator.verify(request)
        return operator.parse(request)

    def test_they_become_what_is_expected(self) -> None:
        for case in json.loads((FOREIGN / "expected.json").read_text("utf-8"))["cases"]:
            events = self.parsed(case["file"])
            if case.get("ignored"):
                assert events == []
                continue
            for name in case.keys() - {"file"}:
                assert plain(getattr(events[0], name)) == case[name], (case["file"], name)

    def test_the_history_of_the_second_leg_is_joined_by_the_alias(self) -> None:
        (transfer,) = self.parsed("event_transferred.form")
        ended, _ = self.parsed("history_second_leg_after_transfer.form")
        assert ended.provider_call_id in transfer.alias_call_ids
        assert ended.result is CallResult.ANSWERED

    def test_their_foreign_host_of_recordings_is_refused(self) -> None:
        link = self.parsed("history_success.form")[1].recording_url
        with pytest.raises(OperatorError, match="чужой"):
            megafon().fetch_recording(RecordingRef(recording_url=link))


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, tuple):
        return list(value)
    return getattr(value, "value", value)


def test_the_client_of_the_fake_server_is_closed_after_a_failure() -> None:
    fake = FakePbx(file=lambda _: PAGE)
    with connected(fake, QuickMegaFon) as operator:
        link = f"{operator.credential('api_url')}/records/1.mp3"
        with pytest.raises(OperatorError):
            operator.fetch_recording(RecordingRef(recording_url=link))
        assert isinstance(operator.http, PlainClient)
        assert operator.http.responses[-1].closed
