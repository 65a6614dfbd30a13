"""What a YRL file keeps of an offer: the written list of losses, checked by the round trip."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace
from typing import Any

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import FIELDS, AgencyInfo, FieldKind, Offer
from crm.integrations.portals.yandex_elements import ABSENT_FIELDS, MODERN_FIELDS
from crm.integrations.portals.yandex_parse import MOSCOW, normal_phone
from crm.integrations.portals.yandex_write import (
    cleaned,
    commercial_types,
    period_of,
    shown_phones,
)

_DEFAULTS = {f.name: f.default for f in fields(Offer)}
# Words without a spelling of their own become the nearest one; words not named here get lost.
_FOLDED: dict[str, dict[Any, Any]] = {
    "wall_material": y.WALLS.folded,
    "kind": {
        v.Kind.BUILDING: v.Kind.FREE_PURPOSE,
        v.Kind.COWORKING: v.Kind.OFFICE,
    },
}
_LOST_WORDS: dict[str, frozenset[v.Term]] = {
    "wall_material": frozenset(
        {
            v.WallMaterial.STALIN,
            v.WallMaterial.OLD,
            v.WallMaterial.METAL,
            v.WallMaterial.SANDWICH,
        }
    ),
    "sale_kind": frozenset({v.SaleKind.ZHSK, v.SaleKind.DKP, v.SaleKind.INVESTMENT}),
    "land_status": frozenset(v.LandStatus) - {v.LandStatus.IZHS, v.LandStatus.SNT},
    "finish": frozenset({v.Finish.OFFICE}),
    "vat": frozenset({v.Vat.EXCLUDED}),
    "building_kind": frozenset({v.BuildingKind.ADMINISTRATIVE, v.BuildingKind.OTHER}),
    "building_class": frozenset({v.BuildingClass.B_MINUS}),
}
_YES_ONLY = ("is_studio", "is_open_plan")
_MOMENTS = ("created_at", "updated_at", "publish_until", "promo_raise_at")


def carried(offer: Offer, agency: AgencyInfo, modern: bool) -> Offer:
    """The offer as it comes back from the file; `extra` and `notes` never leave us."""
    kept = cleaned(offer)
    kept.extra, kept.notes = {}, []
    _drop_fields(kept, modern)
    _drop_words(kept)
    _numbers(kept)
    _moments(kept)
    _deal(kept)
    _rooms(kept)
    _contacts(kept, agency)
    _media(kept, modern)
    return kept


def _drop_fields(kept: Offer, modern: bool) -> None:
    for name in ABSENT_FIELDS if modern else ABSENT_FIELDS | MODERN_FIELDS:
        setattr(kept, name, _DEFAULTS[name])
    if kept.kind not in y.TYPE_OF_KIND:
        kept.commercial_types = []


def _drop_words(kept: Offer) -> None:
    for name, lost in _LOST_WORDS.items():
        if getattr(kept, name) in lost:
            setattr(kept, name, None)
    for name in _YES_ONLY:
        if getattr(kept, name) is False:
            setattr(kept, name, None)
    if kept.kind in y.TYPE_OF_KIND:
        kept.commercial_types = commercial_types(kept)
    for name, folded in _FOLDED.items():
        value = getattr(kept, name)
        setattr(kept, name, folded.get(value, value))


def _numbers(kept: Offer) -> None:
    for name, spec in FIELDS.items():
        value = getattr(kept, name)
        if spec.kind is FieldKind.DECIMAL and value is not None and not value.is_finite():
            setattr(kept, name, None)
    for name in ("lat", "lon"):
        if (degrees := getattr(kept, name)) is not None:
            inside = abs(degrees) <= 180
            setattr(kept, name, degrees.quantize(y.COORDINATE_STEP) if inside else None)
    kept.area_rooms = [area for area in kept.area_rooms if area.is_finite()]
    for name in ("floors_total", "built_year"):
        number = getattr(kept, name)
        if number is not None and number < 1:
            setattr(kept, name, None)
    if kept.ready_quarter not in (1, 2, 3, 4):
        kept.ready_quarter = None
    if kept.land_area_m2 is None:
        kept.land_unit = None
    else:
        kept.land_unit = kept.land_unit or v.LandUnit.SOTKA


def _moments(kept: Offer) -> None:
    """Seconds are kept, smaller parts are not; a discount ends on a minute."""
    for name in _MOMENTS:
        if moment := getattr(kept, name):
            setattr(kept, name, _aware(moment).replace(microsecond=0))
    if kept.discount_until:
        kept.discount_until = _aware(kept.discount_until).replace(second=0, microsecond=0)
    if v.Promo.RAISE not in kept.promo:
        kept.promo_raise_at = None


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=MOSCOW)


def _deal(kept: Offer) -> None:
    kept.price_period = period_of(kept)
    sale = kept.deal_type is v.DealType.SALE
    if kept.deal_type is v.DealType.RENT_LONG and kept.price_period is v.PricePeriod.DAY:
        kept.deal_type = v.DealType.RENT_DAILY
    if sale:
        kept.lease_kind = None
    elif kept.lease_kind or kept.sale_kind is not v.SaleKind.LEASE_ASSIGNMENT:
        kept.sale_kind = None
    if kept.market is not v.Market.NEW_BUILDING:
        resale = kept.kind in v.HOUSING and kept.sale_kind in y.RESALE_KINDS
        kept.market = v.Market.RESALE if resale else None


def _rooms(kept: Offer) -> None:
    kept.room_layout = sorted(set(kept.room_layout))
    views = set(kept.window_views) - {v.WindowView.SUNNY}
    kept.window_views = [w for w in (v.WindowView.YARD, v.WindowView.STREET) if w in views]
    if kept.market is v.Market.NEW_BUILDING and kept.finish:
        kept.renovation = None
    elif kept.renovation:
        kept.finish = None
    _balconies(kept)
    _bathrooms(kept)


def _balconies(kept: Offer) -> None:
    if (kept.balconies, kept.loggias) == (None, None):
        return
    balconies, loggias = max(kept.balconies or 0, 0), max(kept.loggias or 0, 0)
    if balconies or loggias:
        kept.balconies, kept.loggias = balconies or None, loggias or None
    else:
        kept.balconies = kept.loggias = 0


def _bathrooms(kept: Offer) -> None:
    separate, combined = kept.wc_separate or 0, kept.wc_combined or 0
    single = (separate, combined) in ((1, 0), (0, 1))
    kept.wc_separate = 1 if single and separate else None
    kept.wc_combined = 1 if single and combined else None
    kept.wc_total = None if single else separate + combined or kept.wc_total


def _contacts(kept: Offer, agency: AgencyInfo) -> None:
    phones = [normal_phone(phone) for phone in shown_phones(kept, agency)]
    kept.phones = [phone for phone in phones if phone.strip("+")]
    kept.owner_role = kept.owner_role or v.OwnerRole.AGENT
    filled = replace(
        kept,
        agency_name=kept.agency_name or agency.name,
        agency_url=kept.agency_url or agency.url,
        contact_email=kept.contact_email or agency.email,
        agency_logo=kept.agency_logo or agency.logo_url,
    )
    for name in ("agency_name", "agency_url", "contact_email", "agency_logo"):
        setattr(kept, name, getattr(cleaned(filled), name))


def _media(kept: Offer, modern: bool) -> None:
    kept.metro = [station for station in kept.metro if station.name]
    kept.photos = [photo for photo in kept.photos if photo.url]
    if not modern:
        kept.photos = [replace(photo, kind=v.PhotoKind.PHOTO) for photo in kept.photos]
