"""Time zones of Russia, west to east."""

from __future__ import annotations

from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

RUSSIAN_ZONES: list[tuple[str, LazyString]] = [
    ("Europe/Kaliningrad", _l("Калининград (UTC+2)")),
    ("Europe/Moscow", _l("Москва (UTC+3)")),
    ("Europe/Samara", _l("Самара (UTC+4)")),
    ("Asia/Yekaterinburg", _l("Екатеринбург (UTC+5)")),
    ("Asia/Omsk", _l("Омск (UTC+6)")),
    ("Asia/Novosibirsk", _l("Новосибирск (UTC+7)")),
    ("Asia/Irkutsk", _l("Иркутск (UTC+8)")),
    ("Asia/Yakutsk", _l("Якутск (UTC+9)")),
    ("Asia/Vladivostok", _l("Владивосток (UTC+10)")),
    ("Asia/Magadan", _l("Магадан (UTC+11)")),
    ("Asia/Kamchatka", _l("Камчатка (UTC+12)")),
]
