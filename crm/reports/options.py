"""Rows offered by remote-search select boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from crm.models import (
    Contact,
    ContactPhone,
    Deal,
    Employee,
    Listing,
    Model,
    SearchToken,
    Source,
    db,
)
from crm.reports import contact_masks
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones

PAGE = 20
# Fewer digits would match half of the base.
MIN_DIGITS = 4
WHOLE_NUMBER = 10
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Option:
    """One offered row."""

    id: int
    text: str
    note: str = ""


def find(principal: Principal, kind: str, text: str, page: int) -> tuple[list[Option], bool]:
    """Up to 20 visible rows of ``kind`` matching ``text`` and whether more follow.

    Raises KeyError for an unknown kind.
    """
    model, match, show, order = _KINDS[kind]
    query: Select[Any] = visibility.visible(select(model), principal, model)
    for word in text.split()[:5]:
        query = query.where(match(principal, word))
    rows = list(db.session.scalars(query.order_by(order).offset(page * PAGE).limit(PAGE + 1)))
    names = contact_masks.shown_names(principal, rows[:PAGE]) if model is Contact else {}
    return [show(row, names) for row in rows[:PAGE]], len(rows) > PAGE


def _like(column: Any, word: str) -> ColumnElement[bool]:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    # SQLite folds only Latin letters: both spellings of the first letter are tried.
    variants = {escaped, escaped.lower(), escaped.capitalize()}
    return or_(*(column.like(f"%{variant}%", escape="\\") for variant in sorted(variants)))


def _employee(_principal: Principal, word: str) -> ColumnElement[bool]:
    names = (Employee.last_name, Employee.first_name, Employee.username)
    return and_(Employee.active, or_(*(_like(column, word) for column in names)))


def _token_ids(kind: str, word: str) -> Select[Any]:
    folded = word.casefold().replace("ё", "е")
    return select(SearchToken.object_id).where(
        SearchToken.kind == kind, SearchToken.token >= folded, SearchToken.token < folded + "\uffff"
    )


def _source(_principal: Principal, word: str) -> ColumnElement[bool]:
    return and_(Source.active, _like(Source.name, word))


def _contact(principal: Principal, word: str) -> ColumnElement[bool]:
    digits = phones.search_digits(word)
    by_name = _named(principal, word)
    if not digits or len(digits) < MIN_DIGITS:
        return by_name
    by_phone: ColumnElement[bool] = Contact.id.in_(
        select(ContactPhone.contact_id).where(ContactPhone.key_reversed.like(digits[::-1] + "%"))
    )
    if len(digits) < WHOLE_NUMBER:
        by_phone = and_(by_phone, contact_masks.findable_by_tail(principal))
    return or_(by_name, by_phone)


def _named(principal: Principal, word: str) -> ColumnElement[bool]:
    by_name = Contact.id.in_(_token_ids("contact", word))
    return and_(by_name, contact_masks.findable_by_name(principal))


def _deal(principal: Principal, word: str) -> ColumnElement[bool]:
    by_contact = Deal.contact_id.in_(select(Contact.id).where(_named(principal, word)))
    return or_(_numbered(Deal.id, word), by_contact)


def _listing(_principal: Principal, word: str) -> ColumnElement[bool]:
    by_address = Listing.id.in_(_token_ids("listing", word))
    return or_(_numbered(Listing.id, word), by_address)


def _numbered(column: Any, word: str) -> ColumnElement[bool]:
    """The row with this very number; a number that no column holds is nobody's."""
    if not word.isdecimal() or int(word) > _LARGEST_ID:
        return false()
    return column == int(word)  # type: ignore[no-any-return]


_KINDS: dict[str, tuple[type[Model], Callable[..., Any], Callable[..., Option], Any]] = {
    "employees": (
        Employee,
        _employee,
        lambda row, _names: Option(row.id, row.full_name, row.position or ""),
        func.lower(Employee.last_name),
    ),
    "sources": (
        Source,
        _source,
        lambda row, _names: Option(row.id, row.name),
        Source.name,
    ),
    "contacts": (
        Contact,
        _contact,
        lambda row, names: Option(row.id, names[row.id] or str(row)),
        Contact.id.desc(),
    ),
    "deals": (Deal, _deal, lambda row, _names: Option(row.id, str(row)), Deal.id.desc()),
    "listings": (
        Listing,
        _listing,
        lambda row, _names: Option(row.id, str(row), row.address or ""),
        Listing.id.desc(),
    ),
}
