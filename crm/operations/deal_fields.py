"""The deal card's editable fields: what they are called, how they are read, written and shown.

One catalogue serves required fields (``RequiredField.field`` holds these codes), editing in
place and the dialogs that ask for what is missing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.models import Contact, Deal, Employee, EventKind, Source, db
from crm.operations import contacts, field_values, timeline
from crm.operations.errors import FieldError, ValidationErrors
from crm.reports.company import company
from crm.security import masking, visibility
from crm.security.principal import Principal
from crm.values import formats


class FieldKind(enum.StrEnum):
    """What control a field is edited with."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    MONEY = "money"
    NUMBER = "number"
    LIST = "list"
    CHOICE = "choice"
    EMAIL = "email"
    PHONE = "phone"
    SOURCE = "source"
    EMPLOYEE = "employee"
    NEED = "need"


Read = Callable[[Deal], Any]
Write = Callable[[Deal, Any, Principal | None], None]


@dataclass(frozen=True, slots=True)
class DealField:
    """A field of the card.

    ``parse`` turns input into a value or raises ValueError in words; ``write`` is None for
    a field made of ``parts``; ``unit`` follows a number.
    """

    code: str
    label: LazyString
    kind: FieldKind
    read: Read
    parse: Callable[[Any], Any]
    write: Write | None
    choices: tuple[tuple[str, LazyString], ...] = ()
    parts: tuple[str, ...] = ()
    unit: str = ""

    def spec(self, deal: Deal) -> dict[str, Any]:
        """JSON for a dialog: code, label, kind, choices, unit, and the same of the parts."""
        return {
            "code": self.code,
            "label": str(self.label),
            "kind": str(self.kind),
            "unit": self.unit,
            "choices": [[value, str(label)] for value, label in self.choices],
            "parts": [CATALOGUE[code].spec(deal) for code in self.parts],
        }


NEED_KINDS: tuple[tuple[str, LazyString], ...] = (
    ("flat", _l("Квартира")),
    ("new_flat", _l("Квартира в новостройке")),
    ("room", _l("Комната")),
    ("house", _l("Дом")),
    ("townhouse", _l("Таунхаус")),
    ("land", _l("Участок")),
    ("garage", _l("Гараж или машино-место")),
    ("commercial", _l("Коммерческое помещение")),
)


def _kind(raw: Any) -> str | None:
    value = field_values.line(raw)
    if value is not None and value not in dict(NEED_KINDS):
        raise ValueError(_("Выберите значение из списка."))
    return value


def _column(name: str) -> dict[str, Any]:
    def write(deal: Deal, value: Any, _by: Principal | None) -> None:
        setattr(deal, name, value)

    return {"read": lambda deal: getattr(deal, name), "write": write}


def _need(name: str) -> dict[str, Any]:
    def write(deal: Deal, value: Any, _by: Principal | None) -> None:
        derived = not deal.need_text or deal.need_text == need_summary(deal.need)
        need = dict(deal.need or {})
        need.pop(name, None)
        if value is not None:
            need[name] = str(value) if isinstance(value, Decimal) else value
        deal.need = need
        if derived:
            # The card on the board shows one line: it follows the parts until typed by hand.
            deal.need_text = need_summary(need) or None

    return {"read": lambda deal: (deal.need or {}).get(name), "write": write}


def _write_need_text(deal: Deal, value: str | None, _by: Principal | None) -> None:
    """Without words of its own the line says the parts again."""
    deal.need_text = value or need_summary(deal.need) or None


def need_summary(need: Mapping[str, Any] | None) -> str:
    """One line of what the client looks for: «Квартира, 2-к, 50–70 м², Пушкин»."""
    parts = need or {}
    kind = str(dict(NEED_KINDS).get(parts.get("kind", ""), ""))
    districts = parts.get("districts") or []
    places = districts if isinstance(districts, str) else ", ".join(map(str, districts))
    pieces = (kind, _rooms_text(parts.get("rooms")), _area_text(parts), places)
    return ", ".join(piece for piece in pieces if piece)[:255]


