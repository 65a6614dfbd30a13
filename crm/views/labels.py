"""Human names of permissions and of the pages they guard."""

from __future__ import annotations

from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

_PERMISSIONS: dict[str, LazyString] = {
    "can_list": _l("Видеть"),
    "can_show": _l("Открывать карточку"),
    "can_add": _l("Создавать"),
    "can_edit": _l("Изменять"),
    "can_delete": _l("Удалять"),
    "can_export": _l("Выгружать"),
    "can_run": _l("Запускать"),
    "can_replay": _l("Повторять обработку"),
    "menu_access": _l("Пункт меню"),
}
_VIEWS: dict[str, LazyString] = {
    "Home": _l("Главная"),
    "Deals": _l("Сделки и доска"),
    "Tasks": _l("Задачи"),
    "Appeals": _l("Обращения"),
    "Calls": _l("Звонки"),
    "CallStats": _l("Статистика звонков"),
    "Listings": _l("Объекты"),
    "Contacts": _l("Контакты"),
    "Feeds": _l("Реклама: фиды"),
    "Imports": _l("Импорт объектов"),
    "Settings": _l("Настройка"),
    "Companies": _l("Компания"),
    "Offices": _l("Офисы"),
    "Departments": _l("Отделы"),
    "Employees": _l("Сотрудники"),
    "Roles": _l("Роли"),
    "Pipelines": _l("Воронки и этапы"),
    "LossReasons": _l("Причины отказа"),
    "Sources": _l("Источники"),
    "SourceGroups": _l("Группы источников"),
    "Tags": _l("Теги источников"),
    "Telephony": _l("Телефония"),
    "IntakePoints": _l("Точки приёма заявок"),
    "Deliveries": _l("Входящие доставки"),
    "Jobs": _l("Фоновые задания"),
    "Audit": _l("Журнал изменений"),
    "Search": _l("Поиск"),
}


def permission_label(name: str) -> str:
    """What the permission allows, in words."""
    known = _PERMISSIONS.get(name)
    return str(known) if known else name.removeprefix("can_").replace("_", " ")


def view_label(name: str) -> str:
    """What the permission is about, in words."""
    known = _VIEWS.get(name)
    return str(known) if known else name
