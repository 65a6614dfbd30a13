"""Statistics of calls: figures of a period, by day and hour, by person, line, source, connection.

One statement reads the calls of the period once (``ix_call_started``) and adds them up in all
ways; calls are grouped by hours of UTC, which are folded here into the company's days and hours.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    text,
    union_all,
)

from crm.models import (
    Appeal,
    Call,
    CallState,
    Deal,
    Employee,
    db,
)
from crm.reports import sql_tuning, stat_limits
from crm.reports.call_filters import answered_condition
from crm.reports.company import company_zone
from crm.reports.periods import Moments, Period
from crm.reports.sql_time import unix_seconds
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

LONGEST_DAYS = 366
HEAT_MAP_DAYS = 90
TABLES = ("employee", "line", "source", "connection")
# Nobody waits longer; whoever seems to is counted so.
_LONGEST_WAIT = 3600
_HOUR = 3600
_SLACK = dt.timedelta(days=1)
Condition = ColumnElement[bool]
Key = int | str | None
# Parts of the statement by name: keys with their numbers.
Found = dict[str, list[tuple[Key, tuple[int, ...]]]]


@dataclass(frozen=True, slots=True)
class StatsFilter:
    """What the statistics are narrowed to; empty values narrow nothing."""

    department_id: int | None = None
    employee_id: int | None = None
    source_id: int | None = None
    connection_id: int | None = None
    line: str = ""
    direction: str = ""
    first: str = ""
    with_excluded: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether less than all calls of the period were asked for."""
        return self != StatsFilter(with_excluded=self.with_excluded)


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over some calls; ``None`` of a share or a mean: there is nothing to divide by."""

    incoming: int = 0
    answered: int = 0
    missed: int = 0
    outgoing: int = 0
    first: int = 0
    # Answered calls whose waiting is known, and its seconds.
    waits: int = 0
    waited: int = 0
    talks: int = 0
    talked: int = 0
    # Missed calls whose time to call back is over or used, and those called back in time.
    due: int = 0
    in_time: int = 0

    @property
    def total(self) -> int:
        return self.incoming + self.outgoing

    @property
    def missed_share(self) -> float | None:
        return _share(self.missed, self.incoming)

    @property
    def answered_share(self) -> float | None:
        return _share(self.answered, self.incoming)

    @property
    def in_time_share(self) -> float | None:
        return _share(self.in_time, self.due)

    @property
    def mean_wait(self) -> float | None:
        return self.waited / self.waits if self.waits else None

    @property
    def mean_talk(self) -> float | None:
        return self.talked / self.talks if self.talks else None


_NAMES = tuple(item.name for item in fields(Figures))
_COUNTS = ("incoming", "answered", "missed", "outgoing")


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures at the top of the page."""

    figures: Figures = field(default_factory=Figures)
    median_wait: float | None = None
    deals: int = 0


@dataclass(slots=True)
class Counts:
    """Calls of a day or of an hour of the day."""

    incoming: int = 0
    answered: int = 0
    missed: int = 0
    outgoing: int = 0

    def add(self, other: Counts) -> None:
        """Count the others, too."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; ``key`` None: calls of which it is not known."""

    key: Key
    figures: Figures
    # Of a line: where its calls came from, when all from one source.
    source_id: int | None = None
    many_sources: bool = False


@dataclass(slots=True)
class CallStats:
    """Everything on the page."""

    now: Summary
    before: Summary
    # Rows of the tables, those with the most calls first.
    tables: dict[str, list[Row]]
    days: dict[dt.date, Counts]
    hours: list[Counts]
    # Incoming calls by weekday (Monday first) and hour; None: the period is too long for it.
    heat: list[list[int]] | None


def overview(principal: Principal, wanted: StatsFilter, period: Period) -> CallStats:
    """The page's figures (2 queries, and a setting on PostgreSQL)."""
    sql_tuning.no_jit()
    zone = company_zone()
    width = _bucket(zone, period)
    now, before = period.moments(zone), period.moments_before(zone, utc_now())
    calls = _calls(principal, wanted, now, width)
    cube = _cube(calls)
    tables = [part for name in TABLES for part in _table_parts(name, cube)]
    found = _read([_part("total", cube), *_extra_parts(calls, now), *tables, _hour_part(calls)])
    earlier = _calls(principal, wanted, before, width)
    moments = [
        (dt.datetime.fromtimestamp(int(key or 0) * width, zone), Counts(*sums[: len(_COUNTS)]))
        for key, sums in found["hour"]
    ]
    return CallStats(
        now=_summary(found),
        before=_summary(_read([_part("total", earlier), *_extra_parts(earlier, before)])),
        tables={name: _rows(found, name) for name in TABLES},
        days=_by_day(period, moments),
        hours=_by_hour(moments),
        heat=_heat_map(moments) if period.length <= HEAT_MAP_DAYS else None,
    )


