"""What the filter of the list of calls offers, and the names of what is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import literal, select, union_all

from crm.models import Department, Employee, Source, TelephonyConnection, db
from crm.reports import calls
from crm.reports.call_filters import CallFilter
from crm.security import visibility
from crm.security.principal import Principal

Choices = list[tuple[int, str]]


@dataclass(slots=True)
class CallBar:
    """Choices of the small conditions, names of the chosen large ones."""

    departments: Choices = field(default_factory=list)
    connections: Choices = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    employee: str = ""
    source: str = ""

    def department(self, pk: int | None) -> str:
        """Name of a department, empty when there is none."""
        return dict(self.departments).get(pk or 0, "")

    def connection(self, pk: int | None) -> str:
        """Name of a connection, empty when there is none."""
        return dict(self.connections).get(pk or 0, "")


def call_bar(principal: Principal, wanted: CallFilter) -> CallBar:
    """Everything for the filter (2 queries)."""
    bar = CallBar(lines=calls.lines(principal))
    full_name = Employee.first_name + " " + Employee.last_name
    source: Any = select(literal("source"), Source.id, Source.name, literal(0))
    parts: list[Any] = [
        select(literal("department"), Department.id, Department.name, Department.position).where(
            Department.active
        ),
        select(literal("connection"), TelephonyConnection.id, TelephonyConnection.name, literal(0)),
        select(literal("employee"), Employee.id, full_name, literal(0)).where(
            Employee.id == (wanted.employee or 0)
        ),
        visibility.visible(source, principal, Source).where(Source.id == (wanted.source or 0)),
    ]
    rows = db.session.execute(union_all(*parts)).all()
    for kind, pk, name, _position in sorted(rows, key=lambda row: (row[3], row[2])):
        if kind == "department":
            bar.departments.append((pk, name))
        elif kind == "connection":
            bar.connections.append((pk, name))
        else:
            setattr(bar, kind, name)
    return bar
