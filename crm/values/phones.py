"""Telephone numbers: reading what people and operators write, comparing, showing.

Three forms live side by side: `raw` as written, E.164 (`+79031234567`) for showing and dialling,
and the match key for equality and indexes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import phonenumbers

_INTERNAL_MAX = 5
_NATIONAL = 10  # digits of a Russian number without its country code or trunk prefix
_FULL = 11
_SHOWN_START = 5
_E164_LENGTHS = range(8, 16)
_RUSSIAN_FIRST = frozenset("3489")
_KAZAKH_FIRST = frozenset("67")
_SEQUENCES = "01234567890123456789"
_EXTENSION = re.compile(r"(?:доб(?:авочный)?|внутр?|ext(?:ension)?|[#,])[\s.:,#]*", re.IGNORECASE)
_SIP = re.compile(r"^\s*(?:sips?|tel):", re.IGNORECASE)
_TRUNK = re.compile(r"^\s*(?:\+7|8(?=[\s(-]))")
_LIST_SEPARATOR = re.compile(r"([,;/\n])")
# Repetitions are bounded: unbounded ones take quadratic time on a long run of spaces.
_IN_TEXT = re.compile(
    r"(?<!\d)(?:\+?7|8)?[\s\-(.]{0,6}[3489][0-9]{2}[\s\-).]{0,6}[0-9]{3}"
    r"[\s\-.]{0,6}[0-9]{2}[\s\-.]{0,6}[0-9]{2}(?!\d)"
)
_UNIT = r"(?:₽|руб|р\.|тыс|млн|млрд|м²|м2|кв\.?\s?м)"
_UNIT_AFTER = re.compile(rf"[\s.,\-–]{{0,3}}{_UNIT}", re.IGNORECASE)
_UNIT_BEFORE = re.compile(rf"{_UNIT}[\s.:]{{0,3}}$", re.IGNORECASE)


class PhoneFlag(Enum):
    """Why a number has no E.164 form."""

    UNRECOGNISED = "unrecognised"
    SUSPICIOUS = "suspicious"


@dataclass(frozen=True)
class Phone:
    """A number as written and, when it was understood, in E.164; `flag` is set otherwise."""

    e164: str | None
    raw: str
    extension: str | None = None
    flag: PhoneFlag | None = None


def parse(raw: str | None, city_code: str | None = None) -> Phone | None:
    """Read one number typed by a person; `city_code` completes a local number. None for empty."""
    text = (raw or "").strip()
    if not text:
        return None
    core, extension = _split_extension(text)
    number = _canonical(core) or _with_city_code(_decimal(core), city_code)
    if _is_suspicious(number or _decimal(core)):
        return Phone(None, text, extension, PhoneFlag.SUSPICIOUS)
    return Phone(number, text, extension, None if number else PhoneFlag.UNRECOGNISED)


def parse_many(raw: str | None, city_code: str | None = None) -> list[Phone]:
    """Read several numbers written through comma, semicolon, slash or on lines."""
    parsed = (parse(piece, city_code) for piece in _pieces(raw or ""))
    return [phone for phone in parsed if phone is not None]


def digits(raw: str | None) -> str | None:
    """Number of an operator's event as stored: digits, `7XXXXXXXXXX` for Russia; None if hidden.

    Rules: reference of telephony operators, "Numbers". A SIP login with letters is not a number.
    """
    text = (raw or "").split("...")[0]
    if _SIP.match(text) or "@" in text:
        text = _SIP.sub("", text).split("@")[0].split(";")[0]
        if any(char.isalpha() for char in text):
            return None
    number = _decimal(text)
    if len(number) == _FULL and number.startswith("8"):
        return "7" + number[1:]
    return ("7" + number if len(number) == _NATIONAL else number) or None


def is_internal(number: str | None) -> bool:
    """Whether digits are an extension of the agency's own PBX: five of them or fewer."""
    return bool(number) and len(number or "") <= _INTERNAL_MAX


def e164(digits_or_raw: str | None) -> str | None:
    """E.164 of a stored or typed number, None when it is not understood or looks invented."""
    phone = parse(digits_or_raw)
    return phone.e164 if phone else None


def match_key(value: str | None) -> str:
    """What equality and indexes use: last 10 digits of a Russian number, all digits of another.

    Any eleven digits starting with 7 or 8 count as Russian here, so that `+84912345678` typed by a
    person equals `84912345678` sent by an operator. A key of a key is the same key; "" for none.
    """
    text = (value or "").strip()
    number = digits(text) if _is_address(text) else _decimal(_split_extension(text)[0])
    number = _without_international_prefix(number or "")
    return number[1:] if len(number) == _FULL and number[0] in "78" else number


def search_digits(text: str | None) -> str | None:
    """Digits of a typed search string to look for inside match keys; None when it is not a number.

    The trunk prefix is dropped where it can be told: 11 digits, a leading `+7`, `8 (` or `7 (`.
    """
    typed = _SIP.sub("", (text or "").strip())
    number = _without_international_prefix(_decimal(typed))
    if not number or any(char.isalpha() for char in typed):
        return None
    prefixed = re.match(r"\+7|[78]\s*\(", typed) is not None
    if (len(number) == _FULL and number[0] in "78") or (prefixed and len(number) > 1):
        return number[1:]
    return number


