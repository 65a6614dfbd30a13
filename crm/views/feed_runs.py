"""What the reports of builds and of imports share."""

from __future__ import annotations

from typing import Any

from flask import request

from crm.models import FeedRun
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports import feeds as report
from crm.security.principal import current_principal
from crm.views import arguments
from crm.views import listing_labels as labels

_LARGEST_ID = 2**31 - 1


def run_context(run: FeedRun) -> dict[str, Any]:
    """Counts, commonest reasons and a page of the items of a run."""
    outcome = arguments.choice("outcome", labels.OUTCOMES)
    text = arguments.text("q")
    counts = report.outcome_counts(run.id)
    if not outcome and not text and "outcome" not in request.args and counts.get("refused"):
        # What has to be mended is what people come for.
        outcome = "refused"
    page = report.items(current_principal(), run.id, outcome, text, run_number("after"))
    return {
        "run": run,
        "page": page,
        "counts": counts,
        "reasons": report.frequent_reasons(run.id) if counts.get("refused") else [],
        "outcome": outcome,
        "text": text,
        "labels": labels,
        "OUTCOMES": labels.OUTCOMES,
        "RUN_STATES": labels.RUN_STATES,
        "going_on": run.state in report.GOING_ON,
        "link": arguments.link,
    }


def run_number(name: str) -> int | None:
    """An id in the address."""
    text = request.args.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 10:  # noqa: PLR2004
        return None
    return min(int(text), _LARGEST_ID)


def refuse(error: OperationError) -> dict[str, str]:
    """Complaints by field; those of no field under the empty name."""
    if not isinstance(error, ValidationErrors):
        return {"": error.message}
    found: dict[str, str] = {}
    for item in error.errors:
        found[item.field] = f"{found.get(item.field, '')} {item.message}".strip()
    return found
