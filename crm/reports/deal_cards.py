"""A deal as a card of the board or a line of the list, from one row of SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case, select

from crm.models import Action, Company, Contact, ContactPhone, Deal, Employee, Source, db
from crm.reports.company import company
from crm.reports.stages import StageBook
from crm.security import masking, visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now, zone

CHANNEL_ICONS = {
    "call": "phone-incoming",
    "site_form": "world",
    "tilda": "world",
    "vk_lead_form": "brand-vk",
    "vk_message": "brand-vk",
    "vk_ads": "brand-vk",
    "meta_leadgen": "brand-meta",
    "avito_chat": "message",
    "cian_chat": "message",
    "domclick_chat": "home-check",
    "avito_call": "phone-incoming",
    "cian_call": "phone-incoming",
    "yandex_call": "phone-incoming",
    "email": "mail",
    "chat_widget": "message-circle",
    "telegram": "brand-telegram",
    "whatsapp": "brand-whatsapp",
    "import": "table-import",
    "api": "plug-connected",
}


@dataclass(frozen=True, slots=True)
class DealCard:
    """What a card and a line show, phones already masked as the person may see them."""

    id: int
    pipeline_id: int
    stage_id: int
    stage_entered_at: dt.datetime
    created_at: dt.datetime
    name: str
    phone: str
    need: str
    amount: Decimal | None
    source: str
    source_phone: str
    icon: str
    channel: str
    task_due: dt.datetime | None
    task_text: str
    task_timed: bool
    late: bool
    wants_task: bool
    days: int
    responsible_id: int | None
    responsible: str
    is_saved: bool
    editable: bool
    takeable: bool
    version: int

    @property
    def title(self) -> str:
        """Name of the client, else the phone; empty when neither is known."""
        return self.name or self.phone

    @property
    def task(self) -> dict[str, Any] | None:
        """The next task as ``ui.task_badge`` takes it."""
        if self.task_due is None:
            return None
        return {
            "due_at": self.task_due,
            "has_time": self.task_timed,
            "text": self.task_text,
            "late": self.late,
        }


def flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """A condition as a column: 1 or 0 on both databases."""
    return case((condition, 1), else_=0)


_OWN_COLUMNS = (
    Deal.id,
    Deal.pipeline_id,
    Deal.stage_id,
    Deal.stage_entered_at,
    Deal.created_at,
    Deal.need_text,
    Deal.amount,
    Deal.channel,
    Deal.next_task_due,
    Deal.next_task_text,
    Deal.responsible_id,
    Deal.is_saved,
    Deal.version,
)


def _what_all_see() -> Select[*tuple[Any, ...]]:
    phone = (
        select(ContactPhone.number)
        .where(ContactPhone.contact_id == Deal.contact_id)
        .order_by(ContactPhone.position, ContactPhone.id)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            *_OWN_COLUMNS,
            Contact.name.label("contact_name"),
            Contact.is_owner,
            phone.label("phone"),
            Source.name.label("source_name"),
            Source.icon.label("source_icon"),
            Source.phone.label("source_phone"),
            Employee.first_name,
            Employee.last_name,
        )
        .outerjoin(Contact, Contact.id == Deal.contact_id)
        .outerjoin(Source, Source.id == Deal.source_id)
        .outerjoin(Employee, Employee.id == Deal.responsible_id)
    )


# Made once: it costs as much as a third of the cards.
_WHAT_ALL_SEE = _what_all_see()


def card_columns(principal: Principal) -> Select[*tuple[Any, ...]]:
    """Everything that a card needs, without a second table per row."""
    editable = flag(visibility.condition(principal, Deal, Action.EDIT))
    takeable = flag(visibility.may_take_condition(principal))
    return _WHAT_ALL_SEE.add_columns(editable.label("editable"), takeable.label("takeable"))


def cards(principal: Principal, rows: Sequence[Row[Any]], book: StageBook) -> list[DealCard]:
    """Cards of rows selected by ``card_columns``."""
    firm, now, tasked = company(), utc_now(), set(book.tasked_ids())
    return [_card(principal, row, firm, now, row.stage_id in tasked) for row in rows]


def cards_of(principal: Principal, ids: Sequence[int], book: StageBook) -> dict[int, DealCard]:
    """Cards by id, of the visible ones among ``ids`` (1 query)."""
    query = card_columns(principal).where(Deal.id.in_(ids))
    rows = db.session.execute(visibility.visible(query, principal, Deal)).all()
    return {card.id: card for card in cards(principal, rows, book)}


def hidden_contacts(principal: Principal, firm: Company, is_owner: bool, own: bool) -> bool:
    """Whether phones of a deal's client are masked for the person."""
    return masking.hides_contacts(
        principal, is_owner=is_owner, own=own, own_shown=firm.show_contacts_in_own_deals
    )


def shown_client(name: str | None, is_owner: bool, hidden: bool) -> str:
    """The client's name; of an owner whose contacts are hidden, the first name only."""
    return masking.shown_name(name or "", hidden and is_owner)


def _card(
    principal: Principal, row: Row[Any], firm: Company, now: dt.datetime, tasked: bool
) -> DealCard:
    own = row.responsible_id == principal.id
    hidden = hidden_contacts(principal, firm, bool(row.is_owner), own)
    due = row.next_task_due
    return DealCard(
        id=row.id,
        pipeline_id=row.pipeline_id,
        stage_id=row.stage_id,
        stage_entered_at=row.stage_entered_at,
        created_at=row.created_at,
        name=shown_client(row.contact_name, bool(row.is_owner), hidden),
        phone=masking.shown_phone(row.phone, hidden),
        need=row.need_text or "",
        amount=row.amount,
        source=row.source_name or "",
        source_phone=row.source_phone or "" if row.channel == "call" else "",
        icon=row.source_icon or CHANNEL_ICONS.get(row.channel, "user-plus"),
        channel=row.channel,
        task_due=due,
        task_text=row.next_task_text or "",
        task_timed=is_timed(due, firm),
        late=due is not None and due < now,
        wants_task=due is None and tasked,
        days=max((now - row.stage_entered_at).days, 0),
        responsible_id=row.responsible_id,
        responsible=f"{row.first_name or ''} {row.last_name or ''}".strip(),
        is_saved=bool(row.is_saved),
        editable=bool(row.editable),
        takeable=bool(row.takeable) and not own,
        version=row.version,
    )


def is_timed(due: dt.datetime | None, firm: Company) -> bool:
    """A task without a time is due at the end of the working day: then only the day is said."""
    return due is not None and due.astimezone(zone(firm.timezone)).time() != firm.work_end
