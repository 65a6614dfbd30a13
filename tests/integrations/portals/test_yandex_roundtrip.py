"""Export, import and the schema: what is written comes back, and the losses are the listed ones."""

from __future__ import annotations

import datetime as dt
import io
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import (
    AgencyInfo,
    Metro,
    Offer,
    OfferPhoto,
    OfferRead,
    OfferRefused,
)
from tests.integrations.portals.offers import AGENCY, MOSCOW, STAMP, differences, flat, offers

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = Path(os.environ.get("KVARTAL_SAMPLES", ROOT.parent / "shared" / "samples"))
YANDEX = SAMPLES / "feeds" / "yandex"
FILES = {
    "yrl-seven-kinds-example.xml": (7, 0),
    "moscow-region-land-2024.xml": (182, 8),
    "commercial-novosibirsk-2026.xml": (26, 0),
    "spb-flats-rooms-houses-2015.xml": (315, 0),
}
needs_samples = pytest.mark.skipif(not YANDEX.is_dir(), reason="no sample feeds here")
portal = registry.get("yandex")


def exported(*listed: Offer, agency: AgencyInfo = AGENCY, modern: bool = False) -> bytes:
    out = io.BytesIO()
    report = portal.write(listed, out, generated_at=STAMP, agency=agency, modern=modern)
    assert (report.written, report.skipped) == (len(listed), [])
    return out.getvalue()


def imported(content: bytes) -> list[Offer]:
    results = list(portal.read(io.BytesIO(content)))
    assert all(isinstance(result, OfferRead) for result in results), results
    return [result.offer for result in results if isinstance(result, OfferRead)]


def back(offer: Offer, **more: Any) -> Offer:
    [came] = imported(exported(offer, **more))
    return came


def full(**values: Any) -> Offer:
    """An offer whose every listed value must survive untouched."""
    return flat(agency_name=AGENCY.name, **values)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(offers(), st.booleans())
def test_whatever_is_written_comes_back_but_for_the_listed_losses(
    offer: Offer, modern: bool
) -> None:
    came = back(offer, modern=modern)
    assert differences(came, portal.carried(offer, AGENCY, modern=modern)) == {}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(offers(), st.booleans())
def test_what_came_back_once_is_carried_whole_the_second_time(offer: Offer, modern: bool) -> None:
    first = back(offer, modern=modern)
    assert differences(back(first, modern=modern), first) == {}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(offers())
def test_json_storage_is_lossless(offer: Offer) -> None:
    assert differences(Offer.from_dict(offer.to_dict()), offer) == {}


