"""Missed calls: until when to call back, whose task it is, and when it was done."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ColumnElement, and_, or_, select

from crm.integrations.telephony.base import Direction
from crm.models import Call, CallState, Deal, Task, TaskKind, TelephonyConnection, db
from crm.operations import call_state, distribution, tasks
from crm.operations.errors import Conflict
from crm.reports.company import company, company_zone
from crm.values.clock import utc_now
from crm.values.work_time import WorkHours, parse_days

TASK_TEXT = "Перезвонить: пропущенный звонок"
_TALKED = "Поговорили: звонок № {}"
_ANSWERED = "Звонок был принят"
# A call found so late is no client waiting any more.
_STALE = dt.timedelta(days=7)


def hours(connection: TelephonyConnection) -> WorkHours:
    """Working hours of the connection's lines: its own, else the company's."""
    ours = company()
    return WorkHours(
        start=connection.work_start or ours.work_start,
        end=connection.work_end or ours.work_end,
        days=parse_days(connection.work_days or ours.work_days),
        zone=company_zone(),
    )


def follow(call: Call, connection: TelephonyConnection) -> None:
    """Bring everything about call-backs in line with what is known of ``call`` now.

    Idempotent: each event of the call comes through here, in whatever order.
    """
    if not call.client_key:
        return
    if call.direction == Direction.OUT.value:
        _attempted(call)
    elif call.direction != Direction.IN.value:
        return
    elif call.state == CallState.MISSED:
        _missed(call, connection)
    elif call_state.was_answered(call):
        _not_missed(call)
        _reached(call, call.answered_at or call.started_at)


# --- a missed one -----------------------------------------------------------------------------


def _missed(call: Call, connection: TelephonyConnection) -> None:
    if call.callback_due_at is not None:
        return
    ended = call.ended_at or call.started_at
    call.callback_due_at = hours(connection).add(ended, connection.callback_minutes)
    _look_ahead(call)
    if call.reached_at is not None or utc_now() - ended > _STALE:
        return
    deal = db.session.get(Deal, call.deal_id) if call.deal_id is not None else None
    if deal is None or deal.deleted_at is not None:
        return
    distribution.give(deal, connection)
    if connection.callback_task:
        call.callback_task_id = _task_of(call, deal)


def _look_ahead(call: Call) -> None:
    """The history may tell of a missed call after it was called back."""
    later = (
        select(Call)
        .where(_same_client(call), Call.started_at >= call.started_at, _is_contact())
        .order_by(Call.started_at, Call.id)
        .limit(20)
    )
    for other in db.session.scalars(later):
        call.called_back_at = call.called_back_at or other.started_at
        if call_state.was_answered(other):
            call.reached_at = other.answered_at or other.started_at
            return


def _task_of(call: Call, deal: Deal) -> int | None:
    """One task however often the client has tried to get through."""
    waiting = (
        select(Task.id)
        .join(Call, Call.callback_task_id == Task.id)
        .where(Task.deal_id == deal.id, Task.done_at.is_(None))
        .limit(1)
    )
    found: int | None = db.session.scalar(waiting)
    if found is not None or not deal.stage.tasks_allowed:
        return found
    due = max(call.callback_due_at or utc_now(), utc_now())
    task = tasks.set_task(by=None, deal_id=deal.id, text=TASK_TEXT, kind=TaskKind.CALL, due_at=due)
    return task.id


def _not_missed(call: Call) -> None:
    """A late event proves that somebody had answered."""
    if call.callback_due_at is None:
        return
    task_id, call.callback_task_id = call.callback_task_id, None
    call.callback_due_at = call.called_back_at = call.reached_at = None
    db.session.flush()
    others = select(Call.id).where(Call.callback_task_id == task_id).limit(1)
    if task_id is not None and db.session.scalar(others) is None:
        _complete(task_id, _ANSWERED)


# --- a call back ------------------------------------------------------------------------------


def _attempted(call: Call) -> None:
    """Somebody calls the client: the first attempt counts, a talk settles the matter."""
    for missed in _waiting(call, Call.called_back_at.is_(None)):
        missed.called_back_at = max(call.started_at, missed.started_at)
    if call_state.was_answered(call):
        _reached(call, call.answered_at or call.started_at)


def _reached(call: Call, at: dt.datetime) -> None:
    done: set[int] = set()
    for missed in _waiting(call, Call.reached_at.is_(None)):
        missed.reached_at = at
        missed.called_back_at = missed.called_back_at or at
        if missed.callback_task_id is not None:
            done.add(missed.callback_task_id)
    for task_id in sorted(done):
        _complete(task_id, _TALKED.format(call.id))


def _waiting(call: Call, condition: ColumnElement[bool]) -> list[Call]:
    """Missed calls of the client that ``call`` may settle: those that came before it."""
    query = select(Call).where(
        _same_client(call),
        Call.callback_due_at.is_not(None),
        Call.started_at <= call.started_at,
        condition,
    )
    return list(db.session.scalars(query.order_by(Call.id)))


def _complete(task_id: int, result: str) -> None:
    try:
        tasks.complete_task(task_id, None, result)
    except Conflict:
        return  # somebody has ticked it off himself


def _same_client(call: Call) -> ColumnElement[bool]:
    return and_(Call.client_key == call.client_key, Call.id != call.id)


def _is_contact() -> ColumnElement[bool]:
    """A call in which somebody of ours has at least tried."""
    return or_(
        Call.direction == Direction.OUT.value,
        and_(Call.direction == Direction.IN.value, Call.answered_at.is_not(None)),
    )
