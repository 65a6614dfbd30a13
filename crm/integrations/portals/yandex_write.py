"""Writes YRL as a stream, one offer element at a time, with tables made once a feed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from operator import attrgetter
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from lxml import etree

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import AgencyInfo, Metro, Offer, OfferPhoto, WriteReport
from crm.integrations.portals.yandex_elements import (
    AREAS,
    LOCATION,
    PRICE,
    SALES_AGENT,
    SIMPLE,
    TEXT_FIELDS,
    TOUR,
)
from crm.integrations.portals.yandex_parse import MOSCOW
from crm.integrations.portals.yandex_vocabulary import Element, Form

# What XML 1.0 has no way to write, not even as an entity.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
AGENCY_CATEGORY = y.OWNER_ROLES.written[v.OwnerRole.AGENT]
RUTUBE = "rutube.ru"

Node = Any
Render = Callable[[Any], str | None]
_SubElement = etree.SubElement


def clean_text(text: str | None) -> str | None:
    """Text without characters forbidden in XML and without blank ends; None when nothing stays."""
    return FORBIDDEN.sub("", text).strip() or None if text else None


def render_decimal(number: Decimal) -> str | None:
    """Plain digits with a dot, never an exponent; None for what is not a number."""
    return format(number, "f") if number.is_finite() else None


def render_moment(moment: dt.datetime) -> str:
    """ISO 8601 to the second with the offset; a naive moment is Moscow time."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=MOSCOW)
    return aware.isoformat(timespec="seconds")


def _stripped(text: str) -> str | None:
    return text.strip() or None


def _positive(number: int) -> str | None:
    return str(number) if number > 0 else None


def _quarter(number: int) -> str | None:
    return str(number) if 1 <= number <= 4 else None


def _coordinate(degrees: Decimal) -> str | None:
    return format(degrees.quantize(y.COORDINATE_STEP), "f") if abs(degrees) <= 180 else None


_RENDER: dict[Form, Render] = {
    Form.TEXT: _stripped,
    Form.INT: str,
    Form.POSITIVE: _positive,
    Form.QUARTER: _quarter,
    Form.DECIMAL: render_decimal,
    Form.COORDINATE: _coordinate,
    Form.BOOL: {True: "1", False: "0"}.get,
    Form.YES: {True: "1"}.get,
    Form.MOMENT: render_moment,
    Form.DATE: dt.date.isoformat,
}


def _render_of(form: Form | y.Words[Any]) -> Render:
    return _RENDER[form] if isinstance(form, Form) else form.written.get


class Table:
    """Elements of one parent: reads all fields of an offer at once, writes the stated ones."""

    def __init__(self, elements: Iterable[Element], modern: bool) -> None:
        rows = [e for e in elements if modern or not e.modern]
        self._columns = [(e.tag, _render_of(e.form)) for e in rows]
        self._values: Callable[[Offer], tuple[Any, ...]] = attrgetter(*(e.field for e in rows))

    def add(self, parent: Node, offer: Offer) -> None:
        """Append an element for every field that is stated."""
        for value, (tag, render) in zip(self._values(offer), self._columns, strict=True):
            if value is not None and (text := render(value)):
                _SubElement(parent, tag).text = text


def _add(parent: Node, tag: str, text: str | None) -> None:
    if text:
        _SubElement(parent, tag).text = text


def _area(parent: Node, tag: str, square_metres: Decimal) -> None:
    if text := render_decimal(square_metres):
        node = _SubElement(parent, tag)
        _SubElement(node, "value").text = text
        _SubElement(node, "unit").text = y.SQUARE_METRE


def kind_words(offer: Offer) -> tuple[str | None, str] | None:
    """Words of property-type and category, None when the format has no such kind."""
    if offer.kind in y.TYPE_OF_KIND:
        return None, "commercial"
    category = y.CATEGORIES.written.get(offer.kind)
    if offer.kind is v.Kind.HOUSE and offer.land_area_m2 is not None:
        category = y.HOUSE_WITH_PLOT
    return ("жилая", category) if category else None