CASES: dict[str, dict[str, Any]] = {
    "plain flat": {},
    "room": {
        "kind": v.Kind.ROOM,
        "rooms": 4,
        "rooms_offered": 2,
        "area_rooms": [Decimal("14.2"), Decimal("11")],
    },
    "daily rent": {
        "deal_type": v.DealType.RENT_DAILY,
        "price_period": v.PricePeriod.DAY,
        "market": None,
        "sale_kind": None,
        "deposit_required": True,
        "pets": False,
        "children": True,
    },
    "yearly rent of a sublease": {
        "deal_type": v.DealType.RENT_LONG,
        "price_period": v.PricePeriod.YEAR,
        "lease_kind": v.LeaseKind.SUBLEASE,
        "market": None,
        "sale_kind": None,
        "min_lease_months": 11,
        "client_commission_pct": Decimal("50"),
    },
    "dollars": {"currency": v.Currency.USD, "price": Decimal("149999.50")},
    "new building": {
        "market": v.Market.NEW_BUILDING,
        "sale_kind": v.SaleKind.ASSIGNMENT,
        "finish": v.Finish.PREFINE,
        "building_state": v.BuildingState.UNFINISHED,
        "built_year": 2028,
        "ready_quarter": 3,
        "yandex_building_id": "51234",
        "section": "корпус 2",
    },
    "plot priced per sotka": {
        "kind": v.Kind.LAND,
        "market": None,
        "price_unit": v.PriceUnit.PER_SOTKA,
        "land_area_m2": Decimal("1235"),
        "land_unit": v.LandUnit.SOTKA,
        "land_status": v.LandStatus.SNT,
        "area_total": None,
    },
    "plot in hectares": {
        "kind": v.Kind.LAND,
        "market": None,
        "price_unit": v.PriceUnit.PER_HA,
        "land_area_m2": Decimal("24500"),
        "land_unit": v.LandUnit.HECTARE,
    },
    "house with a plot": {
        "kind": v.Kind.HOUSE,
        "land_area_m2": Decimal("600"),
        "land_unit": v.LandUnit.M2,
        "wc_location": v.Indoors.OUTDOORS,
        "gas": False,
        "water": True,
        "highway": "Дмитровское шоссе",
        "distance_km": Decimal("28.5"),
    },
    "box in a garage": {
        "kind": v.Kind.BOX,
        "market": None,
        "garage_status": v.GarageStatus.COOPERATIVE,
        "parking_type": v.ParkingType.MULTILEVEL,
        "inspection_pit": True,
        "wall_material": v.WallMaterial.CONCRETE,
    },
    "premises of several types per metre": {
        "kind": v.Kind.OFFICE,
        "market": None,
        "commercial_types": [
            v.CommercialType.OFFICE,
            v.CommercialType.RETAIL,
            v.CommercialType.CATERING,
        ],
        "purposes": [v.Purpose.BANK, v.Purpose.TRAVEL_AGENCY],
        "price_unit": v.PriceUnit.PER_M2,
        "vat": v.Vat.USN,
        "building_kind": v.BuildingKind.BUSINESS_CENTER,
        "building_class": v.BuildingClass.B_PLUS,
        "power_kw": 40,
        "pallet_price": Decimal("310.5"),
        "floor": 0,
    },
    "metro and counts": {
        "metro": [Metro("Сокол", 7, None), Metro("Аэропорт", None, 12), Metro("Панфиловская")],
        "balconies": 2,
        "loggias": 1,
        "wc_total": 3,
        "window_views": [v.WindowView.YARD, v.WindowView.STREET],
        "room_layout": [v.RoomLayout.ISOLATED],
        "renovation": v.Renovation.EURO,
        "phones": ["+74950000001", "+74950000002"],
    },
    "characters": {
        "description": 'Дом <br> & "сад" ]]> 🏠\n\nс\tотступом',
        "complex_name": "ЖК «Три & четыре»",
    },
}


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_a_kind_of_listing_survives_without_any_loss(values: dict[str, Any]) -> None:
    offer = full(**values)
    assert differences(back(offer), offer) == {}


@pytest.mark.parametrize("kind", [k for k in v.Kind if k.value not in ("flat_share", "bed")])
def test_every_kind_comes_back_as_itself(kind: v.Kind) -> None:
    folded = {v.Kind.BUILDING: v.Kind.FREE_PURPOSE, v.Kind.COWORKING: v.Kind.OFFICE}
    assert back(full(kind=kind)).kind is folded.get(kind, kind)


WORDS = [
    *[("renovation", word) for word in v.Renovation],
    *[("finish", word) for word in v.Finish if word is not v.Finish.OFFICE],
    *[("quality", word) for word in v.Quality],
    *[("floor_covering", word) for word in v.FloorCovering],
    *[("building_state", word) for word in v.BuildingState],
    *[("garage_status", word) for word in v.GarageStatus],
    *[("parking_type", word) for word in v.ParkingType],
    *[("entrance_type", word) for word in v.EntranceType],
    *[("window_type", word) for word in v.WindowType],
    *[("owner_role", word) for word in v.OwnerRole],
    *[("currency", word) for word in v.Currency],
    *[("price_unit", word) for word in v.PriceUnit],
    *[("wc_location", word) for word in v.Indoors],
    *[("wall_material", word) for word in list(v.WallMaterial)[:7]],
    *[("building_class", word) for word in v.BuildingClass if word.value != "b_minus"],
]


@pytest.mark.parametrize(("field", "word"), WORDS)
def test_every_word_comes_back_as_itself(field: str, word: v.Term) -> None:
    content = exported(full(**{field: word}))
    assert getattr(imported(content)[0], field) is word
    assert not imported(content)[0].notes


MODERN: dict[str, Any] = {
    "video_url": "https://rutube.ru/video/0123456789abcdef/",
    "tour_url": "https://tour.example.ru/1",
    "tour_provider": v.TourProvider.IFRAME,
    "online_show": True,
    "photo_order_may_change": False,
    "yandex_house_id": "77",
    "key_handover_date": dt.date(2027, 3, 31),
    "discount_price": Decimal("11900000"),
    "discount_until": dt.datetime(2026, 12, 31, 23, 59, tzinfo=MOSCOW),
    "promo": [v.Promo.RAISE, v.Promo.PREMIUM],
    "promo_raise_at": STAMP,
    "photos": [OfferPhoto("https://img.example.ru/p.png", v.PhotoKind.PLAN_3D)],
}


