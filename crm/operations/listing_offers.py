"""A listing's row and the canonical offer: the one to the other and back without loss.

What lists filter and sort by is a column. The rest lies in ``attributes`` under the name of its
field, and so does a value that its column cannot hold whole: then the attribute counts.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from operator import attrgetter
from typing import Any

from sqlalchemy import Integer, Numeric, String

from crm.integrations.portals.base import FIELDS, FieldKind, FieldSpec, Metro, Offer, OfferPhoto
from crm.models import Listing

# Fields of an offer that are columns of a listing under the same name.
COLUMNS: tuple[str, ...] = (
    "deal_type", "kind", "market", "title", "description", "region", "district", "locality",
    "sub_locality", "address", "flat_number", "cadastral_number", "lat", "lon", "price",
    "currency", "rooms", "area_total", "area_living", "area_kitchen", "land_area_m2", "floor",
    "floors_total",
)  # fmt: skip
# Kept by other means: the row's own identity, the photo rows.
ELSEWHERE = frozenset({"public_id", "photos"})
LOOSE = ("extra", "notes")
MAX_PUBLIC_ID = 128
_MAX_INT = 2**31 - 1
# SQLite keeps decimals as floating numbers, which hold fifteen digits.
_SAFE_DIGITS = 15
# One listing is compared with another by these; people write them in many ways.
_ADDRESS_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("ул", "улица", "д", "дом", "г", "город", "кв", "квартира"), ""),
    **dict.fromkeys(("пр", "пр-т", "пр-кт", "просп", "пр-д"), "проспект"),
    **dict.fromkeys(("пер", "п-к"), "переулок"),
    **dict.fromkeys(("ш",), "шоссе"),
    **dict.fromkeys(("наб",), "набережная"),
    **dict.fromkeys(("б-р", "бул"), "бульвар"),
    **dict.fromkeys(("пл",), "площадь"),
    **dict.fromkeys(("корп", "корпус"), "к"),
    **dict.fromkeys(("стр", "строение"), "с"),
}
_ADDRESS_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Stored:
    """An offer as it lies in the table: columns, attributes and what tells changes."""

    columns: dict[str, Any]
    attributes: dict[str, Any]
    digest: str


# --- offer → row ------------------------------------------------------------------------------


def stored(offer: Offer) -> Stored:
    """Columns and attributes of an offer, and the SHA-256 of all it says (photos too)."""
    plain, digest = fingerprint(offer)
    return split(offer, plain, digest)


def fingerprint(offer: Offer) -> tuple[dict[str, Any], str]:
    """What the offer states as JSON, in the order of the catalogue, and its SHA-256."""
    plain: dict[str, Any] = {}
    for value, (name, encode) in zip(_OFFER_ALL(offer), _ENCODE, strict=True):
        if value is not None and value != []:
            plain[name] = encode(value) if encode else value
    if offer.extra:
        plain["extra"] = offer.extra
    if offer.notes:
        plain["notes"] = offer.notes
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    return plain, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split(offer: Offer, plain: dict[str, Any], digest: str) -> Stored:
    """Divide an offer into columns and the rest; ``plain`` is used up."""
    columns: dict[str, Any] = {}
    for name, value in zip(COLUMNS, _OFFER_COLUMNS(offer), strict=True):
        text = plain.pop(name, None)
        columns[name] = fitted = None if value is None else _FIT[name](value)
        if fitted != value:
            plain[name] = text
    columns["address_key"] = address_key(offer.locality, offer.address)
    for name in ELSEWHERE:
        plain.pop(name, None)
    if plain.get("country") == _COUNTRY:
        del plain["country"]
    return Stored(columns, plain, digest)


def apply_offer(listing: Listing, offer: Offer) -> None:
    """Write everything the offer says into the listing, but for its number and its photos."""
    kept = stored(offer)
    for name, value in kept.columns.items():
        setattr(listing, name, value)
    listing.attributes = kept.attributes
    listing.import_hash = kept.digest


def set_values(listing: Listing, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Write typed values of fields; returns those that changed: name → (old, new)."""
    attributes = dict(listing.attributes or {})
    changed: dict[str, tuple[Any, Any]] = {}
    for name, value in values.items():
        old = value_of(listing, name)
        if old == value:
            continue
        changed[name] = (old, value)
        attributes.pop(name, None)
        _write(listing, attributes, FIELDS[name], value)
    if changed:
        listing.attributes = attributes
        listing.address_key = address_key(listing.locality, listing.address)
    return changed


