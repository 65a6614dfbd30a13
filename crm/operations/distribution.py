"""Whom a deal goes to when nobody has taken it: the first modes of domain §9."""

from __future__ import annotations

from sqlalchemy import func, select

from crm.models import (
    AssignRule,
    AuditEntry,
    Deal,
    Employee,
    ObjectKind,
    Scope,
    TelephonyConnection,
    db,
)
from crm.models.access import Action
from crm.operations import deals, limits, locks
from crm.operations.errors import Conflict, ValidationErrors
from crm.security.principal import load_principal


def give(deal: Deal, connection: TelephonyConnection) -> int | None:
    """Give a deal of nobody by the connection's rule; whose it is then, None: whoever takes it.

    Limits hold: who has used his up is passed over.
    """
    if deal.responsible_id is not None:
        return deal.responsible_id
    if connection.assign_rule == AssignRule.PERSON and connection.assign_to_id is not None:
        candidates = [connection.assign_to_id]
    elif connection.assign_rule == AssignRule.QUEUE:
        # Two calls at once must not both find the same person at the head of the queue.
        locks.hold("queue", [str(deal.department_id or 0)])
        candidates = queue(deal.department_id or connection.department_id)
    else:
        return None
    return next((pk for pk in candidates if _give_to(deal, pk)), None)


def queue(department_id: int | None) -> list[int]:
    """People on shift who work with deals, the one who was given a request longest ago first."""
    given = (
        select(AuditEntry.object_id, func.max(AuditEntry.id).label("last"))
        .where(AuditEntry.object_type == Employee.__tablename__, AuditEntry.action == limits.GIVEN)
        .group_by(AuditEntry.object_id)
        .subquery()
    )
    query = (
        select(Employee)
        .outerjoin(given, given.c.object_id == Employee.id)
        .where(Employee.active, Employee.on_shift.is_(True))
        .order_by(func.coalesce(given.c.last, 0), Employee.id)
    )
    if department_id is not None:
        query = query.where(Employee.department_id == department_id)
    people = list(db.session.scalars(query))
    return [person.id for person in people if _works_with_deals(person)]


def _works_with_deals(person: Employee) -> bool:
    """A marketer sees deals, an administrator everything: requests are not for them."""
    rights = load_principal(person)
    return not rights.is_admin and rights.scope(ObjectKind.DEAL, Action.EDIT) is not Scope.NONE


def _give_to(deal: Deal, employee_id: int) -> bool:
    try:
        deals.assign(deal.id, employee_id, None)
    except (Conflict, ValidationErrors):
        return False
    return True