def test_modern_elements_survive_on_request_only() -> None:
    offer = full(**MODERN)
    assert differences(back(offer, modern=True), offer) == {}
    assert set(differences(back(offer), offer)) == set(MODERN) - {"promo"}


def test_the_same_offers_give_the_same_bytes() -> None:
    listed = [full(public_id=str(number)) for number in range(20)]
    assert exported(*listed) == exported(*listed)


def test_the_file_is_utf8_with_one_declaration_and_one_namespace() -> None:
    content = exported(full(), full(public_id="2"))
    assert content.startswith(b"<?xml ")
    assert content.count(b"xmlns") == 1
    assert "Липовая аллея".encode() in content


def test_the_tracking_phone_replaces_all_others() -> None:
    agency = AgencyInfo(name="АН «Причал»", phone="+74957777777")
    offer = back(flat(phones=["+74950000001", "+74950000002"]), agency=agency)
    assert offer.phones == ["+74957777777"]


def test_the_agency_fills_only_what_the_offer_does_not_state() -> None:
    agency = AgencyInfo(name="АН «Причал»", url="https://prichal.example", email="a@example.ru")
    offer = back(flat(agency_name="Партнёр"), agency=agency)
    assert (offer.agency_name, offer.agency_url) == ("Партнёр", "https://prichal.example")
    assert offer.contact_email == "a@example.ru"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": v.Kind.BED}, "не принимает объекты вида «Койко-место»"),
        ({"kind": v.Kind.FLAT_SHARE}, "не принимает"),
        ({"price": None}, "Не указана цена"),
        ({"price": Decimal("NaN")}, "Не указана цена"),
        ({"public_id": "\x01 "}, "Нет номера"),
    ],
)
def test_a_listing_that_cannot_be_expressed_does_not_break_the_file(
    values: dict[str, Any], reason: str
) -> None:
    out = io.BytesIO()
    report = portal.write(
        [flat(**values), full(public_id="2")], out, generated_at=STAMP, agency=AGENCY
    )
    assert report.written == 1
    assert reason in report.skipped[0][1]
    assert [offer.public_id for offer in imported(out.getvalue())] == ["2"]


def test_private_raw_data_never_leaves() -> None:
    offer = full(extra={"owner-phone": ["+79990000000"]}, notes=["секрет"])
    content = exported(offer)
    assert b"79990000000" not in content
    assert "секрет".encode() not in content


@needs_samples
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(offers())
def test_every_export_fits_the_schema(offer: Offer) -> None:
    schema().assertValid(etree.fromstring(exported(offer)))


@needs_samples
@pytest.mark.parametrize(("name", "counts"), FILES.items())
def test_a_real_file_is_accounted_for_offer_by_offer(name: str, counts: tuple[int, int]) -> None:
    content = (YANDEX / name).read_bytes()
    with (YANDEX / name).open("rb") as stream:
        results = list(portal.read(stream))
    assert len(results) == content.count(b"<offer ")
    kinds = Counter(type(result) for result in results)
    assert (kinds[OfferRead], kinds[OfferRefused]) == counts
    assert all(result.reasons for result in results if isinstance(result, OfferRefused))


@needs_samples
@pytest.mark.parametrize("name", FILES)
def test_a_real_file_goes_out_again_unchanged_and_valid(name: str) -> None:
    with (YANDEX / name).open("rb") as stream:
        came = [result.offer for result in portal.read(stream) if isinstance(result, OfferRead)]
    nobody = AgencyInfo()
    content = exported(*came, agency=nobody)
    schema().assertValid(etree.fromstring(content))
    for before, after in zip(came, imported(content), strict=True):
        assert differences(after, portal.carried(before, nobody)) == {}
        assert set(differences(after, before)) <= {"extra", "owner_role"}


_SCHEMAS: list[Any] = []


def schema() -> Any:
    if not _SCHEMAS:
        _SCHEMAS.append(etree.XMLSchema(etree.parse(YANDEX / "yrl_schema-2017.xsd")))
    return _SCHEMAS[0]
