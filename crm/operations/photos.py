"""Photos of listings: uploaded by people, fetched from feeds, in an order that people choose."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import CursorResult, delete, func, or_, select, update

from crm.integrations import images
from crm.integrations.errors import IntegrationError
from crm.integrations.http import FetchFailed, FetchRefused, GuardedClient
from crm.integrations.images import ImageRefused, PreparedPhoto
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import OfferPhoto
from crm.models import (
    Action,
    EventKind,
    Listing,
    ListingPhoto,
    PhotoState,
    StoredFile,
    db,
)
from crm.operations import audit, bulk, bus, files, rows, timeline
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.files import FileTooLarge
from crm.operations.transaction import operation
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

MAX_PHOTOS = 60
FETCH_JOB = "crm.jobs.photos.fetch_due"
# Pauses after failed tries; after the last one the photo is given up.
BACK_OFF = (
    dt.timedelta(minutes=2),
    dt.timedelta(minutes=15),
    dt.timedelta(hours=1),
    dt.timedelta(hours=6),
    dt.timedelta(hours=24),
)
_LEASE = dt.timedelta(minutes=10)
_FETCH_SECONDS = 30.0
_ERROR_LENGTH = 500
_GONE = frozenset({400, 401, 403, 404, 410})
# One job works this long at most, so that recordings in the same queue do not wait.
_JOB_SECONDS = 120.0
_FILES = ("large_id", "medium_id", "thumb_id")
_OK = 200


# --- by hand ----------------------------------------------------------------------------------


def add_photo(
    listing_id: int, by: Principal, upload: BinaryIO | bytes, kind: str = v.PhotoKind.PHOTO
) -> ListingPhoto:
    """Store an uploaded picture after the others.

    Raises NotFound, Forbidden, and ValidationErrors naming ``photo`` (no picture, too large).
    The picture is converted outside the transaction: it takes long.
    """
    _editable(listing_id, by)
    word = _kind(kind)
    if count_photos(listing_id) >= MAX_PHOTOS:
        raise ValidationErrors.one(
            "photo", _("У объекта уже %(limit)s фотографий.", limit=MAX_PHOTOS)
        )
    try:
        prepared = images.prepare(upload)
    except ImageRefused as error:
        raise ValidationErrors.one("photo", str(error)) from error
    kept = _store(prepared)
    try:
        return _add(listing_id, by, word, prepared, kept)
    except BaseException:
        _forget(kept)
        raise


@operation
def _add(
    listing_id: int,
    by: Principal,
    kind: str,
    prepared: PreparedPhoto,
    kept: Mapping[str, StoredFile],
) -> ListingPhoto:
    listing = _locked(listing_id, by)
    photo = ListingPhoto(
        listing_id=listing_id,
        position=_next_position(listing_id),
        kind=kind,
        state=PhotoState.STORED,
        width=prepared.width,
        height=prepared.height,
        **{f"{size}_id": stored.id for size, stored in kept.items()},
    )
    db.session.add(photo)
    db.session.flush()
    _changed(listing, by, added=1)
    return photo


@operation
def reorder(listing_id: int, by: Principal, photo_ids: Sequence[int]) -> None:
    """Put the photos in this order; the first one is the cover.

    Raises Conflict when the ids are not exactly the listing's photos now.
    """
    listing = _locked(listing_id, by)
    present = {photo.id: photo for photo in photos_of(listing_id)}
    if set(present) != set(photo_ids) or len(present) != len(photo_ids):
        raise Conflict(_("Набор фотографий изменился. Обновите страницу."))
    for position, pk in enumerate(photo_ids):
        present[pk].position = position
    _changed(listing, by, reordered=len(present))


@operation
def set_kind(photo_id: int, by: Principal, kind: str) -> ListingPhoto:
    """Say what the picture shows: a photo, a plan. Raises ValidationErrors naming ``kind``."""
    photo, listing = _photo(photo_id, by)
    photo.kind = _kind(kind)
    _changed(listing, by, shows=photo.kind)
    return photo


@operation
def delete_photo(photo_id: int, by: Principal) -> None:
    """Delete a photo; its files go after the commit."""
    photo, listing = _photo(photo_id, by)
    before = audit.snapshot(photo)
    audit.record("delete", photo, by, before=before)
    drop([photo_id])
    db.session.expunge(photo)
    _changed(listing, by, deleted=1)


def copy_photos(source_id: int, target_id: int) -> None:
    """Give the target the same pictures; the files are shared, not copied."""
    table = ListingPhoto.__table__
    kept = [column for column in table.c if column.name not in ("id", "listing_id")]
    rows = db.session.execute(select(*kept).where(table.c.listing_id == source_id)).mappings()
    bulk.insert(table, [dict(row) | {"listing_id": target_id} for row in rows])


def photos_of(listing_id: int) -> list[ListingPhoto]:
    """Photos of a listing in their order."""
    query = (
        select(ListingPhoto)
        .where(ListingPhoto.listing_id == listing_id)
        .order_by(ListingPhoto.position, ListingPhoto.id)
    )
    return list(db.session.scalars(query))


def count_photos(listing_id: int) -> int:
    """How many photos the listing has, fetched or not."""
    query = select(func.count()).where(ListingPhoto.listing_id == listing_id)
    return int(db.session.scalar(query) or 0)


# --- from feeds -------------------------------------------------------------------------------


@dataclass(slots=True)
class RemotePlan:
    """What a repeated import changes among the photos of listings."""

    inserts: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)

    def add(
        self,
        listing_id: int,
        present: Iterable[Any],
        wanted: Sequence[OfferPhoto],
        now: dt.datetime,
    ) -> None:
        """Keep what is stored, add new, remove vanished, in the order of the feed.

        ``present``: rows with id, position, kind, source_url. Uploaded photos stay, at the end.
        """
        known: dict[str, list[Any]] = {}
        own = []
        for row in present:
            if row.source_url is None:
                own.append(row)
            else:
                known.setdefault(row.source_url, []).append(row)
        for position, photo in enumerate(wanted):
            same = known.get(photo.url)
            if same:
                self._move(same.pop(0), position, str(photo.kind))
            else:
                self.inserts.append(_waiting(listing_id, position, photo, now))
        for offset, row in enumerate(sorted(own, key=lambda row: (row.position, row.id))):
            self._move(row, len(wanted) + offset, row.kind)
        self.deletes += [row.id for rows in known.values() for row in rows]

    def _move(self, row: Any, position: int, kind: str) -> None:
        if (row.position, row.kind) != (position, kind):
            self.updates.append({"b_id": row.id, "position": position, "kind": kind})

    def write(self) -> None:
        """Write the plan inside the caller's transaction."""
        table = ListingPhoto.__table__
        bulk.insert(table, self.inserts)
        bulk.update_by_id(table, self.updates)
        drop(self.deletes)


