"""What Yandex would refuse is told beforehand, in Russian and by field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS, AgencyInfo, OfferPhoto, Severity
from crm.integrations.portals.yandex_check import RULES, UNTAGGED_RULES
from tests.integrations.portals.offers import AGENCY, flat

portal = registry.get("yandex")


def said(agency: AgencyInfo = AGENCY, **values: Any) -> set[tuple[str, Severity]]:
    return {(r.field, r.severity) for r in portal.check(flat(**values), agency)}


def test_a_good_flat_is_taken_without_a_word() -> None:
    assert portal.check(flat(), AGENCY) == []


@pytest.mark.parametrize(
    ("values", "field", "severity"),
    [
        ({"created_at": None}, "created_at", "refuse"),
        ({"price": None}, "price", "refuse"),
        ({"price": Decimal(0)}, "price", "refuse"),
        ({"area_total": None}, "area_total", "refuse"),
        ({"floor": None}, "floor", "refuse"),
        ({"floor": 10}, "floor", "refuse"),
        ({"rooms": None}, "rooms", "refuse"),
        ({"is_studio": True, "is_open_plan": True}, "is_studio", "refuse"),
        ({"phones": []}, "phones", "refuse"),
        ({"phones": ["8 495 000-00-01"]}, "phones", "refuse"),
        ({"phones": ["+7495000000"]}, "phones", "refuse"),
        ({"owner_role": v.OwnerRole.OWNER}, "owner_role", "refuse"),
        ({"country": "Турция"}, "country", "refuse"),
        ({"address": None}, "address", "refuse"),
        ({"description": "я" * 10_001}, "description", "refuse"),
        ({"description": "Дом<br>сад"}, "description", "warn"),
        ({"photos": []}, "photos", "warn"),
        ({"photos": [OfferPhoto("ftp://img.example.ru/1.jpg")] * 3}, "photos", "refuse"),
        ({"photos": [OfferPhoto("https://img.example.ru:8443/1")] * 3}, "photos", "warn"),
        ({"cadastral_number": None, "flat_number": None}, "cadastral_number", "warn"),
        ({"cadastral_number": "77-01"}, "cadastral_number", "warn"),
        ({"kind": v.Kind.BED}, "kind", "refuse"),
        ({"kind": v.Kind.ROOM}, "rooms_offered", "refuse"),
        ({"kind": v.Kind.LAND}, "land_area_m2", None),
        ({"kind": v.Kind.LAND, "area_total": None}, "land_area_m2", "refuse"),
        ({"kind": v.Kind.OFFICE, "photos": []}, "photos", "refuse"),
        ({"deal_type": v.DealType.RENT_LONG, "photos": []}, "photos", "refuse"),
        ({"market": v.Market.NEW_BUILDING, "photos": []}, "photos", "refuse"),
        ({"market": v.Market.NEW_BUILDING}, "building_state", "refuse"),
        ({"market": v.Market.NEW_BUILDING}, "yandex_building_id", "warn"),
        ({"kind": v.Kind.COMMERCIAL_LAND, "floor": None}, "floor", None),
        ({"is_studio": True, "rooms": None}, "rooms", None),
        ({"discount_price": Decimal(13_000_000)}, "discount_price", "refuse"),
    ],
)
def test_a_broken_rule_is_told(values: dict[str, Any], field: str, severity: str | None) -> None:
    told = said(**values)
    if severity is None:
        assert field not in {name for name, _ in told}
    else:
        assert (field, Severity(severity)) in told


@pytest.mark.parametrize(
    "agency", [AgencyInfo(), AgencyInfo(name="АН"), AgencyInfo(ogrn_name="ООО")]
)
def test_a_company_without_name_or_number_is_told(agency: AgencyInfo) -> None:
    assert ("agency", Severity.REFUSE) in said(agency)


def test_the_tracking_phone_is_the_one_that_is_checked() -> None:
    tracked = AgencyInfo(name=AGENCY.name, ogrn_name=AGENCY.ogrn_name, phone="+74957777777")
    assert said(tracked, phones=[]) == set()


def test_an_untagged_plan_must_stand_first() -> None:
    photos = [OfferPhoto("https://a.example/1.jpg")] * 3
    plan = OfferPhoto("https://a.example/p.png", v.PhotoKind.PLAN)
    offer = flat(market=v.Market.NEW_BUILDING, photos=[*photos, plan])
    messages = [r.message for r in portal.check(offer, AGENCY) if r.field == "photos"]
    assert messages == ["Планировка новостройки должна быть первой фотографией"]
    assert not [r for r in portal.check(offer, AGENCY, modern=True) if r.field == "photos"]


def test_every_rule_speaks_of_a_real_field() -> None:
    assert {rule.field for rule in RULES + UNTAGGED_RULES} <= set(FIELDS) | {"agency"}
