"""Everything the deal card shows besides its feed, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, func, literal, select, union_all
from sqlalchemy.orm import joinedload

from crm.models import (
    Action,
    Appeal,
    Call,
    Contact,
    Deal,
    Listing,
    RequiredField,
    Stage,
    StageHistory,
    StageStatus,
    StageType,
    Task,
    db,
)
from crm.reports.company import company
from crm.reports.deal_cards import flag, hidden_contacts, shown_client
from crm.reports.stages import StageBook
from crm.security import masking, visibility
from crm.security.principal import Principal

MAX_TASKS = 50


@dataclass(frozen=True, slots=True)
class ShownPhone:
    """A number as the person may see it; ``id`` lets him call without seeing it."""

    id: int
    text: str
    extension: str = ""


@dataclass(frozen=True, slots=True)
class BarStage:
    """A stage in the bar: passed, present or ahead."""

    stage: Stage
    passed: bool
    present: bool


@dataclass(slots=True)
class DealSheet:
    """The card."""

    deal: Deal
    stage: Stage
    editable: bool
    takeable: bool
    deletable: bool
    hidden: bool
    client: str = ""
    phones: list[ShownPhone] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    bar: list[BarStage] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    first_appeal: Appeal | None = None
    counts: dict[str, int] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    listing: Listing | None = None

    @property
    def next_task(self) -> Task | None:
        """The nearest undone task."""
        return self.tasks[0] if self.tasks else None


def deal_sheet(principal: Principal, deal_id: int, book: StageBook) -> DealSheet | None:
    """The card of a deal that the person sees, else None (about 9 queries)."""
    found = _load(principal, deal_id)
    if found is None:
        return None
    deal, editable, takeable, deletable = found
    contact = deal.contact
    is_owner = bool(contact and contact.is_owner)
    own = deal.responsible_id == principal.id
    hidden = hidden_contacts(principal, company(), is_owner, own)
    sheet = DealSheet(
        deal=deal,
        stage=book.stages.get(deal.stage_id) or deal.stage,
        editable=bool(editable),
        takeable=bool(takeable) and not own,
        deletable=bool(deletable),
        hidden=hidden,
    )
    if contact is not None:
        _fill_client(sheet, contact, is_owner)
    sheet.bar = _bar(principal, deal, book)
    sheet.tasks = open_tasks(principal, deal_id)
    sheet.first_appeal = _first_appeal(deal_id)
    sheet.counts = _counts(principal, deal)
    sheet.required = _required(deal, book)
    if deal.listing_id is not None:
        sheet.listing = visibility.get_visible(principal, Listing, deal.listing_id)
    return sheet


def _load(principal: Principal, deal_id: int) -> Any:
    query: Any = select(
        Deal,
        flag(visibility.condition(principal, Deal, Action.EDIT)),
        flag(visibility.may_take_condition(principal)),
        flag(visibility.condition(principal, Deal, Action.DELETE)),
    ).where(Deal.id == deal_id)
    query = query.options(
        joinedload(Deal.contact),
        joinedload(Deal.responsible),
        joinedload(Deal.author),
        joinedload(Deal.department),
        joinedload(Deal.source),
        joinedload(Deal.loss_reason),
    )
    return db.session.execute(visibility.visible(query, principal, Deal)).one_or_none()


def _fill_client(sheet: DealSheet, contact: Contact, is_owner: bool) -> None:
    sheet.client = shown_client(contact.name, is_owner, sheet.hidden)
    sheet.phones = [
        ShownPhone(phone.id, masking.shown_phone(phone.number, sheet.hidden), phone.extension or "")
        for phone in contact.phones
    ]
    sheet.emails = [masking.shown_email(row.email, sheet.hidden) for row in contact.emails]


def _bar(principal: Principal, deal: Deal, book: StageBook) -> list[BarStage]:
    visited = set(
        db.session.scalars(
            select(StageHistory.to_stage_id)
            .where(StageHistory.deal_id == deal.id, ~StageHistory.undone)
            .distinct()
        )
    )
    shown = book.shown(deal.pipeline_id, principal)
    current = book.stages.get(deal.stage_id)
    if current is not None and current not in shown:
        # A deal in the archive, or on a stage switched off, still shows where it is.
        shown = [*shown, current]
    place = current.position if current else 0
    return [
        BarStage(
            stage,
            passed=stage.id in visited and stage.position < place,
            present=stage.id == deal.stage_id,
        )
        for stage in shown
    ]


def open_tasks(principal: Principal, deal_id: int) -> list[Task]:
    """Undone tasks of the deal, the nearest first."""
    query = (
        select(Task)
        .where(Task.deal_id == deal_id, Task.done_at.is_(None))
        .options(joinedload(Task.responsible), joinedload(Task.author))
        .order_by(Task.due_at, Task.id)
        .limit(MAX_TASKS)
    )
    return list(db.session.scalars(visibility.visible(query, principal, Task)))


def done_tasks(principal: Principal, deal_id: int) -> list[Task]:
    """Done tasks of the deal, the latest first."""
    query = (
        select(Task)
        .where(Task.deal_id == deal_id, Task.done_at.is_not(None))
        .options(joinedload(Task.responsible))
        .order_by(Task.done_at.desc(), Task.id.desc())
        .limit(MAX_TASKS)
    )
    return list(db.session.scalars(visibility.visible(query, principal, Task)))


def _first_appeal(deal_id: int) -> Appeal | None:
    query = (
        select(Appeal)
        .where(Appeal.deal_id == deal_id)
        .options(joinedload(Appeal.source), joinedload(Appeal.call))
        .order_by(Appeal.received_at, Appeal.id)
        .limit(1)
    )
    found: Appeal | None = db.session.scalars(query).first()
    return found


def _counts(principal: Principal, deal: Deal) -> dict[str, int]:
    """Calls and appeals of the deal, tasks of any state, other deals of the client (1 query)."""
    closed = case((Deal.stage_id.in_(_closed_stages()), 1), else_=0)
    others = visibility.visible(
        select(func.count(), func.coalesce(func.sum(closed), 0))
        .select_from(Deal)
        .where(Deal.contact_id == deal.contact_id, Deal.contact_id.is_not(None)),
        principal,
        Deal,
    ).subquery()
    calls = select(func.count()).select_from(Call).where(Call.deal_id == deal.id)
    appeals = select(func.count()).select_from(Appeal).where(Appeal.deal_id == deal.id)
    tasks = (
        select(func.count())
        .select_from(Task)
        .where(Task.deal_id == deal.id, Task.done_at.is_(None))
    )
    parts = [
        select(literal("calls"), calls.scalar_subquery()),
        select(literal("appeals"), appeals.scalar_subquery()),
        select(literal("tasks"), tasks.scalar_subquery()),
        select(literal("deals"), others.c[0]),
        select(literal("closed"), others.c[1]),
    ]
    return {name: int(count) for name, count in db.session.execute(union_all(*parts))}


def _closed_stages() -> Any:
    return select(Stage.id).where(Stage.type != StageType.IN_WORK)


def _required(deal: Deal, book: StageBook) -> set[str]:
    """Fields that the pipeline demands on the deal's present stage."""
    present = book.stages.get(deal.stage_id)
    place = present.position if present else 0
    rows = db.session.execute(
        select(RequiredField.field, RequiredField.from_stage_id).where(
            RequiredField.pipeline_id == deal.pipeline_id
        )
    )
    return {
        code
        for code, stage_id in rows
        if stage_id is None
        or (stage := book.stages.get(stage_id)) is None
        or stage.position <= place
    }