@operation
def attach_remote(listing: Listing, wanted: Sequence[OfferPhoto | str]) -> None:
    """Make the listing's imported photos those of the feed; a job fetches the new ones."""
    given = [OfferPhoto(photo) if isinstance(photo, str) else photo for photo in wanted]
    plan = RemotePlan()
    plan.add(listing.id, photos_of(listing.id), given, utc_now())
    plan.write()
    db.session.expire(listing, ["photos"])
    if plan.inserts:
        wake()


def wake() -> None:
    """Have waiting photos fetched soon; at most one such job waits."""
    bus.enqueue("default", FETCH_JOB, job_id="cron-photos")


def _waiting(listing_id: int, position: int, photo: OfferPhoto, now: dt.datetime) -> dict[str, Any]:
    return {
        "listing_id": listing_id,
        "position": position,
        "kind": str(photo.kind),
        "state": str(PhotoState.WAITING),
        "source_url": photo.url,
        "attempts": 0,
        "due_at": now,
    }


def due_photos(limit: int = 500) -> list[int]:
    """Photos that may be fetched now, the longest waiting first."""
    query = (
        select(ListingPhoto.id)
        .where(ListingPhoto.state == PhotoState.WAITING, ListingPhoto.due_at <= utc_now())
        .order_by(ListingPhoto.due_at, ListingPhoto.id)
        .limit(limit)
    )
    return list(db.session.scalars(query))


