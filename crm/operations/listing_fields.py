"""Fields of a listing as people fill them in: which concern what, how each is read and shown.

Everything comes from the portals' catalogue (``crm.integrations.portals.base.FIELDS``).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from flask_babel import gettext as _
from sqlalchemy import String

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS, FieldKind, FieldSpec, Group, Metro
from crm.models import Listing
from crm.operations.errors import FieldError, ValidationErrors
from crm.operations.listing_offers import COLUMNS
from crm.values import clock, formats

D = TypeVar("D", bound=dt.date)

# Set by the product itself: identity, moments, photo rows, the contacts of the agency.
MANAGED = frozenset({"public_id", "created_at", "updated_at", "photos"}) | {
    name for name, spec in FIELDS.items() if spec.group is Group.CONTACTS
}
RENT_ONLY = frozenset({
    "lease_kind", "price_period", "prepayment_pct", "prepay_months", "deposit_required",
    "deposit_pct", "deposit_amount", "utilities_included", "electricity_included",
    "cleaning_included", "utilities_amount", "meters_paid_by", "min_lease_months",
    "grace_period", "available_from", "pets", "children", "smoking", "beds_count",
})  # fmt: skip
SALE_ONLY = frozenset({
    "sale_kind", "market", "mortgage_allowed", "share_amount", "is_occupied", "monthly_income",
})  # fmt: skip
REQUIRED = ("deal_type", "kind")
MAX_TEXT = 500
MAX_LONG_TEXT = 20_000
MAX_ITEMS = 50
_INT = re.compile(r"[+-]?\d{1,9}")
_DECIMAL = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,6})?")
_NOISE = re.compile(r"\s|₽|руб\.?|м²|м2|кв\.?м\.?|%|км|соток|сот\.?", re.IGNORECASE)
_LINES = re.compile(r"[;\n]|,\s+")
_STATIONS = re.compile(r"[;\n]")
_METRO = re.compile(
    r"(?P<name>.+?)(?:[,\s]+(?P<minutes>\d{1,3})\s*(?:мин\w*\.?)?\s*(?P<how>пешком|транспортом)?)?"
)
_YES = frozenset({"1", "true", "yes", "on", "да"})
_NO = frozenset({"0", "false", "no", "off", "нет"})
_POSITIVE = frozenset({"price", "area_total", "area_living", "area_kitchen", "land_area_m2"})
_DEGREES = {"lat": 90, "lon": 180}


# --- which fields -----------------------------------------------------------------------------


def concerns(spec: FieldSpec, kind: v.Kind, deal_type: v.DealType) -> bool:
    """Whether the form of such a listing has the field."""
    if spec.name in MANAGED or not spec.concerns(kind):
        return False
    sale = deal_type is v.DealType.SALE
    return spec.name not in (RENT_ONLY if sale else SALE_ONLY)


def form_groups(kind: v.Kind, deal_type: v.DealType) -> dict[Group, list[FieldSpec]]:
    """Fields of the form by group, in the order of the form."""
    grouped: dict[Group, list[FieldSpec]] = {}
    for spec in FIELDS.values():
        if concerns(spec, kind, deal_type):
            grouped.setdefault(spec.group, []).append(spec)
    return grouped


def all_groups() -> dict[Group, list[FieldSpec]]:
    """Fields of every kind by group, for a page that shows and hides them itself."""
    grouped: dict[Group, list[FieldSpec]] = {}
    for spec in FIELDS.values():
        if spec.name not in MANAGED:
            grouped.setdefault(spec.group, []).append(spec)
    return grouped


def label(name: str) -> str:
    """What the field is called, in the reader's language."""
    text: str = _(FIELDS[name].label)
    return text


# --- reading ----------------------------------------------------------------------------------


