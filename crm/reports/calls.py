"""Calls as lists and as the card that pops up while the phone rings."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select
from sqlalchemy.orm import contains_eager, joinedload, lazyload

from crm.models import (
    Appeal,
    Call,
    CallLeg,
    CallState,
    Contact,
    ContactPhone,
    Deal,
    Employee,
    Listing,
    RecordingState,
    StoredFile,
    db,
)
from crm.reports import contact_masks, keyset
from crm.reports.company import company_zone
from crm.security import masking, visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import day_bounds, utc_now

PAGE = 50
FULL_NUMBER = 10
SHORTEST_TAIL = 4
# A call that nobody has reported the end of is not on the line for ever.
LONGEST_CALL = dt.timedelta(hours=4)
_COUNT_CAP = 99
_NEWEST = (Call.started_at.desc(), Call.id.desc())
_LIVE = (CallState.NEW, CallState.RINGING, CallState.ANSWERED)


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What the list of calls is narrowed to; empty values narrow nothing."""

    direction: str = ""
    result: str = ""
    employee_id: int | None = None
    line: str = ""
    source_id: int | None = None
    day_from: dt.date | None = None
    day_to: dt.date | None = None
    first: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as this person may see it."""

    call: Call
    number: str
    deal_shown: bool
    may_hear: bool

    @property
    def missed(self) -> bool:
        return self.call.state == CallState.MISSED

    @property
    def live(self) -> bool:
        return self.call.state in _LIVE


def page(
    principal: Principal, wanted: CallFilter, place: keyset.Place | None
) -> tuple[list[CallRow], keyset.Place | None]:
    """Calls, the newest first, and where the next page begins (2 queries)."""
    query = visibility.visible(select(Call.id), principal, Call).where(
        *_conditions(principal, wanted)
    )
    if place:
        query = query.where(keyset.after(Call.started_at, Call.id, place))
    ids = list(db.session.scalars(query.order_by(*_NEWEST).limit(PAGE + 1)))
    rows = _by_ids(principal, ids[:PAGE])
    if len(ids) <= PAGE:
        return rows, None
    last = rows[-1].call
    return rows, keyset.Place(last.started_at, last.id)


def _by_ids(principal: Principal, ids: list[int]) -> list[CallRow]:
    """Whole rows of a page: joined for these alone, not for all that were sorted."""
    if not ids:
        return []
    query = _rows(principal).where(Call.id.in_(ids)).order_by(*_NEWEST)
    return [_row(principal, *row) for row in db.session.execute(query)]


def of_contact(principal: Principal, contact_id: int, limit: int = 20) -> list[CallRow]:
    """The contact's latest calls that the person may see."""
    query = visibility.visible(select(Call.id), principal, Call)
    query = query.where(Call.contact_id == contact_id).order_by(*_NEWEST).limit(limit)
    return _by_ids(principal, list(db.session.scalars(query)))


def lines(principal: Principal) -> list[str]:
    """Company lines that calls of the last 90 days came through, to choose from."""
    since = utc_now() - dt.timedelta(days=90)
    recent = visibility.visible(
        select(Call.line_number).where(Call.started_at > since), principal, Call
    )
    newest = recent.order_by(Call.started_at.desc()).limit(2000).subquery()
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


def _rows(principal: Principal) -> Any:
    shown = and_(Deal.id.is_not(None), visibility.condition(principal, Deal))
    return (
        select(
            Call,
            shown.label("deal_shown"),
            visibility.recording_condition(principal).label("may_hear"),
        )
        .outerjoin(Deal, Deal.id == Call.deal_id)
        .options(
            contains_eager(Call.deal).joinedload(Deal.stage),
            joinedload(Call.source),
            joinedload(Call.employee),
            joinedload(Call.contact).options(lazyload(Contact.phones), lazyload(Contact.emails)),
        )
    )


def _row(principal: Principal, call: Call, deal_shown: bool, may_hear: bool) -> CallRow:
    return CallRow(
        call=call,
        number=masking.shown_phone(call.client_number, _hidden(principal, call)),
        deal_shown=bool(deal_shown),
        may_hear=bool(may_hear) and call.recording_state == RecordingState.STORED,
    )


def _hidden(principal: Principal, call: Call) -> bool:
    return contact_masks.hidden(
        principal,
        is_owner=bool(call.contact and call.contact.is_owner),
        deal_is_own=bool(call.deal and call.deal.responsible_id == principal.id),
    )


