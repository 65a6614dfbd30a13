"""Jobs of feeds and photos do their work in a context of their own."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.jobs import feeds, photos
from crm.models import Employee, FeedRun, RunState, db
from crm.operations import bus, imports, publishing
from tests.operations import feed_ground as ground


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is handed to the queue, without a queue."""
    found: list[Any] = []
    monkeypatch.setattr(bus, "enqueue_now", lambda *args, **more: found.append((args, more)))
    return found


def runs_of(feed_id: int) -> list[int | None]:
    """Who has asked for the feed's builds, in their order."""
    query = select(FeedRun.actor_id).where(FeedRun.feed_id == feed_id).order_by(FeedRun.id)
    return list(db.session.scalars(query))


def test_an_import_and_a_build_run_as_jobs(
    app: Flask, queued: list[Any], people: dict[str, Employee]
) -> None:
    ground.company()
    started = imports.start_import(ground.source(), ground.written(ground.flats(2)))
    assert queued == [(("feeds", imports.RUN_JOB, started.id), {"job_id": f"import-{started.id}"})]
    feeds.run_import(started.id)
    assert imports.find_run(started.id).state == RunState.DONE
    feeds.run_import(started.id)  # delivered twice: nothing happens

    made = ground.feed()
    feeds.build(made.id)
    assert publishing.by_token(made.token).offers == 2  # type: ignore[union-attr]
    assert runs_of(made.id) == [None], "by the schedule"
    feeds.build(made.id, people["marketer"].id)
    assert runs_of(made.id) == [None, people["marketer"].id], (
        "«Собрать сейчас» says whose press it was"
    )
    feeds.build(10_000)  # deleted meanwhile


def test_due_feeds_and_lost_imports_are_queued(app: Flask, queued: list[Any]) -> None:
    made = ground.feed()
    started = imports.start_import(ground.source(), b"<x/>", enqueue=False)
    feeds.build_due()
    assert [args for args, _more in queued] == [
        ("feeds", publishing.BUILD_JOB, made.id),
        ("feeds", imports.RUN_JOB, started.id),
    ]


def test_no_photos_due_is_no_work(app: Flask) -> None:
    photos.fetch_due()