def read_form(
    raw: Mapping[str, Any], kind: v.Kind | None = None, deal_type: v.DealType | None = None
) -> dict[str, Any]:
    """Typed values of the given fields; only those given, and only those that concern the kind.

    ``raw`` holds texts (lists of texts for several words) or plain JSON. ``kind`` and
    ``deal_type`` are the listing's own when ``raw`` does not name them. Raises ValidationErrors
    with all complaints.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in raw.items():
        spec = FIELDS.get(name)
        if spec is None or name in MANAGED:
            continue
        try:
            values[name] = parse(spec, text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    kind, deal_type = values.get("kind", kind), values.get("deal_type", deal_type)
    errors += _missing(kind, deal_type)
    if errors or kind is None or deal_type is None:
        raise ValidationErrors(errors)
    return {
        name: value for name, value in values.items() if concerns(FIELDS[name], kind, deal_type)
    }


def check_values(values: Mapping[str, Any]) -> list[FieldError]:
    """Complaints about values that contradict each other or cannot be; all stated fields given."""
    errors = [
        FieldError(name, _("Укажите число больше нуля."))
        for name in sorted(_POSITIVE)
        if values.get(name) is not None and values[name] <= 0
    ]
    floor, floors = values.get("floor"), values.get("floors_total")
    if floor is not None and floors is not None and floor > floors:
        errors.append(FieldError("floor", _("Этаж выше, чем этажей в доме.")))
    errors += [
        FieldError(name, _("Укажите градусы, например 59,934280."))
        for name, limit in _DEGREES.items()
        if values.get(name) is not None and abs(values[name]) > limit
    ]
    return errors


def _missing(kind: v.Kind | None, deal_type: v.DealType | None) -> list[FieldError]:
    texts = {"deal_type": _("Выберите вид сделки."), "kind": _("Выберите вид объекта.")}
    known = {"deal_type": deal_type, "kind": kind}
    return [FieldError(name, texts[name]) for name in REQUIRED if known[name] is None]


def parse(spec: FieldSpec, raw: Any) -> Any:
    """Typed value of one field; None or an empty list when it is blank.

    Raises ValueError in words for people.
    """
    if spec.kind in (FieldKind.MULTI, FieldKind.LIST):
        return _parse_many(spec, raw)
    text = _text(raw)
    if not text:
        return None
    return _PARSERS[spec.kind](spec, text)


def _text(raw: Any) -> str:
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "1" if raw else "0"
    if isinstance(raw, (dt.datetime, dt.date)):
        return raw.isoformat()
    if isinstance(raw, (str, int, float, Decimal)):
        # A zero byte is refused by PostgreSQL and seen by nobody.
        return str(raw).replace("\0", "").strip()
    raise ValueError(_("Неверное значение."))


def _parse_text(spec: FieldSpec, text: str) -> str:
    limit = MAX_LONG_TEXT if spec.name == "description" else _column_length(spec.name)
    if len(text) > limit:
        raise ValueError(_("Не длиннее %(limit)s знаков.", limit=limit))
    return text


def _column_length(name: str) -> int:
    kind = Listing.__table__.c[name].type if name in COLUMNS else None
    return (kind.length or MAX_TEXT) if isinstance(kind, String) else MAX_TEXT


def _parse_int(_spec: FieldSpec, text: str) -> int:
    compact = _NOISE.sub("", text)
    if not _INT.fullmatch(compact):
        raise ValueError(_("Укажите целое число."))
    return int(compact)


def _parse_decimal(_spec: FieldSpec, text: str) -> Decimal:
    compact = _NOISE.sub("", text).replace(",", ".")
    if not _DECIMAL.fullmatch(compact):
        raise ValueError(_("Укажите число, например 54,3."))
    return Decimal(compact)


def _parse_bool(_spec: FieldSpec, text: str) -> bool:
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError(_("Выберите «да» или «нет»."))


def _parse_enum(spec: FieldSpec, text: str) -> v.Term:
    assert spec.enum is not None
    try:
        return spec.enum.of(text)
    except ValueError:
        raise ValueError(_("Выберите значение из списка.")) from None


def _parse_date(_spec: FieldSpec, text: str) -> dt.date:
    day, dots, rest = text[:10].partition(".")
    month, _dot, year = rest.partition(".")
    try:
        found = dt.date.fromisoformat(f"{year}-{month:0>2}-{day:0>2}" if dots else text[:10])
    except ValueError:
        raise ValueError(_("Укажите дату, например 23.11.2026.")) from None
    return _believable(found)


def _parse_moment(_spec: FieldSpec, text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_("Укажите дату и время.")) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=clock.zone(None))
    return _believable(moment)


def _believable(day: D) -> D:
    if not clock.is_believable(day):
        raise ValueError(_("Такой даты не бывает."))
    return day


_PARSERS: dict[FieldKind, Callable[[FieldSpec, str], Any]] = {
    FieldKind.TEXT: _parse_text,
    FieldKind.INT: _parse_int,
    FieldKind.DECIMAL: _parse_decimal,
    FieldKind.BOOL: _parse_bool,
    FieldKind.ENUM: _parse_enum,
    FieldKind.DATE: _parse_date,
    FieldKind.DATETIME: _parse_moment,
}


def _parse_many(spec: FieldSpec, raw: Any) -> list[Any]:
    joint = _STATIONS if spec.item is Metro else _LINES
    parts = list(raw) if isinstance(raw, (list, tuple)) else joint.split(_text(raw))
    if len(parts) > MAX_ITEMS:
        raise ValueError(_("Слишком длинный список."))
    if spec.item is Metro:
        return [_metro(part) for part in parts if isinstance(part, dict) or _text(part)]
    texts = [text for part in parts if (text := _text(part))]
    if spec.kind is FieldKind.MULTI:
        return [_parse_enum(spec, text) for text in dict.fromkeys(texts)]
    if spec.item is Decimal:
        return [_parse_decimal(spec, text) for text in texts]
    return [_parse_text(spec, text) for text in texts]


def _metro(part: Any) -> Metro:
    """A station: ``Сокол``, ``Сокол 7 мин пешком``, or an object of the API."""
    if isinstance(part, dict):
        name = _text(part.get("name"))
        minutes = [_minutes(part.get(key)) for key in ("minutes_on_foot", "minutes_by_transport")]
        if not name:
            raise ValueError(_("Укажите название станции."))
        return Metro(name[:MAX_TEXT], *minutes)
    found = _METRO.fullmatch(_text(part)[:MAX_TEXT])
    assert found is not None  # any text that is not empty fits
    minutes_text = found["minutes"]
    spent = int(minutes_text) if minutes_text else None
    by_transport = found["how"] == "транспортом"
    return Metro(
        found["name"].strip(), None if by_transport else spent, spent if by_transport else None
    )


def _minutes(raw: Any) -> int | None:
    text = _text(raw)
    return _parse_int(FIELDS["rooms"], text) if text else None


# --- showing ----------------------------------------------------------------------------------


def text_of(spec: FieldSpec, value: Any) -> str:
    """What stands in the field's input: ``parse`` reads it back to the same value."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(_item_text(item) for item in value)
    if isinstance(value, bool):
        return "1" if value else "0"
    if spec.kind is FieldKind.DECIMAL:
        return _number(value)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    return str(value)


