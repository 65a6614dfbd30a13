"""Recordings of calls: fetched into our own storage, tried again until the operator has them."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from sqlalchemy import CursorResult, select, update

from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import MAX_RECORDING_BYTES, RecordingRef
from crm.integrations.telephony.operator_errors import OperatorError, RecordingNotReady
from crm.models import Call, RecordingState, StoredFile, TelephonyConnection, db
from crm.operations import bus, connections, files
from crm.operations.dialling import click_to_call
from crm.operations.files import FileTooLarge
from crm.operations.transaction import operation
from crm.values.clock import utc_now

FETCH_JOB = "crm.jobs.recordings.fetch"
# Pauses after failed tries; the last one repeats until the recording is given up.
BACK_OFF = (
    dt.timedelta(minutes=2),
    dt.timedelta(minutes=5),
    dt.timedelta(minutes=15),
    dt.timedelta(minutes=60),
    dt.timedelta(hours=6),
)
GIVE_UP = dt.timedelta(days=3)
# Longer than any download: a fetch that died is repeated after it.
_LEASE = dt.timedelta(minutes=10)
_ERROR_LENGTH = 500


def due_calls(limit: int = 100) -> list[int]:
    """Calls whose recording may be asked for now, the longest waiting first."""
    query = (
        select(Call.id)
        .where(Call.recording_state == RecordingState.WAITING, Call.recording_due_at <= utc_now())
        .order_by(Call.recording_due_at, Call.id)
        .limit(limit)
    )
    return list(db.session.scalars(query))


def enqueue_due(limit: int = 100) -> int:
    """Queue a fetch of everything due; how many. Raises RedisError."""
    found = due_calls(limit)
    for call_id in found:
        bus.enqueue_now("default", FETCH_JOB, call_id, job_id=f"recording-{call_id}")
    return len(found)


def fetch(call_id: int) -> RecordingState | None:
    """Fetch the recording of one call; the state it is in then, None when nothing was due.

    Failures are kept with the call and tried again later; three days after the call's end the
    recording is given up. Two fetches at once download once.
    """
    call = _claim(call_id)
    if call is None:
        return None
    try:
        stored = _download(call)
    except (IntegrationError, FileTooLarge, OSError) as error:
        return _put_off(call_id, error)
    return _keep(call_id, stored)


def delete_expired(limit: int = 500) -> int:
    """Delete recordings that their connection keeps no longer, the oldest first; how many."""
    kept = select(TelephonyConnection.id, TelephonyConnection.keep_recordings_days).where(
        TelephonyConnection.keep_recordings_days.is_not(None)
    )
    expired = 0
    for connection_id, days in list(db.session.execute(kept)):
        query = (
            select(Call.id)
            .where(
                Call.connection_id == connection_id,
                Call.recording_state == RecordingState.STORED,
                Call.started_at < utc_now() - dt.timedelta(days=days),
            )
            .order_by(Call.started_at)
            .limit(limit - expired)
        )
        for call_id in list(db.session.scalars(query)):
            _expire(call_id)
            expired += 1
    return expired


@operation
def _expire(call_id: int) -> None:
    call = _locked(call_id)
    stored = db.session.get(StoredFile, call.recording_file_id) if call.recording_file_id else None
    call.recording_file_id = None
    call.recording_state = RecordingState.EXPIRED
    db.session.flush()
    if stored is not None:
        files.delete_file(stored)


@operation
def _claim(call_id: int) -> Call | None:
    """Take the call for a while: one UPDATE decides who downloads."""
    now = utc_now()
    taken = db.session.execute(
        update(Call)
        .where(
            Call.id == call_id,
            Call.recording_state == RecordingState.WAITING,
            Call.recording_due_at <= now,
        )
        .values(recording_due_at=now + _LEASE)
        .execution_options(synchronize_session=False)
    )
    if not cast("CursorResult[Any]", taken).rowcount:
        return None
    found: Call = db.session.get(Call, call_id, populate_existing=True)
    return found


def _download(call: Call) -> StoredFile:
    """Outside any transaction: an hour of talk must not hold the database."""
    connection = connections.find(call.connection_id)
    operator = connections.build(connection, seconds=connections.DOWNLOAD_SECONDS)
    kept = call.recording_ref or {}
    ref = RecordingRef(
        recording_ref=kept.get("ref"),
        recording_url=kept.get("url"),
        provider_call_id=call.provider_call_id,
        employee_key=kept.get("employee_key"),
    )
    db.session.commit()
    with operator.fetch_recording(ref) as recording:
        return files.store_stream(
            recording.chunks, recording.content_type, MAX_RECORDING_BYTES, kind="recordings"
        )


@operation
def _keep(call_id: int, stored: StoredFile) -> RecordingState:
    call = _locked(call_id)
    if call.recording_file_id is not None:
        files.delete_file(db.session.merge(stored))
        return RecordingState(call.recording_state)
    call.recording_file_id = stored.id
    call.recording_state = RecordingState.STORED
    call.recording_due_at = None
    call.recording_error = None
    call.recording_attempts += 1
    return RecordingState.STORED


@operation
def _put_off(call_id: int, error: Exception) -> RecordingState:
    call = _locked(call_id)
    call.recording_attempts += 1
    call.recording_error = (getattr(error, "message", None) or _words(error))[:_ERROR_LENGTH]
    pause = BACK_OFF[min(call.recording_attempts, len(BACK_OFF)) - 1]
    if isinstance(error, OperatorError) and error.retry_after is not None:
        pause = max(pause, error.retry_after)
        if not isinstance(error, RecordingNotReady):
            _hold_back(call, error.retry_after)
    now = utc_now()
    if now + pause > (call.ended_at or call.started_at) + GIVE_UP:
        call.recording_state = RecordingState.ABSENT
        call.recording_due_at = None
        return RecordingState.ABSENT
    call.recording_due_at = now + pause
    return RecordingState.WAITING


def _hold_back(call: Call, pause: dt.timedelta) -> None:
    """The operator wants to be left alone: the other recordings of the account wait, too.

    Without it each of them would be refused in turn and prolong the pause.
    """
    until = utc_now() + pause
    others = (
        select(Call.id)
        .where(
            Call.connection_id == call.connection_id,
            Call.id != call.id,
            Call.recording_state == RecordingState.WAITING,
            Call.recording_due_at < until,
        )
        # Another worker that holds one of them will be refused by itself.
        .with_for_update(skip_locked=True)
    )
    db.session.execute(
        update(Call)
        .where(Call.id.in_(list(db.session.scalars(others))))
        .values(recording_due_at=until)
        .execution_options(synchronize_session=False)
    )


def _words(error: Exception) -> str:
    if isinstance(error, FileTooLarge):
        return "Запись больше допустимого размера"
    return "Не удалось сохранить файл записи"


def _locked(call_id: int) -> Call:
    call: Call = db.session.get(Call, call_id, populate_existing=True, with_for_update=True)
    return call


__all__ = ["BACK_OFF", "GIVE_UP", "click_to_call", "due_calls", "enqueue_due", "fetch"]
