"""The 16 extra permissions (domain §10): catalogue, and the answer for one person.

A grant is asked in exactly one place of the code per effect, through
``Principal.can`` or ``Principal.grant_value``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from flask_babel import LazyString
from flask_babel import lazy_gettext as _l


class Effect(enum.StrEnum):
    """What having the grant does to a person."""

    ALLOW = "allow"
    DENY = "deny"
    LIMIT = "limit"


class Grant(enum.StrEnum):
    """Codes of the extra permissions."""

    HEAR_ALL_RECORDS = "hear_all_records"
    HIDE_OWNER_CONTACTS = "hide_owner_contacts"
    EDIT_ANY_LISTING = "edit_any_listing"
    HIDE_ALL_DEPARTMENT_REQUESTS = "hide_all_department_requests"
    QUALITY_CONTROL = "quality_control"
    LIMIT_STATS_SOURCES = "limit_stats_sources"
    LIMIT_STATS_DEPARTMENTS = "limit_stats_departments"
    MAX_REQUESTS_MONTH = "max_requests_month"
    MAX_REQUESTS_DAY = "max_requests_day"
    HIDE_PARSING = "hide_parsing"
    FORBID_TRANSFER_LISTING = "forbid_transfer_listing"
    FORBID_ARCHIVE_LISTING = "forbid_archive_listing"
    FORBID_COPY_FOREIGN = "forbid_copy_foreign"
    FORBID_PHOTO_CHANGE = "forbid_photo_change"
    FORBID_CLICK_TO_CALL = "forbid_click_to_call"
    ONLY_STAFF_CONTACTS = "only_staff_contacts"


@dataclass(frozen=True, slots=True)
class GrantInfo:
    """How a grant is shown in the role editor and on the employee's card."""

    code: Grant
    label: LazyString
    help: LazyString
    effect: Effect


CATALOGUE: tuple[GrantInfo, ...] = (
    GrantInfo(
        Grant.HEAR_ALL_RECORDS,
        _l("Прослушивание любых записей звонков"),
        _l("Может слушать и скачивать все записи. Без этого — свои и подчинённых."),
        Effect.ALLOW,
    ),
    GrantInfo(
        Grant.HIDE_OWNER_CONTACTS,
        _l("Запретить видимость контактов собственников"),
        _l("Телефон и почта собственника скрыты везде, кроме своих объектов."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.EDIT_ANY_LISTING,
        _l("Редактирование любых объектов"),
        _l("Может менять любой объект так, будто он за него отвечает."),
        Effect.ALLOW,
    ),
    GrantInfo(
        Grant.HIDE_ALL_DEPARTMENT_REQUESTS,
        _l("Не показывать заявки на все отделы"),
        _l("Нераспределённые заявки без отдела не показываются."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.QUALITY_CONTROL,
        _l("Раздел «Контроль качества»"),
        _l("Открывает раздел проверки обращений и сделок."),
        Effect.ALLOW,
    ),
    GrantInfo(
        Grant.LIMIT_STATS_SOURCES,
        _l("Ограничение статистики по источникам"),
        _l("Отчёты показывают только выбранные источники."),
        Effect.LIMIT,
    ),
    GrantInfo(
        Grant.LIMIT_STATS_DEPARTMENTS,
        _l("Ограничение статистики по отделам"),
        _l("Отчёты показывают только выбранные отделы."),
        Effect.LIMIT,
    ),
    GrantInfo(
        Grant.MAX_REQUESTS_MONTH,
        _l("Максимум заявок в месяц"),
        _l("Пусто — без ограничения, 0 — не получает заявок."),
        Effect.LIMIT,
    ),
    GrantInfo(
        Grant.MAX_REQUESTS_DAY,
        _l("Максимум заявок в сутки"),
        _l("Пусто — без ограничения, 0 — не получает заявок."),
        Effect.LIMIT,
    ),
    GrantInfo(
        Grant.HIDE_PARSING,
        _l("Скрыть вкладку «Парсинг»"),
        _l("Раздел и его данные недоступны."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.FORBID_TRANSFER_LISTING,
        _l("Запретить передачу объектов"),
        _l("Не может сменить ответственного за объект, в том числе свой."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.FORBID_ARCHIVE_LISTING,
        _l("Запретить отправку объектов в архив"),
        _l("Не может убрать объект в архив."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.FORBID_COPY_FOREIGN,
        _l("Запретить копирование чужих объектов"),
        _l("Копировать можно только свои объекты."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.FORBID_PHOTO_CHANGE,
        _l("Запретить смену фото профиля"),
        _l("Фотографию меняет только администратор."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.FORBID_CLICK_TO_CALL,
        _l("Запретить звонок из CRM"),
        _l("Кнопок звонка нет, запуск звонка через API запрещён."),
        Effect.DENY,
    ),
    GrantInfo(
        Grant.ONLY_STAFF_CONTACTS,
        _l("Видны только свои контакты и контакты коллег"),
        _l("Телефоны и почта клиентов и собственников скрыты везде."),
        Effect.DENY,
    ),
)
