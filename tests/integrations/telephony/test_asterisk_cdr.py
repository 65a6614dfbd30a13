"""Asterisk: the journal of calls that the PBX keeps in a file, read over HTTP."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crm.integrations.telephony import asterisk_cdr
from crm.integrations.telephony.asterisk import Asterisk
from crm.integrations.telephony.asterisk_cdr import COLUMNS
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    Capability,
    Direction,
    NotSupported,
    OperatorError,
)
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving

SETTINGS = {"host": "pbx.example.ru", "username": "crm", "password": "s3cr3t-crm"}
CLIENT, LINE, CALL = "79000000001", "74950000010", "crm-pbx-1772439631.26"
BEGUN = datetime(2026, 3, 2, 8, 20, 31, tzinfo=UTC)
MOSCOW = ZoneInfo("Europe/Moscow")
TRUNK, PHONE, OTHER = "PJSIP/msk-0000001a", "PJSIP/101-0000001b", "PJSIP/102-0000001c"
SINCE, UNTIL = BEGUN - timedelta(hours=1), BEGUN + timedelta(hours=1)


def moment(seconds: int | str | None) -> str:
    """As `cdr_custom` writes it: in the zone of the PBX, without naming it; a text stays."""
    if seconds is None or isinstance(seconds, str):
        return seconds or ""
    return f"{(BEGUN + timedelta(seconds=seconds)).astimezone(MOSCOW):%Y-%m-%d %H:%M:%S}"


def row(
    start: int | str = 0,
    answer: int | str | None = 11,
    end: int | str = 101,
    talk: int = 90,
    **changed: str,
) -> dict[str, str]:
    """A client's call that the telephone 101 has answered."""
    told = {
        "linkedid": CALL,
        "uniqueid": CALL,
        "start": moment(start),
        "answer": moment(answer),
        "end": moment(end),
        "billsec": str(talk),
        "disposition": "ANSWERED" if answer is not None else "NO ANSWER",
        "src": CLIENT,
        "dst": LINE,
        "dcontext": "from-trunk",
        "channel": TRUNK,
        "dstchannel": PHONE,
        "did": "",
        "recordingfile": "",
    }
    return {**told, **changed}


def unanswered(peer: str, start: int = 0, end: int = 30, **changed: str) -> dict[str, str]:
    return row(start, None, end, 0, dstchannel=peer, **changed)