def commercial_types(offer: Offer) -> list[v.CommercialType]:
    """Types of a commercial offer: that of its kind first, then the others it names."""
    first = y.TYPE_OF_KIND.get(offer.kind)
    if first is None:
        return []
    return list(dict.fromkeys([first, *offer.commercial_types]))


def period_of(offer: Offer) -> v.PricePeriod | None:
    """Period of the price: a rent without one is monthly, a daily rent is always daily."""
    if offer.deal_type is v.DealType.RENT_DAILY:
        return v.PricePeriod.DAY
    if offer.deal_type is v.DealType.RENT_LONG:
        return offer.price_period or v.PricePeriod.MONTH
    return offer.price_period


def deal_status(offer: Offer) -> str | None:
    """Word of deal-status: the kind of the sale, or of the lease."""
    if offer.deal_type is v.DealType.SALE:
        return y.SALE_KINDS.written.get(offer.sale_kind) if offer.sale_kind else None
    if offer.lease_kind:
        return y.LEASE_KINDS.written[offer.lease_kind]
    if offer.sale_kind is v.SaleKind.LEASE_ASSIGNMENT:
        return y.SALE_KINDS.written[offer.sale_kind]
    return None


def renovation_word(offer: Offer) -> str | None:
    """One word for repair and finish: a new building has a finish, other objects a repair."""
    new = offer.market is v.Market.NEW_BUILDING
    finish = (y.NEW_FINISHES if new else y.FINISHES.written).get(offer.finish or v.Finish.OFFICE)
    repair = y.RENOVATIONS.written.get(offer.renovation) if offer.renovation else None
    return (finish or repair) if new else (repair or finish)


def balcony_words(offer: Offer) -> str | None:
    """«балкон, 2 лоджии»; "0" when there is stated to be none."""
    counts = (offer.balconies, offer.loggias)
    if counts == (None, None):
        return None
    forms = (("балкон", "балкона", "балконов"), ("лоджия", "лоджии", "лоджий"))
    parts = [_counted(n, form) for n, form in zip(counts, forms, strict=True) if n and n > 0]
    return ", ".join(parts) or "0"


def _counted(number: int, forms: tuple[str, str, str]) -> str:
    if number == 1:
        return forms[0]
    tail = number % 10 if number % 100 not in range(11, 15) else 0
    return f"{number} {forms[0] if tail == 1 else forms[1] if 2 <= tail <= 4 else forms[2]}"


def bathroom_word(offer: Offer) -> str | None:
    """«раздельный», «совмещенный», or how many there are."""
    separate, combined = offer.wc_separate or 0, offer.wc_combined or 0
    if (separate, combined) == (1, 0):
        return "раздельный"
    if (separate, combined) == (0, 1):
        return "совмещенный"
    total = separate + combined or offer.wc_total
    return str(total) if total is not None else None


def shown_phones(offer: Offer, agency: AgencyInfo) -> list[str]:
    """Phones in the feed: the tracking number of the portal instead of the offer's own."""
    phones = [agency.phone] if agency.phone else offer.phones
    return [text for phone in phones if (text := clean_text(phone))]


