"""The catalogue of a listing's fields: forms, labels and JSON storage are derived from it.

Evidence: the canonical columns of the crosswalk between Yandex, Avito, CIAN and DomClick.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from crm.integrations.portals import vocabulary as v


@dataclass(slots=True)
class Metro:
    """A station and the way to it in minutes."""

    name: str
    minutes_on_foot: int | None = None
    minutes_by_transport: int | None = None


@dataclass(slots=True)
class OfferPhoto:
    """A picture at a public address."""

    url: str
    kind: v.PhotoKind = v.PhotoKind.PHOTO


class FieldKind(enum.StrEnum):
    """What a field holds; `LIST` holds texts, numbers, stations or photos, `MULTI` words."""

    TEXT = "text"
    INT = "int"
    DECIMAL = "decimal"
    BOOL = "bool"
    ENUM = "enum"
    MULTI = "multi"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class Group(v.Term):
    """Part of the listing's form."""

    PUBLICATION = "publication", "Публикация"
    ADDRESS = "address", "Адрес"
    TERMS = "terms", "Цена и условия"
    FLAT = "flat", "Квартира"
    BUILDING = "building", "Здание"
    HOUSE = "house", "Дом"
    LAND = "land", "Участок"
    GARAGE = "garage", "Гараж"
    COMMERCIAL = "commercial", "Коммерция"
    CONTACTS = "contacts", "Контакты"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field: `enum` for words, `item` for the members of a list, `kinds` it concerns."""

    name: str
    label: str
    kind: FieldKind
    group: Group
    kinds: frozenset[v.Kind] = v.ANY_KIND
    unit: str = ""
    enum: type[v.Term] | None = None
    item: type[str] | type[Decimal] | type[Metro] | type[OfferPhoto] | None = None
    private: bool = False

    def concerns(self, kind: v.Kind) -> bool:
        """Whether a listing of this kind has the field in its form."""
        return kind in self.kinds

    def encode(self, value: Any) -> Any:
        """JSON-safe form of a stated value."""
        if self.kind in (FieldKind.DATE, FieldKind.DATETIME):
            return value.isoformat()
        if self.kind is FieldKind.MULTI:
            return [str(word) for word in value]
        if self.kind is FieldKind.LIST:
            return [_encode_item(item) for item in value]
        if self.kind in (FieldKind.BOOL, FieldKind.INT):
            return value
        return str(value)

    def decode(self, value: Any) -> Any:
        """The value that `encode` gave. Raises `ValueError` naming the field."""
        try:
            return self._decode(value)
        except (ValueError, TypeError, LookupError, InvalidOperation) as error:
            raise ValueError(f"Поле «{self.label}»: недопустимое значение") from error

    def _decode(self, value: Any) -> Any:
        if self.kind in (FieldKind.LIST, FieldKind.MULTI):
            return [self._decode_item(item) for item in _listed(value)]
        if self.kind is FieldKind.DATETIME:
            return dt.datetime.fromisoformat(value)
        if self.kind is FieldKind.DATE:
            return dt.date.fromisoformat(value)
        if self.kind is FieldKind.DECIMAL:
            return _finite(value)
        if self.kind is FieldKind.ENUM and self.enum is not None:
            return self.enum.of(value)
        return _exactly(_JSON_TYPES[self.kind], value)

    def _decode_item(self, value: Any) -> Any:
        if self.enum is not None:
            return self.enum.of(value)
        if self.item is Metro:
            return Metro(**value)
        if self.item is OfferPhoto:
            return OfferPhoto(url=value["url"], kind=v.PhotoKind.of(value["kind"]))
        if self.item is Decimal:
            return _finite(value)
        return _exactly(str, value)


_JSON_TYPES: dict[FieldKind, type] = {
    FieldKind.TEXT: str,
    FieldKind.INT: int,
    FieldKind.BOOL: bool,
}


def _encode_item(item: Any) -> Any:
    if isinstance(item, OfferPhoto):
        return {"url": item.url, "kind": str(item.kind)}
    return asdict(item) if isinstance(item, Metro) else str(item)


def _listed(value: Any) -> list[Any]:
    return list(_exactly(list, value))


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(kind.__name__)
    return value


def _finite(value: Any) -> Decimal:
    number = Decimal(_exactly(str, value))
    if not number.is_finite():
        raise ValueError("not finite")
    return number


class _Section:
    """Writes the rows of one group of fields in short."""

    def __init__(self, group: Group, kinds: frozenset[v.Kind] = v.ANY_KIND) -> None:
        self.group, self.kinds = group, kinds
        self.specs: list[FieldSpec] = []

    def add(self, kind: FieldKind, name: str, label: str, **more: Any) -> None:
        more.setdefault("kinds", self.kinds)
        self.specs.append(FieldSpec(name, label, kind, self.group, **more))

    def text(self, name: str, label: str, **more: Any) -> None:
        self.add(FieldKind.TEXT, name, label, **more)

    def number(self, name: str, label: str, unit: str = "", **more: Any) -> None:
        self.add(FieldKind.INT, name, label, unit=unit, **more)

    def decimal(self, name: str, label: str, unit: str = "", **more: Any) -> None:
        self.add(FieldKind.DECIMAL, name, label, unit=unit, **more)

    def moment(self, name: str, label: str, **more: Any) -> None:
        self.add(FieldKind.DATETIME, name, label, **more)

    def word(self, name: str, label: str, words: type[v.Term], **more: Any) -> None:
        self.add(FieldKind.ENUM, name, label, enum=words, **more)

    def words(self, name: str, label: str, words: type[v.Term], **more: Any) -> None:
        self.add(FieldKind.MULTI, name, label, enum=words, **more)

    def flags(self, more: Mapping[str, Any] | None = None, /, **labels: str) -> None:
        for name, label in labels.items():
            self.add(FieldKind.BOOL, name, label, **(more or {}))


def _publication() -> _Section:
    s = _Section(Group.PUBLICATION)
    s.text("public_id", "Номер на площадках")
    s.word("deal_type", "Вид сделки", v.DealType)
    s.word("kind", "Вид объекта", v.Kind)
    s.word("market", "Рынок", v.Market, kinds=v.HOUSING)
    s.word("sale_kind", "Вид продажи", v.SaleKind)
    s.word("lease_kind", "Вид аренды", v.LeaseKind)
    s.moment("created_at", "Создано")
    s.moment("updated_at", "Изменено")
    s.moment("publish_until", "Публиковать до")
    s.text("title", "Заголовок")
    s.text("description", "Описание")
    s.text("cadastral_number", "Кадастровый номер")
    s.text("lot_number", "Номер лота")
    s.text("url", "Страница объекта")
    s.words("promo", "Платное продвижение", v.Promo)
    s.moment("promo_raise_at", "Поднимать начиная с")
    s.add(FieldKind.LIST, "photos", "Фотографии", item=OfferPhoto)
    s.flags(photo_order_may_change="Порядок фотографий можно менять")
    s.flags(plan_guess_disabled="Не угадывать планировку")
    s.text("video_url", "Видео")
    s.text("tour_url", "Виртуальный тур")
    s.word("tour_provider", "Вид тура", v.TourProvider)
    s.text("tour_preview_url", "Обложка тура")
    s.flags(online_show="Онлайн-показ")
    return s


def _address() -> _Section:
    s = _Section(Group.ADDRESS)
    s.text("country", "Страна")
    s.text("region", "Регион")
    s.text("district", "Район региона")
    s.text("locality", "Населённый пункт")
    s.text("sub_locality", "Район города")
    s.text("landmark", "Ориентир")
    s.text("address", "Улица и дом")
    s.text("flat_number", "Номер квартиры", private=True)
    s.text("highway", "Шоссе")
    s.decimal("distance_km", "До МКАД", "км")
    s.decimal("lat", "Широта", "°")
    s.decimal("lon", "Долгота", "°")
    s.add(FieldKind.LIST, "metro", "Метро", item=Metro)
    s.text("railway_station", "Железнодорожная станция")
    s.text("settlement_name", "Посёлок", kinds=v.HOUSES | v.PLOTS)
    return s


def _contacts() -> _Section:
    s = _Section(Group.CONTACTS)
    s.word("owner_role", "Кто продаёт", v.OwnerRole)
    s.add(FieldKind.LIST, "phones", "Телефоны", item=str)
    s.text("contact_name", "Контактное лицо")
    s.text("contact_email", "Почта")
    s.text("agency_name", "Компания")
    s.text("agency_url", "Сайт компании")
    s.text("agency_logo", "Логотип или фото агента")
    return s


def _terms() -> _Section:
    s = _Section(Group.TERMS)
    s.decimal("price", "Цена")
    s.word("currency", "Валюта", v.Currency)
    s.word("price_unit", "Цена за единицу", v.PriceUnit)
    s.word("price_period", "Период оплаты", v.PricePeriod)
    s.word("vat", "Налог", v.Vat, kinds=v.COMMERCIAL)
    s.decimal("discount_price", "Цена со скидкой")
    s.moment("discount_until", "Скидка до")
    s.flags(bargain_allowed="Торг", mortgage_allowed="Ипотека")
    s.text("share_amount", "Размер доли", kinds=frozenset({v.Kind.FLAT_SHARE}))
    s.decimal("prepayment_pct", "Предоплата", "%")
    s.number("prepay_months", "Предоплата", "мес.")
    s.flags(deposit_required="Залог")
    s.decimal("deposit_pct", "Обеспечительный платёж", "%")
    s.decimal("deposit_amount", "Сумма залога", "₽")
    s.decimal("client_commission_pct", "Комиссия с клиента", "%")
    s.decimal("agent_commission_pct", "Комиссия агента", "%")
    s.flags(
        utilities_included="Коммунальные услуги включены",
        electricity_included="Электричество включено",
        cleaning_included="Уборка включена",
    )
    s.decimal("utilities_amount", "Коммунальные платежи", "₽/мес.")
    s.word("meters_paid_by", "Счётчики оплачивает", v.MetersPaidBy)
    s.number("min_lease_months", "Минимальный срок аренды", "мес.")
    s.flags(grace_period="Арендные каникулы")
    s.add(FieldKind.DATE, "available_from", "Свободно с")
    s.flags({"kinds": v.HOUSING}, pets="Можно с животными", children="Можно с детьми")
    s.flags({"kinds": v.HOUSING}, smoking="Можно курить")
    s.flags(not_for_agents="Агентам не звонить")
    return s


_ROOMED = v.HOUSING | (v.COMMERCIAL - v.PLOTS)
_BUILT = v.ANY_KIND - v.PLOTS


def _flat() -> _Section:
    s = _Section(Group.FLAT, _ROOMED)
    s.flags({"kinds": v.FLATS}, is_apartments="Апартаменты")
    s.number("rooms", "Комнат")
    s.number("rooms_offered", "Комнат в сделке", kinds=frozenset({v.Kind.ROOM}))
    s.flags({"kinds": v.FLATS}, is_studio="Студия")
    s.flags(is_open_plan="Свободная планировка")
    s.words("room_layout", "Комнаты", v.RoomLayout, kinds=v.FLATS)
    s.decimal("area_total", "Общая площадь", "м²", kinds=_BUILT)
    s.decimal("area_living", "Жилая площадь", "м²", kinds=v.HOUSING)
    s.decimal("area_kitchen", "Площадь кухни", "м²", kinds=v.HOUSING)
    s.add(FieldKind.LIST, "area_rooms", "Площади комнат", unit="м²", item=Decimal, kinds=v.FLATS)
    s.number("floor", "Этаж")
    s.number("floors_total", "Этажей в доме", kinds=_BUILT)
    s.word("renovation", "Ремонт", v.Renovation)
    s.word("finish", "Отделка", v.Finish)
    s.word("quality", "Состояние", v.Quality)
    s.word("floor_covering", "Покрытие пола", v.FloorCovering)
    s.number("balconies", "Балконов", kinds=v.HOUSING)
    s.number("loggias", "Лоджий", kinds=v.HOUSING)
    s.number("wc_separate", "Раздельных санузлов", kinds=v.HOUSING)
    s.number("wc_combined", "Совмещённых санузлов", kinds=v.HOUSING)
    s.number("wc_total", "Санузлов всего", kinds=v.HOUSING)
    s.words("window_views", "Вид из окон", v.WindowView)
    s.decimal("ceiling_height", "Высота потолков", "м", kinds=_BUILT)
    s.flags(has_furniture="Мебель", kitchen_furniture="Мебель на кухне")
    s.flags(
        air_conditioner="Кондиционер",
        refrigerator="Холодильник",
        washing_machine="Стиральная машина",
        dishwasher="Посудомоечная машина",
        television="Телевизор",
        built_in_tech="Встроенная техника",
        internet="Интернет",
        phone_line="Телефонная линия",
        flat_alarm="Сигнализация в квартире",
    )
    s.number("beds_count", "Спальных мест", kinds=v.HOUSING)
    return s


def _building() -> _Section:
    s = _Section(Group.BUILDING, _BUILT)
    s.word("wall_material", "Стены", v.WallMaterial)
    s.text("series", "Серия дома")
    s.text("complex_name", "Комплекс")
    s.text("section", "Корпус, секция")
    s.text("building_phase", "Очередь")
    s.word("building_state", "Готовность", v.BuildingState)
    s.number("built_year", "Год постройки")
    s.number("ready_quarter", "Квартал сдачи")
    s.add(FieldKind.DATE, "key_handover_date", "Выдача ключей")
    s.text("yandex_building_id", "Номер комплекса в Яндексе")
    s.text("yandex_house_id", "Номер корпуса в Яндексе")
    s.flags(lift="Лифт")
    s.number("lifts_passenger", "Пассажирских лифтов")
    s.number("lifts_cargo", "Грузовых лифтов")
    s.flags(
        garbage_chute="Мусоропровод",
        guarded_building="Закрытая территория",
        access_control="Пропускная система",
        guarded_parking="Охраняемая парковка",
    )
    s.number("parking_places", "Парковочных мест")
    s.decimal("parking_place_price", "Место на парковке", "₽/мес.")
    s.flags(guest_parking="Гостевая парковка")
    s.number("guest_parking_places", "Гостевых мест")
    s.flags(alarm="Сигнализация", security="Охрана", is_elite="Элитный объект")
    return s


def _house() -> _Section:
    s = _Section(Group.HOUSE, v.HOUSES)
    s.number("bedrooms", "Спален")
    s.flags(registration_possible="Можно прописаться", house_kitchen="Кухня")
    s.word("wc_location", "Туалет", v.Indoors)
    s.word("shower_location", "Душ", v.Indoors)
    s.flags(pool="Бассейн", billiard="Бильярд", sauna="Баня или сауна")
    return s


def _land() -> _Section:
    s = _Section(Group.LAND, v.HOUSES | v.PLOTS)
    s.decimal("land_area_m2", "Площадь участка", "м²")
    s.word("land_unit", "Единица площади участка", v.LandUnit)
    s.word("land_status", "Назначение земли", v.LandStatus)
    s.flags(
        {"kinds": v.ANY_KIND - v.FLATS},
        heating="Отопление",
        water="Вода",
        sewerage="Канализация",
        electricity="Электричество",
        gas="Газ",
    )
    return s


def _garage() -> _Section:
    s = _Section(Group.GARAGE, v.GARAGES)
    s.word("garage_status", "Право на гараж", v.GarageStatus)
    s.text("garage_name", "Кооператив")
    s.word("parking_type", "Вид парковки", v.ParkingType)
    s.flags(
        automatic_gates="Автоматические ворота",
        cctv="Видеонаблюдение",
        inspection_pit="Смотровая яма",
        cellar="Погреб",
        car_wash="Мойка",
        auto_repair="Автосервис",
        new_parking="Новый паркинг",
    )
    return s


def _commercial() -> _Section:
    s = _Section(Group.COMMERCIAL, v.COMMERCIAL)
    s.words("commercial_types", "Назначение", v.CommercialType)
    s.words("purposes", "Подойдёт для", v.Purpose)
    s.words("warehouse_purposes", "Склад для", v.WarehousePurpose)
    s.word("building_kind", "Тип здания", v.BuildingKind)
    s.word("building_class", "Класс здания", v.BuildingClass)
    s.word("entrance_type", "Вход", v.EntranceType)
    s.word("window_type", "Окна", v.WindowType)
    s.word("house_line", "Линия домов", v.HouseLine)
    s.number("phone_lines", "Телефонных линий")
    s.number("power_kw", "Мощность", "кВт")
    s.flags(
        extra_phone_lines="Можно добавить линии",
        own_telecom="Свой оператор связи",
        ventilation="Вентиляция",
        fire_alarm="Пожарная сигнализация",
        eating_facilities="Есть где поесть",
        responsible_storage="Ответственное хранение",
    )
    s.flags({"kinds": v.COMMERCIAL | v.GARAGES}, twenty_four_seven="Круглосуточно")
    s.decimal("pallet_price", "Палето-место", "₽/мес.")
    s.flags(
        freight_elevator="Грузовой лифт",
        truck_entrance="Въезд для фур",
        ramp="Пандус",
        railway="Железная дорога",
        office_warehouse="Офис на складе",
        open_area="Открытая площадка",
        third_party_logistics="Услуги 3PL",
    )
    s.text("temperature_comment", "Температурный режим")
    s.decimal("min_area", "Минимальная площадь", "м²")
    s.flags(is_occupied="Сдано арендатору")
    s.decimal("monthly_income", "Доход в месяц", "₽")
    return s


def _catalogue() -> Iterator[FieldSpec]:
    for section in (
        _publication(),
        _address(),
        _contacts(),
        _terms(),
        _flat(),
        _building(),
        _house(),
        _land(),
        _garage(),
        _commercial(),
    ):
        yield from section.specs


FIELDS: Mapping[str, FieldSpec] = MappingProxyType({spec.name: spec for spec in _catalogue()})


def fields_of(kind: v.Kind) -> dict[Group, list[FieldSpec]]:
    """Fields that concern a kind of listing, by group, in the order of the form."""
    grouped: dict[Group, list[FieldSpec]] = {}
    for spec in FIELDS.values():
        if spec.concerns(kind):
            grouped.setdefault(spec.group, []).append(spec)
    return grouped
