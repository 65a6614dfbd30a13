"""One batch of a foreign feed into the tables, in few statements whatever the offers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import delete, select

from crm.integrations.portals.base import Offer, OfferRead, OfferRefused
from crm.models import (
    EventKind,
    FeedRunItem,
    Listing,
    ListingState,
    PriceChange,
    SearchToken,
    TimelineEvent,
    db,
)
from crm.models.listing import ListingPhoto
from crm.operations import bulk, search_index
from crm.operations.listing_ids import new_public_id
from crm.operations.listing_offers import MAX_PUBLIC_ID, Stored, fingerprint, split
from crm.operations.photos import RemotePlan
from crm.values.clock import utc_now

CREATED, UPDATED, UNCHANGED, REFUSED = "created", "updated", "unchanged", "refused"
_ID_LENGTH = 128


@dataclass(slots=True)
class Counts:
    """What became of the offers so far."""

    total: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0

    def add(self, outcome: str) -> None:
        """Count one offer."""
        self.total += 1
        setattr(self, outcome, getattr(self, outcome) + 1)

    def values(self) -> dict[str, int]:
        """As columns of the run."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Target:
    """Where new listings of a feed go."""

    import_feed_id: int
    run_id: int
    responsible_id: int | None
    department_id: int | None
    state_for_new: str


@dataclass(slots=True)
class _Written:
    """An offer that makes or changes a listing."""

    offer: Offer
    stored: Stored
    listing_id: int | None = None
    old: Any = None


@dataclass(slots=True)
class _Sorted:
    """A batch divided by what is to be done."""

    items: list[dict[str, Any]] = field(default_factory=list)
    new: dict[str, _Written] = field(default_factory=dict)
    changed: list[_Written] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)


def write(
    target: Target, results: Sequence[OfferRead | OfferRefused], counts: Counts, *, dry_run: bool
) -> bool:
    """Account for every result and store the offers; a dry run stores the account only.

    Returns whether photos wait for a job. Runs inside the caller's transaction.
    """
    batch, now = _sort(target, results, counts), utc_now()
    waiting = False
    if not dry_run:
        _insert_new(target, batch, now)
        _update_changed(target, batch, now)
        _take_back(target, batch.returned, now)
        waiting = _write_photos(batch, now)
        _write_words(batch)
    for item in batch.items:
        if item["listing_id"] is None and (made := batch.new.get(item["internal_id"] or "")):
            item["listing_id"] = made.listing_id
    bulk.insert(FeedRunItem.__table__, batch.items)
    return waiting


# --- sorting ----------------------------------------------------------------------------------


def _sort(target: Target, results: Sequence[OfferRead | OfferRefused], counts: Counts) -> _Sorted:
    present = _present(target, results)
    batch = _Sorted()
    for result in results:
        internal_id = (result.internal_id or "")[:_ID_LENGTH] or None
        row = present.get(internal_id or "")
        reasons: list[str] = []
        if isinstance(result, OfferRefused):
            outcome, reasons = REFUSED, list(result.reasons)
        else:
            outcome = _sort_offer(batch, result.offer, row)
            reasons = list(result.offer.notes)
        if row is not None and row.missing_since is not None:
            batch.returned.append(row)
        counts.add(outcome)
        batch.items.append(
            {
                "run_id": target.run_id,
                "position": result.position,
                "internal_id": internal_id,
                "listing_id": row.id if row is not None else None,
                "outcome": outcome,
                "reasons": reasons,
            }
        )
    return batch


def _sort_offer(batch: _Sorted, offer: Offer, row: Any) -> str:
    plain, digest = fingerprint(offer)
    if row is not None and row.import_hash == digest:
        return UNCHANGED
    written = _Written(offer, split(offer, plain, digest), old=row)
    if row is None:
        batch.new[offer.public_id] = written
        return CREATED
    written.listing_id = row.id
    batch.changed.append(written)
    return UPDATED


def _present(target: Target, results: Iterable[OfferRead | OfferRefused]) -> dict[str, Any]:
    wanted = [result.internal_id[:_ID_LENGTH] for result in results if result.internal_id]
    columns = (
        Listing.id,
        Listing.internal_id,
        Listing.import_hash,
        Listing.price,
        Listing.currency,
        Listing.state,
        Listing.version,
        Listing.missing_since,
    )
    rows = db.session.execute(
        select(*columns).where(
            Listing.import_feed_id == target.import_feed_id, Listing.internal_id.in_(wanted)
        )
    )
    return {row.internal_id: row for row in rows}


# --- writing ----------------------------------------------------------------------------------


