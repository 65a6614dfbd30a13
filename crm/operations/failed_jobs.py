"""Failed background jobs: once more, or away."""

from __future__ import annotations

from flask_babel import gettext as _
from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from crm.models import AuditEntry, db
from crm.operations import bus
from crm.operations.errors import Conflict, NotFound
from crm.operations.transaction import operation
from crm.security.principal import Principal


@operation
def retry(job_id: str, by: Principal) -> None:
    """Put a failed job back into its queue; raises NotFound, Conflict."""
    job = _find(job_id)
    try:
        _registry(job).requeue(job)
    except InvalidJobOperation as error:
        raise Conflict(_("Это задание уже не в списке неудачных.")) from error
    except RedisError as error:
        raise _unreachable() from error
    _note("retry_job", job, by)


@operation
def discard(job_id: str, by: Principal) -> None:
    """Delete a failed job; raises NotFound, Conflict."""
    job = _find(job_id)
    try:
        _registry(job).remove(job, delete_job=True)
    except RedisError as error:
        raise _unreachable() from error
    _note("discard_job", job, by)


def _find(job_id: str) -> Job:
    try:
        job = Job.fetch(job_id, connection=bus.redis(), serializer=JSONSerializer)
        if not job.is_failed:
            raise Conflict(_("Это задание уже не в списке неудачных."))
    except NoSuchJobError as error:
        raise NotFound(_("Такого задания нет.")) from error
    except RedisError as error:
        raise _unreachable() from error
    return job


def _registry(job: Job) -> FailedJobRegistry:
    return FailedJobRegistry(queue=bus.queue(job.origin))


def _unreachable() -> Conflict:
    return Conflict(_("Очередь не отвечает. Повторите, когда Redis снова заработает."))


def _note(action: str, job: Job, by: Principal) -> None:
    db.session.add(
        AuditEntry(
            actor_id=by.id,
            action=action,
            object_type="job",
            after={"job": job.id, "function": job.func_name},
        )
    )
