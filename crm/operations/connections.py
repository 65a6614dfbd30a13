"""Telephony connections: the operator behind each, its secret address, its health."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Mapping
from itertools import count

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import exists, or_, select, update

from crm.integrations.http import GuardedClient
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import CheckResult, TelephonyOperator
from crm.models import AssignRule, Call, Model, TelephonyConnection, db
from crm.operations import audit, checks, records
from crm.operations.errors import FieldError, NotFound
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values import phones

# A recording of an hour takes longer than a command.
DOWNLOAD_SECONDS = 180.0
_COMMAND_SECONDS = 10.0
# The health line of the settings page needs no finer time.
_LAST_EVENT_STEP = dt.timedelta(seconds=30)
_ERROR_LENGTH = 500
_LONGEST_CALLBACK = 7 * 24 * 60
_LONGEST_KEEPING = 3650


def build(
    connection: TelephonyConnection, *, seconds: float = _COMMAND_SECONDS
) -> TelephonyOperator:
    """The operator's object with the connection's credentials; ``seconds`` bound each request.

    Raises UnknownOperator.
    """
    return assemble(connection, connection.credentials or {}, seconds=seconds)


def assemble(
    connection: TelephonyConnection,
    credentials: Mapping[str, str],
    *,
    seconds: float = _COMMAND_SECONDS,
) -> TelephonyOperator:
    """The operator's object with other credentials than the stored ones."""
    kind = registry.get(connection.operator)
    inner = frozenset(current_app.config["OUTBOUND_ALLOW_PRIVATE"])
    client = GuardedClient(
        allow_private_hosts=inner,
        total_timeout=seconds,
        certificates=str(credentials.get(kind.ca_credential) or ""),
    )
    operator = kind(connection.id, credentials, client, webhook_token=connection.token)
    operator.private_hosts = inner
    return operator


def find(connection_id: int) -> TelephonyConnection:
    """The connection; raises NotFound."""
    connection: TelephonyConnection | None = db.session.get(TelephonyConnection, connection_id)
    if connection is None:
        raise NotFound(_("Такого подключения нет."))
    return connection


def by_token(token: str) -> TelephonyConnection | None:
    """The active connection with this secret address (1 query).

    The operator in the address only tells people whose it is: it may be changed in the settings
    while the address stands in the operator's cabinet.
    """
    query = select(TelephonyConnection).where(
        TelephonyConnection.token == token, TelephonyConnection.active
    )
    found: TelephonyConnection | None = db.session.scalars(query).one_or_none()
    return found


def webhook_url(connection: TelephonyConnection) -> str:
    """Address to paste into the operator's cabinet: it holds the secret."""
    base = current_app.config["PUBLIC_URL"]
    return f"{base}/telephony/{connection.operator}/{connection.token}"


def ignored_keys(connection: TelephonyConnection) -> frozenset[str]:
    """Match keys of the numbers whose calls make no deals."""
    return frozenset(
        key for text in _split(connection.ignored_numbers) if (key := phones.match_key(text))
    )


def recording_delay(connection: TelephonyConnection) -> dt.timedelta:
    """Pause before the first try of a recording, as the operator declares it."""
    return build(connection).recording_delay


def ending_by_legs() -> list[int]:
    """Connections whose calls are over when all their telephones are silent."""
    known = {kind.slug for kind in registry.all_operators()}
    query = select(TelephonyConnection).where(TelephonyConnection.operator.in_(known))
    return [row.id for row in db.session.scalars(query) if build(row).ends_by_legs]


def note_event(connection: TelephonyConnection, at: dt.datetime) -> None:
    """Remember when the operator was last heard; twice a minute at most."""
    known = connection.last_event_at
    if known is not None and known >= at - _LAST_EVENT_STEP:
        return
    table = TelephonyConnection.__table__
    stale = or_(table.c.last_event_at.is_(None), table.c.last_event_at < at - _LAST_EVENT_STEP)
    db.session.execute(
        update(table)
        .where(table.c.id == connection.id, stale)
        .values(last_event_at=at, updated_at=table.c.updated_at)
    )


