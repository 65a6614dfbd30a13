"""Jobs that the tests of workers run."""

from __future__ import annotations

import os
import time
from pathlib import Path

from flask import current_app
from sqlalchemy import select

from crm.jobs.context import job_context
from crm.models import Employee, db


def write_pid(path: str) -> None:
    """Leave the id of the process that ran the job, proving the application works in it."""
    with job_context():
        people = len(list(db.session.scalars(select(Employee.id))))
        Path(path).write_text(f"{os.getpid()} {people} {current_app.name}")


def fail(_number: int) -> None:
    """A job that always fails."""
    raise LookupError("нет такой записи")


def sleep(path: str, seconds: float) -> None:
    """A job that takes long."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
