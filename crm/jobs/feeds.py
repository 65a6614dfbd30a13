"""Jobs of the queue «feeds»: builds and imports."""

from __future__ import annotations

import logging

from crm.jobs.context import job_context
from crm.operations import bus, imports, publishing
from crm.operations.errors import OperationError

log = logging.getLogger(__name__)


def build(feed_id: int, actor_id: int | None = None) -> None:
    """Build one feed; ``actor_id`` names the employee who has asked for it."""
    with job_context():
        try:
            publishing.build_feed(feed_id, actor_id=actor_id)
        except OperationError as error:
            # Built by somebody else right now, or deleted meanwhile: nothing to repeat.
            log.info("feed %s is not built: %s", feed_id, error.message)


def build_due() -> None:
    """Queue a build of every feed with something new, and imports whose job was lost."""
    with job_context():
        for feed_id in publishing.due_feeds():
            bus.enqueue_now("feeds", publishing.BUILD_JOB, feed_id, job_id=f"feed-{feed_id}")
        imports.enqueue_waiting()


def run_import(run_id: int) -> None:
    """Take a foreign feed in."""
    with job_context():
        try:
            imports.run_import(run_id)
        except OperationError as error:
            log.info("import %s is not run: %s", run_id, error.message)
