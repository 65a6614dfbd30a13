"""Limits of requests a day and a month (extra permissions 8 and 9, domain §9).

Every request given to a person is an audit entry about that person, so that the count goes by
the moment of giving and is served by the journal's index.
"""

from __future__ import annotations

import datetime as dt

from flask_babel import gettext as _
from sqlalchemy import func, select

from crm.models import AuditEntry, Deal, Employee, db
from crm.operations import audit, rows
from crm.operations.errors import Conflict
from crm.reports.company import company_zone
from crm.security.grants import Grant
from crm.security.principal import Principal, load_principal
from crm.values.clock import day_bounds, utc_now

GIVEN = "request_given"
RETURNED = "request_returned"
# A request given back so soon does not count.
RETURN_WITHIN = dt.timedelta(minutes=10)


def claim_place(
    employee: Employee, deal: Deal, by: Principal | None, *, above_limit: bool = False
) -> None:
    """Count ``deal`` against the person's limits; raises Conflict when they are used up.

    The person's row stays locked until the end of the transaction: two requests cannot
    both take the last place. ``above_limit`` counts without refusing.
    """
    rows.lock(Employee, employee.id)
    if not above_limit:
        _check(load_principal(employee))
    audit.record(GIVEN, employee, by, after={"deal_id": deal.id})


def give_back(deal: Deal, by: Principal | None, *, any_time: bool = False) -> None:
    """Uncount the last giving of ``deal`` to its responsible, if within ten minutes.

    ``any_time``: however long ago it was (the request turned out to be spam).
    """
    if deal.responsible_id is None:
        return
    given = _last_given(deal)
    if given is None or (not any_time and utc_now() - given.at > RETURN_WITHIN):
        return
    db.session.add(
        AuditEntry(
            # The moment of the giving: the place becomes free on the day it was taken.
            at=given.at,
            actor_id=by.id if by else None,
            action=RETURNED,
            object_type=Employee.__tablename__,
            object_id=deal.responsible_id,
            after={"deal_id": deal.id},
        )
    )


def used(employee_id: int) -> tuple[int, int]:
    """Requests given to the person today and this month, in the company's zone."""
    zone = company_zone()
    today = utc_now().astimezone(zone).date()
    day, _next = day_bounds(today, zone)
    month, _next = day_bounds(today.replace(day=1), zone)
    return _count(employee_id, day), _count(employee_id, month)


def _check(person: Principal) -> None:
    per_day = person.grant_value(Grant.MAX_REQUESTS_DAY)
    per_month = person.grant_value(Grant.MAX_REQUESTS_MONTH)
    if per_day is None and per_month is None:
        return
    today, month = used(person.id)
    if per_day is not None and today >= int(per_day):
        raise Conflict(_("Лимит заявок на сегодня (%(limit)s) исчерпан.", limit=per_day))
    if per_month is not None and month >= int(per_month):
        raise Conflict(_("Лимит заявок на месяц (%(limit)s) исчерпан.", limit=per_month))


def _count(employee_id: int, since: dt.datetime) -> int:
    query = (
        select(AuditEntry.action, func.count())
        .where(
            AuditEntry.object_type == Employee.__tablename__,
            AuditEntry.object_id == employee_id,
            AuditEntry.at >= since,
            AuditEntry.action.in_((GIVEN, RETURNED)),
        )
        .group_by(AuditEntry.action)
    )
    counts: dict[str, int] = {row[0]: row[1] for row in db.session.execute(query)}
    return counts.get(GIVEN, 0) - counts.get(RETURNED, 0)


def _last_given(deal: Deal) -> AuditEntry | None:
    """The giving of ``deal`` to its present responsible that was not taken back."""
    query = (
        select(AuditEntry)
        .where(
            AuditEntry.object_type == Employee.__tablename__,
            AuditEntry.object_id == deal.responsible_id,
            AuditEntry.action.in_((GIVEN, RETURNED)),
            AuditEntry.at >= utc_now() - dt.timedelta(days=62),
        )
        .order_by(AuditEntry.id.desc())
    )
    for entry in db.session.scalars(query):
        if entry.after.get("deal_id") == deal.id:
            found: AuditEntry | None = entry if entry.action == GIVEN else None
            return found
    return None
