"""The catalogue of fields and the registry of portals."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS, FieldKind, Group, Offer, fields_of
from tests.integrations.portals.offers import flat


def test_the_catalogue_names_exactly_the_fields_of_an_offer() -> None:
    assert set(FIELDS) == {field.name for field in fields(Offer)} - {"extra", "notes"}


@pytest.mark.parametrize("spec", FIELDS.values(), ids=FIELDS)
def test_a_spec_agrees_with_the_type_of_its_field(spec: object) -> None:
    name, kind, words = spec.name, spec.kind, spec.enum  # type: ignore[attr-defined]
    hint = get_type_hints(Offer)[name]
    inner = next(part for part in get_args(hint) or (hint,) if part is not type(None))
    if kind in (FieldKind.ENUM, FieldKind.MULTI):
        assert inner is words
    else:
        assert words is None
    names = {"str": "text", "int": "int", "Decimal": "decimal", "bool": "bool"}
    names |= {"date": "date", "datetime": "datetime"}
    if kind not in (FieldKind.ENUM, FieldKind.MULTI, FieldKind.LIST):
        assert names[inner.__name__] == kind


def test_every_word_has_a_russian_label() -> None:
    terms = [term for words in v.Term.__subclasses__() for term in words]
    assert len(terms) > 150
    assert all(
        term.label and term.label != term.value for term in terms if term.value != "matterport"
    )


def test_a_form_shows_what_concerns_the_kind() -> None:
    land, office = fields_of(v.Kind.LAND), fields_of(v.Kind.OFFICE)
    assert Group.FLAT not in land
    assert Group.GARAGE not in office
    assert "land_area_m2" in {spec.name for spec in land[Group.LAND]}
    assert "purposes" in {spec.name for spec in office[Group.COMMERCIAL]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("price", "NaN"),
        ("price", 5),
        ("price", "дорого"),
        ("rooms", "2"),
        ("rooms", True),
        ("lift", 1),
        ("kind", "castle"),
        ("photos", [{"url": "https://a.example"}]),
        ("metro", [{"station": "Сокол"}]),
        ("phones", "+7495"),
        ("created_at", "вчера"),
        ("castle", "x"),
    ],
)
def test_a_damaged_stored_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"Поле «|Неизвестное поле"):
        Offer.from_dict(flat().to_dict() | {name: value})


def test_a_stored_offer_without_its_core_is_refused() -> None:
    with pytest.raises(ValueError, match="вид"):
        Offer.from_dict({"public_id": "1"})


def test_portals_are_found_by_slug() -> None:
    assert registry.get("yandex").title == "Яндекс Недвижимость"
    assert [portal.slug for portal in registry.all_portals()] == ["yandex"]
    with pytest.raises(registry.UnknownPortal):
        registry.get("nowhere")
