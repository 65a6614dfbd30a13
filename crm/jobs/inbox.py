"""Job of the queue «calls»: take the inbox in."""

from __future__ import annotations

from crm.jobs.context import job_context
from crm.operations import inbox


def drain() -> None:
    """Take in what is due."""
    with job_context():
        inbox.drain()