def _write(listing: Listing, attributes: dict[str, Any], spec: FieldSpec, value: Any) -> None:
    absent = value is None or value == []
    if spec.name in _FIT:
        fitted = None if absent else _FIT[spec.name](value)
        setattr(listing, spec.name, fitted)
        if fitted != value:
            attributes[spec.name] = spec.encode(value)
    elif not absent:
        attributes[spec.name] = spec.encode(value)


def address_key(locality: str | None, address: str | None) -> str | None:
    """Address by which doubles are told: without punctuation, abbreviations and word order."""
    if not address:
        return None
    text = f"{locality or ''} {address}".casefold().replace("ё", "е")
    spaced = "".join(char if char.isalnum() or char in "-/" else " " for char in text)
    words = [_ADDRESS_WORDS.get(word, word) for word in spaced.split()]
    known = list(dict.fromkeys(word for word in words if word))
    names = sorted(word for word in known if not word[0].isdigit() and len(word) > 1)
    numbers = [word for word in words if word and (word[0].isdigit() or len(word) == 1)]
    return " ".join([*names, *numbers])[:_ADDRESS_LENGTH] or None


# --- row → offer ------------------------------------------------------------------------------


def stored_offer(row: Any, photos: Iterable[OfferPhoto] = ()) -> Offer:
    """The offer of a listing; exact."""
    return offer_of(row.public_id, _ROW_COLUMNS(row), row.attributes, photos)


def offer_of(
    public_id: str,
    columns: Iterable[Any],
    attributes: Mapping[str, Any] | None,
    photos: Iterable[OfferPhoto] = (),
) -> Offer:
    """The offer of a plain row: its values of ``COLUMNS`` and its attributes."""
    values: dict[str, Any] = {}
    for value, (name, decode) in zip(columns, _COLUMN_DECODERS, strict=True):
        if value is not None:
            values[name] = decode(value) if decode else value
    if attributes:
        values.update(attributes)
        for name in attributes.keys() & _CONVERTED:
            values[name] = _DECODE[name](attributes[name])
    return Offer(public_id=public_id, photos=list(photos), **values)


def value_of(listing: Listing, name: str) -> Any:
    """Typed value of one field; None (an empty list for lists) when it is not stated."""
    attributes = listing.attributes or {}
    if name in attributes:
        return _DECODE[name](attributes[name])
    value = getattr(listing, name) if name in _FIT else None
    if value is None:
        return [] if FIELDS[name].kind in (FieldKind.LIST, FieldKind.MULTI) else _DEFAULTS[name]
    decode = _DECODE_COLUMN.get(name)
    return decode(value) if decode else value


def values_of(listing: Listing) -> dict[str, Any]:
    """All stated fields of a listing, typed, in the order of the catalogue."""
    offer = stored_offer(listing)
    found = {name: getattr(offer, name) for name in FIELDS if name not in ELSEWHERE}
    return {name: value for name, value in found.items() if value is not None and value != []}


def plain_decimal(number: Decimal) -> Decimal:
    """The same number without trailing zeros: ``54.30`` is written ``54.3``."""
    if number == (whole := number.to_integral_value()):
        return whole.quantize(_ONE) if number.is_finite() and abs(number) < _HUGE else number
    return number.normalize()


_ONE = Decimal(1)
_HUGE = Decimal(10) ** 20
_COUNTRY = "Россия"
_OFFER_COLUMNS = attrgetter(*COLUMNS)
_ROW_COLUMNS = attrgetter(*COLUMNS)
_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in fields(Offer)
    if field.name in FIELDS and isinstance(field.default, (str, type(None)))
} | {"public_id": None, "deal_type": None, "kind": None}