def table(principal: Principal, wanted: StatsFilter, period: Period, name: str) -> list[Row]:
    """One table alone (1 query, and a setting on PostgreSQL)."""
    sql_tuning.no_jit()
    calls = _calls(principal, wanted, period.moments(company_zone()), _HOUR)
    return _rows(_read(_table_parts(name, calls)), name)


# --- SQL --------------------------------------------------------------------------------


def _calls(principal: Principal, wanted: StatsFilter, moments: Moments, width: int) -> CTE:
    """Calls of the period that count for the person: keys and what each adds to the figures."""
    incoming = Call.direction == "in"
    missed = and_(incoming, Call.state == CallState.MISSED)
    answered = and_(incoming, answered_condition())
    waited = and_(answered, Call.answered_at >= Call.started_at)
    # Who may still be called back in time is neither a success nor a failure yet.
    settled = or_(Call.called_back_at.is_not(None), Call.callback_due_at < utc_now())
    due = and_(missed, Call.callback_due_at.is_not(None), settled)
    wait = unix_seconds(Call.answered_at) - unix_seconds(Call.started_at)
    query = select(
        Call.id,
        (unix_seconds(Call.started_at) // width).label("hour"),
        _owner().label("employee_id"),
        Call.line_number,
        Call.source_id,
        Call.connection_id,
        _one(incoming, "incoming"),
        _one(answered, "answered"),
        _one(missed, "missed"),
        _one(Call.direction == "out", "outgoing"),
        _one(Call.is_first, "first"),
        _one(waited, "waits"),
        cast(case((waited, wait), else_=0), Integer).label("waited"),
        _one(Call.talk > 0, "talks"),
        func.coalesce(Call.talk, 0).label("talked"),
        _one(due, "due"),
        _one(and_(due, Call.called_back_at <= Call.callback_due_at), "in_time"),
    )
    return query.where(*_conditions(principal, wanted, moments)).cte("calls")


def _conditions(principal: Principal, wanted: StatsFilter, moments: Moments) -> list[Condition]:
    limits = stat_limits.of(principal)
    found = [
        Call.started_at >= moments[0],
        Call.started_at < moments[1],
        Call.direction.in_([wanted.direction] if wanted.direction else ["in", "out"]),
        visibility.condition(principal, Call),
        Call.id.not_in(_spam()),
        *limits.conditions(
            source=Call.source_id,
            in_departments=_in_departments,
            with_excluded=wanted.with_excluded,
        ),
    ]
    chosen = {
        _owner(): wanted.employee_id,
        Call.source_id: wanted.source_id,
        Call.connection_id: wanted.connection_id,
        Call.line_number: wanted.line,
    }
    found += [column == value for column, value in chosen.items() if value]
    if wanted.department_id:
        found.append(_in_departments([wanted.department_id]))
    if wanted.first:
        found.append(Call.is_first.is_(wanted.first == "first"))
    return found


def _owner() -> ColumnElement[Any]:
    """Who talked; of a missed call, which nobody took, whose client it was."""
    theirs = select(Deal.responsible_id).where(Deal.id == Call.deal_id)
    missed = and_(Call.employee_id.is_(None), Call.state == CallState.MISSED)
    return case((missed, theirs.correlate(Call).scalar_subquery()), else_=Call.employee_id)


def _in_departments(ids: list[int]) -> Condition:
    """Who talked works there; of a call that nobody took, the deal is theirs."""
    people = select(Employee.id).where(Employee.department_id.in_(ids))
    deal = select(Deal.id).where(Deal.id == Call.deal_id, Deal.department_id.in_(ids))
    theirs = and_(Call.employee_id.is_(None), deal.correlate(Call).exists())
    return or_(Call.employee_id.in_(people), theirs)


def _spam() -> Select[Any]:
    # In the words of the partial index, which SQLite compares; of no call: no call's id.
    return select(func.coalesce(Appeal.call_id, 0)).where(text("is_spam"))


def _one(condition: Any, name: str) -> ColumnElement[int]:
    return case((condition, 1), else_=0).label(name)


def _cube(calls: CTE) -> CTE:
    """Sums for each set of keys: a few thousand rows that all the tables are added up from."""
    keys = (calls.c.employee_id, calls.c.line_number, calls.c.source_id, calls.c.connection_id)
    sums = [func.sum(calls.c[name]).label(name) for name in _NAMES]
    return select(*keys, *sums).group_by(*keys).cte("cube")


def _table_parts(name: str, rows: CTE) -> list[Select[Any]]:
    columns = {
        "employee": rows.c.employee_id,
        "line": rows.c.line_number,
        "source": rows.c.source_id,
        "connection": rows.c.connection_id,
    }
    parts = [_part(name, rows, columns[name])]
    if name == "line":
        ends = (func.min(rows.c.source_id), func.max(rows.c.source_id))
        sources = _padded("line_source", rows.c.line_number, *ends)
        parts.append(sources.group_by(rows.c.line_number))
    return parts


def _extra_parts(calls: CTE, moments: Moments) -> list[Select[Any]]:
    """How many waited how long, and how many deals the calls have begun."""
    longest = literal(_LONGEST_WAIT)
    wait = case((calls.c.waited > longest, longest), else_=calls.c.waited)
    waits = _padded("wait", wait, func.count()).where(calls.c.waits == 1).group_by(wait)
    # The appeal of a call is as old as the call: its index saves looking through all of them.
    when = Appeal.received_at.between(moments[0] - _SLACK, moments[1] + _SLACK)
    deals = (
        _padded("deals", None, func.count())
        .select_from(calls)
        .join(Appeal, Appeal.call_id == calls.c.id)
        .where(Appeal.created_deal, when)
    )
    return [waits, deals]


def _hour_part(calls: CTE) -> Select[Any]:
    sums = (func.sum(calls.c[name]) for name in _COUNTS)
    return _padded("hour", calls.c.hour, *sums).group_by(calls.c.hour)


def _part(kind: str, rows: CTE, key: ColumnElement[Any] | None = None) -> Select[Any]:
    """All sums of ``rows`` by ``key``, as one of the parts of the statement."""
    query = _padded(kind, key, *(func.sum(rows.c[name]) for name in _NAMES))
    return query if key is None else query.group_by(key)


def _padded(kind: str, key: ColumnElement[Any] | None, *numbers: Any) -> Select[Any]:
    """A part's name, its key (a number or a text) and numbers, as many as every part has."""
    is_text = key is not None and isinstance(key.type, String)
    number = null() if key is None or is_text else key
    word = key if is_text else null()
    rest = [literal(0)] * (len(_NAMES) - len(numbers))
    columns: list[Any] = [
        literal(kind),
        cast(number, BigInteger),
        cast(word, String(32)),
        *(cast(func.coalesce(value, 0), BigInteger) for value in (*numbers, *rest)),
    ]
    return select(*columns)


def _read(parts: Iterable[Select[Any]]) -> Found:
    made: Found = {}
    for kind, number, word, *sums in db.session.execute(union_all(*parts)):
        key = word if number is None else number
        made.setdefault(kind, []).append((key, tuple(int(value) for value in sums)))
    return defaultdict(list, made)


# --- folding ----------------------------------------------------------------------------


def _bucket(zone: ZoneInfo, period: Period) -> int:
    """Seconds that calls are grouped by: an hour, less where the zone is not whole hours off."""
    days = [*period.days, period.last + dt.timedelta(days=1)]
    midnights = (dt.datetime.combine(day, dt.time(), zone) for day in days)
    offsets = {int((at.utcoffset() or dt.timedelta()).total_seconds()) for at in midnights}
    return math.gcd(_HOUR, *offsets)


def _summary(found: Found) -> Summary:
    waits = sorted((int(key or 0), sums[0]) for key, sums in found["wait"])
    return Summary(
        figures=Figures(*found["total"][0][1]),
        median_wait=_median(waits),
        deals=found["deals"][0][1][0],
    )


def _rows(found: Found, name: str) -> list[Row]:
    """Rows of a table, those with the most calls first."""
    ends = {key: sums[:2] for key, sums in found["line_source"]} if name == "line" else {}
    made = []
    for key, sums in found[name]:
        least, most = ends.get(key, (0, 0))
        one = least if least == most else 0
        made.append(Row(key, Figures(*sums), one or None, many_sources=least != most))
    return sorted(made, key=lambda row: (-row.figures.total, str(row.key)))


def _median(counted: list[tuple[int, int]]) -> float | None:
    """The middle of values given as (value, how many), in order."""
    count = sum(times for _value, times in counted)
    if not count:
        return None
    return (_at(counted, (count - 1) // 2) + _at(counted, count // 2)) / 2


def _at(counted: list[tuple[int, int]], place: int) -> int:
    for value, times in counted:
        place -= times
        if place < 0:
            return value
    raise ValueError("there are fewer values")


def _by_day(period: Period, moments: list[tuple[dt.datetime, Counts]]) -> dict[dt.date, Counts]:
    made = {day: Counts() for day in period.days}
    for at, counts in moments:
        made[at.date()].add(counts)
    return made


def _by_hour(moments: list[tuple[dt.datetime, Counts]]) -> list[Counts]:
    made = [Counts() for _hour in range(24)]
    for at, counts in moments:
        made[at.hour].add(counts)
    return made


def _heat_map(moments: list[tuple[dt.datetime, Counts]]) -> list[list[int]]:
    made = [[0] * 24 for _day in range(7)]
    for at, counts in moments:
        made[at.weekday()][at.hour] += counts.incoming
    return made


def _share(part: int, whole: int) -> float | None:
    return part / whole * 100 if whole else None


def shown_hours(hours: list[Counts]) -> range:
    """Hours of the day worth showing: the daytime, and more where there were calls."""
    busy = [hour for hour, counts in enumerate(hours) if counts.incoming or counts.outgoing]
    return range(min([8, *busy]), max([20, *busy]) + 1)
