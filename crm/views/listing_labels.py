"""How a listing is named and its values are shown."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS
from crm.models import Listing, ListingState, RunState
from crm.operations.listing_fields import MANAGED, label, shown
from crm.operations.listing_offers import value_of, values_of
from crm.values import formats
from crm.values.formats import NBSP

STATES: dict[str, LazyString] = {
    ListingState.DRAFT: _l("Черновик"),
    ListingState.MODERATION: _l("На модерации"),
    ListingState.ACTIVE: _l("Активен"),
    ListingState.DEPOSIT: _l("Аванс"),
    ListingState.CLOSED: _l("Продан или сдан"),
    ListingState.ARCHIVE: _l("Архив"),
}
STATE_ICONS = {
    ListingState.DRAFT: "pencil",
    ListingState.MODERATION: "eye-check",
    ListingState.ACTIVE: "circle-check",
    ListingState.DEPOSIT: "lock",
    ListingState.CLOSED: "key",
    ListingState.ARCHIVE: "archive",
}
RUN_STATES: dict[str, tuple[LazyString, str, str]] = {
    RunState.QUEUED: (_l("В очереди"), "clock", ""),
    RunState.RUNNING: (_l("Идёт"), "loader-2", "accent"),
    RunState.DONE: (_l("Готово"), "circle-check", "ok"),
    RunState.HELD: (_l("Ждёт решения"), "hand-stop", "warn"),
    RunState.FAILED: (_l("Не удалось"), "circle-x", "bad"),
}
OUTCOMES: dict[str, tuple[LazyString, str]] = {
    "created": (_l("Создан"), "ok"),
    "updated": (_l("Обновлён"), "accent"),
    "unchanged": (_l("Без изменений"), ""),
    "refused": (_l("Отказ"), "bad"),
    "skipped": (_l("Не взят"), "warn"),
}
_USUAL = {"country": "Россия", "currency": v.Currency.RUB}
_ONE = Decimal(1)
_SOTKA = Decimal(100)
_HECTARE = Decimal(10_000)
# Shown in their own places of the card.
_ELSEWHERE = frozenset(
    {"deal_type", "kind", "photos", "description", "title", "public_id", "price"}
)


def headline(listing: Listing) -> str:
    """«2-к квартира, 54,3 м², 5/9 эт.»."""
    parts = [_kind_words(listing), *_sizes(listing)]
    if listing.floor is not None:
        total = f"/{listing.floors_total}" if listing.floors_total else ""
        parts.append(_("%(floor)s эт.", floor=f"{listing.floor}{total}").replace(" ", NBSP))
    return ", ".join(parts)


def _kind_words(listing: Listing) -> str:
    attributes = listing.attributes or {}
    if listing.kind == v.Kind.FLAT:
        if attributes.get("is_studio"):
            return _("Студия")
        word = _("апартаменты") if attributes.get("is_apartments") else _("квартира")
        return f"{listing.rooms}-к {word}" if listing.rooms else word.capitalize()
    return kind_label(listing.kind)


def _sizes(listing: Listing) -> Iterator[str]:
    if listing.area_total is not None:
        yield square(listing.area_total)
    if listing.land_area_m2 is not None:
        bare = listing.area_total is None
        yield (
            land(listing.land_area_m2)
            if bare
            else _("участок %(area)s", area=land(listing.land_area_m2))
        )


def kind_label(kind: str) -> str:
    """Kind of a listing in words; an unknown one as it is."""
    return _label(v.Kind, kind)


def deal_type_label(deal_type: str) -> str:
    """«Продажа», «Аренда»."""
    return _label(v.DealType, deal_type)


def state_label(state: str) -> str:
    """State in words."""
    return str(STATES.get(state, state))


def square(value: Decimal) -> str:
    """«54,3 м²»."""
    return f"{formats.decimal(value, 2)}{NBSP}м²"


def land(value: Decimal) -> str:
    """Area of a plot in the unit people use: m², сотки, гектары."""
    if value >= _HECTARE:
        return f"{formats.decimal(value / _HECTARE, 2)}{NBSP}га"
    if value >= _SOTKA:
        return f"{formats.decimal(value / _SOTKA, 2)}{NBSP}сот."
    return square(value)


def price_suffix(listing: Listing) -> str:
    """What the price is for: «в месяц», «в сутки», or nothing."""
    period = (listing.attributes or {}).get("price_period")
    if period is None and listing.deal_type != v.DealType.SALE:
        daily = listing.deal_type == v.DealType.RENT_DAILY
        period = v.PricePeriod.DAY if daily else v.PricePeriod.MONTH
    return _label(v.PricePeriod, period).lower() if period else ""


def price_per_metre(listing: Listing) -> Decimal | None:
    """Price of a square metre of the building, or of a сотка of a bare plot."""
    if listing.price is None or listing.deal_type == v.DealType.RENT_DAILY:
        return None
    if (listing.attributes or {}).get("price_unit"):
        return None
    return (listing.price / listing.area_total).quantize(_ONE) if listing.area_total else None


def place(listing: Listing) -> str:
    """«Пушкин, Оранжерейная ул., 42»."""
    parts = (listing.locality, listing.sub_locality, listing.address)
    return ", ".join(dict.fromkeys(part for part in parts if part)) or (listing.district or "")


def facts(listing: Listing) -> list[tuple[str, list[tuple[str, str]]]]:
    """All stated fields by group, as (group, [(label, text)])."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, value in values_of(listing).items():
        spec = FIELDS[name]
        if name in _ELSEWHERE or name in MANAGED or spec.private or value == _USUAL.get(name):
            continue
        found.setdefault(_(spec.group.label), []).append((label(name), shown(spec, value)))
    return list(found.items())