def _fit_text(length: int | None) -> Callable[[Any], Any]:
    # The very text, never a word of a vocabulary: drivers treat those in ways of their own.
    return lambda value: str(value)[:length]


def _fit_integer(value: int) -> int | None:
    return value if abs(value) <= _MAX_INT else None


def _fit_decimal(precision: int, scale: int) -> Callable[[Decimal], Decimal | None]:
    step, limit = Decimal(1).scaleb(-scale), Decimal(10) ** (min(precision, _SAFE_DIGITS) - scale)

    def fit(value: Decimal) -> Decimal | None:
        if not value.is_finite() or abs(value) >= limit:
            return None
        return value.quantize(step, ROUND_HALF_UP)

    return fit


def _fitter(name: str) -> Callable[[Any], Any]:
    kind = Listing.__table__.c[name].type
    if isinstance(kind, Numeric):
        return _fit_decimal(kind.precision or 0, kind.scale or 0)
    if isinstance(kind, String):
        return _fit_text(kind.length)
    assert isinstance(kind, Integer)
    return _fit_integer


_FIT: dict[str, Callable[[Any], Any]] = {name: _fitter(name) for name in COLUMNS}


def _same(value: Any) -> Any:
    return value


def _decoder(spec: FieldSpec) -> Callable[[Any], Any]:
    """The fast equal of ``spec.decode`` for values that ``spec.encode`` gave."""
    if spec.kind is FieldKind.ENUM and spec.enum is not None:
        return {term.value: term for term in spec.enum}.__getitem__
    if spec.kind in (FieldKind.TEXT, FieldKind.INT, FieldKind.BOOL):
        return _same
    if spec.kind is FieldKind.DECIMAL:
        return Decimal
    if spec.kind is FieldKind.DATETIME:
        return dt.datetime.fromisoformat
    if spec.kind is FieldKind.DATE:
        return dt.date.fromisoformat
    return spec.decode


_DECODE: dict[str, Callable[[Any], Any]] = {
    **{name: _decoder(spec) for name, spec in FIELDS.items()},
    **dict.fromkeys(LOOSE, _same),
}
# What JSON cannot hold as it is.
_CONVERTED = frozenset(name for name, decode in _DECODE.items() if decode is not _same)


def _station(station: Metro) -> dict[str, Any]:
    return {
        "name": station.name,
        "minutes_on_foot": station.minutes_on_foot,
        "minutes_by_transport": station.minutes_by_transport,
    }


def _encoder(spec: FieldSpec) -> Callable[[Any], Any] | None:
    """The fast equal of ``spec.encode``; None when JSON holds the value as it is."""
    if spec.item is Metro:
        return lambda stations: [_station(station) for station in stations]
    if spec.name == "photos":
        return lambda photos: [[photo.url, str(photo.kind)] for photo in photos]
    if spec.kind in (FieldKind.INT, FieldKind.BOOL, FieldKind.TEXT):
        return None
    if spec.kind is FieldKind.ENUM and spec.enum is not None:
        return {term: term.value for term in spec.enum}.__getitem__
    if spec.kind is FieldKind.DECIMAL:
        return str
    return spec.encode


_ENCODE = [(name, _encoder(spec)) for name, spec in FIELDS.items()]
_OFFER_ALL = attrgetter(*FIELDS)
_DECODE_COLUMN: dict[str, Callable[[Any], Any]] = {
    name: _DECODE[name] if FIELDS[name].kind is FieldKind.ENUM else plain_decimal
    for name in COLUMNS
    if FIELDS[name].kind in (FieldKind.ENUM, FieldKind.DECIMAL)
}
_COLUMN_DECODERS = [(name, _DECODE_COLUMN.get(name)) for name in COLUMNS]

__all__ = [
    "COLUMNS", "Stored", "address_key", "apply_offer", "fingerprint", "offer_of", "plain_decimal",
    "set_values", "split", "stored", "stored_offer", "value_of", "values_of",
]  # fmt: skip