def _conditions(principal: Principal, wanted: CallFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.direction:
        found.append(Call.direction == wanted.direction)
    if wanted.employee_id:
        found.append(Call.employee_id == wanted.employee_id)
    if wanted.line:
        found.append(Call.line_number == wanted.line)
    if wanted.source_id:
        found.append(Call.source_id == wanted.source_id)
    if wanted.first:
        found.append(Call.is_first.is_(wanted.first == "first"))
    if wanted.day_from:
        found.append(Call.started_at >= day_bounds(wanted.day_from, company_zone())[0])
    if wanted.day_to:
        found.append(Call.started_at < day_bounds(wanted.day_to, company_zone())[1])
    if wanted.result:
        found.append(_result(wanted.result))
    if wanted.number:
        found.append(_number(principal, wanted.number))
    return found


def _result(result: str) -> ColumnElement[bool]:
    match result:
        case "missed":
            return Call.state == CallState.MISSED
        case "answered":
            return Call.answered_at.is_not(None)
        case "live":
            return and_(Call.state.in_(_LIVE), Call.started_at > utc_now() - LONGEST_CALL)
        case _:
            return false()


def _number(principal: Principal, text: str) -> ColumnElement[bool]:
    """Whole numbers by the key, last digits by the contacts' reversed keys: both are indexed.

    Who sees stars may ask for a whole number only: digit by digit he would find it out.
    """
    digits = phones.search_digits(text) or ""
    if len(digits) >= FULL_NUMBER:
        return Call.client_key == phones.match_key(digits)
    masked = principal.can(Grant.ONLY_STAFF_CONTACTS) and not principal.is_admin
    if masked or len(digits) < SHORTEST_TAIL:
        return false()
    return Call.contact_id.in_(select(ContactPhone.contact_id).where(tail(digits)))


def tail(digits: str) -> ColumnElement[bool]:
    """Numbers that end with these digits (walks the index of reversed keys)."""
    start = digits[::-1]
    # The sign after «9»: no digit is greater.
    return and_(ContactPhone.key_reversed >= start, ContactPhone.key_reversed < start + ":")


# --- the pop-up -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallCard:
    """What the pop-up says about a call that is going on."""

    call: Call
    number: str
    name: str
    ordinal: int
    deal: Deal | None
    responsible: Employee | None
    listing: Listing | None
    is_mine: bool
    seconds: int

    @property
    def ringing(self) -> bool:
        return self.call.state != CallState.ANSWERED


def card(principal: Principal, call_id: int) -> CallCard | None:
    """The card of a call on the line; None when it is over or not this person's to see.

    Beside those who may see the call, it is shown to those whose phone it rings.
    """
    query = _rows(principal).where(
        Call.id == call_id,
        Call.state.in_(_LIVE),
        Call.started_at > utc_now() - LONGEST_CALL,
        or_(visibility.condition(principal, Call), _rings_at(principal)),
    )
    found = db.session.execute(query).one_or_none()
    if found is None:
        return None
    call, deal_shown, _may_hear = found
    begun = call.answered_at or call.started_at
    return CallCard(
        call=call,
        number=_ringing_number(principal, call),
        name=call.contact.name if call.contact else "",
        ordinal=_ordinal(call),
        deal=call.deal if deal_shown else None,
        responsible=_responsible(call),
        listing=_listing(call, deal_shown=bool(deal_shown)),
        is_mine=call.employee_id == principal.id,
        seconds=max(0, int((utc_now() - begun).total_seconds())),
    )


def _rings_at(principal: Principal) -> ColumnElement[bool]:
    return exists().where(CallLeg.call_id == Call.id, CallLeg.employee_id == principal.id)


def _ringing_number(principal: Principal, call: Call) -> str:
    """Permission 16 shows the number while the call comes in, and only then."""
    hide = call.state == CallState.ANSWERED and _hidden(principal, call)
    return masking.shown_phone(call.client_number, hide)


def _ordinal(call: Call) -> int:
    """Which call of this number it is, at most 99; 0 when the number is hidden."""
    if not call.client_key:
        return 0
    earlier = (
        select(Call.id)
        .where(Call.client_key == call.client_key, Call.started_at <= call.started_at)
        .limit(_COUNT_CAP)
        .subquery()
    )
    return db.session.scalar(select(func.count()).select_from(earlier)) or 1


def _responsible(call: Call) -> Employee | None:
    person_id = call.deal.responsible_id if call.deal else None
    return db.session.get(Employee, person_id) if person_id else None


def _listing(call: Call, *, deal_shown: bool) -> Listing | None:
    """The listing the call is about: named by the appeal, else the deal's."""
    listing_id = db.session.scalar(select(Appeal.listing_id).where(Appeal.call_id == call.id))
    if listing_id is None and deal_shown and call.deal:
        listing_id = call.deal.listing_id
    return db.session.get(Listing, listing_id) if listing_id else None