def presets(stage_id: int) -> Sequence[StageStatus]:
    """Ready task texts of a stage (domain §4)."""
    query = (
        select(StageStatus)
        .where(StageStatus.stage_id == stage_id, StageStatus.active)
        .order_by(StageStatus.position, StageStatus.id)
    )
    return list(db.session.scalars(query))


def calls_of(principal: Principal, deal_id: int) -> list[tuple[Call, bool]]:
    """The latest calls of a deal and whether the person may hear each."""
    query: Any = (
        select(Call, flag(visibility.recording_condition(principal)))
        .where(Call.deal_id == deal_id)
        .options(joinedload(Call.employee), joinedload(Call.source))
        .order_by(Call.started_at.desc(), Call.id.desc())
        .limit(100)
    )
    rows = db.session.execute(visibility.visible(query, principal, Call))
    return [(call, bool(hear)) for call, hear in rows]


def appeals_of(principal: Principal, deal_id: int) -> list[Appeal]:
    """The latest appeals of a deal with their sources."""
    query = (
        select(Appeal)
        .where(Appeal.deal_id == deal_id)
        .options(joinedload(Appeal.source), joinedload(Appeal.call))
        .order_by(Appeal.received_at.desc(), Appeal.id.desc())
        .limit(100)
    )
    return list(db.session.scalars(visibility.visible(query, principal, Appeal)))
