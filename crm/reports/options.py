"""Rows offered by remote-search select boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

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
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones

PAGE = 20
# Fewer digits would match half of the base.
MIN_DIGITS = 4


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
        query = query.where(match(word))
    rows = list(db.session.scalars(query.order_by(order).offset(page * PAGE).limit(PAGE + 1)))
    return [show(row) for row in rows[:PAGE]], len(rows) > PAGE


def _like(column: Any, word: str) -> ColumnElement[bool]:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    # SQLite folds only Latin letters: both spellings of the first letter are tried.
    variants = {escaped, escaped.lower(), escaped.capitalize()}
    return or_(*(column.like(f"%{variant}%", escape="\\") for variant in sorted(variants)))


def _employee(word: str) -> ColumnElement[bool]:
    return or_(
        _like(Employee.last_name, word),
        _like(Employee.first_name, word),
        _like(Employee.username, word),
    )


def _token_ids(kind: str, word: str) -> Select[Any]:
    folded = word.casefold().replace("ё", "е")
    return select(SearchToken.object_id).where(
        SearchToken.kind == kind, SearchToken.token >= folded, SearchToken.token < folded + "\uffff"
    )


def _contact(word: str) -> ColumnElement[bool]:
    digits = phones.search_digits(word)
    by_name = Contact.id.in_(_token_ids("contact", word))
    if not digits or len(digits) < MIN_DIGITS:
        return by_name
    by_phone = select(ContactPhone.contact_id).where(
        ContactPhone.key_reversed.like(digits[::-1] + "%")
    )
    return or_(by_name, Contact.id.in_(by_phone))


def _deal(word: str) -> ColumnElement[bool]:
    by_contact = Deal.contact_id.in_(_token_ids("contact", word))
    return or_(Deal.id == int(word), by_contact) if word.isdecimal() else by_contact


def _listing(word: str) -> ColumnElement[bool]:
    by_address = Listing.id.in_(_token_ids("listing", word))
    return or_(Listing.id == int(word), by_address) if word.isdecimal() else by_address


_KINDS: dict[str, tuple[type[Model], Callable[..., Any], Callable[..., Option], Any]] = {
    "employees": (
        Employee,
        lambda word: Employee.active & _employee(word),
        lambda row: Option(row.id, row.full_name, row.position or ""),
        func.lower(Employee.last_name),
    ),
    "sources": (
        Source,
        lambda word: Source.active & _like(Source.name, word),
        lambda row: Option(row.id, row.name),
        Source.name,
    ),
    "contacts": (
        Contact,
        _contact,
        lambda row: Option(row.id, str(row)),
        Contact.id.desc(),
    ),
    "deals": (Deal, _deal, lambda row: Option(row.id, str(row)), Deal.id.desc()),
    "listings": (
        Listing,
        _listing,
        lambda row: Option(row.id, str(row), row.address or ""),
        Listing.id.desc(),
    ),
}
