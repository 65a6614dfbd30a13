"""Settings of outgoing and incoming feeds: what may be saved, secret addresses, deletion."""

from __future__ import annotations

import secrets
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.models import (
    Department,
    Employee,
    Feed,
    FeedRun,
    ImportFeed,
    ListingState,
    Model,
    RunState,
    db,
)
from crm.operations import audit, checks, feed_offers, files, records
from crm.operations.errors import Conflict, FieldError, NotFound
from crm.operations.transaction import operation
from crm.security.principal import Principal

STATES_FOR_NEW = (ListingState.DRAFT, ListingState.MODERATION, ListingState.ACTIVE)


def new_token() -> str:
    """Random 256 bits for an address."""
    return secrets.token_urlsafe(32)


def feed_url(feed: Feed) -> str:
    """Address to paste into the portal's cabinet: it holds the secret."""
    return f"{current_app.config['PUBLIC_URL']}/feeds/{feed.token}.xml"


def check_url(url: str) -> list[FieldError]:
    """Complaint about an address that nothing can be fetched from."""
    if url.lower().startswith(("http://", "https://")):
        return []
    return [FieldError("address", _("Адрес должен начинаться с http:// или https://."))]


@operation
def rotate_token(feed_id: int, by: Principal) -> str:
    """A new secret address; the portal must be told, the old one stops at once."""
    feed = _feed(feed_id)
    feed.token = new_token()
    audit.record("rotate_token", feed, by)
    return feed.token


@operation
def delete_feed(feed_id: int, by: Principal) -> None:
    """Delete a feed with its runs and its file. Raises NotFound, Conflict while it is built."""
    feed = _feed(feed_id)
    busy = select(FeedRun.id).where(FeedRun.feed_id == feed_id, FeedRun.state == RunState.RUNNING)
    if db.session.scalar(busy.limit(1)) is not None:
        raise Conflict(_("Фид сейчас собирается."))
    stored = [file for file in (feed.file, feed.gzip_file) if file is not None]
    records.delete(feed, by)
    for file in stored:
        files.delete_file(file)


@records.validator(Feed)
def check_feed(record: Model, _by: Principal | None) -> list[FieldError]:
    """All complaints about a feed; a new one gets its secret address here."""
    assert isinstance(record, Feed)
    record.token = record.token or new_token()
    record.portal = record.portal or "yandex"
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите название."))
    errors += checks.unique_name(record) + checks.phone(record) + _portal(record)
    filters, wrong = clean_filters(record.filters or {})
    if not wrong and filters != record.filters:
        record.filters = filters
    return errors + wrong


@records.validator(ImportFeed)
def check_import_feed(record: Model, _by: Principal | None) -> list[FieldError]:
    """All complaints about a foreign feed."""
    assert isinstance(record, ImportFeed)
    record.portal = record.portal or "yandex"
    record.state_for_new = record.state_for_new or ListingState.DRAFT
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите название."))
    errors += checks.unique_name(record) + _portal(record)
    if record.state_for_new not in STATES_FOR_NEW:
        errors.append(FieldError("state_for_new", _("Выберите значение из списка.")))
    if record.responsible_id is not None:
        person = db.session.get(Employee, record.responsible_id)
        if person is None or not person.active:
            errors.append(FieldError("responsible_id", _("Выберите работающего сотрудника.")))
    url = (record.address or {}).get("url")
    return errors + (check_url(str(url)) if url else [])


def clean_filters(raw: dict[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    """Filters of a feed without blanks, and what is wrong with them.

    ``deal_types`` and ``kinds``: words of the vocabulary, ``departments``: ids, ``min_price``.
    """
    cleaned: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, words in (("deal_types", v.DealType), ("kinds", v.Kind)):
        known = {term.value for term in words}
        given = list(dict.fromkeys(map(str, raw.get(name) or ())))
        if not set(given) <= known:
            errors.append(FieldError(name, _("Выберите значение из списка.")))
        elif given:
            cleaned[name] = given
    errors += _departments(raw, cleaned)
    price = raw.get("min_price")
    if price not in (None, ""):
        least = feed_offers.min_price(str(price).replace(" ", "").replace("\u00a0", ""))
        if least is None:
            errors.append(FieldError("min_price", _("Укажите число больше нуля.")))
        else:
            cleaned["min_price"] = format(least, "f")
    return cleaned, errors


def _departments(raw: dict[str, Any], cleaned: dict[str, Any]) -> list[FieldError]:
    given = list(dict.fromkeys(map(str, raw.get("departments") or ())))
    if not given:
        return []
    ids = [int(text) for text in given if text.isdecimal() and len(text) <= 9]  # noqa: PLR2004
    found = set(db.session.scalars(select(Department.id).where(Department.id.in_(ids))))
    if len(found) != len(given):
        return [FieldError("departments", _("Выберите значение из списка."))]
    cleaned["departments"] = sorted(found)
    return []


def _portal(record: Feed | ImportFeed) -> list[FieldError]:
    try:
        registry.get(record.portal)
    except registry.UnknownPortal:
        return [FieldError("portal", _("Такой площадки нет."))]
    return []


def _feed(feed_id: int) -> Feed:
    feed: Feed | None = db.session.get(Feed, feed_id)
    if feed is None:
        raise NotFound(_("Такого фида нет."))
    return feed