def _insert_new(target: Target, batch: _Sorted, now: dt.datetime) -> None:
    if not batch.new:
        return
    numbers = _public_ids(target, list(batch.new))
    published = now if target.state_for_new == ListingState.ACTIVE else None
    rows = [
        written.stored.columns
        | {
            "public_id": numbers[internal_id],
            "state": str(target.state_for_new),
            "attributes": written.stored.attributes,
            "responsible_id": target.responsible_id,
            "department_id": target.department_id,
            "published_from": published,
            "import_feed_id": target.import_feed_id,
            "internal_id": internal_id,
            "import_hash": written.stored.digest,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        for internal_id, written in batch.new.items()
    ]
    bulk.insert(Listing.__table__, rows)
    made = db.session.execute(
        select(Listing.internal_id, Listing.id).where(
            Listing.import_feed_id == target.import_feed_id, Listing.internal_id.in_(batch.new)
        )
    )
    for internal_id, pk in made:
        batch.new[internal_id].listing_id = pk
    _note(EventKind.IMPORTED, [(new.listing_id, {}) for new in batch.new.values()], target, now)


def _public_ids(target: Target, internal_ids: list[str]) -> dict[str, str]:
    """Numbers at the portals: the feed's own unless another listing has it (1 query)."""
    second = {name: f"{target.import_feed_id}-{name}" for name in internal_ids}
    asked = [*internal_ids, *second.values()]
    known = select(Listing.public_id).where(Listing.public_id.in_(asked))
    taken = set(db.session.scalars(known))
    free = {name for name in internal_ids if name not in taken}
    numbers: dict[str, str] = {}
    for name in internal_ids:
        other = second[name]
        spoilt = len(other) > MAX_PUBLIC_ID or other in taken or other in free
        numbers[name] = name if name in free else new_public_id() if spoilt else other
    return numbers


def _update_changed(target: Target, batch: _Sorted, now: dt.datetime) -> None:
    """The feed wins in everything but the state and the people."""
    bulk.update_by_id(
        Listing.__table__,
        [
            written.stored.columns
            | {
                "b_id": written.listing_id,
                "attributes": written.stored.attributes,
                "import_hash": written.stored.digest,
                "version": written.old.version + 1,
                "updated_at": now,
            }
            for written in batch.changed
        ],
    )
    _note_prices(batch.changed, target, now)
    others = [(w.listing_id, {"updated": True}) for w in batch.changed if not _new_price(w)]
    _note(EventKind.IMPORTED, others, target, now)


def _new_price(written: _Written) -> bool:
    return bool(written.old.price != written.stored.columns["price"])


def _note_prices(changed: Iterable[_Written], target: Target, now: dt.datetime) -> None:
    dearer = [written for written in changed if _new_price(written)]
    bulk.insert(
        PriceChange.__table__,
        [
            {
                "listing_id": written.listing_id,
                "old_price": written.old.price,
                "new_price": written.stored.columns["price"],
                "changed_at": now,
                "by_import": True,
            }
            for written in dearer
        ],
    )
    events = [
        (
            written.listing_id,
            {
                "old": _text(written.old.price),
                "new": _text(written.stored.columns["price"]),
                "currency": written.stored.columns["currency"],
            },
        )
        for written in dearer
    ]
    _note(EventKind.PRICE, events, target, now)


def _text(price: Any) -> str | None:
    return None if price is None else format(price, "f")


def _take_back(target: Target, returned: Sequence[Any], now: dt.datetime) -> None:
    """What was missing is in the file again; the archive gives back what the import put there."""
    table = Listing.__table__
    bulk.update_by_id(table, [{"b_id": row.id, "missing_since": None} for row in returned])
    archived = [row for row in returned if row.state == ListingState.ARCHIVE]
    bulk.update_by_id(
        table,
        [
            {"b_id": row.id, "state": str(target.state_for_new), "updated_at": now}
            for row in archived
        ],
    )
    data = {"old": str(ListingState.ARCHIVE), "new": str(target.state_for_new)}
    _note(EventKind.STATE, [(row.id, data) for row in archived], target, now)


def _note(
    kind: EventKind,
    events: Iterable[tuple[int | None, dict[str, Any]]],
    target: Target,
    now: dt.datetime,
) -> None:
    bulk.insert(
        TimelineEvent.__table__,
        [
            {
                "listing_id": listing_id,
                "kind": str(kind),
                "occurred_at": now,
                "data": {"run_id": target.run_id, **data},
            }
            for listing_id, data in events
        ],
    )


def _write_photos(batch: _Sorted, now: dt.datetime) -> bool:
    plan = RemotePlan()
    for written in batch.new.values():
        assert written.listing_id is not None
        plan.add(written.listing_id, (), written.offer.photos, now)
    present = _photos([written.listing_id for written in batch.changed])
    for written in batch.changed:
        assert written.listing_id is not None
        plan.add(written.listing_id, present.get(written.listing_id, ()), written.offer.photos, now)
    plan.write()
    return bool(plan.inserts)


def _photos(listing_ids: Sequence[int | None]) -> dict[int, list[Any]]:
    if not listing_ids:
        return {}
    columns = (
        ListingPhoto.id,
        ListingPhoto.listing_id,
        ListingPhoto.position,
        ListingPhoto.kind,
        ListingPhoto.source_url,
    )
    found: dict[int, list[Any]] = {}
    query = select(*columns).where(ListingPhoto.listing_id.in_(listing_ids))
    for row in db.session.execute(query.order_by(ListingPhoto.position, ListingPhoto.id)):
        found.setdefault(row.listing_id, []).append(row)
    return found


def _write_words(batch: _Sorted) -> None:
    old = [written.listing_id for written in batch.changed]
    if old:
        db.session.execute(
            delete(SearchToken).where(
                SearchToken.kind == search_index.LISTING, SearchToken.object_id.in_(old)
            )
        )
    rows = [
        {"token": word, "kind": search_index.LISTING, "object_id": written.listing_id}
        for written in (*batch.new.values(), *batch.changed)
        for word in _words(written.stored.columns)
    ]
    bulk.insert(SearchToken.__table__, rows)


def _words(columns: dict[str, Any]) -> list[str]:
    return search_index.words(
        columns["address"], columns["locality"], columns["sub_locality"], columns["district"]
    )
