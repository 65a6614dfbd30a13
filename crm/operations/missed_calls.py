"""Missed calls: until when to call back, whose task it is, and when it was done."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, and_, or_, select

from crm.integrations.telephony.base import Direction
from crm.models import (
    AuditEntry,
    Call,
    CallState,
    Deal,
    Employee,
    Task,
    TaskKind,
    TelephonyConnection,
    db,
)
from crm.operations import audit, call_state, deals, distribution, locks, tasks
from crm.operations.errors import Conflict, Forbidden, NotFound
from crm.operations.transaction import operation
from crm.reports.company import company, company_zone
from crm.security import visibility
from crm.security.call_rights import settle_condition
from crm.security.principal import Principal
from crm.values.clock import utc_now
from crm.values.work_time import WorkHours, parse_days

TASK_TEXT = "Перезвонить: пропущенный звонок"
_TALKED = "Поговорили: звонок № {}"
_TALKED_SINCE = "С клиентом поговорили позже этого звонка"
_ANSWERED = "Звонок был принят"
_BY_HAND = "Перезвонили не через CRM, отметка: {}"
_MARKED = "called_back"
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


@dataclass(frozen=True, slots=True)
class Moments:
    """When a call had seemed to begin, and when somebody had seemed to talk in it."""

    began: dt.datetime
    talked: dt.datetime | None

    @classmethod
    def of(cls, call: Call) -> Moments:
        talked = call_state.was_answered(call)
        return cls(call.started_at, (call.answered_at or call.started_at) if talked else None)


def follow(call: Call, connection: TelephonyConnection, was: Moments | None = None) -> None:
    """Bring everything about call-backs in line with what is known of ``call`` now.

    Idempotent: each event of the call comes through here, in whatever order. ``was``: what had
    been known of its time before.
    """
    if not call.client_key:
        return
    if was is not None:
        _take_back(call, was)
    if call.direction == Direction.OUT.value:
        _attempted(call)
    elif call.direction != Direction.IN.value:
        return
    elif call.state == CallState.MISSED:
        _missed(call, connection, was)
    elif call_state.was_answered(call):
        _not_missed(call)
        _reached(call, call.answered_at or call.started_at)


# --- a missed one -----------------------------------------------------------------------------


def _missed(call: Call, connection: TelephonyConnection, was: Moments | None) -> None:
    if call.callback_due_at is not None:
        if was is not None and call.started_at < was.began:
            _begun_earlier(call)
        return
    ended = call.ended_at or call.started_at
    call.callback_due_at = hours(connection).add(ended, connection.callback_minutes)
    _wait_for(call, connection)


def _begun_earlier(call: Call) -> None:
    """By its end alone it had seemed to follow a talk that it is now older than."""
    if call.reached_at is not None or not _look_ahead(call):
        return
    task_id = call.callback_task_id
    if task_id is None:
        return
    db.session.flush()
    if not _is_waited_for(task_id, call):
        _complete(task_id, _TALKED_SINCE)


def _wait_for(call: Call, connection: TelephonyConnection) -> None:
    """Somebody's deal and task, unless the client was met since."""
    ended = call.ended_at or call.started_at
    _look_ahead(call)
    if call.reached_at is not None or utc_now() - ended > _STALE:
        return
    deal = db.session.get(Deal, call.deal_id) if call.deal_id is not None else None
    if deal is None or deal.deleted_at is not None:
        return
    distribution.give(deal, connection)
    if connection.callback_task:
        call.callback_task_id = _task_of(call, deal)


def _look_ahead(call: Call) -> bool:
    """The history may tell of a missed call after it was called back; whether there was a talk."""
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
            return True
    return False


