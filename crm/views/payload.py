"""Reading JSON bodies of our own endpoints: wrong types are refused in words, never crash."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, TypeVar

from flask import request
from flask_babel import gettext as _

from crm.operations import field_values
from crm.operations.errors import ValidationErrors
from crm.reports.company import company_zone
from crm.values.clock import is_believable

D = TypeVar("D", bound=dt.date)


class Payload:
    """The object sent in the request, or ``data``; an absent or empty value is None."""

    def __init__(self, data: Any = None) -> None:
        data = request.get_json(silent=True) if data is None else data
        if not isinstance(data, dict):
            raise ValidationErrors.one("", _("Нужен объект JSON."))
        self.data: dict[str, Any] = data

    def text(self, name: str) -> str:
        """A text, empty when absent."""
        value = self.data.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > 20_000:  # noqa: PLR2004
            raise ValidationErrors.one(name, _("Неверное значение."))
        return value.replace("\x00", "").strip()

    def number(self, name: str) -> int | None:
        """An id or another whole number."""
        return self._parsed(name, field_values.row_id)

    def needed(self, name: str) -> int:
        """An id that must be there."""
        value = self.number(name)
        if value is None:
            raise ValidationErrors.one(name, _("Выберите значение."))
        return value

    def money(self, name: str) -> Decimal | None:
        """An amount in roubles."""
        return self._parsed(name, field_values.money)

    def date(self, name: str) -> dt.date | None:
        """A calendar day, ISO."""
        value: dt.date | None = self._parsed(name, lambda raw: dt.date.fromisoformat(str(raw)[:10]))
        return self._believable(name, value)

    def moment(self, name: str) -> dt.datetime | None:
        """A moment, ISO; without a zone it is the company's local time."""
        value = self._parsed(name, lambda raw: dt.datetime.fromisoformat(str(raw)))
        if self._believable(name, value) is None:
            return None
        local = value if value.tzinfo else value.replace(tzinfo=company_zone())
        return local.astimezone(dt.UTC)

    def flag(self, name: str) -> bool:
        """Yes or no."""
        return self.data.get(name) is True

    def mapping(self, name: str) -> dict[str, Any]:
        """A nested object."""
        value = self.data.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValidationErrors.one(name, _("Неверное значение."))
        return value

    def _believable(self, name: str, value: D | None) -> D | None:
        """A date at the end of the calendar could be stored and then shown in no zone."""
        if value is not None and not is_believable(value):
            raise ValidationErrors.one(name, _("Такой даты не бывает."))
        return value

    def _parsed(self, name: str, parse: Any) -> Any:
        raw = self.data.get(name)
        if raw is None or raw == "":
            return None
        try:
            return parse(raw)
        except (ValueError, OverflowError) as error:
            raise ValidationErrors.one(name, _("Неверное значение.")) from error