def _rooms_text(rooms: Any) -> str:
    numbers = rooms if isinstance(rooms, list) else [rooms] if rooms not in (None, "") else []
    shown = [_("студия") if str(number) == "0" else f"{number}-к" for number in numbers]
    return ", ".join(shown)


def _area_text(need: Mapping[str, Any]) -> str:
    low, high = need.get("area_from"), need.get("area_to")
    if low and high:
        return f"{low}–{high}{formats.NBSP}м²"
    if low or high:
        word = _("от") if low else _("до")
        return f"{word} {low or high}{formats.NBSP}м²"
    return ""


def _contact(deal: Deal, by: Principal | None) -> Contact:
    """The deal's contact; an empty one is made when somebody starts to fill it in."""
    if deal.contact is None:
        deal.contact = Contact(responsible_id=by.id if by else deal.responsible_id)
        db.session.add(deal.contact)
        db.session.flush()
    return deal.contact


def _write_name(deal: Deal, value: str | None, by: Principal | None) -> None:
    _refuse_unseen(deal, "contact_name", by)
    contacts.rename(_contact(deal, by), value or "", by)


def _write_email(deal: Deal, value: str | None, by: Principal | None) -> None:
    _refuse_unseen(deal, "contact_email", by)
    contacts.set_email(_contact(deal, by), value, by)


def _refuse_unseen(deal: Deal, code: str, by: Principal | None) -> None:
    """What is hidden from the person may be filled in, but not written over."""
    own_shown = company().show_contacts_in_own_deals
    seen = describe(deal, by, [code], own_shown=own_shown)[code]
    if seen["filled"] and seen["value"] is None:
        raise ValueError(_("Это поле от вас скрыто, менять его нельзя."))


def _write_phone(deal: Deal, value: str | None, by: Principal | None) -> None:
    if value is not None:
        contacts.add_phone(_contact(deal, by), value, by)


def _first_email(deal: Deal) -> str | None:
    return deal.contact.emails[0].email if deal.contact and deal.contact.emails else None


def _first_phone(deal: Deal) -> str | None:
    return deal.contact.phones[0].number if deal.contact and deal.contact.phones else None


def _write_source(deal: Deal, value: int | None, by: Principal | None) -> None:
    """Change the source by the rule of the present one; the change goes to the feed."""
    if value == deal.source_id:
        return
    old = db.session.get(Source, deal.source_id) if deal.source_id else None
    if old and not old.manager_may_change and by is not None and by.is_ordinary():
        raise ValueError(
            _("Источник «%(name)s» может изменить только руководитель.", name=old.name)
        )
    new = choosable_source(value, by)
    deal.source, deal.source_id = new, new.id if new else None
    if deal.id is not None:
        timeline.note(
            EventKind.SOURCE,
            deal=deal,
            by=by,
            old=old.name if old else None,
            new=new.name if new else None,
        )


def choosable_source(source_id: int | None, by: Principal | None) -> Source | None:
    """The source when a person may choose it: active, shown in the CRM, of his departments.

    Raises ValueError in words. The system may set any.
    """
    if source_id is None:
        return None
    source: Source | None = db.session.get(Source, source_id)
    if source is None:
        raise ValueError(_("Такого источника нет."))
    if by is None:
        return source
    if (
        not source.active
        or not source.show_in_crm
        or visibility.get_visible(by, Source, source_id) is None
    ):
        raise ValueError(_("Источник «%(name)s» нельзя выбрать.", name=source.name))
    return source


def active_employee(employee_id: int) -> Employee:
    """The employee when work may be given to him; raises ValueError in words."""
    employee: Employee | None = db.session.get(Employee, employee_id)
    if employee is None or not employee.active:
        raise ValueError(_("Такого сотрудника нет, или он отключён."))
    return employee


def _write_responsible(deal: Deal, value: int | None, by: Principal | None) -> None:
    if value is None:
        raise ValueError(_("Выберите ответственного."))
    from crm.operations import deals

    if value != deal.responsible_id:
        deals.assign(deal.id, value, by)


