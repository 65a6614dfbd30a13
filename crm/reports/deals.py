"""The list of deals: one page by key, a capped count, and the rows of an export."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, select

from crm.models import Action, Deal, db
from crm.reports import row_pages
from crm.reports.deal_cards import DealCard, card_columns, cards
from crm.reports.deal_filters import DealFilters, conditions
from crm.reports.stages import StageBook
from crm.security import visibility
from crm.security.principal import Principal

PAGE = 25
EXPORT_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ListOrder:
    """A column the list may be ordered by."""

    column: Any
    kind: type
    nullable: bool = False


ORDERS: dict[str, ListOrder] = {
    "created": ListOrder(Deal.created_at, dt.datetime),
    "number": ListOrder(Deal.id, int),
    "amount": ListOrder(Deal.amount, Decimal, nullable=True),
    "task": ListOrder(Deal.next_task_due, dt.datetime, nullable=True),
    "stage_time": ListOrder(Deal.stage_entered_at, dt.datetime),
}


@dataclass(slots=True)
class DealPage:
    """One page of the list."""

    cards: list[DealCard]
    previous: str
    following: str
    count: int
    capped: bool


def deal_page(
    principal: Principal,
    filters: DealFilters,
    book: StageBook,
    *,
    pipeline_id: int | None = None,
    order: str = "created",
    descending: bool = True,
    after: str = "",
    before: str = "",
) -> DealPage:
    """25 deals that the person sees (2 to 4 queries)."""
    by = ORDERS.get(order, ORDERS["created"])
    ids = _ids(principal, filters, book, pipeline_id)
    keyed = ids.add_columns(by.column.label("sort_value"), Deal.id.label("sort_id"))
    asked = row_pages.Order(by.column, Deal.id, by.kind, descending, by.nullable)
    page = row_pages.read_page(keyed, asked, PAGE, after, before)
    count, capped = row_pages.capped_count(ids)
    return DealPage(
        _in_order(principal, book, [row.sort_id for row in page.rows]),
        page.previous,
        page.following,
        count,
        capped,
    )


def matching_ids(
    principal: Principal,
    filters: DealFilters,
    book: StageBook,
    pipeline_id: int | None,
    limit: int,
) -> list[int]:
    """Ids of the newest matching deals: «выбрать все»."""
    query = _ids(principal, filters, book, pipeline_id).order_by(Deal.id.desc()).limit(limit)
    return list(db.session.scalars(query))


def export(
    principal: Principal, filters: DealFilters, book: StageBook, pipeline_id: int | None
) -> Iterator[DealCard]:
    """All matching deals that the person may export, newest first, a chunk a query."""
    ids = visibility.visible(
        _ids(principal, filters, book, pipeline_id), principal, Deal, Action.EXPORT
    ).order_by(Deal.id.desc())
    last: int | None = None
    while True:
        part = ids if last is None else ids.where(Deal.id < last)
        found = list(db.session.scalars(part.limit(EXPORT_CHUNK)))
        yield from _in_order(principal, book, found)
        if len(found) < EXPORT_CHUNK:
            return
        last = found[-1]


def _ids(
    principal: Principal, filters: DealFilters, book: StageBook, pipeline_id: int | None
) -> Select[Any]:
    query = select(Deal.id).where(*conditions(principal, filters, book))
    return query if pipeline_id is None else query.where(Deal.pipeline_id == pipeline_id)


def _in_order(principal: Principal, book: StageBook, ids: list[int]) -> list[DealCard]:
    if not ids:
        return []
    rows = db.session.execute(card_columns(principal).where(Deal.id.in_(ids))).all()
    found = {card.id: card for card in cards(principal, rows, book)}
    return [found[deal_id] for deal_id in ids if deal_id in found]
