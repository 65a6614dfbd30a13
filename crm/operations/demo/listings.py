"""Listings of all kinds with drawn photos, owners and the history of their prices."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from crm.integrations import images
from crm.models import (
    Contact,
    ContactPhone,
    EventKind,
    Listing,
    ListingPhoto,
    ListingState,
    PriceChange,
    SearchToken,
    StoredFile,
    TimelineEvent,
)
from crm.operations import files, search_index
from crm.operations.demo import pictures, words
from crm.operations.demo.clients import name_tokens, number_row
from crm.operations.demo.listing_shapes import COUNTRY, shape
from crm.operations.demo.stories import person_name
from crm.operations.demo.world import World
from crm.operations.listing_offers import address_key

DAY = dt.timedelta(days=1)
_KINDS: tuple[tuple[str, int], ...] = (("flat", 62), ("room", 6), ("house", 9), ("land", 8), ("office", 5), ("retail", 4), ("garage", 3), ("townhouse", 3))  # fmt: skip
_STATES: tuple[tuple[str, int], ...] = (
    (ListingState.ACTIVE, 68), (ListingState.DRAFT, 6), (ListingState.DEPOSIT, 6),
    (ListingState.CLOSED, 12), (ListingState.ARCHIVE, 8),
)  # fmt: skip


def make_listings(world: World) -> None:
    """Owners, listings, photos, prices."""
    pool = _photo_pool(world)
    rows = [_row(world, index) for index in range(world.count(324))]
    owners = _owners(world, rows)
    rows = [{**row, "owner_id": owner} for row, owner in zip(rows, owners, strict=True)]
    ids = world.insert(Listing, rows)
    photos, prices, tokens, lines = [], [], [], []
    for listing_id, row in zip(ids, rows, strict=True):
        photos += _photos(world, listing_id, row, pool)
        prices += _prices(world, listing_id, row)
        lines.append(_line(listing_id, row))
        tokens += [
            {"token": word, "kind": "listing", "object_id": listing_id}
            for word in search_index.words(row["address"], row["locality"], row["sub_locality"])
        ]
    world.insert(ListingPhoto, photos)
    world.insert(PriceChange, prices)
    world.insert(SearchToken, tokens)
    world.insert(TimelineEvent, lines)


def _owners(world: World, listings: list[dict[str, Any]]) -> list[int]:
    """An owner for each listing, met the day it was taken; some own two."""
    met: list[dict[str, Any]] = []
    place: list[int] = []
    for row in listings:
        if not met or world.rnd.random() > 0.06:
            met.append(
                {
                    "name": person_name(world),
                    "is_owner": True,
                    "responsible_id": row["responsible_id"],
                    "created_at": row["created_at"],
                    "updated_at": row["created_at"],
                }
            )
        place.append(len(met) - 1)
    rows = [{**row, "is_company": "«" in row["name"]} for row in met]
    ids = world.insert(Contact, rows)
    world.insert(ContactPhone, [number_row(world, contact) for contact in ids])
    names = {contact: row["name"] for contact, row in zip(ids, rows, strict=True)}
    world.insert(SearchToken, name_tokens(names))
    return [ids[index] for index in place]


# --- one listing ----------------------------------------------------------------


def _row(world: World, index: int) -> dict[str, Any]:
    rnd = world.rnd
    kinds, weights = zip(*_KINDS, strict=True)
    kind = rnd.choices(kinds, weights)[0]
    rent = kind in ("flat", "room", "office", "retail") and rnd.random() < 0.22
    states, state_weights = zip(*_STATES, strict=True)
    born = world.working_moment(rnd.uniform(2, 300))
    row = {
        **_blank(),
        "description": None,
        "public_id": f"na-{1000 + index}",
        "state": rnd.choices(states, state_weights)[0],
        "deal_type": "rent_long" if rent else "sale",
        "kind": kind,
        "created_at": born,
        "updated_at": min(world.now, born + DAY * rnd.uniform(0, 40)),
        "exclusive_until": world.now + DAY * rnd.randint(10, 120) if rnd.random() < 0.3 else None,
    }
    _place(world, row)
    shape(world, row)
    _keeper(world, row)
    return row


def _keeper(world: World, row: dict[str, Any]) -> None:
    """Who works with the listing, by what it is."""
    sort = "country" if row["kind"] in COUNTRY else row["kind"]
    seller = world.seller_of("new_flat" if row["market"] == "new_building" else sort)
    row |= {"responsible_id": seller.id, "department_id": seller.department_id}


def _blank() -> dict[str, Any]:
    """Every column that some kind fills: bulk inserts want the same keys in each row."""
    names = [
        "market",
        "region",
        "district",
        "locality",
        "sub_locality",
        "address",
        "address_key",
        "flat_number",
        "cadastral_number",
        "lat",
        "lon",
        "price",
        "rooms",
        "area_total",
        "area_living",
        "area_kitchen",
        "land_area_m2",
        "floor",
        "floors_total",
    ]
    return {**dict.fromkeys(names), "attributes": {}, "currency": "RUB", "version": 1}


def _place(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    if row["kind"] in COUNTRY:
        row["region"] = "Ленинградская область"
        row["locality"] = rnd.choice(words.SUBURBS)
        row["address"] = (
            f"{rnd.choice(('Садовая', 'Лесная', 'Озёрная', 'Полевая'))} улица, {rnd.randint(1, 90)}"
        )
        _point(world, row, words.SUBURB_PLACES[row["locality"]])
    else:
        district = rnd.choice(sorted(words.STREETS))
        row["region"] = row["locality"] = "Санкт-Петербург"
        row["sub_locality"] = f"{district} район"
        row["address"] = f"{rnd.choice(words.STREETS[district])}, {rnd.randint(1, 120)}"
        _point(world, row, words.DISTRICT_PLACES[district])
        minutes = rnd.randint(3, 20)
        row["attributes"]["metro"] = [
            {
                "name": words.METRO[district],
                "minutes_on_foot": minutes,
                "minutes_by_transport": None,
            }
        ]
    row["address_key"] = address_key(row["locality"], row["address"])
    code = 78 if row["locality"] == "Санкт-Петербург" else 47
    number = f"{code}:{rnd.randint(10, 42)}:{rnd.randint(1000, 9999):07d}:{rnd.randint(100, 9999)}"
    if rnd.random() < 0.8:
        row["cadastral_number"] = number


def _point(world: World, row: dict[str, Any], near: tuple[float, float]) -> None:
    """Coordinates within a kilometre or so."""
    lat, lon = near
    row["lat"] = Decimal(f"{lat + world.rnd.uniform(-0.010, 0.010):.6f}")
    row["lon"] = Decimal(f"{lon + world.rnd.uniform(-0.018, 0.018):.6f}")


# --- photos and prices ----------------------------------------------------------


def _photo_pool(world: World) -> dict[str, list[dict[str, Any]]]:
    """Files of each sort of picture, shared by the listings."""
    sorts = {
        "facade": (pictures.facade, 24), "house": (pictures.house, 12), "room": (pictures.room, 26),
        "plan": (pictures.plan, 8), "land": (pictures.land, 8),
    }  # fmt: skip
    return {
        name: [_stored(world, draw(world.rnd)) for _ in range(world.count(count))]
        for name, (draw, count) in sorts.items()
    }


def _stored(world: World, data: bytes) -> dict[str, Any]:
    photo = images.prepare(data)
    made = {}
    for size in ("large", "medium", "thumb"):
        rendition = photo.renditions[size]
        stored = files.store_bytes(
            rendition.data, "image/jpeg", kind="photos", public=size == "large"
        )
        world.remember(StoredFile, [stored.id])
        made[f"{size}_id"] = stored.id
    return {**made, "width": photo.width, "height": photo.height}


def _photos(
    world: World, listing_id: int, row: dict[str, Any], pool: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    rnd = world.rnd
    cover = {"house": "house", "townhouse": "house", "land": "land"}.get(row["kind"], "facade")
    sorts = [cover]
    # Rooms are shown where people live or work, not in a garage or a field.
    sorts += [cover] * 2 if row["kind"] in ("land", "garage") else ["room"] * rnd.randint(2, 4)
    if row["kind"] in ("flat", "room"):
        sorts.append("plan")
    if row["state"] == ListingState.DRAFT and rnd.random() < 0.5:
        return []
    shuffled = {sort: rnd.sample(pool[sort], len(pool[sort])) for sort in dict.fromkeys(sorts)}
    return [
        {
            "listing_id": listing_id,
            "position": position,
            "kind": "plan" if sort == "plan" else "photo",
            **shuffled[sort][position % len(shuffled[sort])],
        }
        for position, sort in enumerate(sorts)
    ]


def _prices(world: World, listing_id: int, row: dict[str, Any]) -> list[dict[str, Any]]:
    if world.rnd.random() > 0.35 or row["price"] is None:
        return []
    old = (row["price"] * Decimal("1.04")).quantize(Decimal(1000))
    return [
        {
            "listing_id": listing_id,
            "old_price": old,
            "new_price": row["price"],
            "actor_id": row["responsible_id"],
            "changed_at": row["updated_at"],
        }
    ]


def _line(listing_id: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "listing_id": listing_id,
        "kind": EventKind.CREATED,
        "actor_id": row["responsible_id"],
        "occurred_at": row["created_at"],
        "data": {"how": "manual"},
    }
