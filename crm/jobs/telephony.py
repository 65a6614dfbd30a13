"""Jobs of telephony: looks into the history, subscriptions, recordings past their time."""

from __future__ import annotations

import logging

from crm.jobs.context import job_context
from crm.operations import call_endings, call_history, recordings, subscriptions
from crm.operations.errors import OperationError

log = logging.getLogger(__name__)


def order_histories() -> None:
    """Order a look at the last two hours of every operator's calls."""
    with job_context():
        call_history.order_due()


def order_nightly_histories() -> None:
    """Order a look at the last three days: operators add recordings and rows late."""
    with job_context():
        call_history.order_due(call_history.NIGHTLY)


def sync_history(run_id: int) -> None:
    """Make an ordered look."""
    with job_context():
        try:
            call_history.run(run_id)
        except OperationError as error:
            log.info("history run %s is not made: %s", run_id, error.message)


def renew_subscriptions() -> None:
    """Renew subscriptions that end soon."""
    with job_context():
        subscriptions.renew_due()


def watch_subscriptions() -> None:
    """Make anew the subscriptions that operators have dropped."""
    with job_context():
        subscriptions.watch()


def end_abandoned() -> None:
    """End calls whose end no event has told."""
    with job_context():
        call_endings.end_abandoned()


def expire_recordings() -> None:
    """Delete recordings that are kept no longer."""
    with job_context():
        recordings.delete_expired()
