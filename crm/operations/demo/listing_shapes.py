"""What a listing of each kind is like: areas, floors, the house, the words, the price."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from crm.models import ListingState
from crm.operations.demo.adverts import ADVERTS
from crm.operations.demo.world import World

COUNTRY = ("house", "land", "townhouse")
PREMISES = ("office", "retail")
# Roubles a square metre (of land for a plot), sale.
_PER_METRE = {"house": 95_000, "townhouse": 105_000, "land": 2_600, "office": 150_000,
              "retail": 190_000, "room": 200_000}  # fmt: skip
_FLAT_METRE, _NEW_METRE = 215_000, 245_000
# What people forget to fill in: a portal refuses such a listing.
_FORGOTTEN = ("floors_total", "price", "rooms")


def shape(world: World, row: dict[str, Any]) -> None:
    """Fill in everything that depends on the kind; ``kind``, ``deal_type`` and the place stand."""
    _SHAPES[row["kind"]](world, row)
    _price(world, row)
    _words(world, row)
    if row["kind"] == "flat" and row["state"] == ListingState.ACTIVE and world.rnd.random() < 0.06:
        row[world.rnd.choice(_FORGOTTEN)] = None


def _flat(world: World, row: dict[str, Any]) -> None:
    if row["deal_type"] == "sale" and world.rnd.random() < 0.16:
        _new_flat(world, row)
        return
    rnd = world.rnd
    floors = rnd.choice((5, 5, 9, 9, 12, 16))
    _rooms(world, row, floors)
    row["market"] = "resale"
    row["attributes"] |= {
        "wall_material": rnd.choice(("brick", "panel", "panel", "monolith")),
        "built_year": rnd.randint(1957, 2019) if floors < 16 else rnd.randint(1985, 2019),
        "lift": floors > 5,
        "renovation": rnd.choice(("cosmetic", "good", "euro", "design")),
    }


def _new_flat(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    _rooms(world, row, rnd.choice((12, 16, 18, 25)))
    row["market"] = "new_building"
    this_year = world.now.year
    ready = rnd.randint(this_year - 1, this_year + 2)
    row["attributes"] |= {
        "wall_material": rnd.choice(("monolith", "monolith_brick")),
        "built_year": ready,
        "ready_quarter": rnd.randint(1, 4),
        "building_state": "hand_over" if ready < this_year else "unfinished",
        "finish": rnd.choice(("fine", "prefine", "turnkey")),
        "lift": True,
    }


def _rooms(world: World, row: dict[str, Any], floors: int) -> None:
    rnd = world.rnd
    rooms = rnd.choices([1, 2, 3, 4], [36, 36, 22, 6])[0]
    total = Decimal(rooms * 18 + rnd.randint(12, 30)) + Decimal(rnd.randint(0, 9)) / 10
    row.update(
        rooms=rooms,
        area_total=total,
        area_living=_tenths(total * Decimal("0.56")),
        area_kitchen=_tenths(total * rnd.randint(15, 26) / 100),
        floor=rnd.randint(1, floors),
        floors_total=floors,
        flat_number=str(rnd.randint(1, 240)),
    )
    row["attributes"] |= {
        "balconies": rnd.choice((0, 1, 1)),
        "mortgage_allowed": rnd.random() < 0.8,
    }


def _room(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    rooms, floors, area = rnd.randint(2, 5), rnd.choice((4, 5, 6)), Decimal(rnd.randint(110, 210))
    row.update(
        market="resale",
        rooms=rooms,
        area_total=Decimal(rooms * 19 + rnd.randint(10, 20)),
        area_living=area / 10,
        area_kitchen=Decimal(rnd.randint(60, 110)) / 10,
        floor=rnd.randint(1, floors),
        floors_total=floors,
    )
    row["attributes"] |= {
        "rooms_offered": 1,
        "area_rooms": [str(area / 10)],
        "wall_material": "brick",
        "built_year": rnd.randint(1900, 1962),
    }


def _house(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    single = row["kind"] == "house"
    row.update(
        area_total=Decimal(rnd.randint(80, 230) if single else rnd.randint(90, 150)),
        land_area_m2=Decimal(rnd.randint(6, 18) * 100 if single else rnd.randint(2, 4) * 100),
        floors_total=rnd.choice((1, 2, 2, 3)) if single else rnd.choice((2, 3)),
    )
    row["attributes"] |= {
        "land_unit": "sotka",
        "land_status": "izhs",
        "wall_material": rnd.choice(("gas_concrete", "beam", "frame", "brick")),
        "built_year": rnd.randint(1998, 2025),
        "electricity": True,
        "water": rnd.random() < 0.8,
        "gas": rnd.random() < 0.6,
        "heating": True,
    }


def _land(world: World, row: dict[str, Any]) -> None:
    row["land_area_m2"] = Decimal(world.rnd.randint(6, 24) * 100)
    row["attributes"] |= {"land_unit": "sotka", "land_status": world.rnd.choice(("izhs", "snt"))}


def _garage(world: World, row: dict[str, Any]) -> None:
    row["area_total"] = Decimal(world.rnd.randint(160, 240)) / 10
    row["attributes"] |= {"garage_status": "ownership"}


def _premises(world: World, row: dict[str, Any]) -> None:
    rnd = world.rnd
    floors = rnd.choice((2, 3, 5, 9))
    row.update(
        area_total=Decimal(rnd.randint(35, 210)),
        floor=1 if row["kind"] == "retail" else rnd.randint(1, floors),
        floors_total=floors,
    )
    row["attributes"] |= {"commercial_types": [row["kind"]], "power_kw": rnd.randint(10, 60)}


_SHAPES: dict[str, Callable[[World, dict[str, Any]], None]] = {
    "flat": _flat,
    "room": _room,
    "house": _house,
    "townhouse": _house,
    "land": _land,
    "garage": _garage,
    "office": _premises,
    "retail": _premises,
}


# --- price and words ------------------------------------------------------------


def _price(world: World, row: dict[str, Any]) -> None:
    rnd, kind = world.rnd, row["kind"]
    area = float(
        {"room": row["area_living"], "land": row["land_area_m2"]}.get(kind) or row["area_total"]
    )
    if row["deal_type"] != "sale":
        row["price"] = _rounded(area * rnd.uniform(750, 1250), 3)
        row["attributes"] |= {"price_period": "month", "deposit_required": True}
        return
    if kind == "garage":
        row["price"] = Decimal(rnd.randrange(6, 18) * 100_000)
        return
    usual = _NEW_METRE if row["market"] == "new_building" else _FLAT_METRE
    row["price"] = _rounded(area * _PER_METRE.get(kind, usual) * rnd.uniform(0.82, 1.3), 5)
    if kind not in PREMISES:
        row["attributes"]["sale_kind"] = _sale_kind(world, row)


def _sale_kind(world: World, row: dict[str, Any]) -> str:
    if row["market"] == "new_building":
        return "ddu" if row["attributes"]["building_state"] == "unfinished" else "assignment"
    return world.rnd.choice(("free", "free", "alternative")) if row["kind"] == "flat" else "free"


def _words(world: World, row: dict[str, Any]) -> None:
    kind = row["kind"]
    sort = "house" if kind == "townhouse" else "premises" if kind in PREMISES else kind
    if kind == "flat" and row["market"] == "new_building":
        sort = "new_flat"
    if row["deal_type"] != "sale":
        sort = "premises_rent" if kind in PREMISES else "room" if kind == "room" else "flat_rent"
    row["description"] = world.rnd.choice(ADVERTS[sort])


def _rounded(value: float, zeros: int) -> Decimal:
    return Decimal(round(value, -zeros))


def _tenths(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.1"))
