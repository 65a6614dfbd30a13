"""What each portal says about a listing, known before publication."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext as _
from sqlalchemy import select

from crm.integrations.portals import registry
from crm.integrations.portals.base import Refusal, Severity
from crm.models import Feed, Listing, ListingState, db
from crm.operations import feed_offers
from crm.operations.listing_fields import MANAGED
from crm.reports.company import company
from crm.reports.deal_cards import flag
from crm.values.formats import plural

# So many reasons are read in a line; more of them unfold.
_IN_LINE = 3
_ENOUGH_PHOTOS = 3


@dataclass(slots=True)
class AdLine:
    """One feed: ``tone`` is ok, warn, bad or off; ``more`` unfolds below the text."""

    feed: Feed
    tone: str
    text: str
    refused: list[Refusal]
    warned: list[Refusal]
    more: list[str]
    photos: int = 0

    @property
    def fields(self) -> list[str]:
        """Fields of the form to be mended, those that are refused before those disliked."""
        found = [item.field for item in self.refused or self.warned]
        return [name for name in dict.fromkeys(found) if name not in MANAGED]

    @property
    def fix_label(self) -> str:
        """«Исправить 2 поля»."""
        count = len(self.fields)
        return _("Исправить %(n)s %(word)s", n=count, word=plural(count, "поле", "поля", "полей"))

    @property
    def wants_photos(self) -> bool:
        """Whether more photos are asked for."""
        return self.photos < _ENOUGH_PHOTOS and any(
            item.field == "photos" for item in (*self.refused, *self.warned)
        )


def advertising(listing: Listing) -> list[AdLine]:
    """A line for every feed in use (2 queries, and one for each feed)."""
    feeds = list(db.session.scalars(select(Feed).where(Feed.active).order_by(Feed.name)))
    if not feeds:
        return []
    columns = [flag(feed_offers.feed_condition(feed)) for feed in feeds]
    taken = db.session.execute(select(*columns).where(Listing.id == listing.id)).one()
    return [_line(listing, feed, bool(hit)) for feed, hit in zip(feeds, taken, strict=True)]


def _line(listing: Listing, feed: Feed, taken: bool) -> AdLine:
    if not _wanted(listing, feed):
        return AdLine(feed, "off", _("не подходит под условия фида"), [], [], [])
    said = _said(listing, feed)
    refused = [item for item in said if item.severity is Severity.REFUSE]
    warned = [item for item in said if item.severity is Severity.WARN]
    tone, text = _verdict(listing, feed, taken, refused, warned)
    hidden = [item.message for item in refused[_IN_LINE:]]
    hidden += [item.message for item in warned]
    return AdLine(feed, tone, text, refused, warned, hidden, len(listing.photos))


def _wanted(listing: Listing, feed: Feed) -> bool:
    """Whether the feed would take such a listing, whatever its state is now."""
    filters = feed.filters or {}
    asked = (
        ("deal_types", listing.deal_type),
        ("kinds", listing.kind),
        ("departments", listing.department_id),
    )
    if any(filters.get(name) and value not in filters[name] for name, value in asked):
        return False
    least = feed_offers.min_price(filters.get("min_price"))
    return least is None or (listing.price is not None and listing.price >= least)


def _said(listing: Listing, feed: Feed) -> list[Refusal]:
    agency = company()
    offer = feed_offers.to_offer(listing, agency, feed)
    terms = feed_offers.terms(feed, agency)
    said = registry.get(feed.portal).check(offer, terms.agency, modern=feed.modern)
    # What the company itself lacks is told where the feed is built.
    return [item for item in said if item.field != "agency"]


def _verdict(
    listing: Listing, feed: Feed, taken: bool, refused: list[Refusal], warned: list[Refusal]
) -> tuple[str, str]:
    if refused:
        return "bad", _("не примет: %(reasons)s", reasons=_sentence(refused))
    if not taken:
        return "off", _absence(listing)
    place = _("в фиде") if _is_inside(listing, feed) else _("войдёт в следующую сборку")
    if warned:
        count = len(warned)
        word = plural(count, "замечание", "замечания", "замечаний")
        return "warn", f"{place}; {count} {word}"
    return "ok", place


def _absence(listing: Listing) -> str:
    if listing.state in (ListingState.DRAFT, ListingState.MODERATION):
        return _("примет, когда объект станет активным")
    return _("снят: в фид идут активные объекты")


def _is_inside(listing: Listing, feed: Feed) -> bool:
    return feed.built_at is not None and feed.built_at >= listing.updated_at


def _sentence(refused: list[Refusal]) -> str:
    messages = [item.message[:1].lower() + item.message[1:] for item in refused[:_IN_LINE]]
    rest = len(refused) - len(messages)
    tail = _(" и ещё %(n)s", n=rest) if rest else ""
    return "; ".join(messages) + tail
