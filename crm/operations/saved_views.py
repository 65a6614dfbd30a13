"""Saved views: named filters of a page, one's own or shared with everybody."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from flask_babel import gettext as _
from sqlalchemy import func, select

from crm.models import SavedView, db
from crm.operations import audit
from crm.operations.errors import FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.security.principal import Principal

MAX_VIEWS = 50
_MAX_NAME, _MAX_QUERY = 80, 2000


@operation
def save_view(*, page: str, name: str, query: str, shared: bool, by: Principal) -> SavedView:
    """Keep ``query`` (an address's query string) under ``name``; the same name is replaced.

    Raises ValidationErrors for an empty or too long name and when there are too many views.
    """
    name = _checked(name)
    view = _named(page, name, by)
    if view is None:
        _check_room(page, by)
        view = SavedView(user_id=by.id, page=page, name=name)
        db.session.add(view)
    view.query = urlencode(parse_qsl(query.lstrip("?")))[:_MAX_QUERY]
    view.shared = shared
    db.session.flush()
    audit.record("save_view", view, by, after=audit.snapshot(view))
    return view


@operation
def rename_view(view_id: int, name: str, shared: bool, by: Principal) -> SavedView:
    """Give one's own view another name or share it."""
    view = _own(view_id, by)
    name = _checked(name)
    twin = _named(view.page, name, by)
    if twin is not None and twin is not view:
        raise ValidationErrors.one("name", _("Вид с таким названием у вас уже есть."))
    view.name, view.shared = name, shared
    audit.record("rename_view", view, by, after=audit.snapshot(view))
    return view


@operation
def delete_view(view_id: int, by: Principal) -> None:
    """Delete one's own view."""
    view = _own(view_id, by)
    audit.record("delete_view", view, by, before=audit.snapshot(view))
    db.session.delete(view)


def _checked(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise ValidationErrors.one("name", _("Назовите вид."))
    if len(name) > _MAX_NAME:
        raise ValidationErrors([FieldError("name", _("Не длиннее 80 знаков."))])
    return name


def _named(page: str, name: str, by: Principal) -> SavedView | None:
    query = select(SavedView).where(
        SavedView.user_id == by.id, SavedView.page == page, SavedView.name == name
    )
    found: SavedView | None = db.session.scalars(query).one_or_none()
    return found


def _check_room(page: str, by: Principal) -> None:
    count = db.session.scalar(
        select(func.count()).where(SavedView.user_id == by.id, SavedView.page == page)
    )
    if (count or 0) >= MAX_VIEWS:
        raise ValidationErrors.one("name", _("Видов уже 50: удалите лишние."))


def _own(view_id: int, by: Principal) -> SavedView:
    view: SavedView | None = db.session.get(SavedView, view_id)
    if view is None or (view.user_id != by.id and not view.shared):
        raise NotFound(_("Такого вида нет."))
    if view.user_id != by.id and not by.is_admin:
        raise Forbidden(_("Этот вид сохранил другой сотрудник: менять его может только он."))
    return view
