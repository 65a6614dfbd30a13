"""What the filter bar of the board and of the list needs to name its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import literal, or_, select, union_all

from crm.models import Department, Employee, SavedView, Source, db
from crm.reports.deal_filters import NOBODY, DealFilters
from crm.security.principal import Principal

PAGE = "deals"


@dataclass(slots=True)
class FilterBar:
    """Names of the chosen conditions, choices of the small ones, saved views."""

    departments: list[tuple[int, str]] = field(default_factory=list)
    responsible: str = ""
    source: str = ""
    views: list[SavedView] = field(default_factory=list)


def filter_bar(principal: Principal, filters: DealFilters) -> FilterBar:
    """Everything for the bar (2 queries)."""
    bar = FilterBar(views=saved_views(principal))
    departments = select(
        literal("department"), Department.id, Department.name, Department.position
    ).where(Department.active)
    full_name = Employee.first_name + " " + Employee.last_name
    person = select(literal("person"), Employee.id, full_name, literal(0)).where(
        Employee.id == (filters.responsible or NOBODY)
    )
    source = select(literal("source"), Source.id, Source.name, literal(0)).where(
        Source.id == (filters.source or 0)
    )
    rows = db.session.execute(union_all(departments, person, source)).all()
    for kind, row_id, name, _position in sorted(rows, key=lambda row: (row[3], row[2])):
        if kind == "department":
            bar.departments.append((row_id, name))
        elif kind == "person":
            bar.responsible = name
        else:
            bar.source = name
    return bar


def saved_views(principal: Principal) -> list[SavedView]:
    """One's own views and those that colleagues share."""
    query = (
        select(SavedView)
        .where(
            SavedView.page == PAGE,
            or_(SavedView.user_id == principal.id, SavedView.shared),
        )
        .order_by(SavedView.name)
        .limit(30)
    )
    return list(db.session.scalars(query))
