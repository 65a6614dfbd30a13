"""Appeals: the one path of every call and request from its contact to its deal (domain §6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import case, exists, select

from crm.models import (
    Action,
    Appeal,
    Call,
    Contact,
    Deal,
    DealSide,
    Employee,
    EventKind,
    MoveHow,
    Pipeline,
    Stage,
    StageType,
    db,
)
from crm.models.pipeline import pipeline_department
from crm.operations import audit, bus, contacts, deals, limits, locks, sources, timeline
from crm.operations.attribution import Evidence, Step, Verdict
from crm.operations.errors import Conflict, Forbidden, NotFound
from crm.operations.transaction import operation
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.phones import Phone

# The same words from the same person within this time are one request (site.md §8.2).
DOUBLE_WINDOW = dt.timedelta(minutes=10)
_MARKS = ("utm_source", "utm_medium", "utm_campaign", "utm_content")
_SIDES = {
    "buy": DealSide.BUYER,
    "sell": DealSide.SELLER,
    "rent": DealSide.TENANT,
    "rent_out": DealSide.LANDLORD,
    "mortgage": DealSide.MORTGAGE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A call or a request on its way in.

    ``received_at`` is aware UTC; ``details`` are further columns of `Appeal` as texts;
    ``spam_reasons`` not empty: it goes to the folder «Спам».
    """

    channel: str
    received_at: dt.datetime
    evidence: Evidence
    phones: tuple[Phone, ...] = ()
    email: str = ""
    name: str = ""
    deal_type: str = ""
    pipeline_id: int | None = None
    department_id: int | None = None
    responsible_id: int | None = None
    listing_id: int | None = None
    intake_point_id: int | None = None
    delivery_id: int | None = None
    call: Call | None = None
    double_key: str | None = None
    spam_reasons: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@operation
def register(incoming: Incoming) -> Appeal:
    """Keep the appeal and lead it to its contact and deal; spam is only kept."""
    appeal = _row(incoming)
    _trace(appeal, sources.attribute(incoming.evidence))
    db.session.add(appeal)
    if incoming.spam_reasons:
        appeal.is_spam = True
        appeal.spam_reasons = "; ".join(incoming.spam_reasons)
        db.session.flush()
        bus.emit("appeal.created", appeal_id=appeal.id, deal_id=None)
        return appeal
    _settle(appeal)
    return appeal


@operation
def trace_again(appeal: Appeal, called_number: str) -> None:
    """The dialled line became known late: find the source by it.

    The deal's source follows only while it is still the guess of this very appeal.
    """
    if appeal.source_step <= Step.PHONE:
        return
    told = appeal.extra.get("evidence", {})
    appeal.extra = {**appeal.extra, "evidence": {**told, "called_number": called_number}}
    guessed = appeal.source_id
    _trace(appeal, sources.attribute(_evidence(appeal)))
    deal = appeal.deal
    if deal is None or not appeal.created_deal or deal.source_id != guessed:
        return
    if deal.source_id != appeal.source_id:
        deals.edit_deal(deal.id, None, {"source": appeal.source_id})


@operation
def answered(appeal: Appeal, employee_id: int, *, instead_of: int | None = None) -> None:
    """The employee talked to the client: a deal of nobody becomes his.

    ``instead_of``: who seemed to have answered before an earlier answer became known; what he
    got by this appeal alone and has not worked on goes to the right one.
    """
    if not _is_active(employee_id):
        return
    if appeal.responsible_id in (None, instead_of):
        appeal.responsible_id = employee_id
    deal = appeal.deal
    if deal is None or deal.deleted_at is not None:
        return
    mistaken = (
        appeal.created_deal
        and not deal.is_saved
        and instead_of is not None
        and deal.responsible_id == instead_of
    )
    if deal.responsible_id is None or mistaken:
        deals.assign(deal.id, employee_id, None, above_limit=True)


