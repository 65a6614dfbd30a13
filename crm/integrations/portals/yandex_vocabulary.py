"""Words and elements of YRL (Yandex Realty Language).

Sources: https://yandex.ru/support/realty/rules/content-requirements.html (file level, offer),
https://yandex.ru/support/realty/requirements/requirements-sale-housing.html (housing), the 2017
XML Schema of bmwx591/yrlparser (names and closed lists), and feeds seen in the wild for the
additional spellings that are read but never written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from crm.integrations.portals import vocabulary as v

NAMESPACE = "http://webmaster.yandex.ru/schemas/feed/realty/2010-06"
ROOT = "realty-feed"
OFFER = "offer"
MAX_ID = 128
MAX_DESCRIPTION = 10_000
# In the Yandex texts and in the schema this word begins with a Latin "c"; live feeds write
# the Cyrillic one. The price unit is a closed list of the schema, the plot unit is not.
PRICE_SOTKA = "\N{LATIN SMALL LETTER C}отка"


T = TypeVar("T", bound=v.Term)


class Words(Generic[T]):
    """A two-way table: the first word of a term is written, all of them are read.

    `folded` names terms that the format has no word for, with the nearest one it has.
    """

    def __init__(
        self, table: Mapping[T, Iterable[str]], folded: Mapping[T, T] | None = None
    ) -> None:
        rows = {term: tuple(words) for term, words in table.items()}
        self.written: dict[T, str] = {term: words[0] for term, words in rows.items()}
        self.folded = dict(folded or {})
        self.written.update({term: self.written[near] for term, near in self.folded.items()})
        self.read: dict[str, T] = {
            word.lower(): term for term, words in rows.items() for word in words
        }


SALE_OR_RENT = {
    "продажа": v.DealType.SALE,
    "sale": v.DealType.SALE,
    "аренда": v.DealType.RENT_LONG,
    "rent": v.DealType.RENT_LONG,
    "сдача": v.DealType.RENT_LONG,
    "сдача посуточно": v.DealType.RENT_DAILY,
    "посуточная аренда": v.DealType.RENT_DAILY,
}

CATEGORIES = Words(
    {
        v.Kind.FLAT: ("квартира", "flat", "апартаменты", "apartments", "студия"),
        v.Kind.ROOM: ("комната", "room"),
        v.Kind.HOUSE: ("дом", "house", "дом с участком", "house with lot"),
        v.Kind.DACHA: ("дача",),
        v.Kind.COTTAGE: ("коттедж", "cottage"),
        v.Kind.TOWNHOUSE: ("таунхаус", "townhouse"),
        v.Kind.DUPLEX: ("дуплекс", "duplex"),
        v.Kind.HOUSE_PART: ("часть дома",),
        v.Kind.LAND: ("участок", "lot", "земельный участок", "land"),
        v.Kind.GARAGE: ("гараж", "garage"),
        v.Kind.BOX: ("гараж", "box", "бокс"),
        v.Kind.PARKING: ("гараж", "машиноместо", "машино-место", "parking place"),
    }
)
# The three kinds share a written word: on its own it means a garage.
CATEGORIES.read["гараж"] = v.Kind.GARAGE
HOUSE_WITH_PLOT = "дом с участком"
APARTMENTS = frozenset({"апартаменты", "apartments"})
COMMERCIAL_CATEGORY = frozenset({"коммерческая", "commercial", "коммерческая недвижимость"})

GARAGE_TYPES = Words(
    {
        v.Kind.GARAGE: ("garage", "гараж"),
        v.Kind.PARKING: ("parking place", "машиноместо", "машино-место"),
        v.Kind.BOX: ("box", "бокс"),
    }
)

COMMERCIAL_TYPES = Words(
    {
        v.CommercialType.CAR_SERVICE: ("auto repair", "автосервис"),
        v.CommercialType.BUSINESS: ("business", "готовый бизнес"),
        v.CommercialType.FREE_PURPOSE: (
            "free purpose",
            "помещение свободного назначения",
            "свободного назначения",
            "псн",
        ),
        v.CommercialType.HOTEL: ("hotel", "гостиница"),
        v.CommercialType.LAND: ("land", "земли коммерческого назначения"),
        v.CommercialType.LEGAL_ADDRESS: ("legal address", "юридический адрес"),
        v.CommercialType.INDUSTRIAL: ("manufacturing", "производственное помещение"),
        v.CommercialType.OFFICE: ("office", "офис", "офисное помещение"),
        v.CommercialType.CATERING: ("public catering", "общепит"),
        v.CommercialType.RETAIL: ("retail", "торговое помещение"),
        v.CommercialType.WAREHOUSE: ("warehouse", "склад", "складское помещение"),
    }
)
KIND_OF_TYPE = {
    v.CommercialType.CAR_SERVICE: v.Kind.CAR_SERVICE,
    v.CommercialType.BUSINESS: v.Kind.BUSINESS,
    v.CommercialType.FREE_PURPOSE: v.Kind.FREE_PURPOSE,
    v.CommercialType.HOTEL: v.Kind.HOTEL,
    v.CommercialType.LAND: v.Kind.COMMERCIAL_LAND,
    v.CommercialType.LEGAL_ADDRESS: v.Kind.LEGAL_ADDRESS,
    v.CommercialType.INDUSTRIAL: v.Kind.INDUSTRIAL,
    v.CommercialType.OFFICE: v.Kind.OFFICE,
    v.CommercialType.CATERING: v.Kind.CATERING,
    v.CommercialType.RETAIL: v.Kind.RETAIL,
    v.CommercialType.WAREHOUSE: v.Kind.WAREHOUSE,
}
TYPE_OF_KIND = {kind: word for word, kind in KIND_OF_TYPE.items()} | {
    v.Kind.BUILDING: v.CommercialType.FREE_PURPOSE,
    v.Kind.COWORKING: v.CommercialType.OFFICE,
}

SALE_KINDS = Words(
    {
        v.SaleKind.FREE: ("прямая продажа", "sale"),
        v.SaleKind.ALTERNATIVE: ("встречная продажа", "countersale"),
        v.SaleKind.PRIMARY_RESALE: (
            "первичная продажа вторички",
            "primary sale of secondary",
        ),
        v.SaleKind.DDU: (
            "первичная продажа",
            "продажа от застройщика",
            "primary sale",
            "214фз",
            "214 фз",
            "214-фз",
            "фз 214",
            "фз-214",
            "по 214 фз",
        ),
        v.SaleKind.ASSIGNMENT: ("переуступка", "reassignment"),
        v.SaleKind.LEASE_ASSIGNMENT: ("sale of lease rights", "переуступка прав аренды"),
    }
)
RESALE_KINDS = frozenset({v.SaleKind.FREE, v.SaleKind.ALTERNATIVE, v.SaleKind.PRIMARY_RESALE})
LEASE_KINDS = Words(
    {
        v.LeaseKind.DIRECT: ("direct rent", "прямая аренда"),
        v.LeaseKind.SUBLEASE: ("subrent", "субаренда"),
    }
)

OWNER_ROLES = Words(
    {
        v.OwnerRole.AGENT: ("агентство", "agency"),
        v.OwnerRole.DEVELOPER: ("застройщик", "developer"),
        v.OwnerRole.OWNER: ("владелец", "owner", "собственник"),
    }
)
CURRENCIES = Words(
    {
        v.Currency.RUB: ("RUB", "RUR", "руб", "руб."),
        v.Currency.USD: ("USD",),
        v.Currency.EUR: ("EUR",),
    }
)
PERIODS = Words(
    {
        v.PricePeriod.DAY: ("день", "day", "сутки"),
        v.PricePeriod.MONTH: ("месяц", "month"),
        v.PricePeriod.YEAR: ("год", "year"),
    }
)
_SQUARE_METRES = ("кв. м", "кв.м", "кв. м.", "кв.м.", "sq. m", "sq.m", "м2", "м²", "кв м")
_SOTKAS = tuple(
    first + rest
    for first in ("с", PRICE_SOTKA[0])
    for rest in ("отка", "от", "от.", "оток", "отки", "отках")
)
_HECTARES = ("гектар", "hectare", "га", "га.", "гектара", "гектаров")
PRICE_UNITS = Words(
    {
        v.PriceUnit.PER_M2: _SQUARE_METRES,
        v.PriceUnit.PER_SOTKA: (PRICE_SOTKA, *_SOTKAS),
        v.PriceUnit.PER_HA: _HECTARES,
    }
)
LAND_UNITS = Words(
    {
        v.LandUnit.SOTKA: _SOTKAS,
        v.LandUnit.HECTARE: _HECTARES,
        v.LandUnit.M2: _SQUARE_METRES,
    }
)
# Powers of ten, so that conversion is exact: 1 сотка = 100 m2, 1 hectare = 10 000 m2.
UNIT_POWER = {v.LandUnit.M2: 0, v.LandUnit.SOTKA: 2, v.LandUnit.HECTARE: 4}
SQUARE_METRE = _SQUARE_METRES[0]

PROMOS = Words(
    {
        v.Promo.PREMIUM: ("premium",),
        v.Promo.RAISE: ("raise",),
        v.Promo.PROMOTION: ("promotion",),
    }
)
PHOTO_TAGS = Words(
    {
        v.PhotoKind.PLAN: ("plan",),
        v.PhotoKind.PLAN_3D: ("plan 3d", "3d plan"),
        v.PhotoKind.FLOOR_PLAN: ("floor-plan",),
    }
)
ROOM_LAYOUTS = Words({v.RoomLayout.ISOLATED: ("раздельные",), v.RoomLayout.ADJACENT: ("смежные",)})
WINDOW_VIEWS: dict[str, tuple[v.WindowView, ...]] = {
    "во двор": (v.WindowView.YARD,),
    "на улицу": (v.WindowView.STREET,),
    "во двор и на улицу": (v.WindowView.YARD, v.WindowView.STREET),
}
WINDOW_WORDS = {frozenset(views): word for word, views in WINDOW_VIEWS.items()}
RENOVATIONS = Words(
    {
        v.Renovation.NONE: ("требует ремонта",),
        v.Renovation.PARTIAL: ("частичный ремонт",),
        v.Renovation.COSMETIC: ("косметический", "косметический ремонт"),
        v.Renovation.GOOD: ("хороший",),
        v.Renovation.EURO: ("евро", "евроремонт"),
        v.Renovation.DESIGN: ("дизайнерский", "дизайнерский ремонт"),
    }
)
FINISHES = Words(
    {
        v.Finish.NONE: ("без отделки",),
        v.Finish.ROUGH: ("черновая отделка", "черновая"),
        v.Finish.PREFINE: ("предчистовая", "предчистовая отделка", "whitebox", "white box"),
        v.Finish.FINE: ("с отделкой", "чистовая", "чистовая отделка"),
        v.Finish.TURNKEY: ("под ключ",),
    }
)
# New buildings have their own list of the same words.
NEW_FINISHES = FINISHES.written | {v.Finish.ROUGH: "черновая", v.Finish.FINE: "чистовая"}

_LABEL_WORDS = (v.Quality, v.FloorCovering)
QUALITIES, COVERINGS = (Words({t: (t.label.lower(),) for t in terms}) for terms in _LABEL_WORDS)
WALLS = Words(
    {
        v.WallMaterial.BRICK: ("кирпичный", "кирпич"),
        v.WallMaterial.PANEL: ("панельный", "панель"),
        v.WallMaterial.BLOCK: ("блочный",),
        v.WallMaterial.MONOLITH: ("монолит", "монолитный"),
        v.WallMaterial.MONOLITH_BRICK: ("кирпично-монолитный", "монолитно-кирпичный"),
        v.WallMaterial.WOOD: ("деревянный",),
        v.WallMaterial.CONCRETE: ("железобетонный",),
    },
    folded={
        v.WallMaterial.GAS_CONCRETE: v.WallMaterial.BLOCK,
        v.WallMaterial.FOAM_CONCRETE: v.WallMaterial.BLOCK,
        v.WallMaterial.FRAME: v.WallMaterial.WOOD,
        v.WallMaterial.LOG: v.WallMaterial.WOOD,
        v.WallMaterial.BEAM: v.WallMaterial.WOOD,
    },
)
BUILDING_STATES = Words(
    {
        v.BuildingState.UNFINISHED: ("unfinished",),
        v.BuildingState.BUILT: ("built",),
        v.BuildingState.HAND_OVER: ("hand-over",),
    }
)
LAND_STATUSES = Words(
    {v.LandStatus.IZHS: ("ИЖС",), v.LandStatus.SNT: ("садоводство", "снт")},
)
LAND_STATUSES.read |= {"днп": v.LandStatus.DNP, "лпх": v.LandStatus.LPH}
INDOORS = Words({v.Indoors.INDOORS: ("в доме",), v.Indoors.OUTDOORS: ("на улице",)})
TAXATION = Words({v.Vat.INCLUDED: ("НДС",), v.Vat.USN: ("УСН",)})
GARAGE_STATUSES = Words(
    {
        v.GarageStatus.OWNERSHIP: ("собственность", "private"),
        v.GarageStatus.COOPERATIVE: ("кооператив", "cooperative"),
        v.GarageStatus.PROXY: ("по доверенности", "by proxy"),
    }
)
PARKING_TYPES = Words(
    {
        v.ParkingType.UNDERGROUND: ("подземная", "underground"),
        v.ParkingType.GROUND: ("наземная", "ground"),
        v.ParkingType.MULTILEVEL: ("многоуровневая", "multilevel"),
    }
)
PURPOSES = Words(
    {
        v.Purpose.BANK: ("bank",),
        v.Purpose.BEAUTY_SHOP: ("beauty shop",),
        v.Purpose.FOOD_STORE: ("food store",),
        v.Purpose.MEDICAL_CENTER: ("medical center",),
        v.Purpose.SHOW_ROOM: ("show room",),
        v.Purpose.TRAVEL_AGENCY: ("touragency",),
    }
)
WAREHOUSE_PURPOSES = Words(
    {
        v.WarehousePurpose.ALCOHOL: ("alcohol",),
        v.WarehousePurpose.PHARMACY: ("pharmaceutical storehouse",),
        v.WarehousePurpose.VEGETABLES: ("vegetable storehouse",),
    }
)
BUILDING_KINDS = Words(
    {
        v.BuildingKind.BUSINESS_CENTER: ("business center",),
        v.BuildingKind.SHOPPING_CENTER: ("shopping center",),
        v.BuildingKind.RESIDENTIAL: ("residential building",),
        v.BuildingKind.DETACHED: ("detached building",),
        v.BuildingKind.WAREHOUSE: ("warehouse",),
    }
)
BUILDING_CLASSES = Words(
    {
        v.BuildingClass.A_PLUS: ("A+",),
        v.BuildingClass.A: ("A",),
        v.BuildingClass.B_PLUS: ("B+",),
        v.BuildingClass.B: ("B",),
        v.BuildingClass.C_PLUS: ("C+",),
        v.BuildingClass.C: ("C",),
    }
)
ENTRANCES = Words({v.EntranceType.COMMON: ("common",), v.EntranceType.SEPARATE: ("separate",)})
WINDOW_TYPES = Words({t: (t.label.lower(),) for t in v.WindowType})
TOUR_PROVIDERS = Words({t: (t.value,) for t in v.TourProvider})

BOOLEANS = {
    "да": True,
    "true": True,
    "1": True,
    "+": True,
    "yes": True,
    "нет": False,
    "false": False,
    "0": False,
    "-": False,
    "no": False,
}


class Form(enum.Enum):
    """How the text of an element is made."""

    TEXT = enum.auto()
    INT = enum.auto()
    POSITIVE = enum.auto()
    QUARTER = enum.auto()
    DECIMAL = enum.auto()
    BOOL = enum.auto()
    YES = enum.auto()
    MOMENT = enum.auto()
    DATE = enum.auto()
    COORDINATE = enum.auto()


@dataclass(frozen=True, slots=True)
class Element:
    """An element that holds one value of one field; `modern` ones came after the 2017 schema."""

    tag: str
    field: str
    form: Form | Words[Any]
    modern: bool = False


COORDINATE_STEP = Decimal("0.000001")
