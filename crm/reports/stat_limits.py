"""What statistics a person is shown: extra permissions 6 and 7, and sources kept out of reports.

Every report narrows its rows here and computes its totals from what is left (domain §7.4, §10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from crm.models import Source
from crm.security.grants import Grant
from crm.security.principal import Principal

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class StatLimits:
    """Sources and departments that reports may show; None: all, an empty set: none."""

    sources: frozenset[int] | None = None
    departments: frozenset[int] | None = None

    def conditions(
        self,
        *,
        source: Any,
        in_departments: Callable[[list[int]], Condition],
        with_excluded: bool = False,
    ) -> list[Condition]:
        """What the rows of a report must meet.

        ``source``: their column; ``in_departments``: the condition that a row belongs to one of
        these, for example ``Deal.department_id.in_``; ``with_excluded``: the filter «включая
        исключённые» is on.
        """
        found: list[Condition] = []
        if not with_excluded:
            left_out = select(Source.id).where(Source.exclude_from_stats)
            found.append(or_(source.is_(None), source.not_in(left_out)))
        if self.sources is not None:
            found.append(source.in_(sorted(self.sources)))
        if self.departments is not None:
            found.append(in_departments(sorted(self.departments)))
        return found

    def offers_department(self, pk: int) -> bool:
        """Whether a filter may offer the department."""
        return self.departments is None or pk in self.departments

    def offers_source(self, pk: int) -> bool:
        """Whether a filter may offer the source."""
        return self.sources is None or pk in self.sources


def of(principal: Principal) -> StatLimits:
    """The person's limits; an administrator has none."""
    if principal.is_admin:
        return StatLimits()
    return StatLimits(
        sources=_allowed(principal, Grant.LIMIT_STATS_SOURCES),
        departments=_allowed(principal, Grant.LIMIT_STATS_DEPARTMENTS),
    )


def _allowed(principal: Principal, grant: Grant) -> frozenset[int] | None:
    """Ids on the list of a limiting grant; one in force without a list allows nothing."""
    if not principal.can(grant):
        return None
    value = principal.grant_value(grant)
    ids = value if isinstance(value, list) else []
    return frozenset(pk for pk in ids if type(pk) is int)
