"""Decides what a read YRL offer is: the deal, the kind, the market; or why it is refused."""

from __future__ import annotations

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.base import Offer
from crm.integrations.portals.yandex_read import Draft


def offer_of(draft: Draft, internal_id: str) -> Offer | tuple[str, ...]:
    """The offer, or the Russian reasons why it cannot be taken."""
    reasons: list[str] = []
    if not internal_id:
        reasons.append("Нет internal-id: предложение нельзя узнать при следующей загрузке")
    elif len(internal_id) > y.MAX_ID:
        reasons.append(f"internal-id длиннее {y.MAX_ID} знаков")
    deal_type = _deal_type(draft, reasons)
    kind = _kind(draft, reasons)
    _check_price(draft, reasons)
    if deal_type is None or kind is None or reasons:
        return tuple(reasons)
    _decide_terms(draft, deal_type, kind)
    return Offer(
        public_id=internal_id,
        deal_type=deal_type,
        kind=kind,
        extra=draft.extra,
        notes=draft.notes,
        **draft.values,
    )


def _deal_type(draft: Draft, reasons: list[str]) -> v.DealType | None:
    word = draft.words.get("type")
    if word is None:
        reasons.append("Не указан тип сделки (type)")
        return None
    deal_type = y.SALE_OR_RENT.get(word.lower())
    if deal_type is None:
        reasons.append(f"Неизвестный тип сделки «{word[:60]}»")
    elif deal_type is v.DealType.RENT_LONG and _period(draft) is v.PricePeriod.DAY:
        return v.DealType.RENT_DAILY
    return deal_type


def _period(draft: Draft) -> v.PricePeriod | None:
    period: v.PricePeriod | None = draft.values.get("price_period")
    return period


def _kind(draft: Draft, reasons: list[str]) -> v.Kind | None:
    word = draft.words.get("category")
    if word is None:
        reasons.append("Не указана категория объекта (category)")
        return None
    name = word.lower()
    if name in y.COMMERCIAL_CATEGORY:
        return _commercial(draft)
    kind = y.CATEGORIES.read.get(name)
    if kind in v.GARAGES:
        return _garage(draft, kind)
    if kind is not None:
        if name in y.APARTMENTS:
            draft.values.setdefault("is_apartments", True)
        if kind is v.Kind.LAND and _is_commercial(draft):
            return _commercial(draft, v.CommercialType.LAND)
        return kind
    # Older aggregators name the commercial kind itself in the category.
    if name in y.COMMERCIAL_TYPES.read:
        return _commercial(draft, y.COMMERCIAL_TYPES.read[name])
    reasons.append(f"Неизвестная категория объекта «{word[:60]}»")
    return None


def _is_commercial(draft: Draft) -> bool:
    return draft.words.get("property-type", "").lower() in y.COMMERCIAL_CATEGORY


def _commercial(draft: Draft, named: v.CommercialType | None = None) -> v.Kind:
    types = draft.values.setdefault("commercial_types", [])
    if not types:
        if named is None:
            draft.notes.append("commercial-type: не указано назначение, принято свободное")
        types.append(named or v.CommercialType.FREE_PURPOSE)
    return y.KIND_OF_TYPE[types[0]]


def _garage(draft: Draft, kind: v.Kind) -> v.Kind:
    word = draft.words.get("garage-type")
    if word is None:
        return kind
    named = y.GARAGE_TYPES.read.get(word.lower())
    if named is None:
        draft.odd("garage-type", word)
    return named or kind


def _check_price(draft: Draft, reasons: list[str]) -> None:
    price = draft.values.get("price")
    if price is not None and price > 0:
        return
    raw = (draft.extra.get("price/value") or draft.extra.get("price") or [""])[0]
    if price is not None:
        reasons.append("Цена не больше нуля")
    elif raw:
        reasons.append(f"Цена «{raw[:60]}» не является числом")
    else:
        reasons.append("Не указана цена (price/value)")


def _decide_terms(draft: Draft, deal_type: v.DealType, kind: v.Kind) -> None:
    _deal_status(draft)
    if kind in v.HOUSING and draft.values.get("sale_kind") in y.RESALE_KINDS:
        draft.values["market"] = v.Market.RESALE
    new_flat = draft.words.get("new-flat")
    if new_flat is not None:
        stated = y.BOOLEANS.get(new_flat.lower())
        if stated is None:
            draft.odd("new-flat", new_flat)
        elif stated:
            draft.values["market"] = v.Market.NEW_BUILDING
    if deal_type is not v.DealType.SALE and _period(draft) is None:
        draft.notes.append("price/period: не указан период оплаты аренды")


def _deal_status(draft: Draft) -> None:
    word = draft.words.get("deal-status")
    if word is None:
        return
    name = word.lower()
    if name in y.SALE_KINDS.read:
        draft.values["sale_kind"] = y.SALE_KINDS.read[name]
    elif name in y.LEASE_KINDS.read:
        draft.values["lease_kind"] = y.LEASE_KINDS.read[name]
    else:
        draft.odd("deal-status", word)
