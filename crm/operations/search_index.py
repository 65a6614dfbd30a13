"""Words of contacts' names and listings' addresses, so that search by a prefix walks an index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select

from crm.models import Contact, Listing, SearchToken, db
from crm.operations.transaction import operation

CONTACT, LISTING = "contact", "listing"
MAX_WORDS = 40
_WORD_LENGTH = 64
_BATCH = 1000
_SEPARATOR = re.compile(r"[^\w]+")


def words(*texts: str | None) -> list[str]:
    """Words as they are searched: folded case, «ё» as «е», without repeats, at most 40."""
    joined = " ".join(filter(None, texts)).casefold().replace("ё", "е").replace("_", " ")
    found = (word[:_WORD_LENGTH] for word in _SEPARATOR.split(joined) if word)
    return list(dict.fromkeys(found))[:MAX_WORDS]


def reindex_contact(contact: Contact) -> None:
    """Keep the words of a stored contact; writes only when they have changed."""
    _keep(CONTACT, contact.id, words(contact.name))


def reindex_listing(listing: Listing) -> None:
    """Keep the words of a stored listing's address; writes only when they have changed."""
    _keep(LISTING, listing.id, listing_words(listing))


def listing_words(listing: Listing) -> list[str]:
    """Words of a listing's whole address."""
    return words(listing.address, listing.locality, listing.sub_locality, listing.district)


def reindex_all() -> int:
    """Rebuild the whole index by batches; returns how many objects were read."""
    forget_vanished()
    return _all_contacts() + _all_listings()


@operation
def forget_vanished() -> None:
    """Drop the words of objects that are no more."""
    for kind, model in ((CONTACT, Contact), (LISTING, Listing)):
        db.session.execute(
            delete(SearchToken).where(
                SearchToken.kind == kind, SearchToken.object_id.not_in(select(model.id))
            )
        )


def _all_contacts() -> int:
    total, last = 0, 0
    while True:
        rows = db.session.execute(
            select(Contact.id, Contact.name)
            .where(Contact.id > last)
            .order_by(Contact.id)
            .limit(_BATCH)
        ).all()
        if not rows:
            return total
        _replace(CONTACT, {pk: words(name) for pk, name in rows})
        total, last = total + len(rows), rows[-1][0]


def _all_listings() -> int:
    total, last = 0, 0
    columns = (Listing.address, Listing.locality, Listing.sub_locality, Listing.district)
    while True:
        rows = db.session.execute(
            select(Listing.id, *columns).where(Listing.id > last).order_by(Listing.id).limit(_BATCH)
        ).all()
        if not rows:
            return total
        _replace(LISTING, {row[0]: words(*row[1:]) for row in rows})
        total, last = total + len(rows), rows[-1][0]


@operation
def _replace(kind: str, tokens: Mapping[int, list[str]]) -> None:
    db.session.execute(
        delete(SearchToken).where(SearchToken.kind == kind, SearchToken.object_id.in_(tokens))
    )
    _insert(kind, tokens)


def _keep(kind: str, object_id: int, wanted: list[str]) -> None:
    mine = (SearchToken.kind == kind, SearchToken.object_id == object_id)
    present = set(db.session.scalars(select(SearchToken.token).where(*mine)))
    if present == set(wanted):
        return
    if present:
        db.session.execute(delete(SearchToken).where(*mine))
    _insert(kind, {object_id: wanted})


def _insert(kind: str, tokens: Mapping[int, Iterable[str]]) -> None:
    rows: list[dict[str, Any]] = [
        {"token": token, "kind": kind, "object_id": object_id}
        for object_id, found in tokens.items()
        for token in found
    ]
    if rows:
        db.session.execute(SearchToken.__table__.insert(), rows)
