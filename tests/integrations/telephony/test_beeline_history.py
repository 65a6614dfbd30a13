"""Beeline: the statistics and the list of recordings as the history of calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    Direction,
    OperatorError,
)
from tests.integrations.fake_http import Answer
from tests.integrations.telephony.conformance import NOW
from tests.integrations.telephony.test_beeline_api import (
    ANNA,
    CALL_ID,
    HTML,
    OLEG,
    PAGE,
    FakeBeeline,
    Respond,
    connected,
    refused,
    said,
)


def ms(seconds: float) -> int:
    return int(NOW.timestamp() * 1000) + int(seconds * 1000)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stat(start: float, status: str = "RECIEVED", **changed: Any) -> dict[str, Any]:
    incoming = status != "PLACED"
    return {
        "startDate": ms(start),
        "direction": "INBOUND" if incoming else "OUTBOUND",
        "status": status,
        "phone_from": "+79031234567" if incoming else "+79001112233",
        "phone_to": "+74950001122" if incoming else "+79161112233",
        "duration": 0 if status == "MISSED" else 90000,
        "abonent": {"userId": ANNA, "extension": "204", "phone": "9001112233"},
        **changed,
    }


def record(number: int, date: float, **changed: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "externalId": CALL_ID,
        "callId": "callhalf-1:0",
        "phone": "9031234567",
        "direction": "INBOUND",
        "date": ms(date),
        "duration": 88000,
        "fileSize": 1024,
        "abonent": {"userId": ANNA, "extension": "204"},
        **changed,
    }


def paged(rows: list[dict[str, Any]], size: int = 100) -> Respond:
    return lambda query: said(rows[int(query["page"]) * size : (int(query["page"]) + 1) * size])


def told(
    rows: list[dict[str, Any]], records: list[dict[str, Any]] | None = None, days: int = 1
) -> list[CallEvent]:
    answers: dict[str, Respond | Answer] = {
        "GET v2/statistics": paged(rows),
        "GET records": said(records or []),
    }
    with connected(FakeBeeline(answers)) as operator:
        return list(operator.history(NOW, NOW + timedelta(days=days)))


class TestHistory:
    def test_an_answered_call_without_a_recording_gets_a_stable_id(self) -> None:
        (event,) = told([stat(0)])
        (later,) = told([stat(0, duration=91000)])
        assert (event.kind, event.final, event.result) == (
            CallKind.ENDED,
            True,
            CallResult.ANSWERED,
        )
        assert event.id_is_made_up
        assert event.provider_call_id == later.provider_call_id
        assert event.event_id != later.event_id
        assert (event.client_number, event.line_number) == ("79031234567", None)
        assert (event.started_at, event.occurred_at, event.talk) == (at(0), at(90), 90)
        assert (event.employee_key, event.extension) == (ANNA, "204")

    @pytest.mark.parametrize("date", [-5, 0, 5, 40])
    def test_a_recording_of_the_call_brings_its_id(self, date: float) -> None:
        (event,) = told([stat(0)], [record(1, date)])
        (before,) = told([stat(0)])
        assert (event.provider_call_id, event.id_is_made_up) == (CALL_ID, False)
        assert event.alias_call_ids == (before.provider_call_id,)
        assert (event.recording_ref, event.final, event.talk) == ("1", True, 90)
        assert event.event_id != before.event_id

    @pytest.mark.parametrize(
        "changed",
        [
            {"date": ms(-11)},
            {"date": ms(61)},
            {"date": None},
            {"phone": "9161112233"},
            {"direction": "OUTBOUND"},
            {"abonent": {"userId": OLEG}},
        ],
    )
    def test_a_recording_of_another_call_is_told_apart(self, changed: dict[str, Any]) -> None:
        row, other = told([stat(0)], [{**record(1, 0), **changed}])
        assert (row.id_is_made_up, row.recording_ref) == (True, None)
        assert (other.provider_call_id, other.recording_ref) == (CALL_ID, "1")
        assert (other.kind, other.final, other.talk) == (CallKind.ENDED, False, 88)

    def test_of_two_recordings_the_nearest_is_taken_and_each_once(self) -> None:
        records = [record(1, 2), record(2, 42, externalId="second")]
        first, second = told([stat(0), stat(40)], records)
        assert (first.provider_call_id, second.provider_call_id) == (CALL_ID, "second")

    def test_a_recording_without_the_id_of_the_call_is_still_fetched(self) -> None:
        (event,) = told([stat(0)], [record(1, 0, externalId=None)])
        assert (event.id_is_made_up, event.recording_ref) == (True, "1")
        (alone,) = told([], [record(1, 0, externalId=None)])
        assert (alone.id_is_made_up, alone.recording_ref) == (True, "1")

    def test_a_group_that_missed_a_call_missed_it_once_and_names_nobody(self) -> None:
        rows = [
            stat(2, "MISSED"),
            stat(0, "MISSED", abonent={"userId": OLEG}),
            stat(300, "MISSED"),
        ]
        first, second = told(rows)
        assert (first.kind, first.result) == (CallKind.MISSED, CallResult.NO_ANSWER)
        assert (first.started_at, second.started_at) == (at(0), at(300))
        assert (first.employee_key, first.extension, first.talk) == (None, None, None)
        assert first.id_is_made_up
        assert len(first.alias_call_ids) == 1

    def test_a_call_that_a_colleague_answered_is_not_missed(self) -> None:
        (event,) = told([stat(1, "MISSED", abonent={"userId": OLEG}), stat(0)])
        assert event.result is CallResult.ANSWERED
        kinds = {event.kind for event in told([stat(20, "MISSED"), stat(0)])}
        assert kinds == {CallKind.MISSED, CallKind.ENDED}

    @pytest.mark.parametrize(
        ("changed", "result"),
        [
            ({}, CallResult.ANSWERED),
            ({"duration": 800}, CallResult.ANSWERED),
            ({"duration": 0}, CallResult.NO_ANSWER),
            ({"duration": 0, "status": "MISSED"}, CallResult.NO_ANSWER),
            ({"duration": 0, "status": "TELEPORTED"}, CallResult.UNKNOWN),
        ],
    )
    def test_an_outgoing_call(self, changed: dict[str, Any], result: CallResult) -> None:
        (event,) = told([{**stat(0, "PLACED"), **changed}])
        assert (event.kind, event.direction) == (CallKind.ENDED, Direction.OUT)
        assert (event.client_number, event.result) == ("79161112233", result)
        assert (event.employee_key, event.talk) == (ANNA, 90 if changed == {} else 0)

    @pytest.mark.parametrize(
        ("status", "direction"),
        [
            ("RECIEVED", Direction.IN),
            ("RECEIVED", Direction.IN),
            ("MISSED", Direction.IN),
            ("PLACED", Direction.OUT),
        ],
    )
    def test_the_status_tells_an_absent_direction(self, status: str, direction: Direction) -> None:
        (event,) = told([stat(0, status, direction=None)])
        assert event.direction is direction

    def test_an_older_row_has_one_number_and_a_hidden_client_none(self) -> None:
        one = {"phone_from": None, "phone_to": None, "phone": "+79031234567"}
        assert told([stat(0, **one)])[0].client_number == "79031234567"
        assert told([stat(0, phone_from=None, phone_to=None)])[0].client_number is None

    @pytest.mark.parametrize("duration", [None, -1, 10**19, 1.5, "long"])
    def test_an_impossible_duration_is_none(self, duration: Any) -> None:
        row, alone = told(
            [stat(0, duration=duration)], [record(1, 900, duration=duration, phone="9161112233")]
        )
        assert (row.talk, row.occurred_at, row.result) == (None, at(0), CallResult.ANSWERED)
        assert (alone.talk, alone.occurred_at) == (None, at(900))

    def test_calls_between_employees_are_left_out(self) -> None:
        assert told([stat(0, phone_from="101")], [record(1, 0, phone="101")]) == []

    def test_pages_are_read_until_an_empty_one_by_days(self) -> None:
        rows = [stat(index * 60) for index in range(250)]
        fake = FakeBeeline({"GET v2/statistics": paged(rows), "GET records": said([])})
        with connected(fake) as operator:
            events = list(operator.history(NOW, NOW + timedelta(hours=30)))
        assert len({event.provider_call_id for event in events}) == 250
        asked = [query for name, query in fake.asked if name == "GET v2/statistics"]
        assert [query["page"] for query in asked] == ["0", "1", "2", "3"] * 2
        assert [(query["dateFrom"], query["dateTo"]) for query in asked[::4]] == [
            ("2026-11-23T09:00:00.000Z", "2026-11-24T09:00:00.000Z"),
            ("2026-11-24T09:00:00.000Z", "2026-11-24T15:00:00.000Z"),
        ]

    def test_recordings_are_read_by_the_last_id_though_it_comes_again(self) -> None:
        rows = [
            record(number, number * 60, externalId=f"call-{number}", phone=f"90312340{number:02}")
            for number in range(250)
        ]

        def page(query: dict[str, str]) -> Answer:
            start = int(query.get("id", "0"))
            return said(rows[start : start + 100])

        fake = FakeBeeline({"GET v2/statistics": said([]), "GET records": page})
        with connected(fake) as operator:
            events = list(operator.history(NOW, NOW + timedelta(days=1)))
        assert sorted(event.provider_call_id for event in events) == sorted(
            f"call-{number}" for number in range(250)
        )
        asked = [query.get("id") for name, query in fake.asked if name == "GET records"]
        assert asked == [None, "99", "198"]

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("GET v2/statistics", said([stat(0)])),  # every page is the same
            ("GET v2/statistics", said([{"status": "MISSED"}])),
            ("GET v2/statistics", said({"content": []})),
            ("GET v2/statistics", HTML),
            ("GET v2/statistics", PAGE),
            ("GET v2/statistics", Answer(429)),
            ("GET records", said([record(index, 0) for index in range(100)])),
            ("GET records", said([{"date": 1}])),
            ("GET records", Answer(500)),
        ],
    )
    def test_a_broken_history_is_a_failure_not_an_empty_list(
        self, name: str, answer: Answer
    ) -> None:
        good = {"GET v2/statistics": paged([]), "GET records": said([])}
        fake = FakeBeeline({**good, name: answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW, NOW + timedelta(hours=1)))
        assert not caught.value.permanent

    @pytest.mark.parametrize("answer", [said({}, 401), said({}, 403), refused(200, "FORBIDDEN")])
    def test_a_refused_history_is_permanent(self, answer: Answer) -> None:
        fake = FakeBeeline({"GET records": answer})
        with connected(fake) as operator, pytest.raises(OperatorError) as caught:
            list(operator.history(NOW, NOW + timedelta(hours=1)))
        assert caught.value.permanent
