"""Jobs of the queue «default»: photos of imported listings."""

from __future__ import annotations

from crm.jobs.context import job_context
from crm.operations import photos


def fetch_due() -> None:
    """Fetch the photos that are due, for two minutes at most; one job, never one a photo."""
    with job_context():
        photos.fetch_due()