class OfferWriter:
    """Makes offer elements; they carry no namespace, because the root's one is inherited."""

    def __init__(self, agency: AgencyInfo, modern: bool) -> None:
        self._agency, self._modern = agency, modern
        self._simple = Table(SIMPLE, modern)
        self._location = Table(LOCATION, modern)
        self._price = Table(PRICE, modern)
        self._seller = Table(SALES_AGENT, modern)
        self._tour = Table(TOUR, True)
        self._fill = [
            (tag, value)
            for tag, field, value in (
                ("organization", "agency_name", clean_text(agency.name)),
                ("url", "agency_url", clean_text(agency.url)),
                ("email", "contact_email", clean_text(agency.email)),
                ("photo", "agency_logo", clean_text(agency.logo_url)),
            )
            if value
        ]

    def element(self, offer: Offer) -> Node:
        """The offer's element. Raises `ValueError` on characters that XML cannot hold."""
        node = etree.Element(y.OFFER, {"internal-id": offer.public_id.strip()})
        self._identity(node, offer)
        self._location.add(_SubElement(node, "location"), offer)
        if offer.metro:
            self._metro(node[-1], offer.metro)
        self._sales_agent(node, offer)
        self._terms(node, offer)
        self._space(node, offer)
        self._simple.add(node, offer)
        self._media(node, offer)
        return node

    def _identity(self, node: Node, offer: Offer) -> None:
        sale = offer.deal_type is v.DealType.SALE
        _SubElement(node, "type").text = "продажа" if sale else "аренда"
        property_type, category = kind_words(offer) or (None, "")
        _add(node, "property-type", property_type)
        _SubElement(node, "category").text = category
        for word in commercial_types(offer):
            _SubElement(node, "commercial-type").text = y.COMMERCIAL_TYPES.written[word]
        if offer.kind in v.GARAGES:
            _SubElement(node, "garage-type").text = y.GARAGE_TYPES.written[offer.kind]
        if offer.market is v.Market.NEW_BUILDING:
            _SubElement(node, "new-flat").text = "1"
        for promo in offer.promo:
            vas = _SubElement(node, "vas")
            vas.text = y.PROMOS.written[promo]
            if self._modern and promo is v.Promo.RAISE and offer.promo_raise_at:
                vas.set("start-time", render_moment(offer.promo_raise_at))

    @staticmethod
    def _metro(location: Node, stations: list[Metro]) -> None:
        for station in stations:
            if not (name := station.name.strip()):
                continue
            node = _SubElement(location, "metro")
            _SubElement(node, "name").text = name
            if station.minutes_on_foot is not None:
                _SubElement(node, "time-on-foot").text = str(station.minutes_on_foot)
            if station.minutes_by_transport is not None:
                _SubElement(node, "time-on-transport").text = str(station.minutes_by_transport)

    def _sales_agent(self, node: Node, offer: Offer) -> None:
        seller = _SubElement(node, "sales-agent")
        for phone in shown_phones(offer, self._agency):
            _SubElement(seller, "phone").text = phone
        self._seller.add(seller, offer)
        if offer.owner_role is None:
            _SubElement(seller, "category").text = AGENCY_CATEGORY
        if self._fill:
            stated = {child.tag for child in seller}
            for tag, value in self._fill:
                if tag not in stated:
                    _SubElement(seller, tag).text = value

    def _terms(self, node: Node, offer: Offer) -> None:
        period = period_of(offer)
        stated = offer if period is offer.price_period else replace(offer, price_period=period)
        self._price.add(_SubElement(node, "price"), stated)
        _add(node, "deal-status", deal_status(offer))
        if self._modern and (offer.discount_price is not None or offer.discount_until):
            self._discount(_SubElement(node, "discount"), offer)

    @staticmethod
    def _discount(node: Node, offer: Offer) -> None:
        if offer.discount_price is not None:
            _add(node, "final-price", render_decimal(offer.discount_price))
        if until := offer.discount_until:
            local = until.astimezone(MOSCOW) if until.tzinfo else until
            _SubElement(node, "end-date").text = local.strftime("%Y-%m-%dT%H:%M")

    @staticmethod
    def _space(node: Node, offer: Offer) -> None:
        for tag, field in AREAS.items():
            if (area := getattr(offer, field)) is not None:
                _area(node, tag, area)
        for room in offer.area_rooms:
            _area(node, "room-space", room)
        if (plot := offer.land_area_m2) is not None and plot.is_finite():
            unit = offer.land_unit or v.LandUnit.SOTKA
            lot = _SubElement(node, "lot-area")
            _SubElement(lot, "value").text = format(plot.scaleb(-y.UNIT_POWER[unit]), "f")
            _SubElement(lot, "unit").text = y.LAND_UNITS.written[unit]

    def _media(self, node: Node, offer: Offer) -> None:
        for layout in sorted(set(offer.room_layout)):
            _SubElement(node, "rooms-type").text = y.ROOM_LAYOUTS.written[layout]
        views = frozenset(offer.window_views) - {v.WindowView.SUNNY}
        _add(node, "window-view", y.WINDOW_WORDS.get(views))
        _add(node, "renovation", renovation_word(offer))
        _add(node, "balcony", balcony_words(offer))
        _add(node, "bathroom-unit", bathroom_word(offer))
        for purpose in offer.purposes:
            _SubElement(node, "purpose").text = y.PURPOSES.written[purpose]
        for use in offer.warehouse_purposes:
            _SubElement(node, "purpose-warehouse").text = y.WAREHOUSE_PURPOSES.written[use]
        for photo in offer.photos:
            self._image(node, photo)
        if self._modern:
            self._reviews(node, offer)

    def _image(self, node: Node, photo: OfferPhoto) -> None:
        if not (url := photo.url.strip()):
            return
        image = _SubElement(node, "image")
        image.text = url
        if self._modern and photo.kind is not v.PhotoKind.PHOTO:
            image.set("tag", y.PHOTO_TAGS.written[photo.kind])

    def _reviews(self, node: Node, offer: Offer) -> None:
        if video := (offer.video_url or "").strip():
            review = _SubElement(node, "video-review")
            site = "rutube" if _is_rutube(video) else "youtube"
            _SubElement(review, f"{site}-video-review-url").text = video
        if offer.tour_url or offer.tour_provider or offer.tour_preview_url:
            self._tour.add(_SubElement(node, "virtual-tour"), offer)


