"""Reads YRL: one pass, one result an offer, nothing understood wrongly and nothing dropped.

What is unknown stays in `Offer.extra` under the path of its element; what is known but cannot
be understood stays there too and is said in `Offer.notes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from lxml import etree

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import Metro, OfferPhoto
from crm.integrations.portals.yandex_elements import (
    AREAS,
    LOCATION,
    PRICE,
    SALES_AGENT,
    SIMPLE,
    TOUR,
)
from crm.integrations.portals.yandex_parse import (
    normal_phone,
    parse_decimal,
    parse_int,
    parse_moment,
    parser_of,
)
from crm.integrations.portals.yandex_vocabulary import Element, Form

MAX_RAW = 2_000
MAX_KEPT = 10_000
_BALCONY = re.compile(r"(\d{0,2})\s*(балкон|лоджи)[а-я]*")
_BALCONY_JOINT = re.compile(r"\s*(?:,|\+|\bи\b)\s*")

Node = Any
Handler = Callable[["Draft", Node], None]


class Draft:
    """One offer while it is read."""

    __slots__ = ("extra", "notes", "values", "words")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.words: dict[str, str] = {}
        self.extra: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def keep(self, path: str, text: str) -> None:
        """Keep what has no field."""
        self.extra.setdefault(path, []).append(text[:MAX_KEPT])

    def odd(self, path: str, text: str) -> None:
        """Keep a value that could not be understood and say so."""
        self.keep(path, text)
        self.notes.append(f"{path}: непонятное значение «{text[:100]}»")

    def put(self, field: str, path: str, text: str, value: Any) -> None:
        """Set a field once; a repeated element is kept as it stands."""
        if field in self.values:
            self.keep(path, text)
        else:
            self.values[field] = value

    def append(self, field: str, value: Any) -> None:
        """Add to a list field."""
        if field in self.values:
            self.values[field].append(value)
        else:
            self.values[field] = [value]


def text_of(node: Node) -> str:
    """Text of an element with its ends stripped, "" when there is none."""
    text = node.text
    return text.strip() if text else ""


# An element with one value: its path, its field, its parser (None for text).
Simple = tuple[str, str, Callable[[str], Any] | None]


def _simple(path: str, field: str, form: Form | y.Words[Any]) -> Simple:
    return path, field, None if form is Form.TEXT else parser_of(form)


def _unusual(draft: Draft, node: Node, simple: Simple) -> None:
    """A simple element that is empty, repeated, not understood, or has markup inside."""
    path, field, parse = simple
    text = text_of(node)
    if not text or (parse is None and len(node)):
        _leftover(draft, path, node)
        return
    try:
        value = parse(text) if parse else text
    except (KeyError, ValueError):
        draft.odd(path, text)
        return
    draft.put(field, path, text, value)


def _leftover(draft: Draft, path: str, node: Node) -> None:
    """Keep markup inside an element that should hold text; an empty element is an absent one."""
    if len(node):
        draft.keep(path, "".join(node.itertext()).strip() or _raw(node))


def _raw(node: Node) -> str:
    return etree.tostring(node, encoding="unicode", with_tail=False)[:MAX_RAW]


def _word(path: str) -> Handler:
    """An element that is decided upon when the whole offer is known."""

    def handle(draft: Draft, node: Node) -> None:
        if text := text_of(node):
            if path in draft.words:
                draft.keep(path, text)
            else:
                draft.words[path] = text

    return handle


def _words(path: str, field: str, words: y.Words[Any]) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        if text := text_of(node):
            term = words.read.get(text.lower())
            if term is None:
                draft.odd(path, text)
            else:
                draft.append(field, term)

    return handle


def _unknown(path: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        if len(node) or node.attrib:
            draft.keep(path, _raw(node))
        elif text := text_of(node):
            draft.keep(path, text)

    return handle


class Handlers(dict[str, Handler | Simple]):
    """Handlers by full tag, found by local name: the namespace may be http, https or missing."""

    def __init__(self, by_name: Mapping[str, Handler | Simple], prefix: str = "") -> None:
        super().__init__()
        self._by_name, self._prefix = by_name, prefix

    def __missing__(self, tag: str) -> Handler | Simple:
        name = tag.rpartition("}")[2]
        handler = self._by_name.get(name) or _unknown(self._prefix + name)
        self[tag] = handler
        return handler

    def run(self, draft: Draft, node: Node) -> None:
        """Handle every child of an element: the hot loop, so the usual case calls little."""
        values = draft.values
        for child in node:
            handler = self[child.tag]
            if not isinstance(handler, tuple):
                handler(draft, child)
                continue
            _, field, parse = handler
            text = child.text
            if text and (text := text.strip()) and field not in values:
                if parse is None:
                    if not len(child):
                        values[field] = text
                        continue
                else:
                    try:
                        values[field] = parse(text)
                        continue
                    except (KeyError, ValueError):
                        text = None
            _unusual(draft, child, handler)


def _group(prefix: str, table: Iterable[Element], **more: Handler) -> Handler:
    rows: dict[str, Handler | Simple] = {
        e.tag: _simple(f"{prefix}/{e.tag}", e.field, e.form) for e in table
    }
    return Handlers(
        rows | {name.replace("_", "-"): h for name, h in more.items()}, prefix + "/"
    ).run


def _value_and_unit(node: Node) -> tuple[str, str]:
    value = unit = ""
    for child in node:
        name = child.tag
        if name.endswith("value"):
            value = child.text or ""
        elif name.endswith("unit"):
            unit = child.text or ""
    return value.strip(), unit.strip()


def _square_metres(path: str, draft: Draft, node: Node) -> tuple[Decimal, v.LandUnit] | None:
    """Area in m2 and the unit it was written in; without a unit it is m2."""
    value, word = _value_and_unit(node)
    if not value:
        return None
    unit = y.LAND_UNITS.read.get(word) or y.LAND_UNITS.read.get(word.lower() or y.SQUARE_METRE)
    try:
        number = parse_decimal(value)
    except ValueError:
        unit = None
    if unit is None:
        draft.odd(path, f"{value} {word}".strip())
        return None
    if unit is v.LandUnit.M2:
        return number, unit
    return number.scaleb(y.UNIT_POWER[unit]), unit


def _area(path: str, field: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        if area := _square_metres(path, draft, node):
            draft.put(field, path, str(area[0]), area[0])

    return handle


def _room_space(draft: Draft, node: Node) -> None:
    if area := _square_metres("room-space", draft, node):
        draft.append("area_rooms", area[0])


def _lot_area(draft: Draft, node: Node) -> None:
    value, unit = _value_and_unit(node)
    if value and not unit:
        draft.odd("lot-area", value)
        return
    if (area := _square_metres("lot-area", draft, node)) and "land_unit" not in draft.values:
        draft.values["land_area_m2"], draft.values["land_unit"] = area


_METRO_MINUTES = {
    "time-on-foot": "minutes_on_foot",
    "time-on-transport": "minutes_by_transport",
}


def _metro(draft: Draft, node: Node) -> None:
    station = Metro("")
    for child in node:
        if not (text := text_of(child)):
            continue
        name = child.tag.rpartition("}")[2]
        if name == "name":
            station.name = text
        elif name not in _METRO_MINUTES:
            draft.keep(f"location/metro/{name}", text)
        else:
            try:
                setattr(station, _METRO_MINUTES[name], parse_int(text))
            except ValueError:
                draft.odd(f"location/metro/{name}", text)
    if station.name:
        draft.append("metro", station)
    elif len(node):
        draft.keep("location/metro", _raw(node))


def _phone(draft: Draft, node: Node) -> None:
    if not (text := text_of(node)):
        return
    phone = normal_phone(text)
    if not phone.strip("+"):
        draft.odd("sales-agent/phone", text)
        return
    draft.append("phones", phone)


def _image(draft: Draft, node: Node) -> None:
    url = node.text
    url = url.strip() if url else ""
    if not url:
        return
    photo = OfferPhoto(url)
    if tag := node.get("tag"):
        _photo_kind(draft, photo, tag)
    photos = draft.values.get("photos")
    if photos is None:
        draft.values["photos"] = [photo]
    else:
        photos.append(photo)


def _photo_kind(draft: Draft, photo: OfferPhoto, tag: str) -> None:
    kind = y.PHOTO_TAGS.read.get(tag.strip().lower())
    if kind is None:
        draft.odd("image/@tag", tag)
    else:
        photo.kind = kind


def _vas(draft: Draft, node: Node) -> None:
    _VAS(draft, node)
    if start := node.get("start-time"):
        try:
            draft.put("promo_raise_at", "vas/@start-time", start, parse_moment(start.strip()))
        except ValueError:
            draft.odd("vas/@start-time", start)


_VAS = _words("vas", "promo", y.PROMOS)


def _balcony(draft: Draft, node: Node) -> None:
    text = text_of(node)
    if not text:
        return
    if text.lower() in ("0", "нет"):
        draft.values.update(balconies=0, loggias=0)
        return
    counts: dict[str, int] = {}
    for part in _BALCONY_JOINT.split(text.lower()):
        if not (match := _BALCONY.fullmatch(part)):
            draft.odd("balcony", text)
            return
        field = "balconies" if match[2] == "балкон" else "loggias"
        counts[field] = counts.get(field, 0) + int(match[1] or 1)
    draft.values.update(counts)


def _bathroom(draft: Draft, node: Node) -> None:
    text = text_of(node)
    if not text:
        return
    word = text.lower().replace("ё", "е")
    if word in ("раздельный", "совмещенный"):
        field = "wc_separate" if word == "раздельный" else "wc_combined"
        draft.put(field, "bathroom-unit", text, 1)
        return
    try:
        draft.put("wc_total", "bathroom-unit", text, parse_int(word.split(" ", 1)[0]))
    except ValueError:
        draft.odd("bathroom-unit", text)


def _window_view(draft: Draft, node: Node) -> None:
    if text := text_of(node):
        views = y.WINDOW_VIEWS.get(text.lower())
        if views is None:
            draft.odd("window-view", text)
            return
        draft.values.setdefault("window_views", []).extend(views)


def _renovation(draft: Draft, node: Node) -> None:
    if not (text := text_of(node)):
        return
    word = text.lower()
    if word in y.RENOVATIONS.read:
        draft.put("renovation", "renovation", text, y.RENOVATIONS.read[word])
    elif word in y.FINISHES.read:
        draft.put("finish", "renovation", text, y.FINISHES.read[word])
    else:
        draft.odd("renovation", text)


_DISCOUNT = _group(
    "discount",
    (
        Element("final-price", "discount_price", Form.DECIMAL),
        Element("end-date", "discount_until", Form.MOMENT),
    ),
)
_VIDEO = _group(
    "video-review",
    (
        Element("youtube-video-review-url", "video_url", Form.TEXT),
        Element("rutube-video-review-url", "video_url", Form.TEXT),
    ),
)

OFFER_HANDLERS: dict[str, Handler | Simple] = {
    **{e.tag: _simple(e.tag, e.field, e.form) for e in SIMPLE},
    **{tag: _area(tag, field) for tag, field in AREAS.items()},
    **{
        tag: _word(tag)
        for tag in ("type", "property-type", "category", "garage-type", "new-flat", "deal-status")
    },
    "commercial-type": _words("commercial-type", "commercial_types", y.COMMERCIAL_TYPES),
    "purpose": _words("purpose", "purposes", y.PURPOSES),
    "purpose-warehouse": _words("purpose-warehouse", "warehouse_purposes", y.WAREHOUSE_PURPOSES),
    "rooms-type": _words("rooms-type", "room_layout", y.ROOM_LAYOUTS),
    "location": _group("location", LOCATION, metro=_metro),
    "sales-agent": _group("sales-agent", SALES_AGENT, phone=_phone),
    "price": _group("price", PRICE),
    "discount": _DISCOUNT,
    "video-review": _VIDEO,
    "virtual-tour": _group("virtual-tour", TOUR),
    "room-space": _room_space,
    "lot-area": _lot_area,
    "image": _image,
    "picture": _image,
    "vas": _vas,
    "balcony": _balcony,
    "bathroom-unit": _bathroom,
    "window-view": _window_view,
    "renovation": _renovation,
}
