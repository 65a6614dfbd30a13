"""What a password must be: long, not a common one, not made of one's own name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from flask_babel import gettext as _

MIN_LENGTH = 10
MAX_LENGTH = 256
MIN_DIFFERENT = 4
_COMMON = Path(__file__).with_name("common_passwords.txt")
_WALKS = (
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiop[]asdfghjkl",
    "йцукенгшщзхъфывапролджэячсмитьбю",
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
)


@cache
def _common() -> frozenset[str]:
    return frozenset(_COMMON.read_text(encoding="utf-8").split())


def problems(password: str, personal: Iterable[str] = ()) -> list[str]:
    """Why ``password`` is refused, in words; empty when it is good.

    ``personal`` holds the login, names and address of its owner.
    """
    found = []
    if len(password) < MIN_LENGTH:
        found.append(_("Пароль короче %(n)s символов.", n=MIN_LENGTH))
    if len(password) > MAX_LENGTH:
        found.append(_("Пароль длиннее %(n)s символов.", n=MAX_LENGTH))
    lowered = password.casefold()
    if _is_common(lowered):
        found.append(_("Такой пароль встречается слишком часто."))
    if _is_personal(lowered, personal):
        found.append(_("Пароль не должен состоять из логина, имени или почты."))
    return found


def _is_common(lowered: str) -> bool:
    core = lowered.strip("!?.,_-* ")
    walked = any(core and (core in walk or core[::-1] in walk) for walk in _WALKS)
    return lowered in _common() or core in _common() or walked or len(set(lowered)) < MIN_DIFFERENT


def _is_personal(lowered: str, personal: Iterable[str]) -> bool:
    own = [(word or "").casefold().partition("@")[0] for word in personal]
    return any(
        len(word) >= MIN_DIFFERENT and len(lowered.replace(word, "")) < MIN_DIFFERENT
        for word in own
    )
