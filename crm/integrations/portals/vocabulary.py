"""Canonical words of a listing: ours, English; every portal has its own table to and from them."""

from __future__ import annotations

import enum
from typing import Self


class Term(enum.StrEnum):
    """A canonical word with the Russian label shown to people."""

    label: str

    def __new__(cls, value: str, label: str) -> Term:
        term = str.__new__(cls, value)
        term._value_ = value
        term.label = label
        return term

    @classmethod
    def of(cls, value: object) -> Self:
        """The word with this value. Raises `ValueError`."""
        for term in cls:
            if term.value == value:
                return term
        raise ValueError(f"{cls.__name__}: {value!r}")


class DealType(Term):
    SALE = "sale", "Продажа"
    RENT_LONG = "rent_long", "Аренда"
    RENT_DAILY = "rent_daily", "Посуточная аренда"


class Kind(Term):
    FLAT = "flat", "Квартира"
    FLAT_SHARE = "flat_share", "Доля в квартире"
    ROOM = "room", "Комната"
    BED = "bed", "Койко-место"
    HOUSE = "house", "Дом"
    DACHA = "dacha", "Дача"
    COTTAGE = "cottage", "Коттедж"
    TOWNHOUSE = "townhouse", "Таунхаус"
    DUPLEX = "duplex", "Дуплекс"
    HOUSE_PART = "house_part", "Часть дома"
    LAND = "land", "Участок"
    GARAGE = "garage", "Гараж"
    PARKING = "parking", "Машино-место"
    BOX = "box", "Бокс"
    OFFICE = "office", "Офис"
    RETAIL = "retail", "Торговое помещение"
    WAREHOUSE = "warehouse", "Склад"
    FREE_PURPOSE = "free_purpose", "Свободное назначение"
    INDUSTRIAL = "industrial", "Производство"
    CATERING = "catering", "Общепит"
    HOTEL = "hotel", "Гостиница"
    CAR_SERVICE = "car_service", "Автосервис"
    BUILDING = "building", "Здание"
    BUSINESS = "business", "Готовый бизнес"
    LEGAL_ADDRESS = "legal_address", "Юридический адрес"
    COMMERCIAL_LAND = "commercial_land", "Коммерческая земля"
    COWORKING = "coworking", "Коворкинг"


FLATS = frozenset({Kind.FLAT, Kind.FLAT_SHARE, Kind.ROOM, Kind.BED})
HOUSES = frozenset(
    {Kind.HOUSE, Kind.DACHA, Kind.COTTAGE, Kind.TOWNHOUSE, Kind.DUPLEX, Kind.HOUSE_PART}
)
PLOTS = frozenset({Kind.LAND, Kind.COMMERCIAL_LAND})
GARAGES = frozenset({Kind.GARAGE, Kind.PARKING, Kind.BOX})
COMMERCIAL = frozenset(Kind) - FLATS - HOUSES - GARAGES - {Kind.LAND}
HOUSING = FLATS | HOUSES
ANY_KIND = frozenset(Kind)


class Market(Term):
    RESALE = "resale", "Вторичный рынок"
    NEW_BUILDING = "new_building", "Новостройка"


class SaleKind(Term):
    FREE = "free", "Свободная продажа"
    ALTERNATIVE = "alternative", "Альтернативная продажа"
    PRIMARY_RESALE = "primary_resale", "Первичная продажа вторички"
    DDU = "ddu", "Договор долевого участия"
    ASSIGNMENT = "assignment", "Переуступка"
    ZHSK = "zhsk", "Договор ЖСК"
    DKP = "dkp", "Договор купли-продажи"
    INVESTMENT = "investment", "Договор инвестирования"
    LEASE_ASSIGNMENT = "lease_assignment", "Переуступка права аренды"


class LeaseKind(Term):
    DIRECT = "direct", "Прямая аренда"
    SUBLEASE = "sublease", "Субаренда"


class OwnerRole(Term):
    OWNER = "owner", "Собственник"
    AGENT = "agent", "Агентство"
    DEVELOPER = "developer", "Застройщик"


class Promo(Term):
    PREMIUM = "premium", "Премиум"
    RAISE = "raise", "Поднятие"
    PROMOTION = "promotion", "Продвижение"


class PhotoKind(Term):
    PHOTO = "photo", "Фотография"
    PLAN = "plan", "Планировка"
    PLAN_3D = "plan_3d", "Планировка 3D"
    FLOOR_PLAN = "floor_plan", "План этажа"


class TourProvider(Term):
    MATTERPORT = "matterport", "Matterport"
    VSTOUR = "vstour", "VSTour"
    IFRAME = "iframe", "Страница тура"


class Currency(Term):
    RUB = "RUB", "Рубли"
    USD = "USD", "Доллары США"
    EUR = "EUR", "Евро"


class PriceUnit(Term):
    PER_M2 = "per_m2", "За м²"
    PER_SOTKA = "per_sotka", "За сотку"
    PER_HA = "per_ha", "За гектар"


class PricePeriod(Term):
    DAY = "day", "В сутки"
    MONTH = "month", "В месяц"
    YEAR = "year", "В год"


class Vat(Term):
    INCLUDED = "included", "НДС включён"
    EXCLUDED = "excluded", "Без НДС"
    USN = "usn", "УСН"


class LandUnit(Term):
    M2 = "m2", "м²"
    SOTKA = "sotka", "Сотка"
    HECTARE = "hectare", "Гектар"


class LandStatus(Term):
    IZHS = "izhs", "ИЖС"
    SNT = "snt", "Садоводство (СНТ)"
    DNP = "dnp", "ДНП"
    LPH = "lph", "ЛПХ"
    FARM = "farm", "Фермерское хозяйство"
    INDUSTRIAL = "industrial", "Промышленность"
    SETTLEMENTS = "settlements", "Земли населённых пунктов"
    AGRICULTURAL = "agricultural", "Сельхозназначение"