_NEED_PARTS = (
    "need_kind", "need_rooms", "need_area_from", "need_area_to", "need_districts", "need_when",
)  # fmt: skip


def _any_need(deal: Deal) -> Any:
    return need_summary(deal.need) or deal.need_text or (deal.need or {}).get("when")


_K = FieldKind
_V = field_values
_FIELDS = (
    DealField(
        "contact_name", _l("Имя клиента"), _K.TEXT,
        lambda deal: deal.contact.name if deal.contact else None, _V.line, _write_name,
    ),
    DealField(
        "contact_phone", _l("Телефон клиента"), _K.PHONE, _first_phone, _V.phone, _write_phone
    ),
    DealField("contact_email", _l("Почта клиента"), _K.EMAIL, _first_email, _V.email, _write_email),
    DealField(
        "source", _l("Источник"), _K.SOURCE, lambda deal: deal.source_id, _V.row_id, _write_source
    ),
    DealField(
        "responsible", _l("Ответственный"), _K.EMPLOYEE,
        lambda deal: deal.responsible_id, _V.row_id, _write_responsible,
    ),
    DealField("amount", _l("Бюджет"), _K.MONEY, parse=_V.money, unit="₽", **_column("amount")),
    DealField(
        "need", _l("Запрос клиента"), _K.NEED, _any_need, _V.line, None,
        parts=(*_NEED_PARTS, "need_text"),
    ),
    DealField(
        "need_kind", _l("Что ищет"), _K.CHOICE, parse=_kind, choices=NEED_KINDS, **_need("kind")
    ),
    DealField("need_rooms", _l("Комнат"), _K.LIST, parse=_V.rooms, **_need("rooms")),
    DealField(
        "need_area_from", _l("Площадь от"), _K.NUMBER, parse=_V.area, unit="м²",
        **_need("area_from"),
    ),
    DealField(
        "need_area_to", _l("Площадь до"), _K.NUMBER, parse=_V.area, unit="м²", **_need("area_to")
    ),
    DealField("need_districts", _l("Районы"), _K.LIST, parse=_V.names, **_need("districts")),
    DealField("need_when", _l("Когда"), _K.TEXT, parse=_V.line, **_need("when")),
    DealField(
        "need_text", _l("Запрос одной строкой"), _K.TEXT,
        lambda deal: deal.need_text, _V.line, _write_need_text,
    ),
    DealField("payment", _l("Оплата"), _K.TEXT, parse=_V.line, **_column("payment")),
    DealField(
        "commission", _l("Комиссия"), _K.MONEY, parse=_V.money, unit="₽", **_column("commission")
    ),
    DealField("comment", _l("Примечание"), _K.LONG_TEXT, parse=_V.long_text, **_column("comment")),
)  # fmt: skip
CATALOGUE: dict[str, DealField] = {field.code: field for field in _FIELDS}
# What the person sees masked is not written into the feed either.
PRIVATE = frozenset({"contact_name", "contact_phone", "contact_email"})


def is_filled(deal: Deal, code: str) -> bool:
    """Whether the card's field has a value; raises KeyError for an unknown code."""
    return CATALOGUE[code].read(deal) not in (None, "", [], {})


def label(code: str) -> str:
    """The field's name; a code of an older release names itself."""
    return str(CATALOGUE[code].label) if code in CATALOGUE else code


