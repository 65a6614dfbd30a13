"""What every page needs: menu, counters, filters of the templates, language."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, has_request_context, request, session, url_for
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from flask_wtf.csrf import generate_csrf

from crm.models import ObjectKind, Scope
from crm.reports.company import company, company_zone
from crm.reports.counters import CAP, menu_counters
from crm.security.grants import Grant
from crm.security.principal import Principal, current_principal
from crm.values import formats, phones
from crm.values.clock import utc_now
from crm.views import pieces
from crm.views.demo_people import DemoPeople
from crm.views.labels import permission_label, view_label
from crm.views.template_texts import language, translate, translate_plural


@dataclass(frozen=True, slots=True)
class MenuItem:
    """A line of the menu: shown to those who hold the permission."""

    label: LazyString
    endpoint: str
    icon: str
    view: str
    permission: str = "can_list"
    counter: str = ""
    hot: bool = False
    # The page that stands in for those who may open that alone: its endpoint, its view, and the
    # objects of which they must see some.
    instead: tuple[str, str, ObjectKind] | None = None


_CALL_STATS = ("CallStatsView.index", "CallStats", ObjectKind.CALL)
DAILY = (
    MenuItem(_l("Доска"), "BoardView.index", "layout-kanban", "Deals"),
    MenuItem(_l("Сделки"), "DealsView.index", "briefcase", "Deals", counter="deals"),
    MenuItem(_l("Задачи"), "TasksView.index", "checkbox", "Tasks", counter="tasks", hot=True),
    MenuItem(_l("Обращения"), "AppealsView.index", "inbox", "Appeals", counter="appeals", hot=True),
    MenuItem(
        _l("Звонки"),
        "CallsView.index",
        "phone",
        "Calls",
        counter="calls",
        hot=True,
        instead=_CALL_STATS,
    ),
    MenuItem(_l("Объекты"), "ListingsView.index", "home", "Listings", counter="listings"),
    MenuItem(_l("Контакты"), "ContactsView.index", "address-book", "Contacts"),
)
MANAGEMENT = (
    MenuItem(_l("Реклама"), "FeedsView.index", "speakerphone", "Feeds"),
    MenuItem(_l("Персонал"), "EmployeeView.list", "users", "Employees"),
    MenuItem(_l("Настройка"), "SettingsView.index", "settings", "Settings"),
)
_TABBAR = ("BoardView.index", "TasksView.index", "AppealsView.index", "ListingsView.index")
CREATE = (
    MenuItem(_l("Сделка"), "DealsView.add", "briefcase", "Deals", "can_add"),
    MenuItem(_l("Задача"), "TasksView.add", "checkbox", "Tasks", "can_add"),
    MenuItem(_l("Объект"), "ListingsView.add", "home", "Listings", "can_add"),
)


def install(app: Flask) -> None:
    """Give the templates their functions and filters; choose the language."""
    app.extensions["babel"].locale_selector = choose_locale
    app.jinja_env.globals.update(
        current_user=current_user,
        menu=menu,
        tabbar=tabbar,
        create_menu=create_menu,
        asset=asset,
        csrf_token=generate_csrf,
        csp_nonce=lambda: "",
        get_locale=language,
        locales=[(code, lang["name"]) for code, lang in app.config["LANGUAGES"].items()],
        events_url=app.config["EVENTS_URL"],
        permission_label=permission_label,
        view_label=view_label,
        demo_people=DemoPeople(),
        may=lambda permission, view: current_principal().may_open(permission, view),
        may_dial=may_dial,
        pieces=pieces,
    )
    app.jinja_env.globals.update(gettext=translate, ngettext=translate_plural, _=translate)
    app.jinja_env.filters.update(_FILTERS)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.extensions["addresses"] = {}
    app.extensions["assets"] = _manifest(Path(app.static_folder or ""))


def choose_locale() -> str:
    """The person's own choice, else the one made on the login page, else Russian."""
    default: str = current_app.config["BABEL_DEFAULT_LOCALE"]
    if not has_request_context():
        return default
    known: Mapping[str, Any] = current_app.config["LANGUAGES"]
    chosen = str(session.get("locale"))
    return chosen if chosen in known else default


def may_dial() -> bool:
    """Whether buttons that call a client are shown to the person (permission 15)."""
    if "may_dial" not in g:  # asked once a row
        principal = current_principal()
        forbidden = principal.can(Grant.FORBID_CLICK_TO_CALL)
        g.may_dial = not forbidden and principal.may_open("can_list", "Calls")
    return bool(g.may_dial)


# --- menu ---------------------------------------------------------------------


def menu() -> list[dict[str, Any]]:
    """Sections of the menu for the signed-in person."""
    if not current_user.is_authenticated:
        return []
    sections = (("", DAILY), (_("Управление"), MANAGEMENT))
    made = [{"title": title, "items": _entries(items)} for title, items in sections]
    return [section for section in made if section["items"]]


