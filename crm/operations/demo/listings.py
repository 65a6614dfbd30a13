"""Listings of all kinds with drawn photos, owners and the history of their prices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
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
from crm.operations.demo.clients import person_name
from crm.operations.demo.world import World
from crm.values import phones

DAY = dt.timedelta(days=1)
_KINDS = (("flat", 62), ("room", 6), ("house", 9), ("land", 8), ("office", 5), ("retail", 4), ("garage", 3), ("townhouse", 3))  # fmt: skip
_STATES = (
    (ListingState.ACTIVE, 68), (ListingState.DRAFT, 6), (ListingState.DEPOSIT, 6),
    (ListingState.CLOSED, 12), (ListingState.ARCHIVE, 8),
)  # fmt: skip


def make_listings(world: World) -> None:
    """Owners, listings, photos, prices."""
    pool = _photo_pool(world)
    count = world.count(324)
    owners = _owners(world, count)
    rows = [_row(world, index, owner) for index, owner in enumerate(owners)]
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


def _owners(world: World, count: int) -> list[int]:
    rows = [{"name": person_name(world), "is_owner": True} for _ in range(count)]
    ids = world.insert(Contact, rows)
    numbers, tokens = [], []
    for contact, row in zip(ids, rows, strict=True):
        number = world.phone()
        key = phones.match_key(number)
        numbers.append(
            {"contact_id": contact, "number": number, "key": key, "key_reversed": key[::-1]}
        )
        tokens += [
            {"token": word, "kind": "contact", "object_id": contact}
            for word in search_index.words(str(row["name"]))
        ]
    world.insert(ContactPhone, numbers)
    world.insert(SearchToken, tokens)
    return ids


# --- one listing ----------------------------------------------------------------


def _row(world: World, index: int, owner: int) -> dict[str, Any]:
    rnd = world.rnd
    kinds, weights = zip(*_KINDS, strict=True)
    kind = rnd.choices(kinds, weights)[0]
    rent = kind in ("flat", "room", "office", "retail") and rnd.random() < 0.22
    states, state_weights = zip(*_STATES, strict=True)
    born = world.working_moment(rnd.uniform(2, 300))
    seller = rnd.choice(world.sellers)
    row = {
        **_blank(),
        "public_id": f"na-{1000 + index}",
        "state": rnd.choices(states, state_weights)[0],
        "deal_type": "rent_long" if rent else "sale",
        "kind": kind,
        "owner_id": owner,
        "responsible_id": seller.id,
        "department_id": seller.department_id,
        "description": rnd.choice(words.ADVERTS),
        "created_at": born,
        "updated_at": min(world.now, born + DAY * rnd.uniform(0, 40)),
        "exclusive_until": world.now + DAY * rnd.randint(10, 120) if rnd.random() < 0.3 else None,
    }
    _place(world, row)
    _SHAPES.get(kind, _premises)(world, row)
    _price(world, row, rent)
    return row


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
    if row["kind"] in ("house", "land", "townhouse"):
        row["region"] = "Ленинградская область"
        row["locality"] = rnd.choice(words.SUBURBS)
        row["address"] = (
            f"{rnd.choice(('Садовая', 'Лесная', 'Озёрная', 'Полевая'))} улица, {rnd.randint(1, 90)}"
        )
        row["lat"] = Decimal(f"{59.85 + rnd.random() * 0.35:.6f}")
        row["lon"] = Decimal(f"{30.4 + rnd.random() * 0.5:.6f}")
    else:
        district = rnd.choice(sorted(words.STREETS))
        row["region"] = row["locality"] = "Санкт-Петербург"
        row["sub_locality"] = f"{district} район"
        row["address"] = f"{rnd.choice(words.STREETS[district])}, {rnd.randint(1, 120)}"
        row["lat"] = Decimal(f"{59.84 + rnd.random() * 0.2:.6f}")
        row["lon"] = Decimal(f"{30.2 + rnd.random() * 0.3:.6f}")
        minutes = rnd.randint(3, 20)
        row["attributes"]["metro"] = [
            {"station": words.METRO[district], "minutes": minutes, "mode": "foot"}
        ]
    row["address_key"] = " ".join(search_index.words(row["locality"], row["address"]))[:255]
    number = f"78:{rnd.randint(10, 42)}:{rnd.randint(1000, 9999):07d}:{rnd.randint(100, 9999)}"
    if rnd.random() < 0.8:
        row["cadastral_number"] = number


def _flat(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    rooms = rnd.choices([1, 2, 3, 4], [36, 36, 22, 6])[0]
    total = Decimal(rooms * 18 + rnd.randint(12, 30)) + Decimal(rnd.randint(0, 9)) / 10
    floors = rnd.choice((5, 9, 9, 12, 16, 25))
    year = rnd.randint(1955, 2023)
    row.update(
        market="new_building" if year > 2021 else "resale",
        rooms=rooms,
        area_total=total,
        area_living=(total * Decimal("0.56")).quantize(Decimal("0.1")),
        area_kitchen=Decimal(rnd.randint(60, 160)) / 10,
        floor=rnd.randint(1, floors),
        floors_total=floors,
        flat_number=str(rnd.randint(1, 240)),
    )
    row["attributes"] |= {
        "renovation": rnd.choice(("cosmetic", "euro", "design")),
        "wall_material": rnd.choice(("brick", "panel", "monolith")),
        "built_year": year,
        "lift": floors > 5,
        "balconies": rnd.choice((0, 1, 1)),
        "mortgage_allowed": rnd.random() < 0.8,
    }
    if year > 2021:
        row["attributes"] |= {"building_state": "hand-over", "ready_quarter": rnd.randint(1, 4)}


def _room(world: World, row: dict[str, Any]) -> None:
    _flat(world, row)
    row["rooms"] = max(2, row["rooms"])
    row["market"] = "resale"
    area = Decimal(world.rnd.randint(110, 210)) / 10
    row["area_living"] = area
    row["attributes"] |= {"rooms_offered": 1, "area_rooms": [str(area)]}


def _house(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    row.update(
        area_total=Decimal(rnd.randint(80, 260)),
        land_area_m2=Decimal(rnd.randint(4, 20) * 100),
        floors_total=rnd.choice((1, 2, 2, 3)),
    )
    row["attributes"] |= {
        "land_unit": "sotka",
        "land_status": "izhs",
        "electricity": True,
        "water": rnd.random() < 0.8,
        "gas": rnd.random() < 0.6,
        "heating": True,
    }


def _land(world: World, row: dict[str, Any]) -> None:
    row["land_area_m2"] = Decimal(world.rnd.randint(6, 30) * 100)
    row["attributes"] |= {"land_unit": "sotka", "land_status": world.rnd.choice(("izhs", "snt"))}


def _garage(world: World, row: dict[str, Any]) -> None:
    row["area_total"] = Decimal(world.rnd.randint(160, 240)) / 10
    row["attributes"] |= {"garage_status": "ownership"}


def _premises(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    floors = rnd.choice((2, 3, 5, 9))
    row.update(
        area_total=Decimal(rnd.randint(40, 420)), floor=rnd.randint(1, 2), floors_total=floors
    )
    row["attributes"] |= {"commercial_types": [row["kind"]], "power_kw": rnd.randint(10, 60)}


_SHAPES: dict[str, Callable[[World, dict[str, Any]], None]] = {
    "flat": _flat,
    "room": _room,
    "house": _house,
    "townhouse": _house,
    "land": _land,
    "garage": _garage,
}


def _price(world: World, row: dict[str, Any], rent: bool) -> None:
    rnd = world.rnd
    area = row["area_total"] or row["land_area_m2"] / 20
    if row["kind"] == "room":
        area = row["area_living"]
    if rent:
        row["price"] = Decimal(round(float(area) * rnd.uniform(600, 1300), -3))
        row["attributes"] |= {"price_period": "month", "deposit_required": True}
    elif row["kind"] == "garage":
        row["price"] = Decimal(rnd.randrange(6, 18) * 100_000)
    else:
        per_metre = 90_000 if row["kind"] in ("house", "land", "townhouse") else 215_000
        row["price"] = Decimal(round(float(area) * per_metre * rnd.uniform(0.8, 1.4), -5))
        row["attributes"]["sale_kind"] = "free"


# --- photos and prices ----------------------------------------------------------


def _photo_pool(world: World) -> dict[str, list[dict[str, Any]]]:
    """Files of each sort of picture, shared by the listings."""
    sorts = {
        "facade": (pictures.facade, 14), "house": (pictures.house, 8), "room": (pictures.room, 20),
        "plan": (pictures.plan, 8), "land": (pictures.land, 4),
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
    if row["kind"] != "land":
        sorts += ["room"] * rnd.randint(2, 4)
    if row["kind"] in ("flat", "room"):
        sorts.append("plan")
    if row["state"] == ListingState.DRAFT and rnd.random() < 0.5:
        return []
    return [
        {
            "listing_id": listing_id,
            "position": position,
            "kind": "plan" if sort == "plan" else "photo",
            **rnd.choice(pool[sort]),
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
