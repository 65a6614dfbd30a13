"""Parsers of single YRL values, as tolerant as real feeds need."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.yandex_vocabulary import Form

_HALF_TURN = Decimal(180)
MOSCOW = dt.timezone(dt.timedelta(hours=3))
_INT = re.compile(r"[+-]?[0-9]{1,9}(?:[.,]0+)?")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,12}(?:[.,][0-9]{1,12})?")
_GAPS = str.maketrans("", "", " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}'")
_NOT_PHONE = re.compile(r"[^\d+]")


def parse_int(text: str) -> int:
    """Whole number, at most nine digits. Raises `ValueError`."""
    if len(text) < 10 and text.isdecimal():
        return int(text)
    if not _INT.fullmatch(text):
        raise ValueError(text)
    return int(text.replace(",", ".").partition(".")[0])


def parse_positive(text: str) -> int:
    """Whole number from 1. Raises `ValueError`."""
    number = parse_int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse_quarter(text: str) -> int:
    """Quarter of a year, 1 to 4. Raises `ValueError`."""
    number = parse_positive(text)
    if number > 4:
        raise ValueError(text)
    return number


def parse_decimal(text: str) -> Decimal:
    """Number with a dot or a comma, spaces between digits allowed. Raises `ValueError`."""
    # The usual case in a third of the time of the pattern.
    if len(text) < 13 and text.replace(".", "", 1).isdecimal():
        return Decimal(text)
    if not _DECIMAL.fullmatch(text):
        text = text.translate(_GAPS)
        if not _DECIMAL.fullmatch(text):
            raise ValueError(text)
    return Decimal(text.replace(",", ".") if "," in text else text)


def parse_coordinate(text: str) -> Decimal:
    """Degrees, six digits after the dot (11 cm). Raises `ValueError`."""
    degrees = parse_decimal(text)
    if not -_HALF_TURN <= degrees <= _HALF_TURN:
        raise ValueError(text)
    return degrees.quantize(y.COORDINATE_STEP)


def parse_bool(text: str) -> bool:
    """One of the documented yes and no words. Raises `KeyError`."""
    return y.BOOLEANS[text.lower()]


def parse_moment(text: str) -> dt.datetime:
    """ISO 8601; without an offset it is Moscow time. Raises `ValueError`."""
    moment = dt.datetime.fromisoformat(text)
    if not 1990 <= moment.year <= 2100:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=MOSCOW)


def parse_date(text: str) -> dt.date:
    """ISO 8601 date, a time after it is ignored. Raises `ValueError`."""
    return dt.date.fromisoformat(text[:10])


_PARSERS: dict[Form, Callable[[str], Any]] = {
    Form.TEXT: str,
    Form.INT: parse_int,
    Form.POSITIVE: parse_positive,
    Form.QUARTER: parse_quarter,
    Form.DECIMAL: parse_decimal,
    Form.COORDINATE: parse_coordinate,
    Form.BOOL: parse_bool,
    Form.YES: parse_bool,
    Form.MOMENT: parse_moment,
    Form.DATE: parse_date,
}


def parser_of(form: Form | y.Words[Any]) -> Callable[[str], Any]:
    """The function that reads an element of this form."""
    if isinstance(form, Form):
        return _PARSERS[form]
    table = form.read
    # Feeds mostly spell words as the documents do: no need to lower them first.
    exact = table | {word: table[word.lower()] for word in form.written.values()}
    return lambda text: exact[text] if text in exact else table[text.lower()]


def normal_phone(text: str) -> str:
    """Digits with a leading plus: a Russian number as +7 and ten digits, others as they are."""
    digits = _NOT_PHONE.sub("", text)
    plus, bare = digits[:1] == "+", digits.replace("+", "")
    if len(bare) == 10 and not plus:
        return "+7" + bare
    if len(bare) == 11 and bare[0] in "78" and not (plus and bare[0] == "8"):
        return "+7" + bare[1:]
    return ("+" if plus else "") + bare
