"""Which permissions each default role gets, and the command that synchronises them.

Web and worker processes never write permissions at start: many of them would race.
"""

from __future__ import annotations

from collections.abc import Iterable

from flask import current_app
from flask_appbuilder.security.sqla.models import Permission, PermissionView, Role, ViewMenu
from sqlalchemy import select

from crm.models import db
from crm.security.principal import ADMIN_ROLE

_READ = ("can_list", "can_show")
_WORK = (*_READ, "can_add", "can_edit")
_FULL = (*_WORK, "can_delete", "can_export", "can_run", "can_replay")
_DAILY: dict[str, Iterable[str]] = {
    "Deals": _WORK,
    "Tasks": (*_WORK, "can_delete"),
    "Appeals": _WORK,
    "Calls": _WORK,
    "Listings": _WORK,
    "Contacts": _WORK,
    "Search": ("can_list",),
}
_LEAD: dict[str, Iterable[str]] = {view: (*names, "can_export") for view, names in _DAILY.items()}
ROLE_PERMISSIONS: dict[str, dict[str, Iterable[str]]] = {
    "Директор": {
        **_LEAD,
        "CallStats": ("can_list",),
        "Feeds": _FULL,
        "Imports": _FULL,
        "Employees": _READ,
        "Sources": _READ,
        "Settings": ("can_list",),
        "Companies": _READ,
        "Offices": _READ,
        "Departments": _READ,
        "Pipelines": _READ,
        "LossReasons": _READ,
        "SourceGroups": _READ,
        "Tags": _READ,
    },
    "Руководитель": {**_LEAD, "CallStats": ("can_list",), "Employees": _READ},
    "Старший менеджер": _DAILY,
    "Менеджер": _DAILY,
    "Маркетолог": {
        "CallStats": ("can_list",),
        "Listings": (*_WORK, "can_export"),
        "Feeds": _FULL,
        "Imports": _FULL,
        "Sources": _FULL,
        "SourceGroups": _FULL,
        "Tags": _FULL,
        "IntakePoints": _READ,
        "Settings": ("can_list",),
        "Search": ("can_list",),
    },
    "Оператор": {**_DAILY, "Listings": _READ},
    "Контроль качества": {
        "Deals": _READ,
        "Appeals": _READ,
        "Calls": _READ,
        "CallStats": ("can_list",),
        "Contacts": _READ,
        "Listings": _READ,
        "Search": ("can_list",),
    },
}


def synchronise() -> int:
    """Write the permissions of all registered views; give fresh roles their defaults.

    A role that already has permissions is left as the administrator made it, but for
    the administrator's own role, which always has all. Returns how many exist.
    """
    existing = {(row.permission.name, row.view_menu.name): row for row in _rows()}
    for view in current_app.extensions["appbuilder"].baseviews:
        for name in view.base_permissions or ():
            key = (name, view.class_permission_name)
            if key not in existing:
                existing[key] = _add(*key)
    db.session.flush()
    admin = _admin_role()
    admin.permissions = list(existing.values())
    for role in db.session.scalars(select(Role).where(Role.name.in_(ROLE_PERMISSIONS))):
        if not role.permissions:
            role.permissions = [
                existing[(name, view)]
                for view, names in ROLE_PERMISSIONS[role.name].items()
                for name in names
                if (name, view) in existing
            ]
    db.session.commit()
    return len(existing)


def _rows() -> list[PermissionView]:
    return list(db.session.scalars(select(PermissionView)))


def _named(model: type[Permission] | type[ViewMenu], name: str) -> Permission | ViewMenu:
    row = db.session.scalars(select(model).where(model.name == name)).one_or_none()
    if row is None:
        row = model(name=name)
        db.session.add(row)
        db.session.flush()
    return row


def _add(name: str, view: str) -> PermissionView:
    row = PermissionView(permission=_named(Permission, name), view_menu=_named(ViewMenu, view))
    db.session.add(row)
    return row


def _admin_role() -> Role:
    role = db.session.scalars(select(Role).where(Role.name == ADMIN_ROLE)).one_or_none()
    if role is None:
        role = Role(name=ADMIN_ROLE)
        db.session.add(role)
    return role