def text_of(*rows: dict[str, str]) -> str:
    told = io.StringIO()
    writer = csv.writer(told, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([one[name] for name in COLUMNS] for one in rows)
    return told.getvalue()


class FileServer:
    """Gives a file away, and the end of it when asked so."""

    def __init__(self, text: str = "", answer: Answer | None = None, ranges: bool = True) -> None:
        self.body, self.answer, self.ranges = text.encode(), answer, ranges
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        wanted = asked.headers.get("Range")
        if self.answer is not None:
            return self.answer
        if wanted is None or not self.ranges:
            return Answer(200, self.body, "text/csv")
        if not self.body:
            return Answer(416, b"<html>", "text/html")
        start = max(0, len(self.body) - int(wanted.removeprefix("bytes=-")))
        said = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        return Answer(206, self.body[start:], "text/csv", {"Content-Range": said})


@contextmanager
def connected(server: FileServer, **changed: str) -> Iterator[Asterisk]:
    with serving(server) as base:
        values = {**SETTINGS, "cdr_url": f"{base}/cdr/kvartal.csv", **changed}
        yield Asterisk(7, values, PlainClient(), webhook_token="t")


def history(*rows: dict[str, str], since: datetime = SINCE, **changed: str) -> list[CallEvent]:
    with connected(FileServer(text_of(*rows)), **changed) as operator:
        return list(operator.history(since, UNTIL))


def brief(events: list[CallEvent]) -> list[tuple[Any, ...]]:
    return [(event.kind, event.extension, event.result) for event in events]


class TestCalls:
    def test_an_answered_call(self) -> None:
        answered, final = history(row())
        assert (answered.kind, answered.final, final.kind, final.final) == (
            CallKind.ANSWERED,
            False,
            CallKind.ENDED,
            True,
        )
        assert (answered.extension, final.extension) == ("101", "101")
        assert (answered.talk, final.talk) == (90, None), "bridges measure the talk better"
        assert answered.answered_at == BEGUN + timedelta(seconds=11)
        assert (final.started_at, final.ended_at) == (BEGUN, BEGUN + timedelta(seconds=101))
        assert (final.duration_total, final.result) == (101, CallResult.ANSWERED)
        assert {event.provider_call_id for event in (answered, final)} == {CALL}
        assert (final.direction, final.client_number, final.line_number) == (
            Direction.IN,
            CLIENT,
            LINE,
        )

    def test_nobody_answers_however_long_the_menu_has_talked(self) -> None:
        menu = row(answer=1, end=20, talk=19, dstchannel="")
        rung = unanswered(PHONE, 20, 40, disposition="BUSY")
        assert brief(history(menu, rung)) == [(CallKind.MISSED, None, CallResult.BUSY)]

    def test_the_last_who_talked_is_named_and_each_has_his_answer(self) -> None:
        told = history(
            unanswered("PJSIP/103-0000001d", 0, 10),
            row(10, 15, 60, 45),
            row(60, 63, 101, 38, dstchannel=OTHER, uniqueid="crm-pbx-2.2"),
        )
        assert brief(told) == [
            (CallKind.ANSWERED, "101", None),
            (CallKind.ANSWERED, "102", None),
            (CallKind.ENDED, "102", CallResult.ANSWERED),
        ]

    def test_a_queue_rings_by_local_channels_that_prove_nothing(self) -> None:
        local = "Local/101@from-queue-00000001"
        rings = unanswered(PHONE, 5, 30, uniqueid="crm-pbx-3.3", channel=f"{local};2")
        queue = row(0, 1, 30, 29, dstchannel=f"{local};1")
        assert brief(history(rings, queue)) == [(CallKind.MISSED, None, CallResult.NO_ANSWER)]

    def test_a_queue_whose_member_talked_counts_the_whole_talk(self) -> None:
        local = "Local/101@from-queue-00000001"
        member = row(5, 12, 13, 1, uniqueid="crm-pbx-3.3", channel=f"{local};2")
        answered, _final = history(member, row(0, 10, 101, 91, dstchannel=f"{local};1"))
        assert (answered.extension, answered.talk) == ("101", 91)
        assert answered.answered_at == BEGUN + timedelta(seconds=12)

    def test_a_call_on_to_a_mobile_is_answered(self) -> None:
        told = history(row(dstchannel="PJSIP/msk-0000001e"))
        assert brief(told) == [
            (CallKind.ANSWERED, None, None),
            (CallKind.ENDED, None, CallResult.ANSWERED),
        ]

    def test_freepbx_names_the_line_and_the_file_of_the_recording(self) -> None:
        file = "external-101-79000000001-20260302-112031.wav"
        told = history(
            row(dst="s", did="84950000010", recordingfile=file),
            recordings_url="https://pbx.example.ru/monitor/{yyyy}/{mm}/{dd}/{file}",
        )
        assert told[-1].kind is CallKind.RECORDING_READY
        assert told[-1].recording_ref == f"2026/03/02/{file}"
        assert told[-1].line_number == LINE

    def test_a_file_out_of_its_folder_is_no_recording(self) -> None:
        told = history(
            row(recordingfile="../../etc/.."), recordings_url="https://pbx.example.ru/{file}"
        )
        assert CallKind.RECORDING_READY not in {event.kind for event in told}

    def test_an_outgoing_call(self) -> None:
        out = {"src": "101", "dst": "89000000001", "channel": PHONE, "dcontext": "from-internal"}
        answered, final = history(row(**out, dstchannel=TRUNK))
        assert (answered.kind, answered.extension) == (CallKind.ANSWERED, "101")
        assert (final.kind, final.direction, final.client_number, final.line_number) == (
            CallKind.ENDED,
            Direction.OUT,
            CLIENT,
            None,
        )
        told = history(unanswered(TRUNK, **out))
        assert brief(told) == [(CallKind.ENDED, "101", CallResult.NO_ANSWER)]

    def test_an_ordered_call_begins_with_a_local_channel(self) -> None:
        local = "Local/101@from-internal-00000002"
        told = history(
            row(0, 4, 60, 56, src="101", dst=CLIENT, channel=f"{local};1"),
            row(4, 20, 60, 40, dst=CLIENT, channel=f"{local};2", dstchannel=TRUNK, uniqueid="2.2"),
        )
        assert brief(told) == [
            (CallKind.ANSWERED, "101", None),
            (CallKind.ENDED, "101", CallResult.ANSWERED),
        ]
        assert {event.client_number for event in told} == {CLIENT}
        assert told[0].answered_at == BEGUN + timedelta(seconds=20)

    def test_employees_among_themselves_are_nobodys_clients(self) -> None:
        assert history(row(channel=OTHER, dcontext="from-internal", src="102", dst="101")) == []

    def test_a_call_that_goes_on_waits_for_the_row_of_its_first_channel(self) -> None:
        assert history(unanswered(PHONE, uniqueid="crm-pbx-3.3")) == []

    def test_only_calls_of_the_period_are_told(self) -> None:
        assert history(row(), since=BEGUN + timedelta(minutes=5)) == []

    def test_a_row_that_came_later_makes_another_event(self) -> None:
        first, later = history(row())[-1], history(row(), unanswered(OTHER, uniqueid="2.2"))[-1]
        assert first.event_id != later.event_id
        assert history(row())[-1].event_id == first.event_id

    def test_times_may_be_seconds_and_the_zone_is_a_setting(self) -> None:
        unix = f"{BEGUN.timestamp():.6f}"
        assert history(row(start=unix))[-1].started_at == BEGUN
        there = history(row(), time_zone="Asia/Yekaterinburg", since=SINCE - timedelta(hours=3))
        assert there[-1].started_at == BEGUN - timedelta(hours=2)


class TestFile:
    def test_the_password_of_the_files_goes_along_and_only_the_end_is_asked(self) -> None:
        server = FileServer(text_of(row()))
        with connected(server, recordings_user="crm", recordings_password="p") as operator:
            assert list(operator.history(SINCE, UNTIL))
        (asked,) = server.asked
        assert asked.headers["Authorization"] == "Basic Y3JtOnA="
        assert asked.headers["Range"] == "bytes=-4194304"

    @pytest.mark.parametrize(("ago", "times"), [(timedelta(hours=7), 1), (timedelta(hours=1), 2)])
    def test_an_end_that_does_not_reach_back_is_not_enough(
        self, monkeypatch: pytest.MonkeyPatch, ago: timedelta, times: int
    ) -> None:
        monkeypatch.setattr("crm.integrations.telephony.asterisk_api._JOURNAL_END", 600)
        old = -int(ago.total_seconds()) - 3600
        before = row(old, None, old, 0, linkedid="1.1", uniqueid="1.1")
        server = FileServer(text_of(before, before, before, row()))
        with connected(server) as operator:
            told = list(operator.history(SINCE, UNTIL))
        assert (len(server.asked), brief(told)[-1][0]) == (times, CallKind.ENDED)
        assert [("Range" in asked.headers) for asked in server.asked] == [True, False][:times]

    def test_a_server_without_ranges_gives_all_of_it(self) -> None:
        server = FileServer(text_of(row()), ranges=False)
        with connected(server) as operator:
            assert len(list(operator.history(SINCE, UNTIL))) == 2
        assert len(server.asked) == 1

    def test_a_file_without_calls_is_an_empty_history(self) -> None:
        with connected(FileServer()) as operator:
            assert list(operator.history(SINCE, UNTIL)) == []

    def test_a_line_that_is_being_written_waits(self) -> None:
        whole = text_of(row())
        server = FileServer(whole + whole[:40])
        with connected(server) as operator:
            assert len(list(operator.history(SINCE, UNTIL))) == 2

    @pytest.mark.parametrize(
        ("answer", "permanent", "words"),
        [
            (Answer(404, b"<html>", "text/html"), True, "журнала звонков нет"),
            (Answer(401, b"", "text/html"), True, "не приняты"),
            (Answer(503, b"<html>", "text/html"), False, "временная ошибка"),
            (Answer(200, b"<html>\n</html>\n", "text/html"), True, "лежит не он"),
            (Answer(200, b"<html></html>", "text/html"), True, "лежит не он"),
            (Answer(200, b'"a","b"\n', "text/csv"), True, "другие столбцы"),
            (Answer(200, b'"' + b'","' * 13 + b'"\n', "text/csv"), True, "нет номера"),
        ],
    )
    def test_what_is_no_journal_is_a_failure(
        self, answer: Answer, permanent: bool, words: str
    ) -> None:
        with (
            connected(FileServer(answer=answer)) as operator,
            pytest.raises(OperatorError, match=words) as caught,
        ):
            list(operator.history(SINCE, UNTIL))
        assert caught.value.permanent is permanent

    @pytest.mark.parametrize(
        ("text", "ok", "words"),
        [(text_of(row()), True, "Журнал звонков читается"), ("<html>", False, "лежит не он")],
    )
    def test_the_check_reads_the_journal_too(
        self, monkeypatch: pytest.MonkeyPatch, text: str, ok: bool, words: str
    ) -> None:
        monkeypatch.setattr(Asterisk, "extensions", lambda _self: [])
        with connected(FileServer(text)) as operator:
            result = operator.check()
        assert (result.ok, words in result.message) == (ok, True), result.message

    def test_without_an_address_there_is_no_history(self) -> None:
        operator = Asterisk(7, SETTINGS, NoNetwork(), webhook_token="t")
        assert Capability.HISTORY not in operator.capabilities
        with pytest.raises(NotSupported, match="Не поддерживается"):
            list(operator.history(SINCE, UNTIL))

    def test_the_page_gives_the_columns_that_are_read(self) -> None:
        texts = "\n".join(text.text for text in Asterisk.setup_texts)
        assert asterisk_cdr.MAPPING in texts
        names = [part.split(")")[0] for part in asterisk_cdr.MAPPING.split("CDR(")[1:]]
        assert tuple(names) == COLUMNS
