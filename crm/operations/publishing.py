"""Building feeds: streamed, checked, swapped in at once; a bad build never replaces a good file."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast
from xml.parsers import expat

from flask_babel import gettext as _
from sqlalchemy import delete, func, or_, select, update

from crm.integrations.portals import registry
from crm.integrations.portals.base import Offer, Portal, Refusal, Severity
from crm.models import (
    Company,
    Feed,
    FeedRun,
    FeedRunItem,
    Listing,
    RunState,
    StoredFile,
    db,
)
from crm.operations import audit, bulk, bus, feed_offers, files, locks
from crm.operations.errors import Conflict, Forbidden, NotFound
from crm.operations.feed_offers import Terms, to_offer
from crm.operations.feeds import feed_url
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values.clock import utc_now

BUILD_JOB = "crm.jobs.feeds.build"
# Losing more than this at once looks like an accident: a person is asked.
KEPT_SHARE = 0.7
GZIP_LEVEL = 6
_CHUNK = 1024 * 1024
_MAX_BYTES = 4 * 1024**3
_OFFER = b"<offer "
_ABANDONED = dt.timedelta(hours=2)
_RETRY_FAILED = dt.timedelta(hours=1)
# Names and phones of the staff stand in feeds and are not watched.
_REBUILD_AFTER = dt.timedelta(hours=24)
_NOTE_FETCH = dt.timedelta(minutes=1)
_ITEMS = 1000


class BuildFailed(Exception):
    """The file cannot be made as things are; the message is for a person."""


@dataclass(slots=True)
class _Built:
    """A finished file waiting to be published."""

    offers: int = 0
    total: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    sha256: str = ""


# --- building ---------------------------------------------------------------------------------


def build_feed(feed_id: int, force: bool = False, actor_id: int | None = None) -> FeedRun:
    """Build the feed's file and publish it; the run with its counts and refusals.

    ``actor_id`` is the employee who asked for it, None for the schedule.
    A build that would lose more than 30 % of the offers is held for a person unless ``force``.
    Raises NotFound, Conflict (it is being built now), and whatever unforeseen happened, after
    the run is marked failed; the last good file stays in any case.
    """
    return _run(_begin(feed_id, actor_id), force=force)


def confirm_build(run_id: int, by: Principal) -> FeedRun:
    """A person wants the smaller file published: it is built anew. Raises Conflict, Forbidden."""
    _resume(run_id, by)
    return _run(run_id, force=True)


def _run(run_id: int, *, force: bool) -> FeedRun:
    try:
        with tempfile.TemporaryFile() as plain, tempfile.TemporaryFile() as packed:
            with bulk.settled_memory():
                built = _write(run_id, plain)
            _verify(plain, packed, built)
            if not force and (question := _question(run_id, built)):
                _finish(run_id, RunState.HELD, built, question)
            else:
                _publish(run_id, built, plain, packed)
    except (BuildFailed, OSError) as error:
        db.session.rollback()
        reason = str(error) if isinstance(error, BuildFailed) else _("Не удалось записать файл.")
        _finish(run_id, RunState.FAILED, None, reason)
    except BaseException as error:
        db.session.rollback()
        _finish(run_id, RunState.FAILED, None, f"Внутренняя ошибка ({type(error).__name__})")
        raise
    return _find_run(run_id)


@operation
def _begin(feed_id: int, actor_id: int | None) -> int:
    locks.hold("feed", [str(feed_id)])
    if db.session.get(Feed, feed_id) is None:
        raise NotFound(_("Такого фида нет."))
    _bury(feed_id)
    busy = select(FeedRun.id).where(FeedRun.feed_id == feed_id, FeedRun.state == RunState.RUNNING)
    if db.session.scalar(busy.limit(1)) is not None:
        raise Conflict(_("Фид уже собирается."))
    run = FeedRun(feed_id=feed_id, state=RunState.RUNNING, actor_id=actor_id)
    db.session.add(run)
    db.session.flush()
    bus.emit("run.changed", None, run_id=run.id)
    return int(run.id)


def _bury(feed_id: int) -> None:
    """Runs whose process died, and questions that a new build makes pointless."""
    now = utc_now()
    mine = FeedRun.feed_id == feed_id
    dead = (FeedRun.state == RunState.RUNNING) & (FeedRun.started_at < now - _ABANDONED)
    for condition, words in (
        (dead, _("Сборка прервана: процесс остановился.")),
        (FeedRun.state == RunState.HELD, _("Заменена следующей сборкой.")),
    ):
        db.session.execute(
            update(FeedRun)
            .where(mine, condition)
            .values(state=RunState.FAILED, finished_at=now, error=words)
        )


@operation
def _resume(run_id: int, by: Principal) -> None:
    if not by.may_open("can_list", "Feeds"):
        raise Forbidden(_("Вы не можете публиковать фиды."))
    run = _find_run(run_id)
    if run.feed_id is None or run.state != RunState.HELD:
        raise Conflict(_("По этой сборке решение уже принято."))
    audit.record("confirm", run, by, before={"question": run.error})
    run.state, run.error, run.started_at = RunState.RUNNING, None, utc_now()
    db.session.execute(delete(FeedRunItem).where(FeedRunItem.run_id == run_id))


def _write(run_id: int, out: IO[bytes]) -> _Built:
    """Stream the file; refused listings are noted and left out."""
    feed, company = _feed_of(run_id), company_of()
    _demand_agency(company)
    portal, common = registry.get(feed.portal), feed_offers.terms(feed, company)
    built = _Built()
    report = portal.write(
        _accepted(feed, company, portal, common, run_id, built),
        cast("BinaryIO", out),
        generated_at=feed_offers.newest_change(feed, company),
        agency=common.agency,
        modern=feed.modern,
    )
    built.offers = report.written
    for public_id, reason in report.skipped:
        built.refused.append(_item(run_id, built.total, public_id, None, [reason]))
    # The reading ends here: nothing is held while the file is checked and stored.
    db.session.commit()
    return built


def _accepted(
    feed: Feed, company: Company, portal: Portal, common: Terms, run_id: int, built: _Built
) -> Iterator[Offer]:
    for entry in feed_offers.entries(feed, company):
        built.total += 1
        reasons = _reasons(portal, entry.offer, common)
        if reasons:
            item = _item(run_id, built.total, entry.offer.public_id, entry.listing_id, reasons)
            built.refused.append(item)
        else:
            yield entry.offer


def _reasons(portal: Portal, offer: Offer, common: Terms) -> list[str]:
    return [
        refusal.message
        for refusal in portal.check(offer, common.agency, modern=common.modern)
        if refusal.severity is Severity.REFUSE and refusal.field != "agency"
    ]


def _item(
    run_id: int, position: int, public_id: str, listing_id: int | None, reasons: list[str]
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "position": position,
        "internal_id": public_id,
        "listing_id": listing_id,
        "outcome": "refused",
        "reasons": reasons,
    }


def _demand_agency(company: Company) -> None:
    if not (company.name or "").strip():
        raise BuildFailed(_("Укажите название компании: без него фид не примут."))
    if not (company.ogrn_name or "").strip():
        raise BuildFailed(_("Укажите наименование компании по ОГРН: без него фид не примут."))


def _verify(plain: IO[bytes], packed: IO[bytes], built: _Built) -> None:
    """One more reading: the XML is whole, the count is right; the packed twin comes along."""
    parser, digest, count, tail = expat.ParserCreate(), hashlib.sha256(), 0, b""
    plain.seek(0)
    with gzip.GzipFile("", "wb", GZIP_LEVEL, packed, mtime=0) as zipped:
        while chunk := plain.read(_CHUNK):
            parser.Parse(chunk, False)
            digest.update(chunk)
            zipped.write(chunk)
            joined = tail + chunk
            count += joined.count(_OFFER)
            tail = joined[-(len(_OFFER) - 1) :]
    parser.Parse(b"", True)
    if count != built.offers:
        raise BuildFailed(_("Проверка не сошлась: в файле не столько предложений."))
    built.sha256 = digest.hexdigest()


def _question(run_id: int, built: _Built) -> str | None:
    before = _feed_of(run_id).offers or 0
    if built.offers >= before * KEPT_SHARE:
        return None
    question: str = _(
        "Было %(before)s предложений, стало %(now)s. Опубликовать?",
        before=before,
        now=built.offers,
    )
    return question


# --- publishing -------------------------------------------------------------------------------


def _publish(run_id: int, built: _Built, plain: IO[bytes], packed: IO[bytes]) -> None:
    feed = _feed_of(run_id)
    if feed.file is not None and feed.gzip_file is not None and feed.file.sha256 == built.sha256:
        _note_built(run_id, built)
        return
    kept = [_keep(plain, "application/xml"), _keep(packed, "application/gzip")]
    try:
        _swap(run_id, built, *kept)
    except BaseException:
        db.session.rollback()
        for stored in kept:
            files.delete_file(db.session.merge(stored))
        raise


def _keep(stream: IO[bytes], content_type: str) -> StoredFile:
    stream.seek(0)
    chunks = iter(lambda: stream.read(_CHUNK), b"")
    return files.store_stream(chunks, content_type, _MAX_BYTES, kind="feeds")


@operation
def _swap(run_id: int, built: _Built, plain: StoredFile, packed: StoredFile) -> None:
    feed = _feed_of(run_id)
    old = [stored for stored in (feed.file, feed.gzip_file) if stored is not None]
    _set(
        feed,
        file_id=plain.id,
        gzip_file_id=packed.id,
        etag=built.sha256,
        offers=built.offers,
        built_at=utc_now(),
    )
    for stored in old:
        files.delete_file(stored)
    _finish(run_id, RunState.DONE, built, None)


@operation
def _note_built(run_id: int, built: _Built) -> None:
    _set(_feed_of(run_id), offers=built.offers, built_at=utc_now())
    _finish(run_id, RunState.DONE, built, None, unchanged=built.offers)


def _set(feed: Feed, **values: Any) -> None:
    """Bookkeeping: the moment of the feed's settings stays, it is written into the file."""
    table = Feed.__table__
    db.session.execute(
        update(table).where(table.c.id == feed.id).values(**values, updated_at=table.c.updated_at)
    )
    db.session.expire(feed)


