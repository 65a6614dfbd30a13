"""Calls as lists: a page, the counts of segments, the rows of an export, a recording."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.orm import contains_eager, defer, joinedload, lazyload

from crm.models import (
    Call,
    CallState,
    Contact,
    Deal,
    ObjectKind,
    RecordingState,
    Scope,
    StoredFile,
    TelephonyConnection,
    db,
)
from crm.reports import contact_masks, keyset, row_pages
from crm.reports.call_filters import (
    FULL_NUMBER,
    LIVE,
    LONGEST_CALL,
    SHORTEST_TAIL,
    CallFilter,
    conditions,
    tail,
)
from crm.security import masking, visibility
from crm.security.call_rights import export_condition
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import utc_now

__all__ = [
    "CAP",
    "FULL_NUMBER",
    "LONGEST_CALL",
    "SHORTEST_TAIL",
    "CallFilter",
    "CallPage",
    "CallRow",
    "Count",
    "by_ids",
    "counts",
    "export",
    "hidden",
    "lines",
    "matching",
    "of_contact",
    "page",
    "pressing_counts",
    "recording",
    "row",
    "rows_query",
    "tail",
]
PAGE = 50
EXPORT_CHUNK = 500
# A list with more calls says nothing more by their number, and counting costs.
CAP = 500
# A number, and whether counting stopped there.
Count = tuple[int, bool]
_NEWEST = (Call.started_at.desc(), Call.id.desc())


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as this person may see it."""

    call: Call
    name: str
    number: str
    deal_shown: bool
    may_hear: bool

    @property
    def missed(self) -> bool:
        return self.call.state == CallState.MISSED

    @property
    def live(self) -> bool:
        """On the line now; one whose end nobody has told is not, for ever."""
        return self.call.state in LIVE and self.call.started_at > utc_now() - LONGEST_CALL

    @property
    def callable(self) -> bool:
        """Whether the client can be dialled, seen or not."""
        number = self.call.client_number
        return bool(self.call.client_key) and not phones.is_internal(number)

    @property
    def waits(self) -> bool:
        """Missed, and nobody has tried to call back."""
        return self.call.callback_due_at is not None and self.call.called_back_at is None

    @property
    def late(self) -> bool:
        """Not called back in time."""
        due = self.call.callback_due_at
        return self.waits and due is not None and due < utc_now()

    @property
    def wait(self) -> dt.timedelta | None:
        """How long the client, or ours, has waited for an answer."""
        end = self.call.answered_at or (self.call.ended_at if not self.call.talk else None)
        return max(end - self.call.started_at, dt.timedelta()) if end else None

    @property
    def callback_after(self) -> dt.timedelta | None:
        """How long after a missed call somebody called back."""
        back, call = self.call.called_back_at, self.call
        return max(back - (call.ended_at or call.started_at), dt.timedelta()) if back else None


@dataclass(slots=True)
class CallPage:
    """One page of the list and the keys of its neighbours."""

    rows: list[CallRow]
    previous: str
    following: str


def page(principal: Principal, wanted: CallFilter, after: str = "", before: str = "") -> CallPage:
    """50 calls that the person may see, the newest first (2 queries)."""
    query: Any = matching(principal, wanted).with_only_columns(
        Call.started_at.label("sort_value"), Call.id.label("sort_id")
    )
    order = row_pages.Order(Call.started_at, Call.id, dt.datetime)
    found = row_pages.read_page(query, order, PAGE, after, before)
    rows = by_ids(principal, [row.sort_id for row in found.rows])
    return CallPage(rows, found.previous, found.following)


def matching(principal: Principal, wanted: CallFilter) -> Select[Any]:
    """Ids of the calls of the filter that the person may see."""
    query: Select[Any] = select(Call.id).outerjoin(Deal, Deal.id == Call.deal_id)
    return query.where(visibility.joined_call_condition(principal), *conditions(principal, wanted))


def pressing_counts(
    principal: Principal, wanted: CallFilter, waiting: Select[Any]
) -> dict[str, Count]:
    """Calls on the line and clients who wait, within the rest of the filter: a few (1 query).

    ``waiting``: a row for each client of the segment «Пропущенные» who waits.
    """
    live = matching(principal, wanted.of_segment(result="live"))
    counted = [
        select(literal(name), func.count()).select_from(query.limit(CAP + 1).subquery())
        for name, query in (("live", live), ("missed", waiting))
    ]
    return {name: _capped(count) for name, count in db.session.execute(union_all(*counted))}


def counts(principal: Principal, wanted: CallFilter) -> dict[str, Count]:
    """Calls of the segments by direction, and of the very list where it is none (1-4 queries)."""
    newest = _newest(matching(principal, wanted.of_segment()), Call.direction)
    rows = db.session.execute(select(newest.c.direction, func.count()).group_by(newest.c.direction))
    numbers: dict[str | None, int] = {row[0]: row[1] for row in rows}
    found = {"all": _capped(sum(numbers.values()))}
    for direction in ("in", "out"):
        # Within the cap all of them have been read.
        found[direction] = (
            _count(principal, wanted.of_segment(direction=direction))
            if found["all"][1]
            else (numbers.get(direction, 0), False)
        )
    if wanted.of_segment(direction=wanted.direction) != wanted:
        found["here"] = _count(principal, wanted)
    return found


