"""What a list of calls may be narrowed to, and the SQL of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select

from crm.models import (
    Call,
    CallState,
    Contact,
    ContactPhone,
    Deal,
    Employee,
    RecordingState,
)
from crm.reports import periods
from crm.reports.company import company_zone, local_today
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import day_bounds, utc_now

Condition = ColumnElement[bool]
DIRECTIONS = ("in", "out", "internal")
RESULTS = ("answered", "missed", "busy", "cancelled", "failed", "no_answer", "live")
CALLBACKS = ("waiting", "late", "tried", "reached")
PERIODS = tuple(name for name in periods.NAMES if name != periods.OWN)
FULL_NUMBER = 10
SHORTEST_TAIL = 4
# A call that nobody has reported the end of is not on the line for ever.
LONGEST_CALL = dt.timedelta(hours=4)
LIVE = (CallState.NEW, CallState.RINGING, CallState.ANSWERED)
# Names in the address where they are no names of Python.
_NAMES = {"day_from": "from", "day_to": "to"}
_SEGMENT = ("direction", "result", "callback")


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What the list of calls is narrowed to; empty values narrow nothing. Talk is in seconds."""

    direction: str = ""
    result: str = ""
    callback: str = ""
    employee: int | None = None
    department: int | None = None
    connection: int | None = None
    source: int | None = None
    line: str = ""
    talk_from: int | None = None
    talk_to: int | None = None
    first: str = ""
    recording: str = ""
    found: str = ""
    transferred: str = ""
    period: str = ""
    day_from: dt.date | None = None
    day_to: dt.date | None = None
    q: str = ""

    def args(self, **changes: Any) -> dict[str, str]:
        """Query arguments of this filter with ``changes`` made; empty ones are left out."""
        changed = replace(self, **changes)
        pairs = ((item.name, getattr(changed, item.name)) for item in fields(changed))
        return {
            _NAMES.get(name, name): minutes(value) if name.startswith("talk_") else str(value)
            for name, value in pairs
            if value not in ("", None)
        }

    def without(self, *names: str) -> dict[str, str]:
        """Query arguments with the named conditions taken off."""
        defaults = CallFilter()
        return self.args(**{name: getattr(defaults, name) for name in names})

    def of_segment(self, **segment: str) -> CallFilter:
        """The same narrowing within another segment of the list."""
        values: dict[str, Any] = {**dict.fromkeys(_SEGMENT, ""), **segment}
        return replace(self, **values)

    @property
    def narrowed(self) -> bool:
        """Whether anything beyond the segment is asked for."""
        return self.of_segment() != CallFilter()

    @property
    def of_missed(self) -> bool:
        """Whether missed calls are asked for, which nobody of ours has talked in."""
        return self.result == "missed" or bool(self.callback)

    @property
    def days(self) -> tuple[dt.date | None, dt.date | None]:
        """First and last day; own dates win over a named period."""
        if self.day_from or self.day_to or not self.period:
            return self.day_from, self.day_to
        named = periods.read(self.period, None, None, local_today())
        return named.first, named.last


def seconds(text: str) -> int | None:
    """«2» minutes or «1:30» in seconds; None for what is neither."""
    whole, colon, rest = text.strip().partition(":")
    if not _is_short(whole) or (colon and not (_is_short(rest) and int(rest) < 60)):  # noqa: PLR2004
        return None
    return int(whole) * 60 + (int(rest) if colon else 0)


def minutes(value: int) -> str:
    """Seconds as they are typed: «2» or «1:30»."""
    whole, rest = divmod(value, 60)
    return f"{whole}:{rest:02}" if rest else str(whole)