@operation
def _finish(
    run_id: int,
    state: RunState,
    built: _Built | None,
    error: str | None,
    unchanged: int = 0,
) -> None:
    values: dict[str, Any] = {"state": state, "error": error, "finished_at": utc_now()}
    if built is not None:
        values |= {
            "total": built.total,
            "created": built.offers,
            "refused": len(built.refused),
            "unchanged": unchanged,
        }
        for start in range(0, len(built.refused), _ITEMS):
            bulk.insert(FeedRunItem.__table__, built.refused[start : start + _ITEMS])
    db.session.execute(
        update(FeedRun)
        .where(FeedRun.id == run_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    bus.emit("run.changed", None, run_id=run_id)


# --- what is asked from outside ---------------------------------------------------------------


def check_listing(listing: Listing, feed: Feed) -> list[Refusal]:
    """What the feed's portal would say about this listing, in the order of its rules."""
    company = company_of()
    common = feed_offers.terms(feed, company)
    refusals = registry.get(feed.portal).check(
        to_offer(listing, company, feed), common.agency, modern=feed.modern
    )
    return [refusal for refusal in refusals if refusal.field != "agency"]


def due_feeds(now: dt.datetime | None = None) -> list[int]:
    """Active feeds with something new since their last build (3 queries)."""
    now = now or utc_now()
    last = {run.feed_id: run for run in _last_runs()}
    moments = (db.session.scalar(select(func.max(Listing.updated_at))), company_of().updated_at)
    newest = max(moment for moment in moments if moment is not None)
    feeds = db.session.scalars(select(Feed).where(Feed.active).order_by(Feed.id))
    return [feed.id for feed in feeds if _is_due(feed, last.get(feed.id), newest, now)]


def _is_due(feed: Feed, run: FeedRun | None, newest: dt.datetime, now: dt.datetime) -> bool:
    if run is None or max(newest, feed.updated_at) >= run.started_at:
        return True
    pause = {RunState.FAILED: _RETRY_FAILED, RunState.DONE: _REBUILD_AFTER}.get(RunState(run.state))
    return pause is not None and run.started_at < now - pause


def _last_runs() -> list[FeedRun]:
    last = (
        select(func.max(FeedRun.id)).where(FeedRun.feed_id.is_not(None)).group_by(FeedRun.feed_id)
    )
    return list(db.session.scalars(select(FeedRun).where(FeedRun.id.in_(last))))


def by_token(token: str) -> Feed | None:
    """The active feed at this secret address, fresh from the database."""
    query = select(Feed).where(Feed.token == token, Feed.active)
    found: Feed | None = db.session.scalars(
        query.execution_options(populate_existing=True)
    ).one_or_none()
    return found


@operation
def note_fetch(feed_id: int) -> None:
    """Remember that the portal came; once a minute at most."""
    now, table = utc_now(), Feed.__table__
    db.session.execute(
        update(table)
        .where(
            table.c.id == feed_id,
            or_(table.c.fetched_at.is_(None), table.c.fetched_at < now - _NOTE_FETCH),
        )
        .values(fetched_at=now, updated_at=table.c.updated_at)
    )


def public_file(token: str) -> StoredFile | None:
    """The public picture with this token."""
    query = select(StoredFile).where(
        StoredFile.public_token == token, StoredFile.content_type.like("image/%")
    )
    found: StoredFile | None = db.session.scalars(query).one_or_none()
    return found


def company_of() -> Company:
    """The agency's own data; raises NotFound before the installation."""
    company: Company | None = db.session.scalars(select(Company).order_by(Company.id)).first()
    if company is None:
        raise NotFound(_("Сначала заполните данные компании."))
    return company


def _feed_of(run_id: int) -> Feed:
    query = select(Feed).join(FeedRun, FeedRun.feed_id == Feed.id).where(FeedRun.id == run_id)
    feed: Feed = db.session.scalars(query.execution_options(populate_existing=True)).one()
    return feed


def _find_run(run_id: int) -> FeedRun:
    run: FeedRun | None = db.session.get(FeedRun, run_id, populate_existing=True)
    if run is None:
        raise NotFound(_("Такой сборки нет."))
    return run


__all__ = [
    "build_feed", "by_token", "check_listing", "company_of", "confirm_build", "due_feeds",
    "feed_url", "note_fetch", "public_file", "to_offer",
]  # fmt: skip
