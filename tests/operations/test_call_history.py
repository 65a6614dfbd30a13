"""Looks into the operators' histories, subscriptions, forgotten endings, retention."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from crm.integrations.telephony import mango as mango_module
from crm.integrations.telephony.base import (
    CallEvent,
    CallKind,
    CallResult,
    Capability,
    OperatorError,
    Subscription,
)
from crm.integrations.telephony.mango import Mango
from crm.models import (
    BrowserEvent,
    Call,
    CallState,
    HistoryRun,
    RecordingState,
    RunState,
    StoredFile,
    TelephonyConnection,
    db,
)
from crm.operations import (
    bus,
    call_endings,
    call_history,
    calls,
    connections,
    files,
    inbox,
    recordings,
    subscriptions,
)
from crm.operations.errors import Conflict
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests import inbound


@pytest.fixture
def row(app: Flask, people: dict[str, Any]) -> TelephonyConnection:
    return inbound.connection(people["manager"])


def finished(row: TelephonyConnection, name: str, ago: int = 600) -> CallEvent:
    moment = utc_now().replace(microsecond=0) - dt.timedelta(seconds=ago)
    return inbound.event(
        row,
        CallKind.ENDED,
        provider_call_id=name,
        event_id=f"history:{name}",
        occurred_at=moment,
        started_at=moment,
        talk=30,
        result=CallResult.ANSWERED,
        extension="101",
        final=True,
    )


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[CallEvent | Exception]:
    """What the operator's history shows; an exception breaks it there."""
    rows: list[CallEvent | Exception] = []

    def history(_self: Mango, _since: dt.datetime, _until: dt.datetime) -> Iterator[CallEvent]:
        for item in rows:
            if isinstance(item, Exception):
                raise item
            yield item

    monkeypatch.setattr(mango_module.Mango, "history", history)
    return rows


def last_error(row: TelephonyConnection) -> str | None:
    db.session.refresh(row)
    return row.last_error


def hours(number: int) -> dt.datetime:
    return utc_now() - dt.timedelta(hours=number)


def order(row: TelephonyConnection, **values: Any) -> HistoryRun:
    return call_history.start(row.id, hours(2), **values)


def test_a_look_finds_what_no_notice_has_told(row: TelephonyConnection, listed: list[Any]) -> None:
    calls.apply(inbound.event(row, CallKind.RINGING, provider_call_id="known"), row)
    listed += [finished(row, "known"), finished(row, "lost")]
    run = call_history.run(order(row).id)
    assert (run.state, run.seen, run.added, run.found) == (RunState.DONE, 2, 2, 1)
    found = db.session.scalars(select(Call).where(Call.history_run_id == run.id)).all()
    assert [call.provider_call_id for call in found] == ["lost"]
    assert found[0].deal_id is not None


def test_a_second_look_finds_nothing_new(row: TelephonyConnection, listed: list[Any]) -> None:
    listed.append(finished(row, "lost"))
    call_history.run(order(row).id)
    run = call_history.run(order(row).id)
    assert (run.seen, run.added, run.found) == (1, 0, 0)


def test_what_was_found_before_a_failure_stays(row: TelephonyConnection, listed: list[Any]) -> None:
    listed += [finished(row, "lost"), OperatorError("оператор молчит", False)]
    run = call_history.run(order(row).id)
    assert (run.state, run.found, run.error) == (RunState.FAILED, 1, "оператор молчит")
    assert last_error(row) == "оператор молчит"
    listed.pop()
    assert call_history.run(order(row).id).state == RunState.DONE
    assert last_error(row) is None


def test_two_looks_at_once_are_refused_but_a_dead_one_is_not_waited_for(
    row: TelephonyConnection, listed: list[Any]
) -> None:
    first = order(row)
    with pytest.raises(Conflict, match="уже идёт"):
        order(row)
    db.session.execute(update(HistoryRun).values(started_at=hours(3)))
    db.session.commit()
    second = order(row)
    db.session.refresh(first)
    assert (first.state, second.state) == (RunState.FAILED, RunState.QUEUED)
    assert "Прервана" in (first.error or "")


