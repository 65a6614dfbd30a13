"""Names of what statistics are counted by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Integer, String, cast, literal, select, union_all

from crm.models import Department, Employee, Source, TelephonyConnection, db
from crm.security import visibility
from crm.security.principal import Principal


@dataclass(slots=True)
class Names:
    """Names by id; departments and connections are all there, in the order of lists."""

    employee: dict[int, str] = field(default_factory=dict)
    source: dict[int, str] = field(default_factory=dict)
    department: dict[int, str] = field(default_factory=dict)
    connection: dict[int, str] = field(default_factory=dict)


def load(principal: Principal, employees: Collection[int], sources: Collection[int]) -> Names:
    """Names of these people and sources (those the person may see), and the lists (1 query)."""
    people = _named("employee", Employee, Employee.first_name, Employee.last_name)
    visible = visibility.visible(_named("source", Source, Source.name), principal, Source)
    order = cast(Department.position, String(64))
    query = union_all(
        people.where(Employee.id.in_(sorted(employees))),
        visible.where(Source.id.in_(sorted(sources))),
        _named("department", Department, Department.name, order),
        _named("connection", TelephonyConnection, TelephonyConnection.name),
    )
    names = Names()
    for kind, pk, name, more in sorted(db.session.execute(query), key=_place):
        full = f"{name} {more}".strip() if kind == "employee" else name
        getattr(names, kind)[pk] = full
    return names


def _named(kind: str, model: Any, name: Any, more: Any = None) -> Any:
    return select(
        literal(kind),
        cast(model.id, Integer),
        cast(name, String(255)),
        literal("") if more is None else cast(more, String(64)),
    )


def _place(row: Any) -> tuple[int, str]:
    """Departments as they are arranged, all else by name."""
    return (int(row[3]) if row[0] == "department" else 0, row[2])
