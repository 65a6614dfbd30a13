"""Jobs of the queue «default»: recordings of calls."""

from __future__ import annotations

from crm.jobs.context import job_context
from crm.operations import recordings


def fetch(call_id: int) -> None:
    """Fetch the recording of one call."""
    with job_context():
        recordings.fetch(call_id)


def fetch_due() -> None:
    """Queue a fetch for every recording that is due."""
    with job_context():
        recordings.enqueue_due()
