"""Tasks: setting, doing, moving; and the deal's copy of its nearest task."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, and_, select

from crm.models import Deal, Employee, EventKind, Listing, StageStatus, Task, TaskKind, db
from crm.operations import audit, bus, rows, timeline
from crm.operations.deal_marks import mark_processed, tell
from crm.operations.errors import Conflict, FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.reports.company import company, company_zone, local_today
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

CLOSED_RESULT = "сделка закрыта"
MAX_TEXT = 255
MAX_RESULT = 5_000
# A form opened a little before its moment may still be sent.
_TOLERANCE = dt.timedelta(minutes=10)


@operation
def set_task(
    *,
    by: Principal | None,
    deal_id: int | None = None,
    listing_id: int | None = None,
    text: str = "",
    kind: str | None = None,
    due_at: dt.datetime | None = None,
    due_date: dt.date | None = None,
    responsible_id: int | None = None,
    status_id: int | None = None,
    remind_at: dt.datetime | None = None,
) -> Task:
    """Set a task; it ends the deal's unprocessed mark when a person sets it.

    Either ``due_at`` (aware moment) or ``due_date`` (until the end of the working day).
    ``status_id`` is a preset of the deal's stage: it gives the text and kind left out.
    Raises ValidationErrors naming ``text``, ``kind``, ``due_at``, ``responsible_id``,
    ``status_id`` or ``remind_at``; Conflict where the stage takes no tasks.
    """
    deal = rows.deal_to_change(deal_id, by) if deal_id is not None else None
    listing = _visible_listing(listing_id, by) if listing_id is not None else None
    if deal is not None and not deal.stage.tasks_allowed:
        raise Conflict(_("На этапе «%(name)s» задачи не ставят.", name=deal.stage.name))
    preset, errors = _preset(deal, status_id)
    task = Task(
        deal_id=deal_id,
        listing_id=listing_id,
        text=" ".join((text or (preset.text if preset else "")).split()),
        kind=kind or (preset.task_kind if preset else TaskKind.OTHER),
        status_id=preset.id if preset else None,
        responsible_id=_default_responsible(responsible_id, deal, by),
        author_id=by.id if by else None,
        remind_at=remind_at,
    )
    errors += _task_errors(task) + (_set_due(task, due_at, due_date, by) or _remind_errors(task))
    if errors:
        raise ValidationErrors(errors)
    db.session.add(task)
    db.session.flush()
    audit.record("create", task, by, after=audit.snapshot(task))
    if deal is not None and by is not None:
        mark_processed(deal, by)
    timeline.note(
        EventKind.TASK_SET, deal=deal, listing=listing, by=by, **_line(task), due=_due(task)
    )
    _follow(task, deal)
    return task


@operation
def complete_task(task_id: int, by: Principal | None, result: str = "") -> Task:
    """Mark the task done; raises ValidationErrors naming ``result``, Conflict if done already."""
    task = rows.task_to_change(task_id, by)
    if task.done_at is not None:
        raise Conflict(_("Задача уже выполнена."))
    said = result.strip()
    if not said and by is not None and company().task_result_required:
        raise ValidationErrors.one("result", _("Напишите результат."))
    if len(said) > MAX_RESULT:
        raise ValidationErrors.one("result", _("Не длиннее %(limit)s знаков.", limit=MAX_RESULT))
    task.done_at, task.result = utc_now(), said or None
    db.session.flush()
    audit.record("done", task, by, after={"result": task.result})
    timeline.note(EventKind.TASK_DONE, deal=task.deal, by=by, **_line(task), result=task.result)
    _follow(task, task.deal)
    return task


@operation
def reopen(task_id: int, by: Principal | None) -> Task:
    """Make a done task undone again; raises Conflict when it is not done or its deal is over."""
    task = rows.task_to_change(task_id, by)
    if task.done_at is None:
        raise Conflict(_("Задача ещё не выполнена."))
    if task.deal is not None and task.deal.closed_at is not None:
        raise Conflict(_("Сделка закрыта: верните её в работу, чтобы открыть задачу."))
    before = {"done_at": task.done_at.isoformat(), "result": task.result}
    task.done_at = task.result = None
    db.session.flush()
    audit.record("reopen", task, by, before=before)
    _follow(task, task.deal)
    return task


@operation
def reschedule(
    task_id: int,
    by: Principal | None,
    *,
    due_at: dt.datetime | None = None,
    due_date: dt.date | None = None,
    remind_at: dt.datetime | None = None,
) -> Task:
    """Give an undone task another moment (see ``set_task``); the old reminder falls away."""
    task = rows.task_to_change(task_id, by)
    if task.done_at is not None:
        raise Conflict(_("Задача уже выполнена."))
    before = audit.snapshot(task, ("due_at", "has_time"))
    task.remind_at = remind_at
    with db.session.no_autoflush:
        errors = _set_due(task, due_at, due_date, by) or _remind_errors(task)
    if errors:
        raise ValidationErrors(errors)
    db.session.flush()
    audit.record("reschedule", task, by, before, audit.snapshot(task, ("due_at", "has_time")))
    _follow(task, task.deal)
    return task


@operation
def delete_task(task_id: int, by: Principal) -> None:
    """Delete a task: heads any they may edit, an ordinary employee those he has set himself."""
    task = rows.task_to_change(task_id, by)
    if by.is_ordinary() and task.author_id != by.id:
        raise Forbidden(_("Удалить задачу может её автор или руководитель."))
    deal = task.deal
    audit.record("delete", task, by, before=audit.snapshot(task))
    db.session.delete(task)
    db.session.flush()
    _follow(task, deal)


@operation
def refresh_next_task(deal_id: int) -> None:
    """Copy the deal's nearest undone task to the deal itself, for the board and lists."""
    deal = db.session.get(Deal, deal_id)
    if deal is None:
        return
    db.session.flush()
    nearest = db.session.execute(
        select(Task.due_at, Task.text)
        .where(Task.deal_id == deal_id, Task.done_at.is_(None))
        .order_by(Task.due_at, Task.id)
        .limit(1)
    ).first()
    due, text = (nearest.due_at, nearest.text) if nearest else (None, None)
    if (deal.next_task_due, deal.next_task_text) != (due, text):
        rows.touch(deal, next_task_due=due, next_task_text=text)