def _task_of(call: Call, deal: Deal) -> int | None:
    """One task however often the client has tried to get through."""
    waiting = (
        select(Task.id)
        .join(Call, and_(Call.callback_task_id == Task.id, Call.deal_id == deal.id))
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
    if task_id is not None and not _is_waited_for(task_id, call):
        _complete(task_id, _ANSWERED)


# --- a call back ------------------------------------------------------------------------------


def _attempted(call: Call) -> None:
    """Somebody calls the client: the first attempt counts, a talk settles the matter."""
    for missed in _waiting(call, Call.called_back_at.is_(None)):
        missed.called_back_at = max(call.started_at, missed.started_at)
    if call_state.was_answered(call):
        _reached(call, call.answered_at or call.started_at)


def _take_back(call: Call, was: Moments) -> None:
    """The operator told late when the call was: what it had seemed to settle came after it."""
    has_settled = call.direction == Direction.OUT.value or was.talked is not None
    if call.started_at >= was.began or not has_settled:
        return
    query = select(Call).where(
        _same_client(call),
        Call.callback_due_at.is_not(None),
        Call.started_at > call.started_at,
        Call.started_at <= was.began,
        Call.called_back_at.is_not(None),
        # What a person has ticked off, or another call has settled, stays.
        or_(Call.reached_at.is_(None), Call.reached_at.in_((was.began, was.talked))),
    )
    for missed in db.session.scalars(query.order_by(Call.id)):
        missed.called_back_at = missed.reached_at = None
        connection: TelephonyConnection = db.session.get(TelephonyConnection, missed.connection_id)
        _wait_for(missed, connection)


def _reached(call: Call, at: dt.datetime) -> None:
    done: set[int] = set()
    for missed in _waiting(call, Call.reached_at.is_(None)):
        missed.reached_at = at
        missed.called_back_at = missed.called_back_at or at
        if missed.callback_task_id is not None:
            done.add(missed.callback_task_id)
    for task_id in sorted(done):
        if not _is_waited_for(task_id, call):
            _complete(task_id, _TALKED.format(call.id))


# --- by hand ----------------------------------------------------------------------------------


@operation
def mark_called_back(call_id: int, by: Principal) -> Call:
    """«Перезвонил(а)»: the client was called by other means; all his calls until this one settle.

    Raises NotFound, Forbidden, and Conflict when nobody waits any more.
    """
    call = _to_settle(call_id, by)
    if call.callback_due_at is None or call.called_back_at is not None:
        raise Conflict(_("Этому клиенту уже перезвонили."))
    now, done = utc_now(), set()
    for missed in [*_waiting(call, Call.called_back_at.is_(None)), call]:
        missed.called_back_at = missed.reached_at = now
        if missed.callback_task_id is not None:
            done.add(missed.callback_task_id)
    db.session.flush()
    me: Employee = db.session.get(Employee, by.id)
    over = [pk for pk in sorted(done) if not _is_waited_for(pk, call)]
    ticked = [pk for pk in over if _complete(pk, _BY_HAND.format(me.full_name))]
    audit.record(_MARKED, call, by, after={"at": now.isoformat(), "tasks": ticked})
    _tell(call)
    return call


@operation
def undo_called_back(call_id: int, by: Principal) -> Call:
    """Take the person's own mark back, with the tasks that it has ticked off.

    Raises NotFound, Forbidden, and Conflict when there is no such mark.
    """
    call = _to_settle(call_id, by)
    query = select(AuditEntry).where(
        AuditEntry.object_type == Call.__tablename__,
        AuditEntry.object_id == call.id,
        AuditEntry.action == _MARKED,
    )
    mark = db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(1)).first()
    at = call.called_back_at
    if mark is None or at is None or mark.actor_id != by.id or mark.after["at"] != at.isoformat():
        raise Conflict(_("Отметку уже нельзя снять: с клиентом успели связаться."))
    # The very moment tells marks of this press from calls.
    same = and_(Call.client_key == call.client_key, Call.called_back_at == at)
    for missed in db.session.scalars(select(Call).where(same, Call.reached_at == at)):
        missed.called_back_at = missed.reached_at = None
    db.session.flush()
    for task_id in mark.after["tasks"]:
        _reopen(task_id)
    audit.record("called_back_undone", call, by)
    _tell(call)
    return call


def _to_settle(call_id: int, by: Principal) -> Call:
    """The call as it stands now, its client held against events of his calls."""
    call = visibility.get_visible(by, Call, call_id)
    if call is None:
        raise NotFound(_("Такого звонка нет, или он вам недоступен."))
    query = select(Call.id).outerjoin(Deal, Deal.id == Call.deal_id).where(Call.id == call_id)
    if db.session.scalar(query.where(settle_condition(by))) is None:
        raise Forbidden(_("Отметить может ответственный за сделку или его руководитель."))
    if call.client_key:
        locks.hold("call", [f"client:{call.client_key}"])
    db.session.refresh(call)
    return call


def _tell(call: Call) -> None:
    deal = db.session.get(Deal, call.deal_id) if call.deal_id is not None else None
    if deal is not None:
        deals.tell(deal)


def _reopen(task_id: int) -> None:
    try:
        tasks.reopen(task_id, None)
    except (Conflict, NotFound):
        return  # the deal is closed, or the task was done anew or deleted


# --- both -------------------------------------------------------------------------------------


def _waiting(call: Call, condition: ColumnElement[bool]) -> list[Call]:
    """Missed calls of the client that ``call`` may settle: those that came before it."""
    query = select(Call).where(
        _same_client(call),
        Call.callback_due_at.is_not(None),
        Call.started_at <= call.started_at,
        condition,
    )
    return list(db.session.scalars(query.order_by(Call.id)))


def _is_waited_for(task_id: int, call: Call) -> bool:
    """Whether a later attempt of the client, not settled yet, has the same task."""
    query = select(Call.id).where(
        Call.client_key == call.client_key,
        Call.callback_task_id == task_id,
        Call.reached_at.is_(None),
    )
    return db.session.scalar(query.limit(1)) is not None


def _complete(task_id: int, result: str) -> bool:
    try:
        tasks.complete_task(task_id, None, result)
    except Conflict:
        return False  # somebody has ticked it off himself
    return True


def _same_client(call: Call) -> ColumnElement[bool]:
    return and_(Call.client_key == call.client_key, Call.id != call.id)


def _is_contact() -> ColumnElement[bool]:
    """A call in which somebody of ours has at least tried."""
    return or_(
        Call.direction == Direction.OUT.value,
        and_(Call.direction == Direction.IN.value, Call.answered_at.is_not(None)),
    )