def fetch_due(seconds: float = _JOB_SECONDS) -> int:
    """Fetch what is due until the time is over; how many were tried."""
    end, tried = time.monotonic() + seconds, 0
    for photo_id in due_photos():
        if time.monotonic() > end:
            break
        fetch(photo_id)
        tried += 1
    return tried


def fetch(photo_id: int) -> PhotoState | None:
    """Fetch one photo; its state then, None when nothing was due.

    Two fetches at once download once. What cannot be a photo is given up at once, other
    failures are tried again with growing pauses.
    """
    url = _claim(photo_id)
    if url is None:
        return None
    try:
        prepared = images.prepare(_download(url))
        kept = _store(prepared)
    except (IntegrationError, ImageRefused, FileTooLarge, OSError) as error:
        return _put_off(photo_id, error)
    if _keep(photo_id, url, prepared, kept):
        return PhotoState.STORED
    _forget(kept)
    return None


@operation
def _claim(photo_id: int) -> str | None:
    """Take the photo for a while: one UPDATE decides who downloads."""
    now = utc_now()
    taken = db.session.execute(
        update(ListingPhoto)
        .where(
            ListingPhoto.id == photo_id,
            ListingPhoto.state == PhotoState.WAITING,
            ListingPhoto.due_at <= now,
        )
        .values(due_at=now + _LEASE)
        .execution_options(synchronize_session=False)
    )
    if not cast("CursorResult[Any]", taken).rowcount:
        return None
    query = select(ListingPhoto.source_url).where(ListingPhoto.id == photo_id)
    url: str | None = db.session.scalar(query)
    return url


def _download(url: str) -> bytes:
    client = GuardedClient(
        allow_private_hosts=current_app.config["OUTBOUND_ALLOW_PRIVATE"],
        total_timeout=_FETCH_SECONDS,
    )
    with client.request("GET", url, max_bytes=images.MAX_BYTES, stream=True) as answer:
        if answer.status in _GONE:
            raise FetchRefused(f"Сервер фотографии ответил {answer.status}")
        if answer.status != _OK:
            raise FetchFailed(f"Сервер фотографии ответил {answer.status}")
        return answer.content


@operation
def _keep(photo_id: int, url: str, prepared: PreparedPhoto, kept: Mapping[str, StoredFile]) -> bool:
    """Whether the photo still waits for this very address; then it has its files now."""
    ids = {f"{size}_id": stored.id for size, stored in kept.items()}
    written = db.session.execute(
        update(ListingPhoto)
        .where(
            ListingPhoto.id == photo_id,
            ListingPhoto.source_url == url,
            ListingPhoto.state == PhotoState.WAITING,
        )
        .values(
            state=PhotoState.STORED,
            width=prepared.width,
            height=prepared.height,
            due_at=None,
            error=None,
            attempts=ListingPhoto.attempts + 1,
            **ids,
        )
        .execution_options(synchronize_session=False)
    )
    if not cast("CursorResult[Any]", written).rowcount:
        return False
    listing_id = db.session.scalar(
        select(ListingPhoto.listing_id).where(ListingPhoto.id == photo_id)
    )
    _touch(listing_id)
    return True


@operation
def _put_off(photo_id: int, error: Exception) -> PhotoState | None:
    photo: ListingPhoto | None = db.session.get(
        ListingPhoto, photo_id, populate_existing=True, with_for_update=True
    )
    if photo is None:
        return None
    photo.attempts += 1
    photo.error = _reason(error)[:_ERROR_LENGTH]
    permanent = isinstance(error, ImageRefused) or getattr(error, "permanent", False)
    if permanent or photo.attempts > len(BACK_OFF):
        photo.state, photo.due_at = PhotoState.FAILED, None
        _touch(photo.listing_id)
        return PhotoState.FAILED
    photo.due_at = utc_now() + BACK_OFF[photo.attempts - 1]
    return PhotoState.WAITING