def test_an_operator_without_history_or_keys_is_refused_in_words(
    row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    row.credentials = {}
    db.session.commit()
    with pytest.raises(Conflict, match="не отдаёт"):
        order(row)
    row.credentials = inbound.CREDENTIALS
    db.session.commit()
    monkeypatch.setattr(Mango, "capabilities", Capability.NONE)
    with pytest.raises(Conflict, match="не отдаёт"):
        order(row)


@pytest.mark.parametrize("span", [dt.timedelta(0), dt.timedelta(days=32), -dt.timedelta(days=1)])
def test_an_impossible_span_is_refused(row: TelephonyConnection, span: dt.timedelta) -> None:
    now = utc_now()
    with pytest.raises(Conflict, match="31"):
        call_history.start(row.id, now - span, now)


def test_each_active_connection_is_looked_at_and_a_pause_is_made_up_for(
    row: TelephonyConnection, listed: list[Any]
) -> None:
    idle = inbound.connection(None, name="Выключено", token="another-token", active=False)
    assert call_history.order_due() == 1
    assert call_history.order_due() == 0, "the one before is under way"
    (run,) = db.session.scalars(select(HistoryRun)).all()
    call_history.run(run.id)
    assert dt.timedelta(hours=2) <= run.until - run.since < dt.timedelta(hours=2, minutes=1)
    db.session.execute(update(HistoryRun).values(until=hours(30), since=hours(32)))
    db.session.commit()
    assert call_history.order_due() == 1
    latest = db.session.scalars(select(HistoryRun).order_by(HistoryRun.id.desc())).first()
    assert latest is not None
    assert latest.since < hours(31)
    assert idle.id not in set(db.session.scalars(select(HistoryRun.connection_id)))


def test_an_order_by_hand_is_kept_in_the_journal(
    row: TelephonyConnection, listed: list[Any], principal: Any
) -> None:
    by: Principal = principal("admin")
    run = order(row, by=by)
    assert run.by_hand


# --- subscriptions --------------------------------------------------------------------------


@pytest.fixture
def subscribing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    asked: list[tuple[str, str | None]] = []

    def subscribe(_self: Mango, url: str, current: str | None) -> Subscription:
        asked.append((url, current))
        return Subscription(id=f"s{len(asked)}", expires_at=utc_now() + dt.timedelta(hours=1))

    monkeypatch.setattr(Mango, "capabilities", Capability.SUBSCRIPTION)
    monkeypatch.setattr(Mango, "subscribe", subscribe)
    return asked


def test_a_subscription_is_made_and_renewed_before_its_end(
    row: TelephonyConnection, subscribing: list[Any]
) -> None:
    assert subscriptions.renew_due() == 1
    assert subscriptions.renew_due() == 0
    fresh = connections.find(row.id)
    fresh.subscribed_until = utc_now() + dt.timedelta(minutes=10)
    db.session.commit()
    assert subscriptions.renew_due() == 1
    assert subscribing == [
        (connections.webhook_url(row), None),
        (connections.webhook_url(row), "s1"),
    ]


def test_a_new_address_is_subscribed_at_once(
    row: TelephonyConnection, subscribing: list[Any]
) -> None:
    subscriptions.renew_due()
    old = connections.webhook_url(row)
    connections.rotate_token(row.id, None)
    assert subscriptions.renew_due() == 1
    assert subscribing[-1][0] != old


def test_a_refused_subscription_is_noted(
    row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> Subscription:
        raise OperatorError("нет прав", True)

    monkeypatch.setattr(Mango, "capabilities", Capability.SUBSCRIPTION)
    monkeypatch.setattr(Mango, "subscribe", refuse)
    assert subscriptions.renew_due() == 0
    assert last_error(row) == "нет прав"


def subscribed(row: TelephonyConnection, **until: float) -> TelephonyConnection:
    row.subscription_id = "s0"
    row.subscribed_until = utc_now() + dt.timedelta(**until)
    db.session.commit()
    return row


@pytest.mark.parametrize(("lives", "made"), [(True, 0), (False, 1)])
def test_a_subscription_that_is_gone_before_its_end_is_made_anew(
    row: TelephonyConnection,
    subscribing: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    lives: bool,
    made: int,
) -> None:
    subscribed(row, hours=20)
    seen: list[tuple[str, str]] = []

    def ask(_self: Mango, url: str, current: str) -> bool:
        seen.append((url, current))
        return lives

    monkeypatch.setattr(Mango, "subscription_lives", ask)
    assert subscriptions.watch() == made
    assert seen == [(connections.webhook_url(row), "s0")]
    assert len(subscribing) == made


def test_an_operator_that_does_not_answer_keeps_its_subscription(
    row: TelephonyConnection, subscribing: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed(row, hours=20)

    def fail(*_args: object) -> bool:
        raise OperatorError("временная ошибка", False)

    monkeypatch.setattr(Mango, "subscription_lives", fail)
    assert subscriptions.watch() == 0
    assert subscribing == []
    assert last_error(row) == "временная ошибка"


@pytest.mark.parametrize(("ended", "made"), [("s0", 1), ("", 1), ("replaced before", 0)])
def test_an_end_that_the_operator_tells_of_is_mended_at_once(
    row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch, ended: str, made: int
) -> None:
    subscribed(row, hours=20)
    queued: list[tuple[str, str]] = []
    monkeypatch.setattr(
        bus, "enqueue_now", lambda queue, job, *_args, **_options: queued.append((queue, job))
    )
    monkeypatch.setattr(Mango, "ended_subscription", lambda *_args: ended)
    inbound.deliver(row, inbound.requests_of(row, inbound.scenario())[0])
    inbox.drain()
    db.session.refresh(row)
    assert (row.subscribed_until is None) is bool(made)
    assert queued.count(("default", subscriptions.RENEW_JOB)) == made


# --- endings that nobody has told -----------------------------------------------------------


def age(call: Call, **ago: float) -> None:
    moment = utc_now() - dt.timedelta(**ago)
    db.session.execute(
        update(Call.__table__)  # type: ignore[arg-type]
        .where(Call.__table__.c.id == call.id)
        .values(updated_at=moment, started_at=moment)
    )
    db.session.commit()


def ringing(row: TelephonyConnection, kind: CallKind = CallKind.RINGING) -> Call:
    calls.apply(inbound.event(row, kind, extension="101"), row)
    return db.session.scalars(select(Call)).one()


def test_a_call_that_rings_for_ever_was_missed(row: TelephonyConnection) -> None:
    call = ringing(row)
    age(call, minutes=29)
    assert call_endings.end_abandoned() == 0
    age(call, minutes=31)
    assert call_endings.end_abandoned() == 1
    db.session.refresh(call)
    assert call.state == CallState.MISSED
    assert call.callback_due_at is not None
    assert db.session.scalars(select(BrowserEvent).where(BrowserEvent.kind == "call.ended")).all()


def test_a_talk_without_an_end_is_over_after_hours(row: TelephonyConnection) -> None:
    call = ringing(row, CallKind.ANSWERED)
    age(call, hours=3)
    assert call_endings.end_abandoned() == 0
    age(call, hours=5)
    assert call_endings.end_abandoned() == 1
    db.session.refresh(call)
    assert (call.state, call.result) == (CallState.ENDED, "answered")


@pytest.mark.parametrize(("by_legs", "ended"), [(True, 1), (False, 0)])
def test_silent_telephones_end_a_call_only_where_no_event_does(
    row: TelephonyConnection, monkeypatch: pytest.MonkeyPatch, by_legs: bool, ended: int
) -> None:
    monkeypatch.setattr(Mango, "ends_by_legs", by_legs)
    call = ringing(row)
    calls.apply(inbound.event(row, CallKind.LEG_ENDED, extension="101"), row)
    age(call, seconds=20)
    assert call_endings.end_abandoned() == ended


@pytest.mark.parametrize(("call_end", "ended"), [("entry", 0), ("phones", 1)])
def test_whether_silence_ends_a_call_may_depend_on_the_settings(
    row: TelephonyConnection, call_end: str, ended: int
) -> None:
    call = ringing(row)
    calls.apply(inbound.event(row, CallKind.LEG_ENDED, extension="101"), row)
    row.operator, row.credentials = "telphin", {"app_id": "a", "call_end": call_end}
    db.session.commit()
    age(call, seconds=20)
    assert call_endings.end_abandoned() == ended
    db.session.refresh(call)
    assert call.state == (CallState.MISSED if ended else CallState.RINGING)


def test_an_answer_told_late_still_counts(row: TelephonyConnection) -> None:
    call = ringing(row)
    age(call, minutes=31)
    call_endings.end_abandoned()
    calls.apply(inbound.event(row, CallKind.ANSWERED, extension="101"), row)
    db.session.refresh(call)
    assert (call.state, call.callback_due_at) == (CallState.ENDED, None)


# --- retention ------------------------------------------------------------------------------


def test_recordings_past_their_time_are_deleted_and_said_to_be(row: TelephonyConnection) -> None:
    kept, old = (
        Call(connection_id=row.id, provider_call_id=name, final_fields=[]) for name in ("k", "o")
    )
    for call, days in ((kept, 5), (old, 40)):
        call.recording_file_id = files.store_bytes(b"ID3 sound", "audio/mpeg").id
        call.recording_state = RecordingState.STORED
        call.started_at = utc_now() - dt.timedelta(days=days)
        db.session.add(call)
    db.session.commit()
    assert recordings.delete_expired() == 0, "for ever by default"
    row.keep_recordings_days = 30
    db.session.commit()
    assert recordings.delete_expired() == 1
    db.session.refresh(old)
    assert (old.recording_state, old.recording_file_id) == (RecordingState.EXPIRED, None)
    assert len(db.session.scalars(select(StoredFile)).all()) == 1
