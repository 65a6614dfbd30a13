"""Checks that several settings share: names, mail addresses, phones, colours."""

from __future__ import annotations

import re
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import func, select

from crm.models import Model, db
from crm.operations.errors import FieldError
from crm.values import phones

COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\".]{2,}")


def clean(record: Model, *fields: str) -> None:
    """Trim texts of ``record`` in place; an empty text of a nullable column becomes None."""
    columns = type(record).__table__.columns
    for name in fields:
        text = (getattr(record, name) or "").strip()
        empty = None if columns[name].nullable else ""
        value = text or empty
        if getattr(record, name) != value:
            setattr(record, name, value)


def required(record: Model, **labels: str) -> list[FieldError]:
    """Complaints about empty texts; ``labels`` maps a field to what is asked for."""
    return [FieldError(name, text) for name, text in labels.items() if not getattr(record, name)]


def unique_name(record: Any, field: str = "name") -> list[FieldError]:
    """Complaint when another row has the same text, whatever the case of its letters."""
    text = getattr(record, field)
    if not text:
        return []
    column = getattr(type(record), field)
    # SQLite folds only Latin letters, so the rows that may clash are compared here as well.
    query = select(type(record).id, column).where(func.length(column) == len(text))
    for pk, other in db.session.execute(query):
        if pk != record.id and other.casefold() == text.casefold():
            return [FieldError(field, _("Такое название уже есть."))]
    return []


def phone(record: Model, field: str = "phone") -> list[FieldError]:
    """Normalise a phone to E.164 in place; complaint when it is not understood."""
    typed = (getattr(record, field) or "").strip()
    if not typed:
        setattr(record, field, None)
        return []
    number = phones.e164(typed)
    if number is None:
        return [FieldError(field, _("Номер не распознан. Пример: +7 912 345-67-89."))]
    setattr(record, field, number)
    return []


def email(record: Model, field: str = "email") -> list[FieldError]:
    """Lower-case a mail address in place; complaint when it is not one."""
    text = (getattr(record, field) or "").strip().lower()
    if not text:
        setattr(record, field, None)
        return []
    if not _EMAIL.fullmatch(text):
        return [FieldError(field, _("Это не похоже на адрес почты."))]
    setattr(record, field, text)
    return []


def color(record: Model, field: str = "color") -> list[FieldError]:
    """Complaint when the colour is not ``#rrggbb``."""
    if COLOR.fullmatch(getattr(record, field) or ""):
        return []
    return [FieldError(field, _("Цвет задаётся как #3056d3."))]