def _reason(error: Exception) -> str:
    if isinstance(error, (IntegrationError, ImageRefused)):
        return str(getattr(error, "message", error))
    return "Не удалось сохранить файл фотографии"


# --- files ------------------------------------------------------------------------------------


def _store(prepared: PreparedPhoto) -> dict[str, StoredFile]:
    """Every size in the storage; the large one has a public address for portals."""
    kept: dict[str, StoredFile] = {}
    try:
        for size, rendition in prepared.renditions.items():
            kept[size] = files.store_bytes(
                rendition.data, "image/jpeg", kind="photos", public=size == "large"
            )
    except BaseException:
        _forget(kept)
        raise
    return kept


@operation
def _forget(kept: Mapping[str, StoredFile]) -> None:
    for stored in kept.values():
        files.delete_file(db.session.merge(stored))


def drop(photo_ids: Sequence[int]) -> None:
    """Delete photo rows inside the caller's transaction; files nobody shares go after it."""
    if not photo_ids:
        return
    table = ListingPhoto.__table__
    columns = [table.c[name] for name in _FILES]
    rows = db.session.execute(select(*columns).where(table.c.id.in_(photo_ids)))
    wanted = {pk for row in rows for pk in row if pk is not None}
    db.session.execute(delete(table).where(table.c.id.in_(photo_ids)))
    if not wanted:
        return
    shared = db.session.execute(
        select(*columns).where(or_(*(column.in_(wanted) for column in columns)))
    )
    wanted -= {pk for row in shared for pk in row}
    for stored in db.session.scalars(select(StoredFile).where(StoredFile.id.in_(wanted))):
        files.delete_file(stored)


# --- rights -----------------------------------------------------------------------------------


def _editable(listing_id: int, by: Principal) -> Listing:
    listing: Listing | None = db.session.get(Listing, listing_id)
    if listing is not None and visibility.may(by, Action.EDIT, listing):
        return listing
    if listing is not None and visibility.may(by, Action.VIEW, listing):
        raise Forbidden(_("Изменять может ответственный или его руководитель."))
    raise NotFound(_("Объект не найден."))


def _locked(listing_id: int, by: Principal) -> Listing:
    """Two who upload at once get different places."""
    rows.lock(Listing, listing_id)
    return _editable(listing_id, by)


def _photo(photo_id: int, by: Principal) -> tuple[ListingPhoto, Listing]:
    photo: ListingPhoto | None = db.session.get(ListingPhoto, photo_id)
    if photo is None:
        raise NotFound(_("Фотография не найдена."))
    return photo, _locked(photo.listing_id, by)


def _kind(raw: str) -> str:
    try:
        return str(v.PhotoKind.of(raw))
    except ValueError:
        raise ValidationErrors.one("kind", _("Выберите значение из списка.")) from None


def _next_position(listing_id: int) -> int:
    query = select(func.max(ListingPhoto.position)).where(ListingPhoto.listing_id == listing_id)
    last = db.session.scalar(query)
    return 0 if last is None else int(last) + 1


def _changed(listing: Listing, by: Principal, **data: Any) -> None:
    timeline.note(EventKind.PHOTOS, listing=listing, by=by, **data)
    _touch(listing.id)
    db.session.expire(listing, ["photos"])


def _touch(listing_id: int | None) -> None:
    """Feeds have something new; no new version, so that nobody's open form is refused."""
    table = Listing.__table__
    db.session.execute(update(table).where(table.c.id == listing_id).values(updated_at=utc_now()))


__all__ = [
    "BACK_OFF", "MAX_PHOTOS", "RemotePlan", "add_photo", "attach_remote", "copy_photos",
    "count_photos", "delete_photo", "drop", "due_photos", "fetch", "fetch_due", "photos_of",
    "reorder", "set_kind", "wake",
]  # fmt: skip