def shown(spec: FieldSpec, value: Any) -> str:
    """The value for people: words by their labels, numbers with their unit."""
    if value is None or value == []:
        return "—"
    if isinstance(value, list):
        return ", ".join(_item_shown(item) for item in value)
    if isinstance(value, bool):
        return str(_("да") if value else _("нет"))
    if isinstance(value, v.Term):
        return str(_(value.label))
    if isinstance(value, dt.datetime):
        return formats.date(value.date())
    if isinstance(value, dt.date):
        return formats.date(value)
    text = formats.decimal(value, 6) if isinstance(value, Decimal) else str(value)
    return f"{text}{formats.NBSP}{_(spec.unit)}" if spec.unit else text


def _item_shown(item: Any) -> str:
    return str(_(item.label)) if isinstance(item, v.Term) else _item_text(item)


def _item_text(item: Any) -> str:
    if isinstance(item, Metro):
        if item.minutes_on_foot is not None:
            return f"{item.name} {item.minutes_on_foot} мин пешком"
        if item.minutes_by_transport is not None:
            return f"{item.name} {item.minutes_by_transport} мин транспортом"
        return item.name
    return _number(item) if isinstance(item, Decimal) else str(item)


def _number(value: Decimal) -> str:
    return format(value, "f").replace(".", ",")


__all__ = [
    "MANAGED", "all_groups", "check_values", "concerns", "form_groups", "label", "parse",
    "read_form", "shown", "text_of",
]  # fmt: skip
