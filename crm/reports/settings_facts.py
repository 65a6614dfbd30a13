"""Live facts of the settings' first page: one query for all of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import Select, func, literal, select, union_all

from crm.models import (
    DeliveryState,
    Department,
    Employee,
    InboundDelivery,
    IntakePoint,
    LossReason,
    Office,
    Pipeline,
    Source,
    SourceGroup,
    Tag,
    TelephonyConnection,
    db,
)

# Beyond this a number says nothing more, and counting it costs.
CAP = 1000
_COUNTS: dict[str, Select[Any]] = {
    "Offices": select(Office.id).where(Office.active),
    "Departments": select(Department.id).where(Department.active),
    "Employees": select(Employee.id).where(Employee.active),
    "Roles": select(Role.id),
    "Pipelines": select(Pipeline.id).where(Pipeline.active),
    "LossReasons": select(LossReason.id).where(LossReason.active),
    "Sources": select(Source.id).where(Source.active),
    "SourceGroups": select(SourceGroup.id),
    "Tags": select(Tag.id).where(Tag.active),
    "Telephony": select(TelephonyConnection.id).where(TelephonyConnection.active),
    "IntakePoints": select(IntakePoint.id).where(IntakePoint.active),
    "Deliveries": select(InboundDelivery.id).where(InboundDelivery.state == DeliveryState.FAILED),
}


def counts(names: Collection[str]) -> dict[str, int]:
    """How many there are of each named thing (1 query)."""
    wanted = [
        select(literal(name), func.count()).select_from(query.limit(CAP).subquery())
        for name, query in _COUNTS.items()
        if name in names
    ]
    if not wanted:
        return {}
    return dict(list(db.session.execute(union_all(*wanted))))
