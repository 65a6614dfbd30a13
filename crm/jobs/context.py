"""The application around a job: built once a process, one context and one session a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flask import Flask, current_app, has_app_context

from crm.models import db


@dataclass
class _Process:
    """What this process has: how its application is made, and the application once made."""

    factory: Callable[[], Flask] | None = None
    app: Flask | None = None


_process = _Process()


def provide(factory: Callable[[], Flask]) -> None:
    """Say how the application is made; the command that starts a worker does it."""
    _process.factory = factory


def application() -> Flask:
    """The process's application, built at the first call.

    Raises RuntimeError when nobody has said how to build it.
    """
    if _process.app is None:
        if _process.factory is None:
            raise RuntimeError("no application: jobs run under `crm worker` or in its context")
        _process.app = _process.factory()
        os.register_at_fork(after_in_child=_forget_connections)
    return _process.app


@contextmanager
def job_context() -> Iterator[Flask]:
    """A fresh application context, so a session of the job's own, removed at its end.

    Inside a running application (tests, a sweep in the scheduler) that application is used.
    """
    app: Flask = current_app._get_current_object() if has_app_context() else application()  # type: ignore[attr-defined]
    with app.app_context():
        try:
            yield app
        finally:
            db.session.remove()


def _forget_connections() -> None:
    """In a child after fork: the parent's connections are the parent's to close."""
    if _process.app is None:
        return
    with _process.app.app_context():
        for engine in db.engines.values():
            engine.dispose(close=False)