class RoomLayout(Term):
    ISOLATED = "isolated", "Раздельные"
    ADJACENT = "adjacent", "Смежные"


class WindowView(Term):
    YARD = "yard", "Во двор"
    STREET = "street", "На улицу"
    SUNNY = "sunny", "На солнечную сторону"


class Renovation(Term):
    NONE = "none", "Требует ремонта"
    PARTIAL = "partial", "Частичный ремонт"
    COSMETIC = "cosmetic", "Косметический"
    GOOD = "good", "Хороший"
    EURO = "euro", "Евроремонт"
    DESIGN = "design", "Дизайнерский"


class Finish(Term):
    NONE = "none", "Без отделки"
    ROUGH = "rough", "Черновая"
    PREFINE = "prefine", "Предчистовая"
    FINE = "fine", "Чистовая"
    OFFICE = "office", "Офисная"
    TURNKEY = "turnkey", "Под ключ"


class Quality(Term):
    EXCELLENT = "excellent", "Отличное"
    GOOD = "good", "Хорошее"
    NORMAL = "normal", "Нормальное"
    BAD = "bad", "Плохое"


class FloorCovering(Term):
    CARPET = "carpet", "Ковролин"
    LAMINATE = "laminate", "Ламинат"
    LINOLEUM = "linoleum", "Линолеум"
    PARQUET = "parquet", "Паркет"


class WallMaterial(Term):
    BRICK = "brick", "Кирпичный"
    PANEL = "panel", "Панельный"
    BLOCK = "block", "Блочный"
    MONOLITH = "monolith", "Монолитный"
    MONOLITH_BRICK = "monolith_brick", "Кирпично-монолитный"
    WOOD = "wood", "Деревянный"
    CONCRETE = "concrete", "Железобетонный"
    STALIN = "stalin", "Сталинский"
    OLD = "old", "Старый фонд"
    GAS_CONCRETE = "gas_concrete", "Газобетон"
    FOAM_CONCRETE = "foam_concrete", "Пенобетон"
    FRAME = "frame", "Каркасный"
    LOG = "log", "Бревно"
    BEAM = "beam", "Брус"
    METAL = "metal", "Металл"
    SANDWICH = "sandwich", "Сэндвич-панели"


class BuildingState(Term):
    UNFINISHED = "unfinished", "Строится"
    BUILT = "built", "Построен, не сдан"
    HAND_OVER = "hand_over", "Сдан"


class Indoors(Term):
    INDOORS = "indoors", "В доме"
    OUTDOORS = "outdoors", "На улице"


class GarageStatus(Term):
    OWNERSHIP = "ownership", "Собственность"
    COOPERATIVE = "cooperative", "Кооператив"
    PROXY = "proxy", "По доверенности"


class ParkingType(Term):
    UNDERGROUND = "underground", "Подземная"
    GROUND = "ground", "Наземная"
    MULTILEVEL = "multilevel", "Многоуровневая"


class CommercialType(Term):
    CAR_SERVICE = "car_service", "Автосервис"
    BUSINESS = "business", "Готовый бизнес"
    FREE_PURPOSE = "free_purpose", "Свободное назначение"
    HOTEL = "hotel", "Гостиница"
    LAND = "land", "Земля"
    LEGAL_ADDRESS = "legal_address", "Юридический адрес"
    INDUSTRIAL = "industrial", "Производство"
    OFFICE = "office", "Офис"
    CATERING = "catering", "Общепит"
    RETAIL = "retail", "Торговля"
    WAREHOUSE = "warehouse", "Склад"


class Purpose(Term):
    BANK = "bank", "Банк"
    BEAUTY_SHOP = "beauty_shop", "Салон красоты"
    FOOD_STORE = "food_store", "Продуктовый магазин"
    MEDICAL_CENTER = "medical_center", "Медицинский центр"
    SHOW_ROOM = "show_room", "Шоурум"
    TRAVEL_AGENCY = "travel_agency", "Турагентство"


class WarehousePurpose(Term):
    ALCOHOL = "alcohol", "Алкоголь"
    PHARMACY = "pharmacy", "Фармацевтика"
    VEGETABLES = "vegetables", "Овощехранилище"


class BuildingKind(Term):
    BUSINESS_CENTER = "bc", "Бизнес-центр"
    SHOPPING_CENTER = "tc", "Торговый центр"
    ADMINISTRATIVE = "admin", "Административное здание"
    RESIDENTIAL = "residential", "Жилой дом"
    DETACHED = "detached", "Отдельно стоящее здание"
    WAREHOUSE = "warehouse", "Складской комплекс"
    OTHER = "other", "Другое"


class BuildingClass(Term):
    A_PLUS = "a_plus", "A+"
    A = "a", "A"
    B_PLUS = "b_plus", "B+"
    B = "b", "B"
    B_MINUS = "b_minus", "B−"
    C_PLUS = "c_plus", "C+"
    C = "c", "C"


class EntranceType(Term):
    COMMON = "common", "Общий"
    SEPARATE = "separate", "Отдельный"


class WindowType(Term):
    SHOP = "shop", "Витринные"
    SMALL = "small", "Маленькие"
    NORMAL = "normal", "Обычные"


class HouseLine(Term):
    FIRST = "first", "Первая линия"
    SECOND = "second", "Вторая линия"
    OTHER = "other", "Дальше от дороги"


class MetersPaidBy(Term):
    TENANT = "tenant", "Арендатор"
    OWNER = "owner", "Собственник"
