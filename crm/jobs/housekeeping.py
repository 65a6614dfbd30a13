"""Jobs that keep the house: forgotten deliveries, old events, dead sign-ins."""

from __future__ import annotations

from crm.jobs.context import job_context
from crm.operations import inbox, schedule


def sweep_inbox() -> None:
    """Take in what no wake-up job has taken in for a minute."""
    with job_context():
        inbox.sweep()


def purge() -> None:
    """Delete old browser events and dead sign-ins."""
    with job_context() as app:
        schedule.purge(app.config["SESSION_IDLE_HOURS"])