def _is_short(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4  # noqa: PLR2004 days of talk


# --- SQL ------------------------------------------------------------------------------------------


def conditions(principal: Principal, wanted: CallFilter) -> list[Condition]:
    """SQL of the filter over calls with their ``Deal`` joined (outer).

    What the person may see is not part of it.
    """
    simple = (
        (Call.direction, wanted.direction),
        (Call.connection_id, wanted.connection),
        (Call.source_id, wanted.source),
        (Call.line_number, wanted.line),
    )
    found = [column == value for column, value in simple if value]
    if wanted.result:
        found.append(_result(wanted.result))
    if wanted.callback:
        found.append(_callback(wanted.callback))
    if wanted.employee:
        found.append(_employee(wanted.employee, of_missed=wanted.of_missed))
    if wanted.department:
        found.append(_department(wanted.department))
    if wanted.q:
        found.append(number_condition(principal, wanted.q))
    return [*found, *_marks(wanted), *_talk(wanted), *_period(wanted)]


def waiting_condition() -> Condition:
    """Missed calls that nobody has tried to call back; walks a partial index."""
    return and_(Call.callback_due_at.is_not(None), Call.called_back_at.is_(None))


def answered_condition() -> Condition:
    """Calls in which somebody talked."""
    return or_(Call.answered_at.is_not(None), Call.result == "answered")


def _result(result: str) -> Condition:
    match result:
        case "missed":
            return Call.state == CallState.MISSED
        case "answered":
            return answered_condition()
        case "live":
            return and_(Call.state.in_(LIVE), Call.started_at > utc_now() - LONGEST_CALL)
        case "no_answer":
            untold = or_(Call.result.is_(None), Call.result == "unknown")
            silent = and_(Call.state == CallState.ENDED, untold, Call.answered_at.is_(None))
            return or_(Call.result == "no_answer", silent)
        case _:
            return Call.result == result


def _callback(state: str) -> Condition:
    match state:
        case "waiting":
            return waiting_condition()
        case "late":
            return and_(waiting_condition(), Call.callback_due_at < utc_now())
        case "tried":
            tried = Call.called_back_at.is_not(None)
            return and_(Call.callback_due_at.is_not(None), tried, Call.reached_at.is_(None))
        case _:
            return and_(Call.callback_due_at.is_not(None), Call.reached_at.is_not(None))


def _employee(pk: int, *, of_missed: bool) -> Condition:
    """Who talked; of missed calls, which nobody took, whose client it was."""
    talked = Call.employee_id == pk
    return or_(talked, Deal.responsible_id == pk) if of_missed else talked


def _department(pk: int) -> Condition:
    """Where who talked works; of calls that nobody took, the department of the deal."""
    people = select(Employee.id).where(Employee.department_id == pk)
    theirs = and_(Call.employee_id.is_(None), Deal.department_id == pk)
    return or_(Call.employee_id.in_(people), theirs)


def _marks(wanted: CallFilter) -> list[Condition]:
    found: list[Condition] = []
    if wanted.first:
        found.append(Call.is_first.is_(wanted.first == "first"))
    if wanted.recording:
        stored = Call.recording_state == RecordingState.STORED
        found.append(stored if wanted.recording == "yes" else ~stored)
    if wanted.found:
        found.append(Call.history_run_id.is_not(None))
    if wanted.transferred:
        found.append(Call.transferred.is_(True))
    return found


def _talk(wanted: CallFilter) -> list[Condition]:
    found: list[Condition] = []
    if wanted.talk_from is not None:
        found.append(Call.talk >= wanted.talk_from)
    if wanted.talk_to is not None:
        found.append(func.coalesce(Call.talk, 0) <= wanted.talk_to)
    return found


def _period(wanted: CallFilter) -> list[Condition]:
    first, last = wanted.days
    found: list[Condition] = []
    if first:
        found.append(Call.started_at >= day_bounds(first, company_zone())[0])
    if last:
        found.append(Call.started_at < day_bounds(last, company_zone())[1])
    return found


def number_condition(principal: Principal, text: str) -> Condition:
    """Whole numbers by the key, last digits by the contacts' reversed keys: both are indexed.

    Who sees stars may ask for a whole number only: digit by digit he would find it out.
    """
    digits = phones.search_digits(text) or ""
    if len(digits) >= FULL_NUMBER:
        return Call.client_key == phones.match_key(digits)
    masked = principal.can(Grant.ONLY_STAFF_CONTACTS) and not principal.is_admin
    if masked or len(digits) < SHORTEST_TAIL:
        return false()
    clients = select(ContactPhone.contact_id).where(tail(digits))
    if principal.can(Grant.HIDE_OWNER_CONTACTS) and not principal.is_admin:
        clients = clients.join(Contact).where(~Contact.is_owner)
    return Call.contact_id.in_(clients)


def tail(digits: str) -> Condition:
    """Numbers that end with these digits (walks the index of reversed keys)."""
    start = digits[::-1]
    # The sign after «9»: no digit is greater.
    return and_(ContactPhone.key_reversed >= start, ContactPhone.key_reversed < start + ":")
