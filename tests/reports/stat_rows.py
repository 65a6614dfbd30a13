"""Rows about calls, and their statistics, at a fixed moment."""

from __future__ import annotations

import datetime as dt
from typing import Any

from crm.models import Call, CallState, Employee
from crm.reports import call_stats, periods
from crm.reports.call_stats import CallStats, StatsFilter
from crm.security.principal import load_principal
from tests.views.telephony_rows import call

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def answered(deal: Any = None, wait: int = 10, **values: Any) -> Call:
    """An incoming call that was taken after ``wait`` seconds, three hours ago."""
    started = values.setdefault("started_at", NOW - dt.timedelta(hours=3))
    values.setdefault("answered_at", started + dt.timedelta(seconds=wait))
    return call(deal, result="answered", **values)


def missed(deal: Any = None, **values: Any) -> Call:
    """An incoming call that nobody took, three hours ago."""
    values.setdefault("started_at", NOW - dt.timedelta(hours=3))
    return call(deal, **{"state": CallState.MISSED, "talk": 0, "employee_id": None, **values})


def stats(person: Employee, wanted: StatsFilter | None = None, **period: Any) -> CallStats:
    """The person's statistics, of the last 30 days unless another period is given."""
    name, days = period.get("name", "30"), (period.get("first"), period.get("last"))
    chosen = periods.read(name, *days, NOW.date())
    return call_stats.overview(load_principal(person), wanted or StatsFilter(), chosen)
