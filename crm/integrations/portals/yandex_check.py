"""What Яндекс Недвижимость would refuse, as data: rules with a field, a condition and words.

Sources: the requirement tables of the Yandex help (housing, commercial, new buildings) and its
catalogue of errors (https://yandex.ru/support/realty/ru/feed/errors.md): AGENT_PHONE_NOT_SET,
BAN_OFFERS_WITHOUT_CADASTRAL_NUMBER and the count of pictures seen by exporters in 2026.
"""

# ruff: noqa: ARG001, ARG005 (all tests of rules have one signature)

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import AgencyInfo, Offer, Refusal, Severity
from crm.integrations.portals.yandex_write import kind_words, shown_phones

MIN_PHOTOS = 3
_PHONE = re.compile(r"\+7\d{10}|\+(?!7)\d{10,15}")
_CADASTRAL = re.compile(r"\d{1,2}:\d{1,2}:\d{6,7}:\d+")

Test = Callable[[Offer, AgencyInfo], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` is asked only of offers that `concerns` speaks of."""

    field: str
    message: str
    severity: Severity
    concerns: Test
    broken: Test


def _any(offer: Offer, agency: AgencyInfo) -> bool:
    return True


def _is(
    kinds: frozenset[v.Kind] = v.ANY_KIND, *, rent: bool | None = None, new: bool | None = None
) -> Test:
    """Offers of these kinds; for rent (or sale), in new buildings (or not)."""

    def test(offer: Offer, agency: AgencyInfo) -> bool:
        return (
            offer.kind in kinds
            and (rent is None or (offer.deal_type is not v.DealType.SALE) is rent)
            and (new is None or (offer.market is v.Market.NEW_BUILDING) is new)
        )

    return test


def _missing(field: str) -> Test:
    def test(offer: Offer, agency: AgencyInfo) -> bool:
        value = getattr(offer, field)
        return value is None or value in ("", [])

    return test


def _both(*tests: Test) -> Test:
    return lambda offer, agency: all(test(offer, agency) for test in tests)


def _without_rooms(offer: Offer, agency: AgencyInfo) -> bool:
    return offer.rooms is None and not offer.is_studio


def _bad_phone(offer: Offer, agency: AgencyInfo) -> bool:
    return any(not _PHONE.fullmatch(phone) for phone in shown_phones(offer, agency))


# Nearly every photo's address: http(s), a host, no port. Parsing each would cost half the check.
_PLAIN_URL = re.compile(r"https?://[^/:@?#\\\s]+(?:[/?#]|$)")


def _bad_url(text: str) -> bool:
    if _PLAIN_URL.match(text):
        return False
    try:
        return urlsplit(text).scheme not in ("http", "https")
    except ValueError:
        return True


def _odd_port(text: str) -> bool:
    if _PLAIN_URL.match(text):
        return False
    try:
        return urlsplit(text).port not in (None, 80, 443)
    except ValueError:
        return False


def _not_positive(field: str) -> Test:
    def test(offer: Offer, agency: AgencyInfo) -> bool:
        value = getattr(offer, field)
        return value is not None and value <= 0

    return test


def _photos_fewer(count: int) -> Test:
    return lambda offer, agency: len(offer.photos) < count


def _plan_not_first(offer: Offer, agency: AgencyInfo) -> bool:
    kinds = [photo.kind is v.PhotoKind.PHOTO for photo in offer.photos]
    return False in kinds and kinds[0]


def _living_over_total(offer: Offer, agency: AgencyInfo) -> bool:
    parts = [area for area in (offer.area_living, offer.area_kitchen) if area is not None]
    return offer.area_total is not None and sum(parts) > offer.area_total


def _out_of_percent(field: str) -> Test:
    def test(offer: Offer, agency: AgencyInfo) -> bool:
        value = getattr(offer, field)
        return value is not None and not 0 <= value <= 100

    return test


_FLAT_OR_ROOM = frozenset({v.Kind.FLAT, v.Kind.ROOM})
_PREMISES = v.COMMERCIAL - v.PLOTS
_REGISTERED = _FLAT_OR_ROOM | v.HOUSES | {v.Kind.LAND}
REFUSE, WARN = Severity.REFUSE, Severity.WARN

AGENCY_RULES: tuple[Rule, ...] = (
    Rule(
        "agency",
        "Укажите название компании: фид принимают только от агентства, агента или застройщика",
        REFUSE,
        _any,
        lambda offer, agency: not agency.name.strip(),
    ),
    Rule(
        "agency",
        "Укажите наименование компании по ОГРН: без него фид не подключить",
        REFUSE,
        _any,
        lambda offer, agency: not agency.ogrn_name.strip(),
    ),
)

COMMON_RULES: tuple[Rule, ...] = (
    Rule("public_id", "Нет номера объекта для площадок", REFUSE, _any, _missing("public_id")),
    Rule(
        "public_id",
        f"Номер объекта длиннее {y.MAX_ID} знаков",
        REFUSE,
        _any,
        lambda offer, agency: len(offer.public_id) > y.MAX_ID,
    ),
    Rule(
        "kind",
        "Яндекс не принимает объекты этого вида",
        REFUSE,
        _any,
        lambda offer, agency: kind_words(offer) is None,
    ),
    Rule("created_at", "Не указана дата создания", REFUSE, _any, _missing("created_at")),
    Rule("price", "Не указана цена", REFUSE, _any, _missing("price")),
    Rule("price", "Цена должна быть больше нуля", REFUSE, _any, _not_positive("price")),
    Rule(
        "discount_price",
        "Цена со скидкой больше обычной",
        REFUSE,
        _any,
        lambda offer, agency: bool(
            offer.discount_price and offer.price and offer.discount_price > offer.price
        ),
    ),
    Rule(
        "prepayment_pct",
        "Предоплата — от 0 до 100 %",
        REFUSE,
        _is(rent=True),
        _out_of_percent("prepayment_pct"),
    ),
    Rule(
        "price_period",
        "Период аренды не указан: в фид пойдёт «в месяц»",
        WARN,
        lambda offer, agency: offer.deal_type is v.DealType.RENT_LONG,
        _missing("price_period"),
    ),
    Rule(
        "price_period",
        "Яндекс знает аренду в сутки и в месяц: цену за год не примут",
        REFUSE,
        _is(rent=True),
        lambda offer, agency: offer.price_period is v.PricePeriod.YEAR,
    ),
    Rule(
        "sale_kind",
        "Укажите вид продажи: без него объект показывают ниже",
        WARN,
        _is(v.HOUSING, rent=False, new=False),
        _missing("sale_kind"),
    ),
)

PLACE_RULES: tuple[Rule, ...] = (
    Rule(
        "country",
        "Принимаются только объекты в России",
        REFUSE,
        _any,
        lambda offer, agency: offer.country.strip().lower() not in ("россия", "russia"),
    ),
    Rule(
        "locality",
        "Не указан населённый пункт",
        REFUSE,
        _any,
        _both(_missing("locality"), lambda offer, agency: offer.lat is None or not offer.address),
    ),
    Rule(
        "region",
        "Не указан регион: он обязателен везде, кроме Москвы и Санкт-Петербурга",
        WARN,
        lambda offer, agency: (offer.locality or "") not in ("Москва", "Санкт-Петербург"),
        _missing("region"),
    ),
    Rule(
        "address",
        "Не указан адрес: улица и дом",
        REFUSE,
        _is(v.ANY_KIND - v.HOUSES - v.PLOTS),
        _missing("address"),
    ),
    Rule("address", "Не указан адрес", WARN, _is(v.HOUSES | v.PLOTS), _missing("address")),
    Rule(
        "lat",
        "Нет координат: точку на карте Яндекс определит по адресу",
        WARN,
        _any,
        lambda offer, agency: offer.lat is None or offer.lon is None,
    ),
    Rule(
        "cadastral_number",
        "В части регионов без кадастрового номера или номера квартиры объявление блокируют",
        WARN,
        _is(_REGISTERED),
        _both(_missing("cadastral_number"), _missing("flat_number")),
    ),
    Rule(
        "cadastral_number",
        "Кадастровый номер пишется так: 77:01:0004012:1234",
        WARN,
        _any,
        lambda offer, agency: bool(
            offer.cadastral_number and not _CADASTRAL.fullmatch(offer.cadastral_number.strip())
        ),
    ),
)

CONTACT_RULES: tuple[Rule, ...] = (
    Rule(
        "phones",
        "Нет телефона агента",
        REFUSE,
        _any,
        lambda offer, agency: not shown_phones(offer, agency),
    ),
    Rule(
        "phones",
        "Телефон пишется в международном виде: +74951234567",
        REFUSE,
        _any,
        _bad_phone,
    ),
    Rule(
        "owner_role",
        "Через фид публикуют агентства и застройщики, не собственники",
        REFUSE,
        _any,
        lambda offer, agency: offer.owner_role is v.OwnerRole.OWNER,
    ),
)

SPACE_RULES: tuple[Rule, ...] = (
    Rule(
        "area_total",
        "Не указана общая площадь",
        REFUSE,
        _is(v.ANY_KIND - v.PLOTS),
        _missing("area_total"),
    ),
    Rule(
        "area_total", "Площадь должна быть больше нуля", REFUSE, _any, _not_positive("area_total")
    ),
    Rule(
        "area_living",
        "Жилая площадь и кухня вместе больше общей площади",
        WARN,
        _is(_FLAT_OR_ROOM - {v.Kind.ROOM}),
        _living_over_total,
    ),
    Rule(
        "land_area_m2",
        "Не указана площадь участка",
        REFUSE,
        _is(v.PLOTS),
        lambda offer, agency: offer.land_area_m2 is None and offer.area_total is None,
    ),
    Rule(
        "land_area_m2",
        "Площадь участка должна быть больше нуля",
        REFUSE,
        _any,
        _not_positive("land_area_m2"),
    ),
    Rule(
        "rooms",
        "Укажите число комнат или отметьте студию",
        REFUSE,
        _is(_FLAT_OR_ROOM),
        _without_rooms,
    ),
    Rule(
        "rooms_offered",
        "Укажите, сколько комнат в сделке",
        REFUSE,
        _is(frozenset({v.Kind.ROOM})),
        _missing("rooms_offered"),
    ),
    Rule(
        "area_rooms",
        "Укажите площади комнат",
        WARN,
        _is(frozenset({v.Kind.ROOM})),
        _missing("area_rooms"),
    ),
    Rule(
        "is_studio",
        "Студия и свободная планировка исключают друг друга",
        REFUSE,
        _is(_FLAT_OR_ROOM),
        lambda offer, agency: bool(offer.is_studio and offer.is_open_plan),
    ),
    Rule("floor", "Не указан этаж", REFUSE, _is(_FLAT_OR_ROOM | _PREMISES), _missing("floor")),
    Rule(
        "floors_total",
        "Не указано, сколько этажей в доме",
        REFUSE,
        _is(_FLAT_OR_ROOM | _PREMISES),
        _missing("floors_total"),
    ),
    Rule(
        "floor",
        "Этаж выше, чем этажей в доме",
        REFUSE,
        _any,
        lambda offer, agency: bool(
            offer.floor and offer.floors_total and offer.floor > offer.floors_total
        ),
    ),
)

TEXT_RULES: tuple[Rule, ...] = (
    Rule("description", "Нет описания", WARN, _any, _missing("description")),
    Rule(
        "description",
        "Описание длиннее 10 000 знаков",
        REFUSE,
        _any,
        lambda offer, agency: len(offer.description or "") > y.MAX_DESCRIPTION,
    ),
    Rule(
        "description",
        "В описании разметка HTML: её покажут как текст",
        WARN,
        _any,
        lambda offer, agency: bool(re.search(r"</?[a-z]+[^>]*>", offer.description or "", re.I)),
    ),
)

PHOTO_RULES: tuple[Rule, ...] = (
    Rule("photos", "Для аренды нужны фотографии", REFUSE, _is(rent=True), _missing("photos")),
    Rule(
        "photos",
        "Для коммерческой недвижимости нужны фотографии",
        REFUSE,
        _is(v.COMMERCIAL, rent=False),
        _missing("photos"),
    ),
    Rule(
        "photos",
        "Для новостройки нужны фотографии или планировка",
        REFUSE,
        _is(v.ANY_KIND - v.COMMERCIAL, rent=False, new=True),
        _missing("photos"),
    ),
    Rule("photos", "Фотографий меньше трёх", WARN, _any, _photos_fewer(MIN_PHOTOS)),
    Rule(
        "photos",
        "Адрес фотографии должен начинаться с http:// или https://",
        REFUSE,
        _any,
        lambda offer, agency: any(_bad_url(photo.url) for photo in offer.photos),
    ),
    # The port is the installation's, not the listing's: without photos the offer may still live.
    Rule(
        "photos",
        "Сайт открыт не на порту 80 или 443: площадка не заберёт фотографии",
        WARN,
        _any,
        lambda offer, agency: any(_odd_port(photo.url) for photo in offer.photos),
    ),
)

NEW_BUILDING_RULES: tuple[Rule, ...] = tuple(
    Rule(field, message, severity, _is(v.HOUSING, rent=False, new=True), _missing(field))
    for field, message, severity in (
        ("sale_kind", "Для новостройки укажите вид продажи: ДДУ или переуступка", REFUSE),
        ("building_state", "Для новостройки укажите готовность дома", REFUSE),
        ("built_year", "Для новостройки укажите год сдачи", REFUSE),
        ("ready_quarter", "Для новостройки укажите квартал сдачи", REFUSE),
        ("yandex_building_id", "Нет номера комплекса в Яндексе: без карточки комплекса", WARN),
    )
)

# Only while pictures carry no tags: later a tag says which of them is the plan.
UNTAGGED_RULES: tuple[Rule, ...] = (
    Rule(
        "photos",
        "Планировка новостройки должна быть первой фотографией",
        WARN,
        _is(new=True),
        _plan_not_first,
    ),
)

RULES = (
    AGENCY_RULES
    + COMMON_RULES
    + PLACE_RULES
    + CONTACT_RULES
    + SPACE_RULES
    + TEXT_RULES
    + PHOTO_RULES
    + NEW_BUILDING_RULES
)


def check_offer(offer: Offer, agency: AgencyInfo, modern: bool) -> list[Refusal]:
    """Every rule the offer breaks, in the order of the rules."""
    rules = RULES if modern else RULES + UNTAGGED_RULES
    return [
        Refusal(rule.field, rule.message, rule.severity)
        for rule in rules
        if rule.concerns(offer, agency) and rule.broken(offer, agency)
    ]