@operation
def note_error(connection_id: int, message: str | None) -> None:
    """Remember what went wrong last with the operator; None when it works again."""
    table = TelephonyConnection.__table__
    db.session.execute(
        update(table)
        .where(table.c.id == connection_id)
        .values(
            last_error=message[:_ERROR_LENGTH] if message else None,
            updated_at=table.c.updated_at,
        )
    )


@operation
def rotate_token(connection_id: int, by: Principal | None) -> str:
    """A new secret address; the old one stops within seconds."""
    connection = find(connection_id)
    connection.token = new_token()
    # The operator must be told the new address.
    connection.subscribed_until = None
    audit.record("rotate_token", connection, by)
    return connection.token


def new_token() -> str:
    """Random 256 bits for an address."""
    return secrets.token_urlsafe(32)


def check(connection_id: int) -> CheckResult:
    """Try the settings against the live operator; the outcome is remembered."""
    result = build(find(connection_id)).check()
    note_error(connection_id, None if result.ok else result.message)
    return result


def free_name(title: str) -> str:
    """A name for another connection at the same operator; "" for no title."""
    taken = set(db.session.scalars(select(TelephonyConnection.name)))
    names = (title if number == 1 else f"{title} {number}" for number in count(1))
    return next(name for name in names if name not in taken) if title else ""


# --- what may be saved ------------------------------------------------------------------------


@records.validator(TelephonyConnection)
def check_connection(record: Model, _by: Principal | None) -> list[FieldError]:
    """All complaints about a connection; a new one gets its secret address here."""
    assert isinstance(record, TelephonyConnection)
    record.token = record.token or new_token()
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите название."))
    errors += checks.unique_name(record) + _operator(record) + _ignored(record)
    return errors + _assignment(record) + _times(record)


def _operator(connection: TelephonyConnection) -> list[FieldError]:
    """Credentials may come later: until then every webhook is refused and the check says why."""
    try:
        registry.get(connection.operator or "")
    except registry.UnknownOperator as error:
        return [FieldError("operator", error.message)]
    return []


def _ignored(connection: TelephonyConnection) -> list[FieldError]:
    typed = _split(connection.ignored_numbers)
    wrong = [text for text in typed if not phones.match_key(text)]
    shown = [phones.e164(text) or phones.match_key(text) for text in typed if text not in wrong]
    connection.ignored_numbers = ", ".join(dict.fromkeys(shown)) or None
    if not wrong:
        return []
    listed = ", ".join(wrong)
    return [FieldError("ignored_numbers", _("Это не номера: %(numbers)s", numbers=listed))]


def _assignment(connection: TelephonyConnection) -> list[FieldError]:
    if connection.assign_rule not in (None, *AssignRule):
        return [FieldError("assign_rule", _("Выберите значение из списка."))]
    person = connection.assign_to
    if connection.assign_rule != AssignRule.PERSON:
        return []
    if person is None or not person.active:
        return [FieldError("assign_to", _("Выберите работающего сотрудника."))]
    return []


def _times(connection: TelephonyConnection) -> list[FieldError]:
    errors = []
    if (connection.work_start is None) != (connection.work_end is None):
        text = _("Укажите и начало, и конец — или оставьте оба пустыми.")
        errors.append(FieldError("work_end", text))
    connection.work_days = connection.work_days or None
    # A new record has its defaults only once it is stored.
    minutes: int | None = connection.callback_minutes
    if minutes is not None and not 1 <= minutes <= _LONGEST_CALLBACK:
        errors.append(FieldError("callback_minutes", _("От 1 минуты до недели (10 080).")))
    days = connection.keep_recordings_days
    if days is not None and not 1 <= days <= _LONGEST_KEEPING:
        errors.append(FieldError("keep_recordings_days", _("От 1 дня до 10 лет (3 650).")))
    return errors


def _split(text: str | None) -> list[str]:
    parts = re.split(r"[,;\n]+", text or "")
    return [part.strip() for part in parts if part.strip()]


@records.delete_guard(TelephonyConnection)
def keep_used_connection(record: Model) -> str | None:
    """A connection with calls is switched off, not deleted."""
    if db.session.scalar(select(exists().where(Call.connection_id == record.id))):
        reason: str = _("Через подключение уже были звонки. Отключите его вместо удаления.")
        return reason
    return None
