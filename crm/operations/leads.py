"""Requests of sites and services: a stored delivery becomes an appeal."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import func, or_, select

from crm.integrations.leads import spam, tokens
from crm.integrations.leads.base import IntakeSettings, LeadSubmission, Trust
from crm.models import (
    Appeal,
    DeliveryState,
    Employee,
    InboundDelivery,
    IntakePoint,
    Listing,
    Source,
    db,
)
from crm.operations import appeals, contacts, deliveries, doors, own_numbers
from crm.operations.attribution import Evidence
from crm.operations.errors import NotFound

_BLACK_LISTED = "телефон отмечен как спам"


def take_in(delivery: InboundDelivery) -> tuple[DeliveryState, str]:
    """Make the appeal of a delivery, once; raises what parsing raises."""
    known = _appeal_of(delivery)
    if known is not None:
        return _state(known), f"обращение № {known.id} уже принято"
    point: IntakePoint | None = db.session.get(IntakePoint, deliveries.door_id(delivery))
    if point is None:
        raise NotFound("Точка приёма заявок удалена.")
    settings, trust = doors.settings_of(point), trust_of(delivery)
    request = deliveries.request_of(delivery)
    lead = doors.channel_of(delivery.adapter).parse(request, settings, trust)
    reasons = _spam_reasons(lead, trust, settings, delivery.received_at)
    appeal = appeals.register(_incoming(lead, point, delivery, reasons))
    if lead.consent and appeal.contact is not None:
        contacts.give_consent(appeal.contact, appeal.received_at, lead.page_url)
    return _state(appeal), _verdict(appeal)


def trust_of(delivery: InboundDelivery) -> Trust:
    """What the rim has proved of the sender."""
    kept = delivery.trust or {}
    return Trust(signed=bool(kept.get("signed")), origin=kept.get("origin"))


def spam_reasons(
    lead: LeadSubmission,
    trust: Trust,
    settings: IntakeSettings,
    received_at: dt.datetime,
    own: frozenset[str],
) -> tuple[str, ...]:
    """Why a request belongs into the folder «Спам»; empty when it does not. Asks no database."""
    age = tokens.age(lead.token, settings, received_at) if lead.token else None
    verdict = spam.score(lead, trust, settings, age, own)
    return verdict.reasons if verdict.is_spam else ()


def _spam_reasons(
    lead: LeadSubmission, trust: Trust, settings: IntakeSettings, received_at: dt.datetime
) -> tuple[str, ...]:
    found = spam_reasons(lead, trust, settings, received_at, own_numbers.known())
    if appeals.is_black_listed(lead.phones):
        return (*found, _BLACK_LISTED)
    return found


def _incoming(
    lead: LeadSubmission,
    point: IntakePoint,
    delivery: InboundDelivery,
    reasons: tuple[str, ...],
) -> appeals.Incoming:
    return appeals.Incoming(
        channel=point.channel,
        received_at=lead.created_at or delivery.received_at,
        evidence=_evidence(lead, point),
        phones=lead.phones,
        email=lead.email,
        name=lead.name,
        deal_type=lead.deal_type,
        pipeline_id=point.pipeline_id,
        department_id=point.department_id,
        responsible_id=_responsible_id(lead, point),
        listing_id=_listing_id(lead.listing_ref),
        intake_point_id=point.id,
        delivery_id=delivery.id,
        double_key=lead.double_key(point.id),
        spam_reasons=reasons,
        details=_details(lead),
        extra=_extra(lead),
    )


def _evidence(lead: LeadSubmission, point: IntakePoint) -> Evidence:
    told = lead.source_id if point.allow_source else None
    known = told if told is not None and db.session.get(Source, told) is not None else None
    return Evidence(
        explicit_source_id=known if known is not None else point.source_id,
        utm=lead.utm.marks,
        page_url=lead.page_url,
        channel=point.channel,
        department_id=point.department_id,
        default_source_id=point.default_source_id,
    )


def _responsible_id(lead: LeadSubmission, point: IntakePoint) -> int | None:
    """The employee named by the sender, if the point allows it, else the point's."""
    if point.allow_responsible and lead.responsible_email:
        query = select(Employee.id).where(
            Employee.active, func.lower(Employee.email) == lead.responsible_email.lower()
        )
        named: int | None = db.session.scalars(query.limit(1)).first()
        if named is not None:
            return named
    return point.responsible_id


def _listing_id(reference: str) -> int | None:
    """Our listing by its identity in feeds, the feed's own number or our number."""
    if not reference:
        return None
    known = [Listing.public_id == reference, Listing.internal_id == reference]
    if reference.isdecimal() and len(reference) <= 9:  # noqa: PLR2004 - digits of an id
        known.append(Listing.id == int(reference))
    query = select(Listing.id).where(or_(*known)).order_by(Listing.id)
    found: int | None = db.session.scalars(query.limit(1)).first()
    return found


def _details(lead: LeadSubmission) -> dict[str, Any]:
    return {
        "comment": lead.full_comment or None,
        "form_name": lead.form_name[:255] or None,
        "referrer": lead.referrer or None,
        "utm_term": lead.utm.term[:255] or None,
        "external_id": lead.external_id[:255] or None,
    }


def _extra(lead: LeadSubmission) -> dict[str, Any]:
    """What has no column: kept as it came, empty values left out."""
    first = {
        f"first_utm_{name}": getattr(lead.first_utm, name)
        for name in ("source", "medium", "campaign", "content", "term")
    }
    told: dict[str, Any] = {
        **first,
        "click_ids": dict(lead.click_ids),
        "client": dict(lead.client),
        "ip": lead.ip,
        "user_agent": lead.user_agent,
        "consent": lead.consent,
        "policy_version": lead.policy_version,
        "notes": list(lead.truncated),
        "flags": [phone.flag.value for phone in lead.phones if phone.flag],
    }
    return {name: value for name, value in told.items() if value not in ("", None, [], {})}


def _appeal_of(delivery: InboundDelivery) -> Appeal | None:
    found: Appeal | None = db.session.scalars(
        select(Appeal).where(Appeal.delivery_id == delivery.id)
    ).one_or_none()
    return found


def _state(appeal: Appeal) -> DeliveryState:
    return DeliveryState.SPAM if appeal.is_spam else DeliveryState.DONE


def _verdict(appeal: Appeal) -> str:
    if appeal.is_spam:
        return f"обращение № {appeal.id}: спам ({appeal.spam_reasons})"
    if appeal.extra.get("duplicate_of"):
        return f"обращение № {appeal.id}: повтор обращения № {appeal.extra['duplicate_of']}"
    how = "новая сделка" if appeal.created_deal else "сделка"
    return f"обращение № {appeal.id}: {how} № {appeal.deal_id}"