def open_deal(
    contact_id: int, pipeline_id: int | None = None, listing_id: int | None = None
) -> Deal | None:
    """The contact's deal in work: of the wanted pipeline, then of the listing, then the latest."""
    query = (
        select(Deal)
        .join(Stage, Deal.stage_id == Stage.id)
        .where(
            Deal.contact_id == contact_id,
            Deal.deleted_at.is_(None),
            Stage.type == StageType.IN_WORK,
        )
        .order_by(
            case((Deal.pipeline_id == pipeline_id, 0), else_=1),
            case((Deal.listing_id == listing_id, 0), else_=1),
            Deal.last_activity_at.desc(),
            Deal.id.desc(),
        )
    )
    found: Deal | None = db.session.scalars(query.limit(1)).first()
    return found


def is_black_listed(phones: Sequence[Phone]) -> bool:
    """Whether a person has marked an appeal with one of the numbers as spam."""
    known = [phone.e164 for phone in phones if phone.e164]
    if not known:
        return False
    by_hand = Appeal.extra["spam_by"].as_integer().is_not(None)
    query = exists().where(Appeal.is_spam, Appeal.phone.in_(known), by_hand)
    return bool(db.session.scalar(select(query)))


# --- by hand ----------------------------------------------------------------------------------


@operation
def mark_spam(appeal_id: int, by: Principal) -> Appeal:
    """«Это спам»: out of the statistics; its unprocessed deal closes as non-target.

    The number goes to the black list: what comes from it later is suspicious at once.
    """
    appeal = _editable(appeal_id, by)
    if appeal.is_spam:
        raise Conflict(_("Обращение уже в папке «Спам»."))
    appeal.is_spam = True
    appeal.spam_reasons = "отмечено вручную"
    appeal.extra = {**appeal.extra, "spam_by": by.id}
    audit.record("mark_spam", appeal, by)
    deal = _only_reason_of(appeal)
    if deal is not None:
        _close_as_spam(deal, by)
        appeal.extra = {**appeal.extra, "spam_closed_deal": True}
    bus.emit("appeal.created", appeal_id=appeal.id, deal_id=appeal.deal_id)
    return appeal


@operation
def not_spam(appeal_id: int, by: Principal) -> Appeal:
    """«Не спам»: the normal path, with the time at which the appeal really came."""
    appeal = _editable(appeal_id, by)
    if not appeal.is_spam:
        raise Conflict(_("Обращение не в папке «Спам»."))
    appeal.is_spam, appeal.spam_reasons = False, None
    kept = dict(appeal.extra)
    closed = kept.pop("spam_closed_deal", False)
    kept.pop("spam_by", None)
    appeal.extra = kept
    audit.record("not_spam", appeal, by)
    if closed and appeal.deal is not None and appeal.deal.deleted_at is None:
        _reopen(appeal.deal, by)
    elif appeal.deal_id is None:
        _settle(appeal)
    return appeal


def _only_reason_of(appeal: Appeal) -> Deal | None:
    """The unprocessed deal that exists because of this appeal alone."""
    deal = appeal.deal
    if deal is None or deal.is_saved or not appeal.created_deal or deal.deleted_at is not None:
        return None
    others = exists().where(
        Appeal.deal_id == deal.id, Appeal.id != appeal.id, Appeal.is_spam.is_(False)
    )
    return None if db.session.scalar(select(others)) else deal


def _close_as_spam(deal: Deal, by: Principal) -> None:
    stage = _stage_of_type(deal.pipeline_id, StageType.NON_TARGET)
    limits.give_back(deal, by, any_time=True)
    if stage is not None:
        _move(deal, stage, by)


def _reopen(deal: Deal, by: Principal) -> None:
    stage = _stage_of_type(deal.pipeline_id, StageType.IN_WORK)
    if stage is not None and not deal.stage.kind.is_open:
        _move(deal, stage, by)
    deal.is_saved, deal.processed_at = False, None
    deals.tell(deal)


