"""First page of the settings: what can be set up, with a live fact about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app, url_for
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.reports import settings_facts
from crm.reports.company import company
from crm.security.principal import current_principal
from crm.values.formats import plural
from crm.views.base import CrmView, expose, requires

Fact = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Tile:
    """A page of the settings."""

    title: LazyString
    about: LazyString
    endpoint: str
    icon: str
    view: str
    fact: Fact | None = None
    # A number above zero is trouble.
    alarms: bool = False


def _words(one: LazyString, few: LazyString, many: LazyString) -> Fact:
    def say(count: int) -> str:
        shown = f"{settings_facts.CAP}+" if count >= settings_facts.CAP else str(count)
        return f"{shown} {plural(count, str(one), str(few), str(many))}"

    return say


def _failures(count: int) -> str:
    if not count:
        return str(_("ошибок нет"))
    return _words(_l("ошибка доставки"), _l("ошибки доставки"), _l("ошибок доставки"))(count)


def _company_fact(_count: int) -> str:
    return company().name


GROUPS: tuple[tuple[LazyString, tuple[Tile, ...]], ...] = (
    (
        _l("Компания"),
        (
            Tile(
                _l("Компания"),
                _l("Название, логотип, часы работы и сроки разбора."),
                "CompanyView.list",
                "building",
                "Companies",
                _company_fact,
            ),
            Tile(
                _l("Сотрудники"),
                _l("Карточки, приглашения и личные права."),
                "EmployeeView.list",
                "users",
                "Employees",
                _words(_l("сотрудник"), _l("сотрудника"), _l("сотрудников")),
            ),
            Tile(
                _l("Роли"),
                _l("Кто какие страницы открывает и чьи сделки видит."),
                "RoleView.index",
                "shield-lock",
                "Roles",
                _words(_l("роль"), _l("роли"), _l("ролей")),
            ),
            Tile(
                _l("Отделы"),
                _l("Направления агентства: к ним привязаны люди и источники."),
                "DepartmentView.list",
                "sitemap",
                "Departments",
                _words(_l("отдел"), _l("отдела"), _l("отделов")),
            ),
            Tile(
                _l("Офисы"),
                _l("Адреса и телефоны мест, где работают сотрудники."),
                "OfficeView.list",
                "map-pin",
                "Offices",
                _words(_l("офис"), _l("офиса"), _l("офисов")),
            ),
        ),
    ),
    (
        _l("Продажи"),
        (
            Tile(
                _l("Воронки и этапы"),
                _l("Путь сделки: этапы, правила перехода, готовые задачи."),
                "PipelineView.index",
                "filter",
                "Pipelines",
                _words(_l("воронка"), _l("воронки"), _l("воронок")),
            ),
            Tile(
                _l("Причины отказа"),
                _l("Что выбрать, когда сделка не состоялась."),
                "LossReasonView.list",
                "thumb-down",
                "LossReasons",
                _words(_l("причина"), _l("причины"), _l("причин")),
            ),
        ),
    ),
    (
        _l("Реклама и источники"),
        (
            Tile(
                _l("Источники"),
                _l("Откуда приходят клиенты и как это узнать."),
                "SourceView.list",
                "target-arrow",
                "Sources",
                _words(_l("источник"), _l("источника"), _l("источников")),
            ),
            Tile(
                _l("Группы источников"),
                _l("Папки, по которым складываются отчёты."),
                "SourceGroupView.list",
                "folders",
                "SourceGroups",
                _words(_l("группа"), _l("группы"), _l("групп")),
            ),
            Tile(
                _l("Теги"),
                _l("Цветные пометки на источниках."),
                "TagView.list",
                "tags",
                "Tags",
                _words(_l("тег"), _l("тега"), _l("тегов")),
            ),
        ),
    ),
    (
        _l("Телефония и приём"),
        (
            Tile(
                _l("Телефония"),
                _l("Подключения к операторам и внутренние номера."),
                "TelephonyView.list",
                "phone-call",
                "Telephony",
                _words(_l("подключение"), _l("подключения"), _l("подключений")),
            ),
            Tile(
                _l("Точки приёма"),
                _l("Адреса, на которые сайты присылают заявки."),
                "IntakePointView.list",
                "inbox",
                "IntakePoints",
                _words(_l("точка"), _l("точки"), _l("точек")),
            ),
            Tile(
                _l("Входящие доставки"),
                _l("Всё, что пришло снаружи, с итогом разбора."),
                "DeliveriesView.index",
                "mail-fast",
                "Deliveries",
                _failures,
                alarms=True,
            ),
        ),
    ),
    (
        _l("Система"),
        (
            Tile(
                _l("Журнал изменений"),
                _l("Кто, что и когда поменял."),
                "AuditView.index",
                "history",
                "Audit",
            ),
            Tile(
                _l("Фоновые задания"),
                _l("Очереди и расписание."),
                "JobsView.index",
                "activity",
                "Jobs",
            ),
        ),
    ),
)


class SettingsView(CrmView):
    """`/settings`."""

    route_base = ""
    class_permission_name = "Settings"

    @expose("/settings")
    @requires("list")
    def index(self) -> str:
        """Tiles of the pages that the person may open."""
        return self.page("settings/index.html", groups=_groups())


def _groups() -> list[dict[str, object]]:
    groups = [(title, [tile for tile in tiles if _may_open(tile)]) for title, tiles in GROUPS]
    counts = settings_facts.counts({tile.view for _title, tiles in groups for tile in tiles})
    return [
        {"title": title, "tiles": [_shown(tile, counts.get(tile.view, 0)) for tile in tiles]}
        for title, tiles in groups
        if tiles
    ]


def _may_open(tile: Tile) -> bool:
    known = tile.endpoint in current_app.view_functions
    return known and current_principal().may_open("can_list", tile.view)


def _shown(tile: Tile, count: int) -> dict[str, object]:
    return {
        "title": tile.title,
        "about": tile.about,
        "icon": tile.icon,
        "href": url_for(tile.endpoint),
        "fact": tile.fact(count) if tile.fact else "",
        "bad": tile.alarms and count > 0,
    }