def _is_rutube(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == RUTUBE or host.endswith("." + RUTUBE)


def cleaned(offer: Offer) -> Offer:
    """A copy without characters that XML cannot hold."""
    texts: dict[str, Any] = {n: clean_text(getattr(offer, n)) for n in TEXT_FIELDS}
    texts["public_id"] = texts["public_id"] or ""
    texts["country"] = texts["country"] or "Россия"
    return replace(
        offer,
        **texts,
        phones=[clean_text(phone) or "" for phone in offer.phones],
        photos=[replace(photo, url=clean_text(photo.url) or "") for photo in offer.photos],
        metro=[replace(station, name=clean_text(station.name) or "") for station in offer.metro],
    )


def why_not_written(offer: Offer) -> str | None:
    """Russian reason why the format cannot hold the offer at all, None when it can."""
    if not clean_text(offer.public_id):
        return "Нет номера объекта на площадках"
    if kind_words(offer) is None:
        return f"Яндекс не принимает объекты вида «{offer.kind.label}»"
    if offer.price is None or not offer.price.is_finite() or offer.price <= 0:
        return "Не указана цена"
    return None


def write_feed(
    offers: Iterable[Offer],
    out: BinaryIO,
    *,
    generated_at: dt.datetime,
    agency: AgencyInfo,
    modern: bool,
) -> WriteReport:
    """Stream the file; the same arguments give the same bytes."""
    report, writer = WriteReport(), OfferWriter(agency, modern)
    with etree.xmlfile(out, encoding="UTF-8") as file:
        file.write_declaration()
        with file.element(f"{{{y.NAMESPACE}}}{y.ROOT}", nsmap={None: y.NAMESPACE}):
            stamp = etree.Element("generation-date")
            stamp.text = render_moment(generated_at)
            file.write(stamp)
            for offer in offers:
                if (reason := why_not_written(offer)) is not None:
                    report.skipped.append((offer.public_id, reason))
                    continue
                file.write(_element(writer, offer))
                report.written += 1
    return report


def _element(writer: OfferWriter, offer: Offer) -> Node:
    try:
        return writer.element(offer)
    except ValueError:
        # lxml itself refuses forbidden characters: cheaper than searching every text for them.
        return writer.element(cleaned(offer))
