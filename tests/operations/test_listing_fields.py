"""Fields as people type them, and the offer that a row keeps without loss."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS, FieldKind, Metro, Offer
from crm.models import Listing, db
from crm.operations import listing_fields
from crm.operations.errors import ValidationErrors
from crm.operations.listing_offers import (
    apply_offer,
    plain_decimal,
    set_values,
    stored_offer,
    value_of,
    values_of,
)
from tests.integrations.portals.offers import AGENCY, differences, flat, offers

pytestmark = pytest.mark.usefixtures("app")
PORTAL = registry.get("yandex")
LOST = {"public_id", "photos"}


def through_the_database(offer: Offer) -> Offer:
    """Write an offer into a row, read the row anew."""
    listing = Listing(public_id="x", state="draft")
    apply_offer(listing, offer)
    db.session.add(listing)
    db.session.flush()
    db.session.expire(listing)
    came = stored_offer(listing)
    db.session.rollback()
    return came


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(offers())
def test_a_row_keeps_whatever_a_feed_says(app: Flask, offer: Offer) -> None:
    said = PORTAL.carried(offer, AGENCY, modern=True)
    came = through_the_database(said)
    assert {k: d for k, d in differences(came, said).items() if k not in LOST} == {}


@pytest.mark.parametrize(
    "values",
    [
        {"title": "д" * 400},
        {"address": "у" * 700, "region": "р" * 300},
        {"price": Decimal("99999999999999999.99")},
        {"price": Decimal("12345678901234.56")},
        {"area_total": Decimal("54.12345")},
        {"lat": Decimal("55.12345678")},
        {"rooms": 2**40, "floor": -3},
        {"extra": {"x/y": ["1", "2"]}, "notes": ["что-то"]},
        {"country": "Беларусь"},
        {"metro": [Metro("Сокол", 7), Metro("Аэропорт", None, 12)]},
        {"created_at": dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=7)))},
    ],
)
def test_what_a_column_cannot_hold_is_kept_beside_it(values: dict[str, Any]) -> None:
    said = flat(**values)
    assert {
        k: d for k, d in differences(through_the_database(said), said).items() if k not in LOST
    } == {}


def test_a_new_value_replaces_one_that_lay_beside_its_column() -> None:
    listing = Listing(public_id="x", state="draft")
    apply_offer(listing, flat(title="д" * 400))
    assert set_values(listing, {"title": "Короткий"})["title"][1] == "Короткий"
    assert (listing.title, value_of(listing, "title")) == ("Короткий", "Короткий")
    assert "title" not in listing.attributes
    assert set_values(listing, {"title": "Короткий"}) == {}


def test_stated_values_only() -> None:
    listing = Listing(public_id="x", state="draft")
    apply_offer(listing, flat())
    values = values_of(listing)
    assert values["kind"] is v.Kind.FLAT
    assert "lift" not in values
    assert "photos" not in values


@pytest.mark.parametrize(
    ("written", "plain"),
    [("12500000.00", "12500000"), ("54.30", "54.3"), ("0.00", "0"), ("100", "100"), ("0.5", "0.5")],
)
def test_numbers_have_no_zeros_to_spare(written: str, plain: str) -> None:
    assert str(plain_decimal(Decimal(written))) == plain


# --- typing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        ("price", "12 500 000,50 ₽", Decimal("12500000.50")),
        ("price", "12\u00a0500\u00a0000", Decimal(12_500_000)),
        ("price", "", None),
        ("area_total", "54.3 м²", Decimal("54.3")),
        ("floor", "-1", -1),
        ("floor", " 5 ", 5),
        ("lift", "", None),
        ("lift", "да", True),
        ("lift", "0", False),
        ("lift", False, False),
        ("renovation", "euro", v.Renovation.EURO),
        ("window_views", "yard; street", [v.WindowView.YARD, v.WindowView.STREET]),
        ("window_views", ["yard", "yard", ""], [v.WindowView.YARD]),
        ("window_views", "", []),
        ("available_from", "05.12.2026", dt.date(2026, 12, 5)),
        ("available_from", "2026-12-05", dt.date(2026, 12, 5)),
        ("area_rooms", "17,5; 14", [Decimal("17.5"), Decimal(14)]),
        ("metro", "Сокол, 7 мин пешком; Аэропорт", [Metro("Сокол", 7), Metro("Аэропорт")]),
        ("metro", [{"name": "Сокол", "minutes_by_transport": 9}], [Metro("Сокол", None, 9)]),
        ("description", "  Текст\0 ", "Текст"),
    ],
)
def test_typed_values_are_understood(field: str, typed: Any, value: Any) -> None:
    assert listing_fields.parse(FIELDS[field], typed) == value


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("price", "много"),
        ("price", "1,2,3"),
        ("price", "NaN"),
        ("price", "1e9"),
        ("floor", "5,5"),
        ("floor", "9" * 20),
        ("lift", "наверное"),
        ("renovation", "Евроремонт"),
        ("window_views", ["moon"]),
        ("available_from", "31.02.2026"),
        ("publish_until", "завтра"),
        ("title", "д" * 300),
        ("description", "д" * 20_001),
        ("area_rooms", "1; x"),
        ("metro", [{"name": ""}]),
        ("price", {"a": 1}),
        ("area_rooms", [1] * 60),
    ],
)
def test_what_is_not_understood_is_said_in_russian(field: str, typed: Any) -> None:
    with pytest.raises(ValueError) as caught:
        listing_fields.parse(FIELDS[field], typed)
    assert any("а" <= char <= "я" for char in str(caught.value))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_stands_in_an_input_is_read_back(app: Flask, data: st.DataObject) -> None:
    offer = PORTAL.carried(data.draw(offers()), AGENCY, modern=True)
    for name, spec in FIELDS.items():
        value = getattr(offer, name)
        if name in listing_fields.MANAGED or value is None or spec.kind is FieldKind.TEXT:
            continue
        if name == "metro" or (spec.kind is FieldKind.LIST and value == []):
            continue
        assert listing_fields.parse(spec, listing_fields.text_of(spec, value)) == (
            list(dict.fromkeys(value)) if spec.kind is FieldKind.MULTI else value
        )


@pytest.mark.parametrize("kind", list(v.Kind))
def test_every_kind_has_a_form_with_price_and_address(kind: v.Kind) -> None:
    for deal in v.DealType:
        groups = listing_fields.form_groups(kind, deal)
        names = {spec.name for specs in groups.values() for spec in specs}
        assert {"price", "address", "description"} <= names
        assert not names & listing_fields.MANAGED
        assert ("sale_kind" in names) is (deal is v.DealType.SALE)
        assert ("lease_kind" in names) is (deal is not v.DealType.SALE)


def test_a_form_without_a_kind_is_refused() -> None:
    with pytest.raises(ValidationErrors) as caught:
        listing_fields.read_form({"price": "5"})
    assert {error.field for error in caught.value.errors} == {"deal_type", "kind"}


def test_nobody_sets_what_the_product_sets_itself() -> None:
    typed = {"kind": "flat", "deal_type": "sale", "public_id": "1", "phones": "+79120000000"}
    assert set(listing_fields.read_form(typed)) == {"kind", "deal_type"}


def test_values_are_shown_in_words(app: Flask) -> None:
    show = listing_fields.shown
    assert show(FIELDS["renovation"], v.Renovation.EURO) == "Евроремонт"
    assert show(FIELDS["lift"], True) == "да"
    assert show(FIELDS["area_total"], Decimal("54.30")) == "54,3\u00a0м²"
    assert show(FIELDS["window_views"], [v.WindowView.YARD]) == "Во двор"
    assert show(FIELDS["price"], None) == "—"
