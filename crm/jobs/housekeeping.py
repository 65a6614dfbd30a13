"""Jobs that keep the house: forgotten deliveries, old events, dead sign-ins."""

from __future__ import annotations

import datetime as dt

from crm.jobs.context import job_context
from crm.operations import inbox, schedule

# The scheduler has other things to do in between.
_BATCH = 200


def sweep_inbox() -> None:
    """Take in what no wake-up job has taken in."""
    with job_context():
        inbox.sweep()


def drain_without_queue() -> None:
    """Take in whatever is due: without the queue no worker is woken for it."""
    with job_context():
        inbox.sweep(limit=_BATCH, age=dt.timedelta())


def wake_worker() -> None:
    """The queue is back: what came meanwhile waits for a worker."""
    with job_context():
        inbox.wake_anew()


def purge() -> None:
    """Delete old browser events and dead sign-ins."""
    with job_context() as app:
        schedule.purge(app.config["SESSION_IDLE_HOURS"])
