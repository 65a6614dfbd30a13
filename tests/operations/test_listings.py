"""Listings: adding and changing by hand, states, hand-over, copies, doubles, and rights."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from crm.integrations.portals import vocabulary as v
from crm.models import (
    AuditEntry,
    Employee,
    Listing,
    ListingState,
    PriceChange,
    TimelineEvent,
    UserGrant,
    db,
)
from crm.operations import listings
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.listing_offers import address_key, value_of
from crm.security.grants import Grant
from crm.security.principal import Principal
from tests.factories import Factory

Who = Callable[[str], Principal]
FLAT = {
    "deal_type": "sale",
    "kind": "flat",
    "price": "12 500 000 ₽",
    "locality": "Санкт-Петербург",
    "address": "ул. Липовая, д. 7",
    "flat_number": "41",
    "rooms": "2",
    "area_total": "54,3",
    "floor": "5",
    "floors_total": "9",
    "lift": "1",
    "renovation": "euro",
    "window_views": ["yard", "street"],
    "description": "Светлая квартира у парка.",
}


def grant(person: Employee, code: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=True))
    db.session.commit()


def kinds(listing: Listing) -> list[str]:
    query = select(TimelineEvent.kind).where(TimelineEvent.listing_id == listing.id)
    return list(db.session.scalars(query.order_by(TimelineEvent.id)))


# --- adding -----------------------------------------------------------------------------------


def test_a_draft_is_made_from_what_was_typed(principal: Who) -> None:
    listing = listings.create_listing(principal("manager"), FLAT).listing

    assert listing.state == ListingState.DRAFT
    assert (listing.price, listing.area_total) == (Decimal(12_500_000), Decimal("54.3"))
    assert listing.responsible_id == principal("manager").id
    assert listing.public_id.startswith("kv-")
    assert value_of(listing, "lift") is True
    assert value_of(listing, "renovation") is v.Renovation.EURO
    assert value_of(listing, "window_views") == [v.WindowView.YARD, v.WindowView.STREET]
    assert kinds(listing) == ["created"]


def test_all_complaints_come_at_once(principal: Who) -> None:
    wrong = FLAT | {"price": "дорого", "lift": "может быть", "kind": "замок"}
    with pytest.raises(ValidationErrors) as caught:
        listings.create_listing(principal("manager"), wrong)
    assert {error.field for error in caught.value.errors} >= {"price", "lift", "kind"}


@pytest.mark.parametrize(
    ("field", "typed"),
    [("price", "-5"), ("area_total", "0"), ("floor", "10"), ("lat", "99"), ("owner_id", "777")],
)
def test_what_cannot_be_is_refused(principal: Who, field: str, typed: str) -> None:
    with pytest.raises(ValidationErrors) as caught:
        listings.create_listing(principal("manager"), FLAT | {field: typed})
    assert [error.field for error in caught.value.errors] == [field]


def test_fields_of_another_kind_are_not_kept(principal: Who) -> None:
    plot = FLAT | {"kind": "land", "land_area_m2": "600"}
    listing = listings.create_listing(principal("manager"), plot).listing
    assert (listing.rooms, listing.land_area_m2) == (None, Decimal(600))


def test_an_ordinary_employee_adds_only_his_own(principal: Who, people: Any) -> None:
    other = FLAT | {"responsible_id": str(people["teammate"].id)}
    with pytest.raises(ValidationErrors):
        listings.create_listing(principal("manager"), other)
    made = listings.create_listing(principal("head"), other).listing
    assert made.responsible_id == people["teammate"].id


def test_who_may_not_edit_listings_may_not_add_one(principal: Who) -> None:
    watcher = Principal(id=principal("manager").id)
    with pytest.raises(Forbidden):
        listings.create_listing(watcher, FLAT)


# --- changing ---------------------------------------------------------------------------------


def test_a_price_leaves_a_history(principal: Who, make: Factory) -> None:
    listing = make.listing(price=Decimal(100), **_place())
    version = listing.version

    saved = listings.edit_listing(listing.id, principal("manager"), {"price": "90,50"}, version)

    assert saved.listing.price == Decimal("90.50")
    [row] = db.session.scalars(select(PriceChange))
    assert (row.old_price, row.new_price, row.by_import) == (100, Decimal("90.50"), False)
    assert kinds(listing) == ["price"]
    [entry] = db.session.scalars(select(AuditEntry).where(AuditEntry.object_type == "listing"))
    assert entry.after["price"] == "90.50"


def test_only_given_fields_change(principal: Who, make: Factory) -> None:
    listing = make.listing(rooms=2, price=Decimal(100), **_place())
    listings.edit_listing(listing.id, principal("manager"), {"lift": "0"})
    assert (listing.rooms, listing.price) == (2, 100)
    assert value_of(listing, "lift") is False


def test_an_unchanged_form_leaves_no_trace(principal: Who) -> None:
    by = principal("manager")
    listing = listings.create_listing(by, FLAT).listing
    version = listing.version
    listings.edit_listing(listing.id, by, FLAT, version)
    assert kinds(listing) == ["created"]
    assert listing.version == version


def test_a_change_by_somebody_else_meanwhile_is_told(principal: Who, make: Factory) -> None:
    listing = make.listing()
    seen = listing.version
    listings.edit_listing(listing.id, principal("head"), {"rooms": "3"}, seen)
    with pytest.raises(Conflict):
        listings.edit_listing(listing.id, principal("manager"), {"rooms": "4"}, seen)
    assert listing.rooms == 3


def test_another_kind_takes_its_fields_away(principal: Who) -> None:
    by = principal("manager")
    listing = listings.create_listing(by, FLAT).listing
    listings.edit_listing(listing.id, by, {"kind": "garage", "garage_name": "Мотор"})
    assert (listing.rooms, value_of(listing, "renovation")) == (None, None)
    assert value_of(listing, "garage_name") == "Мотор"


def test_a_published_listing_keeps_its_price(principal: Who, make: Factory) -> None:
    listing = make.listing(price=Decimal(100), **_place())
    with pytest.raises(ValidationErrors):
        listings.edit_listing(listing.id, principal("manager"), {"price": ""})


def test_a_stranger_may_look_but_not_touch(principal: Who, make: Factory) -> None:
    listing = make.listing()
    for act in (
        lambda by: listings.edit_listing(listing.id, by, {"rooms": "3"}),
        lambda by: listings.set_state(listing.id, by, "archive"),
        lambda by: listings.transfer(listing.id, by, by.id),
    ):
        with pytest.raises(Forbidden):
            act(principal("stranger"))
        with pytest.raises(NotFound):
            act(Principal(id=principal("stranger").id))


def test_permission_3_edits_any_listing(principal: Who, people: Any, make: Factory) -> None:
    listing = make.listing()
    grant(people["stranger"], Grant.EDIT_ANY_LISTING)
    listings.edit_listing(listing.id, principal("stranger"), {"rooms": "3"})
    assert listing.rooms == 3


# --- states -----------------------------------------------------------------------------------


def test_publishing_needs_a_price_and_a_place(principal: Who, make: Factory) -> None:
    listing = make.listing(state=ListingState.DRAFT)
    with pytest.raises(ValidationErrors) as caught:
        listings.set_state(listing.id, principal("manager"), "active")
    assert {error.field for error in caught.value.errors} == {"price", "address"}
    listings.edit_listing(
        listing.id, principal("manager"), {"price": "100", "address": "Липовая, 7"}
    )
    listings.set_state(listing.id, principal("manager"), "active")
    assert listing.published_from is not None
    assert kinds(listing)[-1] == "state"


def test_permission_12_forbids_the_archive(principal: Who, people: Any, make: Factory) -> None:
    listing = make.listing()
    grant(people["manager"], Grant.FORBID_ARCHIVE_LISTING)
    with pytest.raises(Forbidden):
        listings.archive(listing.id, principal("manager"))
    listings.set_state(listing.id, principal("manager"), "closed")
    assert listing.state == ListingState.CLOSED


def test_an_unknown_state_is_refused(principal: Who, make: Factory) -> None:
    with pytest.raises(ValidationErrors):
        listings.set_state(make.listing().id, principal("manager"), "burnt")


def test_permission_11_forbids_the_hand_over(principal: Who, people: Any, make: Factory) -> None:
    listing = make.listing()
    listings.transfer(listing.id, principal("manager"), people["stranger"].id)
    assert listing.responsible_id == people["stranger"].id
    assert listing.department_id == people["stranger"].department_id
    grant(people["stranger"], Grant.FORBID_TRANSFER_LISTING)
    with pytest.raises(Forbidden):
        listings.transfer(listing.id, principal("stranger"), people["manager"].id)


def test_nobody_dismissed_gets_a_listing(principal: Who, people: Any, make: Factory) -> None:
    listing = make.listing()
    people["teammate"].active = False
    db.session.commit()
    with pytest.raises(ValidationErrors):
        listings.transfer(listing.id, principal("head"), people["teammate"].id)


# --- copies -----------------------------------------------------------------------------------


def test_a_copy_is_a_draft_of_ones_own(principal: Who, make: Factory) -> None:
    owner = make.contact()
    source = make.listing(
        owner_id=owner.id, rooms=2, internal_id="1", attributes={"lift": True}, **_place()
    )
    copy = listings.copy_listing(source.id, principal("stranger"))
    assert (copy.state, copy.rooms, copy.internal_id) == (ListingState.DRAFT, 2, None)
    assert copy.responsible_id == principal("stranger").id
    assert copy.public_id != source.public_id
    assert value_of(copy, "lift") is True
    assert copy.owner_id is None  # not his to know
    assert listings.copy_listing(source.id, principal("manager")).owner_id == owner.id


def test_permission_13_forbids_copying_what_is_not_ones_own(
    principal: Who, people: Any, make: Factory
) -> None:
    source = make.listing()
    grant(people["stranger"], Grant.FORBID_COPY_FOREIGN)
    with pytest.raises(Forbidden):
        listings.copy_listing(source.id, principal("stranger"))
    grant(people["manager"], Grant.FORBID_COPY_FOREIGN)
    assert listings.copy_listing(source.id, principal("manager"))


# --- doubles ----------------------------------------------------------------------------------


def _place(**values: Any) -> dict[str, Any]:
    place = {"locality": "Санкт-Петербург", "address": "Липовая улица, 7", "flat_number": "41"}
    place |= values
    return place | {"address_key": address_key(place["locality"], place["address"])}


@pytest.mark.parametrize(
    ("present", "typed"),
    [
        (_place(), {}),
        ({"cadastral_number": "78:1:1:5"}, {"cadastral_number": "78:1:1:5"}),
    ],
)
def test_a_double_is_pointed_out_and_not_forbidden(
    principal: Who, make: Factory, present: dict[str, Any], typed: dict[str, Any]
) -> None:
    other = make.listing(**present)
    make.listing(**present, deal_type="rent_long")
    make.listing(**present | {"state": ListingState.ARCHIVE})
    saved = listings.create_listing(principal("manager"), FLAT | typed)
    assert [double.listing_id for double in saved.doubles] == [other.id]
    assert f"№ {other.id}" in saved.warnings[0]


def test_a_neighbour_is_no_double(principal: Who, make: Factory) -> None:
    make.listing(**_place(flat_number="42"))
    assert listings.create_listing(principal("manager"), FLAT).doubles == []


@pytest.mark.parametrize(
    ("area", "floor", "same"), [("55,3", "5", True), ("56", "5", False), ("54,3", "6", False)]
)
def test_the_same_owner_with_the_same_flat(
    principal: Who, make: Factory, area: str, floor: str, same: bool
) -> None:
    mine = make.people["manager"].id
    first = make.contact(phone="+79121110001")
    second = make.contact(phone="+79121110001", responsible_id=mine)
    make.listing(owner_id=first.id, area_total=Decimal("54.3"), floor=5)
    typed = FLAT | {"owner_id": str(second.id), "area_total": area, "floor": floor}
    saved = listings.create_listing(principal("manager"), typed)
    assert bool(saved.doubles) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ул. Липовая, д. 7", "Липовая улица 7"),
        ("пр-т Ветеранов, 10, корп. 2", "Ветеранов проспект д.10 к2".replace("к2", "к 2")),
        ("Берёзовый пер., 3", "переулок Березовый, дом 3"),
    ],
)
def test_the_same_address_is_known_however_it_is_written(one: str, other: str) -> None:
    assert address_key("Псков", one) == address_key("г. Псков", other)


def test_other_houses_have_other_keys() -> None:
    keys = {address_key("Псков", text) for text in ("Липовая, 7", "Липовая, 17", "Липовая, 7 к 1")}
    assert len(keys) == 3


def test_a_client_out_of_sight_cannot_be_made_the_owner(make: Any, principal: Any) -> None:
    """Attaching a foreign contact would show it to whoever attached it."""
    foreign = make.deal("stranger").contact
    with pytest.raises(ValidationErrors) as refused:
        listings.create_listing(
            principal("manager"), {"kind": "flat", "deal_type": "sale", "owner_id": foreign.id}
        )
    assert [error.field for error in refused.value.errors if error.field == "owner_id"]
