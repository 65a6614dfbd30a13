"""Reading what people type into a card's field: money, numbers, lists, addresses.

Each parser takes text or plain JSON, gives a typed value (None: empty) and raises
ValueError in words for people.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from flask_babel import gettext as _

from crm.values import phones

_NUMBER = re.compile(r"\d{1,15}(?:[.,]\d{1,2})?")
_EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\".]{2,}")
# Signs nobody sees: PostgreSQL refuses the zero byte, a mark of direction turns a page around.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_MAX_MONEY = Decimal(10) ** 12
_MAX_AREA = Decimal(10) ** 6
_STUDIO = ("студия", "studio")
MAX_ROOMS = 20
_MAX_DISTRICTS = 30


def money(raw: Any) -> Decimal | None:
    """Roubles written with digits: ``12 500 000``, ``12500000,50 ₽``."""
    value = _decimal(raw, _("Укажите число цифрами, например 12 500 000."))
    if value is None:
        return None
    if value >= _MAX_MONEY:
        raise ValueError(_("Сумма слишком большая."))
    return value


def area(raw: Any) -> Decimal | None:
    """Square metres above zero."""
    value = _decimal(raw, _("Укажите площадь числом, например 54,3."))
    if value is not None and not 0 < value < _MAX_AREA:
        raise ValueError(_("Укажите площадь в квадратных метрах."))
    return value


def rooms(raw: Any) -> list[int] | None:
    """Wished numbers of rooms: ``2``, ``1, 2``, ``1-3``, ``студия`` (0)."""
    found: set[int] = set()
    for piece in _pieces(raw):
        low = piece.lower().replace("–", "-").replace("—", "-")
        first, _dash, last = low.partition("-")
        found.update(range(_room(first), _room(last or first) + 1))
    return sorted(found) or None


def names(raw: Any) -> list[str] | None:
    """Short names separated by commas (districts)."""
    found = list(dict.fromkeys(_pieces(raw)))
    if len(found) > _MAX_DISTRICTS or any(len(name) > 120 for name in found):  # noqa: PLR2004
        raise ValueError(_("Слишком длинный список."))
    return found or None


def line(raw: Any) -> str | None:
    """One line up to 255 characters."""
    value = " ".join(_text(raw).split())
    if len(value) > 255:  # noqa: PLR2004
        raise ValueError(_("Не длиннее %(limit)s знаков.", limit=255))
    return value or None


def long_text(raw: Any) -> str | None:
    """Free text up to 10 000 characters."""
    value = _text(raw).strip()
    if len(value) > 10_000:  # noqa: PLR2004
        raise ValueError(_("Не длиннее %(limit)s знаков.", limit=10_000))
    return value or None


def email(raw: Any) -> str | None:
    """A mail address, lower case."""
    value = _text(raw).strip().lower()
    if value and (len(value) > 255 or not _EMAIL.fullmatch(value)):  # noqa: PLR2004
        raise ValueError(_("Это не похоже на адрес почты."))
    return value or None


def phone(raw: Any) -> str | None:
    """A number in E.164."""
    value = _text(raw).strip()
    if not value:
        return None
    number = phones.e164(value)
    if number is None:
        raise ValueError(_("Номер не распознан. Пример: +7 912 345-67-89."))
    return number


def row_id(raw: Any) -> int | None:
    """Id of a chosen row."""
    value = _text(raw).strip()
    if not value:
        return None
    if not value.isdecimal() or len(value) > 9:  # noqa: PLR2004
        raise ValueError(_("Выберите значение из списка."))
    return int(value)


def _text(raw: Any) -> str:
    if raw is None:
        return ""
    if isinstance(raw, (str, int, float, Decimal)) and not isinstance(raw, bool):
        return _UNSEEN.sub("", str(raw))
    raise ValueError(_("Неверное значение."))


def _pieces(raw: Any) -> list[str]:
    parts = raw if isinstance(raw, (list, tuple)) else re.split(r"[,;\n]", _text(raw))
    cleaned = (" ".join(_text(part).split()) for part in parts)
    return [part for part in cleaned if part]


def _decimal(raw: Any, complaint: str) -> Decimal | None:
    compact = re.sub(r"\s|₽|руб\.?|м²", "", _text(raw))
    if not compact:
        return None
    if not _NUMBER.fullmatch(compact):
        raise ValueError(complaint)
    return Decimal(compact.replace(",", "."))


def _room(text: str) -> int:
    word = text.strip().removesuffix("к").strip()
    if word in _STUDIO:
        return 0
    if not word.isdecimal() or int(word) > MAX_ROOMS:
        raise ValueError(_("Укажите число комнат, например 1, 2 или 1–3."))
    return int(word)
