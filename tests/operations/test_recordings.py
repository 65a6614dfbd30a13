"""Recordings: stored once, tried again with pauses, given up after three days; click-to-call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask

from crm.integrations.telephony.base import (
    CallKind,
    ClickToCall,
    OperatorError,
    PlacedCall,
    RecordingNotReady,
    RecordingRef,
)
from crm.integrations.telephony.mango import Mango
from crm.models import (
    Call,
    RecordingState,
    StoredFile,
    TelephonyConnection,
    UserGrant,
    db,
)
from crm.operations import calls, connections, files, recordings, records
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory
from tests.inbound import CLIENT

AUDIO = b"ID3" + b"\x00\x01" * 5000


class Tape:
    """An open stream; may break in the middle."""

    content_type = "audio/mpeg"

    def __init__(self, breaks: bool = False) -> None:
        self.breaks = breaks

    @property
    def chunks(self) -> Iterator[bytes]:
        yield AUDIO[:100]
        if self.breaks:
            raise OperatorError("связь прервалась", permanent=False)
        yield AUDIO[100:]

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def mango(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


@pytest.fixture
def waiting(mango: TelephonyConnection) -> Call:
    """A call that ended ten minutes ago and has a recording."""
    at = utc_now() - dt.timedelta(minutes=10)
    calls.apply(inbound.event(mango, CallKind.ENDED, occurred_at=at, final=True), mango)
    ready = inbound.event(mango, CallKind.RECORDING_READY, occurred_at=at, recording_ref="rec-1")
    calls.apply(ready, mango)
    found: Call = db.session.query(Call).one()
    return found


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[RecordingRef]]:
    """``tape(answer)``: what the operator answers; returns what it was asked for."""

    def play(answer: Any) -> list[RecordingRef]:
        asked: list[RecordingRef] = []

        def fetch(_self: Mango, ref: RecordingRef) -> Any:
            asked.append(ref)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(Mango, "fetch_recording", fetch)
        return asked

    return play


def storage(app: Flask) -> list[Path]:
    root = Path(app.config["STORAGE_URL"].removeprefix("file://"))
    return [path for path in root.rglob("*") if path.is_file()]


class TestFetch:
    def test_it_is_stored_once(self, app: Flask, waiting: Call, tape: Any) -> None:
        asked = tape(Tape())
        assert recordings.due_calls() == [waiting.id]
        assert recordings.fetch(waiting.id) is RecordingState.STORED
        assert recordings.fetch(waiting.id) is None
        assert [ref.recording_ref for ref in asked] == ["rec-1"]
        stored = db.session.get(StoredFile, waiting.recording_file_id)
        assert stored is not None
        assert (stored.size, stored.content_type) == (len(AUDIO), "audio/mpeg")
        assert files.read_bytes(stored) == AUDIO
        with files.open_file(stored) as stream:
            stream.seek(3)
            assert stream.read(2) == b"\x00\x01"
        assert stored.key.startswith("recordings/")
        assert stored.public_token is None

    def test_failures_are_put_off_longer_and_longer_and_given_up(
        self, app: Flask, waiting: Call, tape: Any
    ) -> None:
        tape(RecordingNotReady("записи ещё нет", permanent=False))
        before, pauses, state = storage(app), [], None
        while state is not RecordingState.ABSENT:
            due = waiting.recording_due_at
            assert due is not None
            with time_machine.travel(due, tick=False):
                state = recordings.fetch(waiting.id)
                if waiting.recording_due_at is not None:
                    pauses.append((waiting.recording_due_at - utc_now()).total_seconds() / 60)
        assert pauses[:6] == [2, 5, 15, 60, 360, 360]
        assert waiting.recording_error == "записи ещё нет"
        assert recordings.due_calls() == []
        assert storage(app) == before

    def test_the_operators_own_pause_is_kept(self, app: Flask, waiting: Call, tape: Any) -> None:
        error = OperatorError("занято", permanent=False, retry_after=dt.timedelta(minutes=30))
        tape(error)
        recordings.fetch(waiting.id)
        assert waiting.recording_due_at is not None
        assert waiting.recording_due_at - utc_now() > dt.timedelta(minutes=29)

    @pytest.mark.parametrize(
        ("error", "waits"), [(OperatorError, True), (RecordingNotReady, False)]
    )
    def test_an_operator_that_wants_a_pause_is_not_asked_for_the_other_recordings(
        self,
        mango: TelephonyConnection,
        waiting: Call,
        tape: Any,
        error: type[OperatorError],
        waits: bool,
    ) -> None:
        at = utc_now() - dt.timedelta(minutes=9)
        for kind, ref in ((CallKind.ENDED, None), (CallKind.RECORDING_READY, "rec-2")):
            told = inbound.event(
                mango, kind, provider_call_id="c2", occurred_at=at, recording_ref=ref
            )
            calls.apply(told, mango)
        asked = tape(error("позже", permanent=True, retry_after=dt.timedelta(minutes=2)))
        other = next(pk for pk in recordings.due_calls() if pk != waiting.id)
        recordings.fetch(waiting.id)
        assert recordings.due_calls() == ([] if waits else [other])
        recordings.fetch(other)
        assert len(asked) == (1 if waits else 2)
        with time_machine.travel(utc_now() + dt.timedelta(minutes=3), tick=False):
            assert other in recordings.due_calls() or not waits

    def test_a_broken_stream_leaves_nothing(self, app: Flask, waiting: Call, tape: Any) -> None:
        before = storage(app)
        tape(Tape(breaks=True))
        assert recordings.fetch(waiting.id) is RecordingState.WAITING
        assert storage(app) == before
        assert db.session.query(StoredFile).count() == 0

    def test_a_fetch_that_died_is_repeated(self, app: Flask, waiting: Call, tape: Any) -> None:
        assert recordings._claim(waiting.id) is not None
        assert recordings.due_calls() == []
        tape(Tape())
        with time_machine.travel(utc_now() + dt.timedelta(minutes=11), tick=True):
            assert recordings.fetch(waiting.id) is RecordingState.STORED


class TestFiles:
    def test_what_was_deleted_on_time_is_not_fetched_anew(
        self, mango: TelephonyConnection, waiting: Call, tape: Any
    ) -> None:
        asked = tape(Tape())
        recordings.fetch(waiting.id)
        mango.keep_recordings_days = 1
        waiting.started_at = utc_now() - dt.timedelta(days=2)
        db.session.commit()
        assert recordings.delete_expired() == 1
        told = inbound.event(mango, CallKind.ENDED, final=True, talk=7, recording_ref="rec-1")
        calls.apply(told, mango)
        db.session.refresh(waiting)
        assert (waiting.talk, waiting.recording_state) == (7, RecordingState.EXPIRED)
        assert recordings.due_calls() == []
        assert len(asked) == 1

    def test_too_long_is_refused(self, app: Flask) -> None:
        before = storage(app)
        with pytest.raises(files.FileTooLarge):
            files.store_stream([b"12345", b"67890"], "audio/mpeg", 9)
        assert storage(app) == before

    def test_a_public_file_and_its_end(self, app: Flask) -> None:
        stored = files.store_bytes(b"jpeg", "image/jpeg", kind="photos", public=True)
        assert files.public_path(stored) == f"/media/{stored.public_token}.jpg"
        files.delete_file(stored)
        with pytest.raises(FileNotFoundError):
            files.read_bytes(stored)
        private = files.store_bytes(b"x", "text/plain")
        with pytest.raises(ValueError, match="no public address"):
            files.public_path(private)


class TestClickToCall:
    @pytest.fixture
    def placed(self, monkeypatch: pytest.MonkeyPatch) -> list[ClickToCall]:
        orders: list[ClickToCall] = []

        def place(_self: Mango, order: ClickToCall) -> PlacedCall:
            orders.append(order)
            return PlacedCall(request_id=order.request_id)

        monkeypatch.setattr(Mango, "place_call", place)
        return orders

    def test_the_call_waits_for_its_events(
        self,
        mango: TelephonyConnection,
        make: Factory,
        principal: Callable[[str], Principal],
        placed: list[ClickToCall],
    ) -> None:
        contact = make.contact(phone="+7" + CLIENT[1:])
        deal = make.deal("manager", contact=contact)
        by = principal("manager")
        call = recordings.click_to_call(by, contact_phone_id=contact.phones[0].id, deal_id=deal.id)
        (order,) = placed
        assert (order.extension, order.number) == ("101", CLIENT)
        assert (call.deal_id, call.employee_id, call.direction) == (deal.id, by.id, "out")
        ringing = inbound.event(
            mango,
            CallKind.RINGING,
            direction=None,
            crm_request_id=order.request_id,
            extension="101",
        )
        calls.apply(ringing, mango)
        found = db.session.query(Call).one()
        assert (found.id, found.provider_call_id, found.deal_id) == (call.id, "c1", deal.id)

    def test_who_may_not(
        self,
        mango: TelephonyConnection,
        make: Factory,
        people: dict[str, Any],
        principal: Callable[[str], Principal],
        placed: list[ClickToCall],
    ) -> None:
        contact = make.contact()
        deal = make.deal("manager", contact=contact)
        phone_id = contact.phones[0].id
        with pytest.raises(NotFound):
            recordings.click_to_call(principal("stranger"), contact_phone_id=phone_id)
        with pytest.raises(NotFound):
            recordings.click_to_call(principal("stranger"), number=CLIENT, deal_id=deal.id)
        with pytest.raises(ValidationErrors):
            recordings.click_to_call(principal("teammate"), number=CLIENT)
        with pytest.raises(ValidationErrors):
            recordings.click_to_call(principal("manager"), number="дом")
        db.session.add(
            UserGrant(user_id=people["manager"].id, code=Grant.FORBID_CLICK_TO_CALL, allow=True)
        )
        db.session.commit()
        with pytest.raises(Forbidden):
            recordings.click_to_call(principal("manager"), contact_phone_id=phone_id)
        assert placed == []

    def test_the_operators_refusal_is_told(
        self,
        mango: TelephonyConnection,
        principal: Callable[[str], Principal],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(_self: Mango, _order: ClickToCall) -> PlacedCall:
            raise OperatorError("нет денег на счёте", permanent=True)

        monkeypatch.setattr(Mango, "place_call", refuse)
        with pytest.raises(Conflict, match="нет денег"):
            recordings.click_to_call(principal("manager"), number=CLIENT)
        db.session.refresh(mango)
        assert mango.last_error == "нет денег на счёте"
        assert db.session.query(Call).count() == 0


class TestConnections:
    def test_a_new_one_gets_its_secret_address(self, app: Flask) -> None:
        row = records.create(
            TelephonyConnection(
                name="Офис", operator="mango", ignored_numbers="8 916 000-00-01; 74955550101"
            ),
            None,
        )
        assert isinstance(row, TelephonyConnection)
        assert len(row.token) >= 40
        assert row.ignored_numbers == "+79160000001, +74955550101"
        assert connections.ignored_keys(row) == {"9160000001", "4955550101"}
        assert connections.webhook_url(row) == f"http://localhost/telephony/mango/{row.token}"
        old = row.token
        assert connections.rotate_token(row.id, None) != old
        assert connections.by_token(old) is None

    def test_what_is_refused(self, app: Flask, waiting: Call) -> None:
        wrong = TelephonyConnection(name="", operator="нет такого", ignored_numbers="дом")
        with pytest.raises(ValidationErrors) as caught:
            records.create(wrong, None)
        assert {e.field for e in caught.value.errors} == {"name", "operator", "ignored_numbers"}
        with pytest.raises(Conflict):
            records.delete(waiting.connection, None)

    def test_the_last_event_is_noted_now_and_then(self, mango: TelephonyConnection) -> None:
        now, edited = utc_now(), mango.updated_at
        connections.note_event(mango, now)
        connections.note_event(mango, now + dt.timedelta(seconds=5))
        db.session.commit()
        db.session.refresh(mango)
        assert mango.last_event_at == now
        assert mango.updated_at == edited