def fact(listing: Listing, name: str) -> str:
    """One field in words, empty when it is not stated."""
    value = value_of(listing, name)
    return "" if value is None or value == [] else shown(FIELDS[name], value)


def _label(words: type[v.Term], value: Any) -> str:
    try:
        return str(_(words.of(value).label))
    except ValueError:
        return str(value or "")


def areas(listing: Listing) -> str:
    """«54,3 / 31 / 9,8 м²», and the plot apart."""
    parts = [listing.area_total, listing.area_living, listing.area_kitchen]
    known = " / ".join(formats.decimal(part, 2) for part in parts if part is not None)
    text = f"{known}{NBSP}м²" if known else ""
    if listing.land_area_m2 is None:
        return text
    plot = land(listing.land_area_m2)
    return f"{text}, {_('участок %(area)s', area=plot)}" if text else plot


def building(listing: Listing) -> str:
    """«кирпичный, 1987, лифт»."""
    words = [fact(listing, name) for name in ("wall_material", "built_year", "complex_name")]
    known = [
        word[:1].lower() + word[1:] if index == 0 else word for index, word in enumerate(words)
    ]
    if value_of(listing, "lift") or value_of(listing, "lifts_passenger"):
        known.append(_("лифт"))
    return ", ".join(word for word in known if word)


def field_names(names: list[str]) -> str:
    """Labels of changed fields."""
    own = {
        "owner_id": _("Собственник"),
        "department_id": _("Отдел"),
        "exclusive_until": _("Эксклюзив"),
        "published_from": _("Публикация"),
    }
    return ", ".join(label(name) if name in FIELDS else own.get(name, name) for name in names)


def term_options(words: type[v.Term]) -> list[tuple[str, str]]:
    """Choices of a select box."""
    return [(word.value, str(_(word.label))) for word in words]


def photo_kinds() -> list[tuple[str, str]]:
    """What a picture may show."""
    return term_options(v.PhotoKind)


def money(value: Decimal) -> str:
    """«12 500 000 ₽»."""
    return formats.money(value)
