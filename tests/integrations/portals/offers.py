"""Offers for the tests: a realistic flat, and hypothesis strategies over every field."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import (
    FIELDS,
    AgencyInfo,
    FieldKind,
    FieldSpec,
    Metro,
    Offer,
    OfferPhoto,
)

MOSCOW = dt.timezone(dt.timedelta(hours=3))
STAMP = dt.datetime(2026, 11, 23, 9, 30, tzinfo=MOSCOW)
AGENCY = AgencyInfo(name="АН «Причал»", ogrn_name="ООО «Причал»")


def flat(**values: Any) -> Offer:
    """A flat for sale that Yandex would take without a word."""
    stated: dict[str, Any] = {
        "public_id": "K-1024",
        "deal_type": v.DealType.SALE,
        "kind": v.Kind.FLAT,
        "market": v.Market.RESALE,
        "sale_kind": v.SaleKind.FREE,
        "created_at": STAMP,
        "description": "Светлая квартира у парка, один собственник.",
        "cadastral_number": "77:01:0004012:1234",
        "region": "Москва",
        "locality": "Москва",
        "address": "Липовая аллея, 7",
        "flat_number": "41",
        "lat": Decimal("55.751244"),
        "lon": Decimal("37.618423"),
        "owner_role": v.OwnerRole.AGENT,
        "phones": ["+74950000001"],
        "price": Decimal("12500000"),
        "rooms": 2,
        "area_total": Decimal("54.3"),
        "area_living": Decimal("31"),
        "area_kitchen": Decimal("9.5"),
        "floor": 5,
        "floors_total": 9,
        "photos": [OfferPhoto(f"https://img.example.ru/{n}.jpg") for n in range(3)],
    }
    return Offer(**(stated | values))


_TEXT = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from("<>&\"'\x00\x0b\r\n\t\ufffe]]>"),
    max_size=30,
)
_INTS = st.integers(-3, 400)
_DECIMALS = st.decimals(0, 99_999_999, places=2) | st.decimals(0, 1000, places=6)
_OFFSETS = st.integers(-12 * 60, 14 * 60).map(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))
)
_MOMENTS = st.datetimes(
    dt.datetime(1991, 1, 1), dt.datetime(2099, 1, 1), timezones=st.none() | _OFFSETS
)
_MINUTES = st.none() | st.integers(0, 300)
_ITEMS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.from_regex(r"\+7\d{10}|8 \(9\d\d\) \d{3}-\d\d-\d\d|\d{5}", fullmatch=True),
    Decimal: st.decimals("0.1", 900, places=2),
    Metro: st.builds(Metro, _TEXT, _MINUTES, _MINUTES),
    OfferPhoto: st.builds(OfferPhoto, _TEXT, st.sampled_from(v.PhotoKind)),
}
_PLAIN: dict[FieldKind, st.SearchStrategy[Any]] = {
    FieldKind.TEXT: _TEXT,
    FieldKind.INT: _INTS,
    FieldKind.DECIMAL: _DECIMALS,
    FieldKind.BOOL: st.booleans(),
    FieldKind.DATE: st.dates(dt.date(1991, 1, 1), dt.date(2099, 1, 1)),
    FieldKind.DATETIME: _MOMENTS,
}
_OWN: dict[str, st.SearchStrategy[Any]] = {
    "public_id": st.text(min_size=1, max_size=40).filter(
        lambda text: any(char.isalnum() for char in text)
    ),
    "price": st.decimals("0.01", 999_999_999_999, places=2),
    "balconies": st.integers(0, 25),
    "loggias": st.integers(0, 25),
    "wc_separate": st.integers(0, 5),
    "wc_combined": st.integers(0, 5),
    "wc_total": st.integers(0, 9),
    "lat": st.decimals(-90, 90, places=8),
    "lon": st.decimals(-180, 180, places=8),
}
_REQUIRED = {"public_id", "deal_type", "kind", "price", "currency", "country"}
_UNSENDABLE = {v.Kind.FLAT_SHARE, v.Kind.BED}


def _values(spec: FieldSpec) -> st.SearchStrategy[Any]:
    if spec.name in _OWN:
        return _OWN[spec.name]
    if spec.name == "kind":
        return st.sampled_from([kind for kind in v.Kind if kind not in _UNSENDABLE])
    if spec.kind is FieldKind.ENUM:
        return st.sampled_from(list(spec.enum or ()))
    if spec.kind is FieldKind.MULTI:
        return st.lists(st.sampled_from(list(spec.enum or ())), max_size=3)
    if spec.kind is FieldKind.LIST:
        return st.lists(_ITEMS[spec.item], max_size=3)
    return _PLAIN[spec.kind]


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    """Any offer that can be sent: a random third of the fields is stated."""
    optional = sorted(set(FIELDS) - _REQUIRED)
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=60))
    names = [*sorted(_REQUIRED), *chosen]
    values = {name: draw(_values(FIELDS[name])) for name in names}
    values["extra"] = draw(st.dictionaries(_TEXT, st.lists(_TEXT, max_size=2), max_size=2))
    return Offer(**values)


def differences(left: Offer, right: Offer) -> dict[str, tuple[Any, Any]]:
    """Fields in which two offers differ."""
    pairs = {f.name: (getattr(left, f.name), getattr(right, f.name)) for f in fields(Offer)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