def tabbar() -> list[dict[str, Any]]:
    """The four daily pages under the thumb on a phone."""
    if not current_user.is_authenticated:
        return []
    return _entries(tuple(item for item in DAILY if item.endpoint in _TABBAR))


def create_menu() -> list[dict[str, Any]]:
    """What the person may create from anywhere."""
    return _entries(CREATE) if current_user.is_authenticated else []


def first_page() -> str:
    """Address of the first page that the person may open."""
    entries = _entries(DAILY) + _entries(MANAGEMENT)
    return str(entries[0]["href"]) if entries else url_for("AccountView.profile")


def _entries(items: tuple[MenuItem, ...]) -> list[dict[str, Any]]:
    principal = current_principal()
    reached = [_within_reach(item, principal) for item in items]
    return [
        _entry(item) for item in reached if item and item.endpoint in current_app.view_functions
    ]


def _within_reach(item: MenuItem, principal: Principal) -> MenuItem | None:
    """The item, or the page that stands in for it; None when the person may open neither."""
    if principal.may_open(item.permission, item.view):
        return item
    if item.instead is None:
        return None
    endpoint, view, kind = item.instead
    if not principal.may_open(item.permission, view) or principal.scope(kind) is Scope.NONE:
        return None
    return replace(item, endpoint=endpoint, view=view, counter="")


def _entry(item: MenuItem) -> dict[str, Any]:
    count = _counters().get(item.counter, 0) if item.counter else 0
    return {
        "label": str(item.label),
        "href": address(item.endpoint),
        "icon": item.icon,
        "active": _is_active(item),
        "badge": f"{CAP}+" if count >= CAP else (str(count) if count else ""),
        "hot": item.hot and count > 0,
    }


def _is_active(item: MenuItem) -> bool:
    """The item's own page, or for the settings any page below it."""
    view = item.endpoint.partition(".")[0]
    here = (request.endpoint or "").partition(".")[0]
    below = f"{address(item.endpoint).rstrip('/')}/"
    return here == view or request.path.startswith(below)


def _counters() -> dict[str, int]:
    if "menu_counters" not in g:
        g.menu_counters = menu_counters(current_principal())
    counters: dict[str, int] = g.menu_counters
    return counters


def address(endpoint: str, **values: Any) -> str:
    """``url_for`` of what is on every page: built once for each root the product is served at."""
    key = (request.script_root, endpoint, *values.values())
    known: dict[tuple[str, ...], str] = current_app.extensions["addresses"]
    if key not in known:
        known[key] = url_for(endpoint, **values)
    return known[key]


# --- assets -------------------------------------------------------------------


def asset(path: str) -> str:
    """Address of a static file that changes with its contents."""
    versions: dict[str, str] = current_app.extensions["assets"]
    version = versions.get(path)
    if version is None:
        version = versions[path] = _fingerprint(path)
    return address("static", filename=path, v=version)


def _fingerprint(path: str) -> str:
    file = Path(current_app.static_folder or "") / path
    if not file.is_file():
        return "0"
    return format(file.stat().st_mtime_ns // 1_000_000 % 10**10, "x")


def _manifest(static: Path) -> dict[str, str]:
    file = static / "vendor" / "manifest.json"
    if not file.is_file():
        return {}
    entries = json.loads(file.read_text(encoding="utf-8"))
    files = entries.get("files", entries) if isinstance(entries, dict) else {}
    return {
        f"vendor/{name}": str(digest)[:10]
        for name, digest in files.items()
        if isinstance(digest, str)
    }


# --- filters ------------------------------------------------------------------


def _moment(value: dt.datetime | None, near: bool = True) -> str:
    if value is None:
        return "—"
    return formats.moment(value, company_zone(), utc_now(), language(), near=near)


def _day(value: dt.datetime | dt.date | None) -> str:
    if value is None:
        return "—"
    today = utc_now().astimezone(company_zone()).date()
    local = value.astimezone(company_zone()).date() if isinstance(value, dt.datetime) else value
    return formats.day(local, today, language())


def _ago(value: dt.datetime | None) -> str:
    """Whole days since: «сегодня», «5 дн»."""
    if value is None:
        return "—"
    days = (utc_now() - value).days
    return _("сегодня") if days < 1 else _("%(days)s дн", days=days)


_FILTERS: dict[str, Any] = {
    "phone": phones.pretty,
    "money": lambda value, currency=None: formats.money(
        value, currency or company().currency, language()
    ),
    "money_short": lambda value, currency=None: formats.money_short(
        value, currency or company().currency, language()
    ),
    "number": lambda value: formats.number(value, language()),
    "decimal": lambda value, places=1: (
        "—" if value is None else formats.decimal(value, places, language())
    ),
    "dt": _moment,
    "day": _day,
    "ago": _ago,
    "duration": lambda value: formats.duration(value, language()),
    "initials": formats.initials,
    "plural": formats.plural,
    "local": lambda value: value.astimezone(company_zone()) if value else None,
}
