"""Marks that every operation on a deal leaves: it is processed, the pages are told."""

from __future__ import annotations

from crm.models import Deal
from crm.operations import audit, bus
from crm.security.principal import Principal
from crm.values.clock import utc_now


def mark_processed(deal: Deal, by: Principal | None) -> bool:
    """End the unprocessed mark and keep the moment; False when it was over already.

    Part of an operation that holds the deal's lock.
    """
    if deal.is_saved:
        return False
    deal.is_saved = True
    deal.processed_at = deal.processed_at or utc_now()
    audit.record("processed", deal, by)
    return True


def tell(deal: Deal, from_stage_id: int | None = None) -> None:
    """Let open pages know: the kind and ids only."""
    bus.emit(
        "deal.changed",
        deal_id=deal.id,
        pipeline_id=deal.pipeline_id,
        stage_id=deal.stage_id,
        from_stage_id=from_stage_id or deal.stage_id,
    )