def _move(deal: Deal, stage: Stage, by: Principal) -> None:
    from crm.operations import deal_moves

    deal_moves.move_to_stage(deal.id, stage.id, by, how=MoveHow.RULE)


def _stage_of_type(pipeline_id: int, kind: StageType) -> Stage | None:
    query = (
        select(Stage)
        .where(Stage.pipeline_id == pipeline_id, Stage.active, Stage.type == kind)
        .order_by(Stage.position, Stage.id)
    )
    found: Stage | None = db.session.scalars(query.limit(1)).first()
    return found


def _editable(appeal_id: int, by: Principal) -> Appeal:
    appeal = visibility.get_visible(by, Appeal, appeal_id, Action.EDIT)
    if appeal is not None:
        return appeal
    if visibility.get_visible(by, Appeal, appeal_id) is None:
        raise NotFound(_("Такого обращения нет, или оно вам недоступно."))
    raise Forbidden(_("Это обращение вы можете только смотреть."))


# --- the path ---------------------------------------------------------------------------------


def _row(incoming: Incoming) -> Appeal:
    """The appeal with everything needed to walk the path later, from the folder «Спам»."""
    evidence = incoming.evidence
    numbers = [phone.e164 or phone.raw for phone in incoming.phones]
    kept = {
        "phones": numbers,
        "wishes": {
            "pipeline_id": incoming.pipeline_id,
            "department_id": incoming.department_id,
            "responsible_id": incoming.responsible_id,
        },
        "evidence": {
            "explicit_source_id": evidence.explicit_source_id,
            "called_number": evidence.called_number,
            "default_source_id": evidence.default_source_id,
        },
    }
    return Appeal(
        channel=incoming.channel,
        received_at=incoming.received_at,
        call=incoming.call,
        delivery_id=incoming.delivery_id,
        intake_point_id=incoming.intake_point_id,
        listing_id=incoming.listing_id,
        department_id=incoming.department_id,
        name=incoming.name[:255] or None,
        phone=numbers[0][:64] if numbers else None,
        email=incoming.email[:255] or None,
        deal_type=incoming.deal_type[:20] or None,
        page_url=evidence.page_url or None,
        double_key=incoming.double_key,
        **dict(zip(_MARKS, (mark[:255] or None for mark in evidence.utm), strict=True)),
        **incoming.details,
        extra={**kept, **incoming.extra},
    )


def _evidence(appeal: Appeal) -> Evidence:
    told = appeal.extra.get("evidence", {})
    source, medium, campaign, content = (getattr(appeal, name) or "" for name in _MARKS)
    return Evidence(
        explicit_source_id=told.get("explicit_source_id"),
        called_number=told.get("called_number"),
        default_source_id=told.get("default_source_id"),
        utm=(source, medium, campaign, content),
        page_url=appeal.page_url or "",
        channel=appeal.channel,
        department_id=_wish(appeal, "department_id"),
    )


def _wish(appeal: Appeal, name: str) -> int | None:
    value: int | None = appeal.extra.get("wishes", {}).get(name)
    return value


def _trace(appeal: Appeal, verdict: Verdict) -> None:
    """Put the verdict on the appeal; a source bound to a department gives its department."""
    appeal.source_id = verdict.source_id
    appeal.source_step = int(verdict.step)
    appeal.source_why = verdict.explanation
    bound = sources.rules().department_of(verdict.source_id)
    appeal.department_id = bound if bound is not None else _wish(appeal, "department_id")


def _settle(appeal: Appeal) -> None:
    if appeal.double_key:
        locks.hold("double", [appeal.double_key])
        earlier = _double_of(appeal)
        if earlier is not None:
            _follow(appeal, earlier)
            return
    _meet(appeal)


def _double_of(appeal: Appeal) -> Appeal | None:
    query = (
        select(Appeal)
        .where(
            Appeal.double_key == appeal.double_key,
            Appeal.received_at >= appeal.received_at - DOUBLE_WINDOW,
            Appeal.received_at <= appeal.received_at + DOUBLE_WINDOW,
            Appeal.is_spam.is_(False),
        )
        .order_by(Appeal.id)
    )
    if appeal.id is not None:
        query = query.where(Appeal.id != appeal.id)
    with db.session.no_autoflush:
        found: Appeal | None = db.session.scalars(query.limit(1)).first()
    return found


