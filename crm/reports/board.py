"""The board: counts and sums of each stage, and the newest deals of each, page by page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, case, func, select, tuple_, union_all

from crm.models import Deal, Stage, db
from crm.reports.deal_cards import DealCard, card_columns, cards, cards_of
from crm.reports.deal_filters import Condition, DealFilters, conditions
from crm.reports.stages import StageBook
from crm.security.principal import Principal
from crm.values.clock import utc_now

PAGE = 25
_ID_DIGITS = 10


@dataclass(slots=True)
class StageTotal:
    """Figures of one stage under the present filters."""

    count: int = 0
    amount: Decimal = Decimal(0)
    no_task: int = 0
    overdue: int = 0
    unprocessed: int = 0


@dataclass(slots=True)
class Column:
    """One stage of the board with its first cards."""

    stage: Stage
    total: StageTotal
    cards: list[DealCard] = field(default_factory=list)
    more: bool = False

    @property
    def after(self) -> str:
        """Key of the next page."""
        return page_key(self.cards[-1]) if self.cards else ""

    @property
    def crowded(self) -> bool:
        """More deals than the stage should hold."""
        limit = self.stage.wip_color_threshold
        return bool(limit) and self.total.count > (limit or 0)


def page_key(card: DealCard) -> str:
    """Where a column's page ends: moment on the stage and id."""
    return f"{card.stage_entered_at.isoformat()},{card.id}"


def parse_key(text: str | None) -> tuple[dt.datetime, int] | None:
    """A page key, None when it makes no sense."""
    moment, _, number = (text or "").partition(",")
    try:
        entered = dt.datetime.fromisoformat(moment.replace(" ", "+"))
    except ValueError:
        return None
    if entered.tzinfo is None or not number.isdecimal() or len(number) > _ID_DIGITS:
        return None
    return entered, int(number)


def totals(
    principal: Principal, filters: DealFilters, book: StageBook, stages: Sequence[Stage]
) -> dict[int, StageTotal]:
    """Figures of all the stages in one aggregate query."""
    return _totals(conditions(principal, filters, book), book, stages)


def _totals(
    where: list[Condition], book: StageBook, stages: Sequence[Stage]
) -> dict[int, StageTotal]:
    if not stages:
        return {}
    late = Deal.next_task_due < utc_now()
    query = (
        select(
            Deal.stage_id,
            func.count(),
            func.coalesce(func.sum(Deal.amount), 0),
            func.sum(case((Deal.next_task_due.is_(None), 1), else_=0)),
            func.sum(case((late, 1), else_=0)),
            func.sum(case((~Deal.is_saved, 1), else_=0)),
        )
        .where(*_of_stages(stages), *where)
        .group_by(Deal.stage_id)
    )
    tasked = set(book.tasked_ids())
    return {
        stage_id: StageTotal(
            count, Decimal(amount), no_task if stage_id in tasked else 0, overdue, unprocessed
        )
        for stage_id, count, amount, no_task, overdue, unprocessed in db.session.execute(query)
    }


def columns(
    principal: Principal, filters: DealFilters, book: StageBook, stages: Sequence[Stage]
) -> list[Column]:
    """The whole board in two queries, however many deals there are."""
    where = conditions(principal, filters, book)
    figures = _totals(where, book, stages)
    # A limited walk of the index per stage: a window function would read every deal.
    pages = [
        select(_newest(where, stage, None).subquery().c.id)
        for stage in stages
        if figures.get(stage.id)
    ]
    made = {stage.id: Column(stage, figures.get(stage.id, StageTotal())) for stage in stages}
    for card in _load(principal, book, pages):
        made[card.stage_id].cards.append(card)
    for column in made.values():
        column.more = len(column.cards) > PAGE
        del column.cards[PAGE:]
    return list(made.values())


def next_cards(
    principal: Principal,
    filters: DealFilters,
    book: StageBook,
    stage: Stage,
    after: tuple[dt.datetime, int] | None,
) -> tuple[list[DealCard], bool]:
    """The cards of a stage below ``after`` and whether more follow (1 query)."""
    page = _newest(conditions(principal, filters, book), stage, after)
    found = _load(principal, book, [page])
    return found[:PAGE], len(found) > PAGE


def one_card(
    principal: Principal, filters: DealFilters, book: StageBook, deal_id: int
) -> DealCard | None:
    """One card when the person sees the deal and the filters let it through."""
    query = select(Deal.id).where(Deal.id == deal_id, *conditions(principal, filters, book))
    if db.session.scalar(query) is None:
        return None
    return cards_of(principal, [deal_id], book).get(deal_id)


def _of_stages(stages: Sequence[Stage]) -> list[Condition]:
    pipelines = {stage.pipeline_id for stage in stages}
    return [Deal.pipeline_id.in_(pipelines), Deal.stage_id.in_([stage.id for stage in stages])]


def _newest(
    where: list[Condition], stage: Stage, after: tuple[dt.datetime, int] | None
) -> Select[Any]:
    query = select(Deal.id).where(
        Deal.pipeline_id == stage.pipeline_id, Deal.stage_id == stage.id, *where
    )
    if after is not None:
        query = query.where(tuple_(Deal.stage_entered_at, Deal.id) < after)
    newest = (Deal.stage_entered_at.desc(), Deal.id.desc())
    return query.order_by(*newest).limit(PAGE + 1)


def _load(principal: Principal, book: StageBook, pages: list[Select[Any]]) -> list[DealCard]:
    if not pages:
        return []
    ids = union_all(*pages).subquery() if len(pages) > 1 else pages[0].subquery()
    query = card_columns(principal).where(Deal.id.in_(select(ids.c.id)))
    query = query.order_by(Deal.stage_entered_at.desc(), Deal.id.desc())
    return cards(principal, db.session.execute(query).all(), book)
