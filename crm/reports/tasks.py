"""The page «Задачи»: what is overdue, due today, ahead, and done."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import joinedload

from crm.models import Action, Contact, Deal, Task, db
from crm.reports import row_pages
from crm.reports.company import company, company_zone, local_today
from crm.reports.deal_cards import flag, hidden_contacts, shown_client
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import day_bounds, utc_now

PAGE = 50
GROUPS = ("now", "overdue", "upcoming", "done")
WHOSE = ("mine", "team")


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task with what the person may do about it."""

    task: Task
    client: str
    late: bool
    editable: bool


@dataclass(slots=True)
class TaskPage:
    """One page of a group."""

    lines: list[TaskLine]
    following: str
    previous: str


def task_counts(principal: Principal, whose: str) -> dict[str, int]:
    """How many undone tasks wait in each group (1 query)."""
    start, end = day_bounds(local_today(), company_zone())
    now = utc_now()
    late = case((Task.due_at < now, 1), else_=0)
    today = case(((Task.due_at >= start) & (Task.due_at < end), 1), else_=0)
    ahead = case((Task.due_at >= end, 1), else_=0)
    query = select(func.sum(late), func.sum(today), func.sum(ahead)).where(
        Task.done_at.is_(None), *_whose(principal, whose)
    )
    overdue, due_today, upcoming = db.session.execute(query).one()
    return {"overdue": overdue or 0, "now": due_today or 0, "upcoming": upcoming or 0}


def task_page(
    principal: Principal, group: str, whose: str, kind: str = "", after: str = "", before: str = ""
) -> TaskPage:
    """50 tasks of a group that the person sees (2 or 3 queries)."""
    done = group == "done"
    column = Task.done_at if done else Task.due_at
    keys: Any = select(Task.id, column.label("sort_value"), Task.id.label("sort_id")).where(
        *_of_group(group), *_whose(principal, whose)
    )
    if kind:
        keys = keys.where(Task.kind == kind)
    order = row_pages.Order(column, Task.id, dt.datetime, descending=done)
    page = row_pages.read_page(keys, order, PAGE, after, before)
    ids = [row.sort_id for row in page.rows]
    return TaskPage(_lines(principal, ids), page.following, page.previous)


def _of_group(group: str) -> list[ColumnElement[bool]]:
    start, end = day_bounds(local_today(), company_zone())
    match group:
        case "overdue":
            return [Task.done_at.is_(None), Task.due_at < utc_now()]
        case "upcoming":
            return [Task.done_at.is_(None), Task.due_at >= end]
        case "done":
            return [Task.done_at.is_not(None)]
        case _:
            return [Task.done_at.is_(None), Task.due_at >= start, Task.due_at < end]


def _whose(principal: Principal, whose: str) -> list[ColumnElement[bool]]:
    """One's own, or everybody's whom the person answers for; the rows always visible."""
    visible = visibility.condition(principal, Task)
    if whose != "team":
        return [Task.responsible_id == principal.id, visible]
    return [Task.responsible_id.is_distinct_from(principal.id), visible]


def _lines(principal: Principal, ids: list[int]) -> list[TaskLine]:
    if not ids:
        return []
    editable = flag(visibility.condition(principal, Task, Action.EDIT))
    query = (
        select(Task, Contact.name, Contact.is_owner, editable)
        .outerjoin(Deal, Deal.id == Task.deal_id)
        .outerjoin(Contact, Contact.id == Deal.contact_id)
        .where(Task.id.in_(ids))
        .options(joinedload(Task.responsible), joinedload(Task.deal))
    )
    now = utc_now()
    found = {
        row[0].id: TaskLine(
            row[0],
            client=_client(principal, row[1], bool(row[2]), row[0].deal),
            late=row[0].done_at is None and row[0].due_at < now,
            editable=bool(row[3]),
        )
        for row in db.session.execute(query)
    }
    return [found[task_id] for task_id in ids if task_id in found]


def _client(principal: Principal, name: str | None, is_owner: bool, deal: Deal | None) -> str:
    own = deal is not None and deal.responsible_id == principal.id
    hidden = hidden_contacts(principal, company(), is_owner, own)
    return shown_client(name, is_owner, hidden)
