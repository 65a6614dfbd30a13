"""What came from outside, with what became of it."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, union_all
from sqlalchemy.orm import defer

from crm.models import (
    Appeal,
    Call,
    InboundDelivery,
    IntakePoint,
    TelephonyConnection,
    db,
)
from crm.reports import keyset
from crm.reports.company import company_zone
from crm.values.clock import day_bounds

PAGE = 50
# The verdict of a call's event names the call it was put into.
_CALL_IN_VERDICT = re.compile(r"звонок № ?(\d{1,9})\b")
_ESCAPED = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What the list is narrowed to."""

    state: str = ""
    door: str = ""
    day_from: dt.date | None = None
    day_to: dt.date | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a delivery has made."""

    call_id: int | None
    appeal_id: int | None
    deal_id: int | None


def page(
    wanted: DeliveryFilter, place: keyset.Place | None, *, with_bodies: bool = True
) -> tuple[list[InboundDelivery], keyset.Place | None]:
    """Deliveries without their bodies, the newest first, and where the next page begins.

    ``with_bodies``: the text is looked for in them too.
    """
    query = select(InboundDelivery).options(
        defer(InboundDelivery.body), defer(InboundDelivery.body_masked)
    )
    query = query.where(*_conditions(wanted, with_bodies))
    if place:
        moment = InboundDelivery.received_at
        query = query.where(keyset.after(moment, InboundDelivery.id, place))
    query = query.order_by(InboundDelivery.received_at.desc(), InboundDelivery.id.desc())
    found = list(db.session.scalars(query.limit(PAGE + 1)))
    if len(found) <= PAGE:
        return found, None
    last = found[PAGE - 1]
    return found[:PAGE], keyset.Place(last.received_at, last.id)


def counts() -> dict[str, int]:
    """How many deliveries stand in each state, each count at most 1000 (1 query)."""
    states = ("new", "retry", "failed")
    limited = [
        select(InboundDelivery.state).where(InboundDelivery.state == state).limit(1000).subquery()
        for state in states
    ]
    queries = [select(func.max(rows.c.state), func.count()).select_from(rows) for rows in limited]
    found = db.session.execute(union_all(*queries))
    return {state: count for state, count in found if state}


def doors() -> list[tuple[str, str]]:
    """Doors by code and name, to choose from."""
    lines = db.session.execute(
        select(TelephonyConnection.id, TelephonyConnection.name).order_by(TelephonyConnection.name)
    )
    points = db.session.execute(select(IntakePoint.id, IntakePoint.name).order_by(IntakePoint.name))
    return [
        *((f"telephony:{pk}", name) for pk, name in lines),
        *((f"intake:{pk}", name) for pk, name in points),
    ]


def find(delivery_id: int) -> InboundDelivery | None:
    """One delivery with its masked body."""
    query = select(InboundDelivery).where(InboundDelivery.id == delivery_id)
    found: InboundDelivery | None = db.session.scalars(
        query.options(defer(InboundDelivery.body))
    ).one_or_none()
    return found


def origin(delivery: InboundDelivery) -> Origin:
    """The call, appeal and deal that the delivery has led to."""
    named = _CALL_IN_VERDICT.search(delivery.verdict or "")
    call_id = int(named[1]) if named and delivery.family == "telephony" else None
    matches = Appeal.delivery_id == delivery.id
    if call_id is not None:
        matches = or_(matches, Appeal.call_id == call_id)
    appeal = db.session.scalars(select(Appeal).where(matches).limit(1)).first()
    if call_id is not None and db.session.get(Call, call_id) is None:
        call_id = None
    return Origin(call_id, appeal.id if appeal else None, appeal.deal_id if appeal else None)


def _conditions(wanted: DeliveryFilter, with_bodies: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.state:
        found.append(InboundDelivery.state == wanted.state)
    if wanted.door:
        found.append(InboundDelivery.door == wanted.door)
    if wanted.day_from:
        start = day_bounds(wanted.day_from, company_zone())[0]
        found.append(InboundDelivery.received_at >= start)
    if wanted.day_to:
        end = day_bounds(wanted.day_to, company_zone())[1]
        found.append(InboundDelivery.received_at < end)
    if wanted.text:
        pattern = f"%{wanted.text.translate(_ESCAPED)}%"
        told = (InboundDelivery.verdict, InboundDelivery.error)
        columns = (InboundDelivery.body_masked, *told) if with_bodies else told
        found.append(or_(*(column.like(pattern, escape="\\") for column in columns)))
    return found