def _follow(appeal: Appeal, earlier: Appeal) -> None:
    """A double goes where the first one went and disturbs nobody."""
    appeal.contact_id, appeal.deal_id = earlier.contact_id, earlier.deal_id
    appeal.responsible_id = earlier.responsible_id
    appeal.is_repeat = True
    appeal.extra = {**appeal.extra, "duplicate_of": earlier.id}
    db.session.flush()


def _meet(appeal: Appeal) -> None:
    contact, created = contacts.find_or_create(
        appeal.extra.get("phones", []), appeal.email, appeal.name
    )
    appeal.contact = contact
    appeal.is_repeat = not created
    pipeline_id = _wanted_pipeline(appeal)
    deal = open_deal(contact.id, pipeline_id, appeal.listing_id)
    if deal is not None:
        _attach(appeal, deal)
    else:
        deal = _new_deal(appeal, contact, pipeline_id)
    db.session.flush()
    kind = EventKind.CALL if appeal.call_id else EventKind.REQUEST
    timeline.note(
        kind, deal=deal, contact=contact, call=appeal.call, appeal=appeal, at=appeal.received_at
    )
    listeners = [deal.responsible_id] if deal.responsible_id is not None else None
    bus.emit("appeal.created", listeners, appeal_id=appeal.id, deal_id=deal.id)
    deals.tell(deal)


def _attach(appeal: Appeal, deal: Deal) -> None:
    appeal.deal = deal
    appeal.responsible_id = deal.responsible_id
    if appeal.department_id is None:
        appeal.department_id = deal.department_id


def _new_deal(appeal: Appeal, contact: Contact, pipeline_id: int | None) -> Deal:
    owner = _wish(appeal, "responsible_id")
    responsible_id = owner if owner is not None and _is_active(owner) else None
    deal = deals.create_deal(
        pipeline_id=pipeline_id or _default_pipeline(appeal.department_id),
        by=None,
        contact=contact,
        responsible_id=responsible_id,
        department_id=appeal.department_id,
        source_id=appeal.source_id,
        channel=appeal.channel,
        is_saved=False,
        listing_id=appeal.listing_id,
        how=MoveHow.INTAKE,
        received_at=appeal.received_at,
    )
    appeal.deal, appeal.created_deal = deal, True
    appeal.responsible_id = responsible_id
    return deal


def _wanted_pipeline(appeal: Appeal) -> int | None:
    """Named by the door, else the one that serves what the client wants to do."""
    named = _wish(appeal, "pipeline_id")
    side = _SIDES.get(appeal.deal_type or "")
    if named is not None or side is None:
        return named
    query = select(Pipeline.id).where(Pipeline.active, Pipeline.side == side)
    found: int | None = db.session.scalars(
        query.order_by(Pipeline.is_default.desc(), Pipeline.position, Pipeline.id).limit(1)
    ).first()
    return found


def _default_pipeline(department_id: int | None) -> int:
    """The department's pipeline, else the agency's."""
    own = pipeline_department.c
    mine = exists().where(own.pipeline_id == Pipeline.id, own.department_id == department_id)
    query = (
        select(Pipeline.id)
        .where(Pipeline.active)
        .order_by(
            case((mine, 0), else_=1),
            Pipeline.is_default.desc(),
            Pipeline.position,
            Pipeline.id,
        )
    )
    found: int | None = db.session.scalars(query.limit(1)).first()
    if found is None:
        raise Conflict(_("Нет ни одной включённой воронки: сделку завести негде."))
    return found


def _is_active(employee_id: int) -> bool:
    employee = db.session.get(Employee, employee_id)
    return employee is not None and bool(employee.active)