@lru_cache(4096)
def pretty(value: str | None) -> str:
    """For people: `+7 912 345-67-89`, foreign in the international form, the rest as written."""
    text = (value or "").strip()
    core, extension = _split_extension(text)
    number = _canonical(core)
    if number is None:
        return text
    shown = _russian(number) if _is_russian(number) else _foreign(number)
    return f"{shown} доб. {extension}" if extension else shown


def masked(value: str | None) -> str:
    """For those who may not see numbers: `+7 903 ***-**-67`; `***` when it is not understood."""
    text = (value or "").strip()
    if is_internal(text) and text.isdecimal():
        return text
    number = _canonical(_split_extension(text)[0])
    if number is None:
        return "***" if text else ""
    if _is_russian(number):
        return f"+7 {number[2:5]} ***-**-{number[-2:]}"
    return _masked_middle(_foreign(number))


def in_text(text: str | None) -> str | None:
    """First number in free text (a chat, a comment) as E.164; sums and areas are refused."""
    source = text or ""
    for found in _IN_TEXT.finditer(source):
        before = source[max(0, found.start() - 8) : found.start()]
        if _UNIT_AFTER.match(source, found.end()) or _UNIT_BEFORE.search(before):
            continue
        number = e164(found.group())
        if number:
            return number
    return None


def _decimal(text: str) -> str:
    """Digits of any script as ASCII; superscripts such as in `м²` are not digits."""
    return "".join(
        str(unicodedata.decimal(char))
        for char in text
        if unicodedata.decimal(char, None) is not None
    )


def _is_address(text: str) -> bool:
    return "@" in text or _SIP.match(text) is not None


def _split_extension(text: str) -> tuple[str, str | None]:
    """Cut `доб. 12`, `ext 12`, `#12`, `,12` off; the number itself must come first."""
    for found in _EXTENSION.finditer(text):
        if _decimal(text[: found.start()]):
            return text[: found.start()], _decimal(text[found.end() :]) or None
    return text, None


def _pieces(raw: str) -> Iterator[str]:
    """Pieces of a list; a short piece after a comma is the extension of the number before it."""
    parts = _LIST_SEPARATOR.split(raw)
    current = parts[0]
    for separator, piece in zip(parts[1::2], parts[2::2], strict=True):
        if separator == "," and _looks_like_extension(piece) and _decimal(current):
            current = f"{current},{piece}"
            continue
        yield current
        current = piece
    yield current


def _looks_like_extension(piece: str) -> bool:
    text = piece.strip()
    return not text or (text.isdecimal() and len(text) <= _INTERNAL_MAX)


def _canonical(core: str) -> str | None:
    """E.164 by the form alone, without judging whether such a number can exist in Russia."""
    number = digits(core) or "" if _is_address(core) else _decimal(core)
    plus = core.lstrip(" \t(").startswith("+")
    if plus and number.startswith("8") and _exists("+" + number):
        return "+" + number
    if len(number) == _FULL and number[0] in "78":
        return "+7" + number[1:]
    if plus:
        return _explicit(number)
    if len(number) == _NATIONAL and number[0] in _RUSSIAN_FIRST:
        return "+7" + number
    return _international(number)


def _explicit(number: str) -> str | None:
    """Number with its country code; +7 has exactly eleven digits, others 8 to 15."""
    if number.startswith("7") or len(number) not in _E164_LENGTHS:
        return None
    return "+" + number


def _international(number: str) -> str | None:
    """`00` or `810` and a country code, or a bare country code of a number that exists."""
    rest = _without_international_prefix(number)
    if rest != number:
        return _canonical("+" + rest)
    if number.startswith("00"):
        return _explicit(number[2:])
    return "+" + number if len(number) > _NATIONAL and _exists("+" + number) else None


def _without_international_prefix(number: str) -> str:
    """Drop `00` and the Russian `8~10`; ten digits stay, they are a Russian number."""
    while (len(number) > _NATIONAL and number.startswith("00")) or (
        len(number) > _FULL + 1 and number.startswith("810")
    ):
        number = number[2:] if number.startswith("00") else number[3:]
    return number


def _with_city_code(number: str, city_code: str | None) -> str | None:
    code = _decimal(_TRUNK.sub("", city_code or ""))
    if number and len(number) in range(5, 8) and len(code) + len(number) == _NATIONAL:
        return "+7" + code + number
    return None


def _is_suspicious(number: str) -> bool:
    """Too short, one repeated digit, a counting sequence, or a zone Russia does not have."""
    bare = number.removeprefix("+")
    national = bare[1:] if len(bare) == _FULL and bare[0] in "78" else bare
    if len(bare) < _INTERNAL_MAX or len(set(national)) == 1:
        return True
    if len(national) == _NATIONAL and (national in _SEQUENCES or national in _SEQUENCES[::-1]):
        return True
    return _is_russian(number) and number[2] not in _RUSSIAN_FIRST | _KAZAKH_FIRST


def _is_russian(number: str) -> bool:
    return number.startswith("+7") and len(number) == len("+7") + _NATIONAL


def _exists(number: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _russian(number: str) -> str:
    return f"+7 {number[2:5]} {number[5:8]}-{number[8:10]}-{number[10:]}"


def _foreign(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _masked_middle(shown: str) -> str:
    """Keep the first five and the last two digits."""
    total = sum(char.isdigit() for char in shown)
    seen, result = 0, []
    for char in shown:
        seen += char.isdigit()
        hide = char.isdigit() and _SHOWN_START < seen <= total - 2
        result.append("*" if hide else char)
    return "".join(result)
