"""Foreign feeds into listings: every offer accounted for, nothing doubled, nothing lost at once.

A run can be repeated after any failure: an offer is known by (feed, internal-id), and one that has
not changed since the last import is not written again, so what people edited meanwhile stays. When
the offer does change, the feed wins in all its fields; the state and the people are ours.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update

from crm.integrations.errors import IntegrationError
from crm.integrations.http import FetchFailed, FetchRefused, GuardedClient
from crm.integrations.portals import registry
from crm.integrations.portals.base import FeedBroken, OfferRead, OfferRefused
from crm.models import (
    EventKind,
    FeedRun,
    FeedRunItem,
    ImportFeed,
    Listing,
    ListingState,
    RunState,
    StoredFile,
    TimelineEvent,
    db,
)
from crm.operations import audit, bulk, bus, feeds, files, import_batch, locks, photos
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.files import FileTooLarge
from crm.operations.import_batch import Counts, Target
from crm.operations.transaction import operation, transaction
from crm.security.principal import Principal
from crm.values.clock import utc_now

RUN_JOB = "crm.jobs.feeds.run_import"
BATCH = 500
MAX_FILE_BYTES = 512 * 1024 * 1024
MISSING_SHARE = 0.2
MISSING_FOR = dt.timedelta(hours=24)
# Longer than a job may run: what is older died with its process.
_ABANDONED = dt.timedelta(hours=2)
_FETCH_SECONDS = 900.0
_CHUNK = 256 * 1024
_OK = 200
_EMIT_SECONDS = 1.0
_ALIVE = (
    ListingState.DRAFT,
    ListingState.MODERATION,
    ListingState.ACTIVE,
    ListingState.DEPOSIT,
)
_BUSY = (RunState.QUEUED, RunState.RUNNING)


# --- starting ---------------------------------------------------------------------------------


def start_import(
    import_feed: ImportFeed,
    source: BinaryIO | bytes | str | None = None,
    *,
    dry_run: bool = False,
    by: Principal | None = None,
    enqueue: bool = True,
) -> FeedRun:
    """Take a file (or an address, by default the feed's own) and queue its import.

    Raises Forbidden, Conflict (an import of this feed runs), ValidationErrors (no address, a
    file too large). ``enqueue`` False: the caller runs it himself.
    """
    if by is not None and not by.may_open("can_list", "Imports"):
        raise Forbidden(_("Вы не можете загружать объекты из файлов."))
    stored = None
    if isinstance(source, str):
        set_address(import_feed, source)
    elif source is not None:
        stored = _keep_upload(source)
    elif not (import_feed.address or {}).get("url"):
        raise ValidationErrors.one("address", _("Укажите адрес файла."))
    return _start(import_feed.id, stored, by, dry_run=dry_run, enqueue=enqueue)


def run_again(run_id: int, by: Principal | None, *, dry_run: bool = False) -> FeedRun:
    """A new run over the same file, or the same address anew; see `start_import`."""
    run = find_run(run_id)
    if run.import_feed is None:
        raise NotFound(_("Такой загрузки нет."))
    if run.file is None:
        return start_import(run.import_feed, dry_run=dry_run, by=by)
    return _start(run.import_feed.id, run.file, by, dry_run=dry_run, enqueue=True)


@operation
def set_address(import_feed: ImportFeed, url: str) -> None:
    """Remember where the feed lies; the address may hold a key and is kept encrypted."""
    if errors := feeds.check_url(url):
        raise ValidationErrors(errors)
    if (import_feed.address or {}).get("url") != url:
        import_feed.address = {"url": url}


def find_run(run_id: int) -> FeedRun:
    """The run; raises NotFound."""
    run: FeedRun | None = db.session.get(FeedRun, run_id, populate_existing=True)
    if run is None:
        raise NotFound(_("Такой загрузки нет."))
    return run


def _keep_upload(source: BinaryIO | bytes) -> StoredFile:
    chunks = [source] if isinstance(source, bytes) else iter(lambda: source.read(_CHUNK), b"")
    try:
        return files.store_stream(chunks, "application/xml", MAX_FILE_BYTES, kind="imports")
    except FileTooLarge:
        raise ValidationErrors.one("file", _("Файл слишком большой.")) from None


@operation
def _start(
    import_feed_id: int,
    stored: StoredFile | None,
    by: Principal | None,
    *,
    dry_run: bool,
    enqueue: bool,
) -> FeedRun:
    locks.hold("import", [str(import_feed_id)])
    _bury_abandoned(import_feed_id)
    busy = select(FeedRun.id).where(
        FeedRun.import_feed_id == import_feed_id, FeedRun.state.in_(_BUSY)
    )
    if db.session.scalar(busy.limit(1)) is not None:
        raise Conflict(_("Загрузка этого источника уже идёт."))
    run = FeedRun(
        import_feed_id=import_feed_id,
        state=RunState.QUEUED,
        dry_run=dry_run,
        actor_id=by.id if by else None,
        file_id=stored.id if stored else None,
    )
    db.session.add(run)
    db.session.flush()
    audit.record("import", run, by, after={"dry_run": dry_run})
    bus.emit("run.changed", None, run_id=run.id)
    if enqueue:
        bus.enqueue("feeds", RUN_JOB, run.id, job_id=f"import-{run.id}")
    return run


def _bury_abandoned(import_feed_id: int) -> None:
    db.session.execute(
        update(FeedRun)
        .where(
            FeedRun.import_feed_id == import_feed_id,
            FeedRun.state == RunState.RUNNING,
            FeedRun.started_at < utc_now() - _ABANDONED,
        )
        .values(state=RunState.FAILED, finished_at=utc_now(), error=_INTERRUPTED)
    )


_INTERRUPTED = "Загрузка прервана: процесс остановился"


def enqueue_waiting() -> int:
    """Queue the runs whose job was lost with the queue; how many. Raises RedisError."""
    query = select(FeedRun.id).where(
        FeedRun.import_feed_id.is_not(None), FeedRun.state == RunState.QUEUED
    )
    found = list(db.session.scalars(query))
    for run_id in found:
        bus.enqueue_now("feeds", RUN_JOB, run_id, job_id=f"import-{run_id}")
    return len(found)


# --- running ----------------------------------------------------------------------------------


def run_import(run_id: int) -> FeedRun:
    """Read the file offer by offer and store it by batches; the run with its counts.

    A failed run may be run again: nothing is doubled. Raises Conflict when the run is under way
    or done, and whatever unforeseen happened, after the run is marked failed.
    """
    _claim(run_id)
    try:
        target, portal, dry_run = _target(run_id)
        with files.open_file(_file(run_id)) as stream, bulk.settled_memory():
            broken = _take_in(
                target, registry.get(portal).read(cast("BinaryIO", stream)), dry_run=dry_run
            )
        if broken is not None:
            _finish(run_id, RunState.FAILED, broken.message)
        else:
            _settle(run_id)
    except (IntegrationError, FileTooLarge, OSError) as error:
        _finish(run_id, RunState.FAILED, _words(error))
    except BaseException as error:
        db.session.rollback()
        _finish(run_id, RunState.FAILED, f"Внутренняя ошибка ({type(error).__name__})")
        raise
    return find_run(run_id)


def _words(error: Exception) -> str:
    if isinstance(error, IntegrationError):
        return error.message
    if isinstance(error, FileTooLarge):
        return f"Файл больше {MAX_FILE_BYTES // 1024 // 1024} МБ"
    return f"Не удалось прочитать файл ({type(error).__name__})"


@operation
def _claim(run_id: int) -> None:
    """Begin, once: counts and the account of an earlier try are dropped."""
    taken = db.session.execute(
        update(FeedRun)
        .where(
            FeedRun.id == run_id,
            FeedRun.import_feed_id.is_not(None),
            FeedRun.state.in_((RunState.QUEUED, RunState.FAILED)),
        )
        .values(
            state=RunState.RUNNING,
            started_at=utc_now(),
            finished_at=None,
            error=None,
            **Counts().values(),
        )
        .execution_options(synchronize_session=False)
    )
    assert isinstance(taken, CursorResult)
    if not taken.rowcount:
        raise Conflict(_("Загрузка уже идёт или закончена."))
    db.session.execute(delete(FeedRunItem).where(FeedRunItem.run_id == run_id))
    bus.emit("run.changed", None, run_id=run_id)


def _target(run_id: int) -> tuple[Target, str, bool]:
    run = find_run(run_id)
    feed = run.import_feed
    assert feed is not None  # the claim saw to it
    target = Target(
        import_feed_id=feed.id,
        run_id=run_id,
        responsible_id=feed.responsible_id,
        department_id=feed.department_id,
        state_for_new=feed.state_for_new,
    )
    return target, feed.portal, run.dry_run


def _file(run_id: int) -> StoredFile:
    """The uploaded file, or the one fetched now and kept for another try."""
    run = find_run(run_id)
    if run.file is not None:
        return run.file
    assert run.import_feed is not None
    url = str((run.import_feed.address or {}).get("url") or "")
    db.session.commit()
    client = GuardedClient(
        allow_private_hosts=current_app.config["OUTBOUND_ALLOW_PRIVATE"],
        total_timeout=_FETCH_SECONDS,
    )
    with client.request("GET", url, stream=True, max_bytes=MAX_FILE_BYTES) as answer:
        if answer.status != _OK:
            failure = FetchRefused if 400 <= answer.status < 500 else FetchFailed  # noqa: PLR2004
            raise failure(f"Сервер файла ответил {answer.status}")
        stored = files.store_stream(
            answer.iter_bytes(), "application/xml", MAX_FILE_BYTES, kind="imports"
        )
    _remember_file(run_id, stored.id)
    return stored


@operation
def _remember_file(run_id: int, file_id: int) -> None:
    db.session.execute(update(FeedRun).where(FeedRun.id == run_id).values(file_id=file_id))


def _take_in(
    target: Target,
    results: Iterable[OfferRead | OfferRefused | FeedBroken],
    *,
    dry_run: bool,
) -> FeedBroken | None:
    counts, told, waiting = Counts(), time.monotonic(), False
    broken: FeedBroken | None = None
    for group in _batches(results):
        offers = [result for result in group if not isinstance(result, FeedBroken)]
        broken = next((result for result in group if isinstance(result, FeedBroken)), None)
        tell = time.monotonic() - told > _EMIT_SECONDS
        if tell:
            told = time.monotonic()
        waiting |= _write_batch(target, offers, counts, dry_run=dry_run, tell=tell)
    if waiting:
        with transaction():
            photos.wake()
    return broken


def _batches(
    results: Iterable[OfferRead | OfferRefused | FeedBroken],
) -> Iterator[list[OfferRead | OfferRefused | FeedBroken]]:
    source = iter(results)
    while group := list(itertools.islice(source, BATCH)):
        yield group


@operation
def _write_batch(
    target: Target,
    offers: list[OfferRead | OfferRefused],
    counts: Counts,
    *,
    dry_run: bool,
    tell: bool,
) -> bool:
    waiting = import_batch.write(target, offers, counts, dry_run=dry_run)
    db.session.execute(
        update(FeedRun)
        .where(FeedRun.id == target.run_id)
        .values(counts.values())
        .execution_options(synchronize_session=False)
    )
    if tell:
        bus.emit("run.changed", None, run_id=target.run_id)
    return waiting


# --- what is no longer in the file ------------------------------------------------------------


def missing_listings(run: FeedRun) -> ColumnElement[bool]:
    """Condition of the feed's live listings that the run's file does not have."""
    seen = select(FeedRunItem.listing_id).where(
        FeedRunItem.run_id == run.id, FeedRunItem.listing_id.is_not(None)
    )
    return (
        (Listing.import_feed_id == run.import_feed_id)
        & Listing.state.in_(_ALIVE)
        & Listing.id.not_in(seen)
    )


@operation
def _settle(run_id: int) -> None:
    run = find_run(run_id)
    gone = missing_listings(run)
    vanished = _count(gone & Listing.missing_since.is_(None))
    alive = _count((Listing.import_feed_id == run.import_feed_id) & Listing.state.in_(_ALIVE))
    known = alive - (0 if run.dry_run else run.created)
    question = None
    if vanished and vanished > known * MISSING_SHARE:
        question = f"В файле нет {vanished} из {known} объектов. Убрать их?"
    if question and not run.dry_run:
        _finish(run_id, RunState.HELD, question)
        return
    if not run.dry_run:
        _let_go(run)
    _finish(run_id, RunState.DONE, question)


@operation
def confirm_import(run_id: int, by: Principal) -> FeedRun:
    """A person says that the vanished listings are gone indeed. Raises Conflict."""
    run = _held(run_id, by)
    _let_go(run)
    return _decided(run, by, "confirm")


@operation
def dismiss_import(run_id: int, by: Principal) -> FeedRun:
    """A person says that the file was not whole: nothing is missing. Raises Conflict."""
    return _decided(_held(run_id, by), by, "dismiss")


def _held(run_id: int, by: Principal) -> FeedRun:
    if not by.may_open("can_list", "Imports"):
        raise Forbidden(_("Вы не можете загружать объекты из файлов."))
    run = find_run(run_id)
    if run.import_feed_id is None or run.state != RunState.HELD:
        raise Conflict(_("По этой загрузке решение уже принято."))
    return run


def _decided(run: FeedRun, by: Principal, action: str) -> FeedRun:
    audit.record(action, run, by, before={"question": run.error})
    run.state, run.error, run.finished_at = RunState.DONE, None, utc_now()
    bus.emit("run.changed", None, run_id=run.id)
    return run


def _let_go(run: FeedRun) -> None:
    """Note what is missing; archive what has been missing in two good runs and for a day."""
    gone, now = missing_listings(run), utc_now()
    table = Listing.__table__
    late = select(Listing.id, Listing.state).where(gone, Listing.missing_since <= now - MISSING_FOR)
    states = {row.id: row.state for row in db.session.execute(late)}
    db.session.execute(
        update(Listing)
        .where(gone, Listing.missing_since.is_(None))
        .values(missing_since=now, updated_at=table.c.updated_at)
        .execution_options(synchronize_session=False)
    )
    bulk.update_by_id(
        table,
        [{"b_id": pk, "state": str(ListingState.ARCHIVE), "updated_at": now} for pk in states],
    )
    bulk.insert(
        TimelineEvent.__table__,
        [
            {
                "listing_id": pk,
                "kind": str(EventKind.STATE),
                "occurred_at": now,
                "data": {"run_id": run.id, "old": old, "new": str(ListingState.ARCHIVE)},
            }
            for pk, old in states.items()
        ],
    )


def _count(condition: ColumnElement[bool]) -> int:
    return int(db.session.scalar(select(func.count()).select_from(Listing).where(condition)) or 0)


@operation
def _finish(run_id: int, state: RunState, error: str | None) -> None:
    db.session.execute(
        update(FeedRun)
        .where(FeedRun.id == run_id)
        .values(state=state, error=error, finished_at=utc_now())
        .execution_options(synchronize_session=False)
    )
    bus.emit("run.changed", None, run_id=run_id)


__all__ = [
    "confirm_import", "dismiss_import", "enqueue_waiting", "find_run", "missing_listings",
    "run_again", "run_import", "set_address", "start_import",
]  # fmt: skip