def _count(principal: Principal, wanted: CallFilter) -> Count:
    newest = _newest(matching(principal, wanted), Call.id)
    return _capped(db.session.scalar(select(func.count()).select_from(newest)) or 0)


def _newest(query: Select[Any], column: Any) -> Subquery:
    """As many of the newest calls as are counted: in this order an index is walked."""
    return query.with_only_columns(column).order_by(*_NEWEST).limit(CAP + 1).subquery()


def _capped(count: int) -> Count:
    return min(count, CAP), count > CAP


def export(principal: Principal, wanted: CallFilter) -> Iterator[CallRow]:
    """All matching calls that the person may take out, the newest first, a chunk a query."""
    query = matching(principal, wanted).where(export_condition(principal)).order_by(*_NEWEST)
    place: keyset.Place | None = None
    while True:
        part = query.where(keyset.after(Call.started_at, Call.id, place)) if place else query
        rows = by_ids(principal, list(db.session.scalars(part.limit(EXPORT_CHUNK))))
        yield from rows
        if len(rows) < EXPORT_CHUNK:
            return
        place = keyset.Place(rows[-1].call.started_at, rows[-1].call.id)


def by_ids(principal: Principal, ids: Sequence[int]) -> list[CallRow]:
    """Whole rows of a page: joined for these alone, not for all that were sorted (1 query)."""
    if not ids:
        return []
    query = rows_query(principal).where(Call.id.in_(ids)).order_by(*_NEWEST)
    return [row(principal, *found) for found in db.session.execute(query)]


def of_contact(principal: Principal, contact_id: int, limit: int = 20) -> list[CallRow]:
    """The contact's latest calls that the person may see."""
    query = visibility.visible(select(Call.id), principal, Call)
    query = query.where(Call.contact_id == contact_id).order_by(*_NEWEST).limit(limit)
    return by_ids(principal, list(db.session.scalars(query)))


def lines(principal: Principal) -> list[str]:
    """Company lines of the last 5000 calls, to choose from; the agency's own numbers, no rows."""
    if principal.scope(ObjectKind.CALL) is Scope.NONE:
        return []
    newest = select(Call.line_number).order_by(Call.started_at.desc()).limit(5000).subquery()
    query = select(newest.c.line_number).where(newest.c.line_number.is_not(None)).distinct()
    return sorted(number for number in db.session.scalars(query) if number)


def recording(principal: Principal, call_id: int) -> StoredFile | None:
    """The stored recording of a call when this person may hear it."""
    found: StoredFile | None = db.session.scalars(
        select(StoredFile)
        .join(Call, Call.recording_file_id == StoredFile.id)
        .where(Call.id == call_id, visibility.recording_condition(principal))
    ).one_or_none()
    return found


def rows_query(principal: Principal, *more: ColumnElement[Any]) -> Select[Any]:
    """Calls with what a line shows, whether the deal is shown and the recording heard, ``more``."""
    shown = and_(Deal.id.is_not(None), visibility.condition(principal, Deal))
    query: Select[Any] = select(
        Call,
        shown.label("deal_shown"),
        visibility.recording_condition(principal).label("may_hear"),
        *more,
    )
    return query.outerjoin(Deal, Deal.id == Call.deal_id).options(
        # Secrets of the operator are not for a list: decrypting them costs.
        defer(Call.recording_ref),
        contains_eager(Call.deal).options(joinedload(Deal.stage), joinedload(Deal.responsible)),
        joinedload(Call.source),
        joinedload(Call.employee),
        joinedload(Call.contact).options(lazyload(Contact.phones), lazyload(Contact.emails)),
        joinedload(Call.connection).load_only(TelephonyConnection.name),
    )


def hidden(principal: Principal, call: Call) -> bool:
    """Whether this person sees stars instead of the client's number."""
    return contact_masks.hidden(
        principal,
        is_owner=bool(call.contact and call.contact.is_owner),
        deal_is_own=bool(call.deal and call.deal.responsible_id == principal.id),
    )


def row(principal: Principal, call: Call, deal_shown: bool, may_hear: bool) -> CallRow:
    """A row of ``rows_query`` as this person may see it."""
    hide, contact = hidden(principal, call), call.contact
    return CallRow(
        call=call,
        name=masking.shown_name(contact.name, hide and contact.is_owner) if contact else "",
        number=masking.shown_phone(call.client_number, hide),
        deal_shown=bool(deal_shown),
        may_hear=bool(may_hear) and call.recording_state == RecordingState.STORED,
    )