def end_of_work(day: dt.date) -> dt.datetime:
    """End of the company's working day of ``day``, in UTC."""
    local = dt.datetime.combine(day, company().work_end, company_zone())
    return local.astimezone(dt.UTC)


def close_tasks(deal: Deal, at: dt.datetime, result: str) -> int:
    """Close the undone tasks of a locked deal; how many there were."""
    return _update_tasks(deal, Task.done_at.is_(None), done_at=at, result=result)


def reopen_closed(deal: Deal, at: dt.datetime, result: str) -> int:
    """Undo ``close_tasks``: only the tasks that very call has closed."""
    closed_then = and_(Task.done_at == at, Task.result == result)
    return _update_tasks(deal, closed_then, done_at=None, result=None)


def hand_over(deal: Deal, employee_id: int | None) -> None:
    """Give the undone tasks of a locked deal to another person."""
    _update_tasks(deal, Task.done_at.is_(None), responsible_id=employee_id)


def _update_tasks(deal: Deal, condition: ColumnElement[bool], **values: Any) -> int:
    # Row by row: a deal has a few tasks, and those already in memory must follow.
    found = db.session.scalars(select(Task).where(Task.deal_id == deal.id, condition)).all()
    for task in found:
        for name, value in values.items():
            setattr(task, name, value)
    db.session.flush()
    refresh_next_task(deal.id)
    return len(found)


def _follow(task: Task, deal: Deal | None) -> None:
    if deal is not None:
        refresh_next_task(deal.id)
        tell(deal)
        bus.emit("task.changed", deal_id=deal.id)
        return
    people = [pk for pk in (task.responsible_id, task.author_id) if pk is not None]
    bus.emit("task.changed", people, deal_id=None)


def _line(task: Task) -> dict[str, Any]:
    return {"task_id": task.id, "text": task.text, "task_kind": str(task.kind)}


def _due(task: Task) -> str:
    return task.due_at.isoformat()


def _default_responsible(
    responsible_id: int | None, deal: Deal | None, by: Principal | None
) -> int | None:
    if responsible_id is not None:
        return responsible_id
    if deal is not None and deal.responsible_id is not None:
        return deal.responsible_id
    return by.id if by else None


def _visible_listing(listing_id: int, by: Principal | None) -> Listing:
    listing: Listing | None = (
        db.session.get(Listing, listing_id)
        if by is None
        else visibility.get_visible(by, Listing, listing_id)
    )
    if listing is None:
        raise NotFound(_("Объект не найден."))
    return listing


def _preset(
    deal: Deal | None, status_id: int | None
) -> tuple[StageStatus | None, list[FieldError]]:
    if status_id is None:
        return None, []
    preset: StageStatus | None = db.session.get(StageStatus, status_id)
    if preset is None or deal is None or preset.stage_id != deal.stage_id or not preset.active:
        return None, [FieldError("status_id", _("Такой готовой задачи на этом этапе нет."))]
    return preset, []


def _set_due(
    task: Task, due_at: dt.datetime | None, due_date: dt.date | None, by: Principal | None
) -> list[FieldError]:
    if (due_at is None) == (due_date is None):
        return [FieldError("due_at", _("Укажите срок."))]
    if due_date is not None:
        task.due_at, task.has_time = end_of_work(due_date), False
        late = due_date < local_today()
    elif due_at is None or due_at.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be a due time")
    else:
        task.due_at, task.has_time = due_at, True
        late = due_at < utc_now() - _TOLERANCE
    if late and by is not None:
        return [FieldError("due_at", _("Этот срок уже прошёл."))]
    return []


def _task_errors(task: Task) -> list[FieldError]:
    errors = []
    if not task.text:
        errors.append(FieldError("text", _("Напишите, что сделать.")))
    elif len(task.text) > MAX_TEXT:
        errors.append(FieldError("text", _("Не длиннее %(limit)s знаков.", limit=MAX_TEXT)))
    if task.kind not in list(TaskKind):
        errors.append(FieldError("kind", _("Выберите вид задачи.")))
    if task.responsible_id is not None:
        person = db.session.get(Employee, task.responsible_id)
        if person is None or not person.active:
            text = _("Такого сотрудника нет, или он отключён.")
            errors.append(FieldError("responsible_id", text))
    return errors


def _remind_errors(task: Task) -> list[FieldError]:
    if task.remind_at is None or task.remind_at <= task.due_at:
        return []
    return [FieldError("remind_at", _("Напоминание должно быть раньше срока."))]
