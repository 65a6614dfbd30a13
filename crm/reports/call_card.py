"""One call: the card that pops up, what a new deal takes from it, how far it has come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select

from crm.models import Appeal, Call, CallState, Deal, Employee, Listing, db
from crm.reports import calls
from crm.reports.call_filters import LIVE, LONGEST_CALL
from crm.security import masking
from crm.security.call_rights import met_condition
from crm.security.principal import Principal
from crm.values.clock import utc_now

# What nobody has heard of for so long does not pop up any more.
FRESH = dt.timedelta(seconds=60)
# Nobody lets a client's telephone ring longer: the operator has not told how it ended.
_LONGEST_DIALLING = dt.timedelta(minutes=3)
_COUNT_CAP = 99
_OUT = "out"


@dataclass(frozen=True, slots=True)
class CallCard:
    """What the pop-up says about a call that is going on.

    ``state``: ``ringing`` (at ours), ``ordered`` (we are rung first), ``calling`` (the client
    is rung), ``talking``, or ``taken`` by another.
    """

    call: Call
    state: str
    number: str
    name: str
    ordinal: int
    deal: Deal | None
    responsible: Employee | None
    listing: Listing | None
    seconds: int

    @property
    def outgoing(self) -> bool:
        return self.call.direction == _OUT

    @property
    def foreign(self) -> bool:
        """There is a deal, and the person may not see it."""
        return self.call.deal_id is not None and self.deal is None


def card(principal: Principal, call_id: int, *, fresh: bool = False) -> CallCard | None:
    """The card of a call on the line; None when it is over or not this person's to see.

    Beside those who may see the call, it is shown to those whose phone it rings; an outgoing one
    to who makes it alone. ``fresh``: only if something has been heard of it within a minute.
    """
    now = utc_now()
    query = calls.rows_query(principal).where(
        Call.id == call_id,
        Call.state.in_(LIVE),
        Call.started_at > now - LONGEST_CALL,
        met_condition(principal),
        or_(
            Call.direction.is_distinct_from(_OUT),
            and_(
                Call.employee_id == principal.id,
                or_(Call.state == CallState.ANSWERED, Call.updated_at > now - _LONGEST_DIALLING),
            ),
        ),
    )
    if fresh:
        query = query.where(Call.updated_at > now - FRESH)
    found = db.session.execute(query).one_or_none()
    if found is None:
        return None
    call, deal_shown, _may_hear = found
    begun, hide = call.answered_at or call.started_at, _hides(principal, call)
    return CallCard(
        call=call,
        state=_state(principal, call),
        number=masking.shown_phone(call.client_number, hide),
        name=_name(call, hide),
        ordinal=_ordinal(call),
        deal=call.deal if deal_shown else None,
        responsible=_responsible(call),
        listing=_listing(call, deal_shown=bool(deal_shown)),
        seconds=max(0, int((now - begun).total_seconds())),
    )


def _state(principal: Principal, call: Call) -> str:
    if call.state == CallState.ANSWERED:
        return "talking" if call.employee_id == principal.id else "taken"
    if call.direction != _OUT:
        return "ringing"
    return "ordered" if call.state == CallState.NEW else "calling"


def _hides(principal: Principal, call: Call) -> bool:
    """Who calls is shown while the call comes in (permission 16), and only then."""
    comes_in = call.direction != _OUT and call.state != CallState.ANSWERED
    return not comes_in and calls.hidden(principal, call)


def _name(call: Call, hide: bool) -> str:
    contact = call.contact
    return masking.shown_name(contact.name, hide and contact.is_owner) if contact else ""


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
    """Who holds the client: by the deal; without a deal, by the contact."""
    holder = call.deal or call.contact
    person_id = holder.responsible_id if holder else None
    return db.session.get(Employee, person_id) if person_id else None


def _listing(call: Call, *, deal_shown: bool) -> Listing | None:
    """The listing the call is about: named by the appeal, else the deal's."""
    listing_id = db.session.scalar(select(Appeal.listing_id).where(Appeal.call_id == call.id))
    if listing_id is None and deal_shown and call.deal:
        listing_id = call.deal.listing_id
    return db.session.get(Listing, listing_id) if listing_id else None


# --- a deal from a call ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallForDeal:
    """A call that a deal is to be made from, its number as this person may see it."""

    call: Call
    number: str
    name: str
    deal: Deal | None


def for_deal(principal: Principal, call_id: int) -> CallForDeal | None:
    """The call, when the person may see it or his telephone rang with it (1 query)."""
    query = calls.rows_query(principal).where(Call.id == call_id, met_condition(principal))
    found = db.session.execute(query).one_or_none()
    if found is None:
        return None
    call, deal_shown, _may_hear = found
    hide = calls.hidden(principal, call)
    return CallForDeal(
        call=call,
        number=masking.shown_phone(call.client_number, hide),
        name=_name(call, hide),
        deal=call.deal if deal_shown else None,
    )


# --- a call that the person has ordered -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallProgress:
    """Where a call stands, for the button that has dialled it."""

    state: str
    seconds: int
    result: str


def progress(principal: Principal, call_id: int) -> CallProgress | None:
    """How far a call has come; ``over`` when it has ended (1 query)."""
    call = db.session.scalars(
        select(Call).where(Call.id == call_id, met_condition(principal))
    ).one_or_none()
    if call is None:
        return None
    now = utc_now()
    if call.state in LIVE and call.started_at > now - LONGEST_CALL:
        begun = call.answered_at or call.started_at
        seconds = max(0, int((now - begun).total_seconds()))
        return CallProgress(_state(principal, call), seconds, "")
    return CallProgress("over", call.talk or 0, call.result or "")
