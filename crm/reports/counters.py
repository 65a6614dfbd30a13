"""Counters beside the menu: what waits for the person now."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, literal, select, union_all

from crm.models import Deal, Listing, ListingState, ObjectKind, Scope, StageType, Task, db
from crm.models.pipeline import Stage
from crm.reports.missed_calls import waiting_clients
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

# Beyond this a number says nothing more, and counting it costs.
CAP = 1000


def menu_counters(principal: Principal) -> dict[str, int]:
    """What waits in each section of the menu (1 query).

    Own open deals, overdue tasks, unprocessed deals, clients to be called back, active listings.
    """
    open_stages = select(Stage.id).where(Stage.type == StageType.IN_WORK)
    deals = select(Deal.id).where(
        Deal.deleted_at.is_(None), Deal.stage_id.in_(open_stages), _mine(principal)
    )
    overdue = select(Task.id).where(
        Task.responsible_id == principal.id, Task.done_at.is_(None), Task.due_at < utc_now()
    )
    unprocessed = visibility.visible(
        select(Deal.id).where(~Deal.is_saved, Deal.stage_id.in_(open_stages)), principal, Deal
    )
    listings = select(Listing.id).where(Listing.state == ListingState.ACTIVE)
    queries = {
        "deals": deals,
        "tasks": overdue,
        "appeals": unprocessed,
        "calls": waiting_clients(principal),
        "listings": listings,
    }
    counted = [
        select(literal(name), func.count()).select_from(query.limit(CAP).subquery())
        for name, query in queries.items()
    ]
    return {row[0]: row[1] for row in db.session.execute(union_all(*counted))}


def _mine(principal: Principal) -> ColumnElement[bool]:
    if principal.scope(ObjectKind.DEAL) is Scope.ALL:
        return visibility.condition(principal, Deal)
    return Deal.responsible_id == principal.id