def parse_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values of raw input; raises ValidationErrors with all complaints."""
    parsed: dict[str, Any] = {}
    errors: list[FieldError] = []
    for code, raw in values.items():
        field = CATALOGUE.get(code)
        if field is None or field.write is None:
            errors.append(FieldError(code, _("Такого поля в карточке нет.")))
            continue
        try:
            parsed[code] = field.parse(raw)
        except ValueError as error:
            errors.append(FieldError(code, str(error)))
    if errors:
        raise ValidationErrors(errors)
    return parsed


def _area_errors(deal: Deal, parsed: Mapping[str, Any]) -> list[FieldError]:
    """The two areas may come one by one: what is typed is held against what the card has."""
    if not {"need_area_from", "need_area_to"} & parsed.keys():
        return []
    low, high = (
        parsed[code] if code in parsed else CATALOGUE[code].read(deal)
        for code in ("need_area_from", "need_area_to")
    )
    if low is None or high is None or Decimal(low) <= Decimal(high):
        return []
    if "need_area_to" in parsed:
        return [FieldError("need_area_to", _("Площадь «до» меньше площади «от»."))]
    return [FieldError("need_area_from", _("Площадь «от» больше площади «до»."))]


def apply(deal: Deal, values: Mapping[str, Any], by: Principal | None) -> list[dict[str, Any]]:
    """Write raw input into the card; returns what changed: field, old and new as shown.

    Raises ValidationErrors with all complaints. The deal must be locked and in the session.
    """
    changed: list[dict[str, Any]] = []
    errors: list[FieldError] = []
    parsed = parse_all(values)
    if wrong := _area_errors(deal, parsed):
        raise ValidationErrors(wrong)
    for code, value in parsed.items():
        field = CATALOGUE[code]
        before = field.read(deal)
        old = shown(deal, code)
        try:
            if field.write is not None:
                field.write(deal, value, by)
        except ValueError as error:
            errors.append(FieldError(code, str(error)))
        except ValidationErrors as refused:
            errors += [FieldError(code, error.message) for error in refused.errors]
        if field.read(deal) != before:
            changed.append(_change(deal, code, old))
    if errors:
        raise ValidationErrors(errors)
    return changed


def _change(deal: Deal, code: str, old: str) -> dict[str, Any]:
    if code in PRIVATE:
        return {"field": code}
    return {"field": code, "old": old, "new": shown(deal, code)}


def shown(deal: Deal, code: str) -> str:
    """The value as people read it, unmasked; empty text when there is none."""
    value = CATALOGUE[code].read(deal)
    if value in (None, "", []):
        return ""
    match CATALOGUE[code].kind:
        case FieldKind.MONEY:
            return formats.money(value)
        case FieldKind.NUMBER:
            return f"{value}{formats.NBSP}{CATALOGUE[code].unit}"
        case FieldKind.SOURCE:
            source = db.session.get(Source, value)
            return source.name if source else ""
        case FieldKind.EMPLOYEE:
            employee = db.session.get(Employee, value)
            return employee.full_name if employee else ""
        case FieldKind.CHOICE:
            return str(dict(CATALOGUE[code].choices).get(str(value), value))
        case FieldKind.LIST:
            items = value if isinstance(value, list) else [value]
            return _rooms_text(items) if code == "need_rooms" else ", ".join(map(str, items))
        case _:
            return str(value)


def describe(
    deal: Deal,
    by: Principal | None,
    codes: Iterable[str] | None = None,
    *,
    own_shown: bool = False,
) -> dict[str, dict[str, Any]]:
    """Specs with ``text`` (as shown), ``value`` (as edited) and ``filled`` for ``by``.

    Contacts that ``by`` may not see come masked and without ``value``; ``own_shown`` is the
    company's switch about contacts in one's own deals.
    """
    hidden = by is not None and masking.hides_contacts(
        by,
        is_owner=bool(deal.contact and deal.contact.is_owner),
        own=deal.responsible_id == by.id,
        own_shown=own_shown,
    )
    wanted = CATALOGUE if codes is None else codes
    return {code: _described(deal, code, hidden) for code in wanted}


def _described(deal: Deal, code: str, hidden: bool) -> dict[str, Any]:
    value = CATALOGUE[code].read(deal)
    text = shown(deal, code)
    if code == "contact_phone":
        text = masking.shown_phone(value, hidden)
    elif code == "contact_email":
        text = masking.shown_email(value, hidden)
    elif code == "contact_name" and deal.contact is not None and deal.contact.is_owner:
        text = masking.shown_name(text, hidden)
    secret = hidden and text != shown(deal, code)
    plain = str(value) if isinstance(value, Decimal) else value
    filled = is_filled(deal, code)
    own = {"text": text, "value": None if secret else plain, "filled": filled}
    return {**CATALOGUE[code].spec(deal), **own}
