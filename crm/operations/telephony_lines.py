"""Lines of a telephony connection: the numbers that clients dial, each with its source."""

from __future__ import annotations

from collections.abc import Mapping

from flask_babel import gettext as _
from sqlalchemy import func, select

from crm.integrations.telephony.base import Line
from crm.models import Call, Source, TelephonyConnection, TelephonyLine, db
from crm.operations import audit
from crm.operations.connections import find
from crm.operations.errors import FieldError, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values import phones

_MOST_SEEN = 200


@operation
def add_line(
    connection_id: int, number: str, by: Principal | None, *, source_id: int | None = None
) -> TelephonyLine:
    """A line typed by hand. Raises ValidationErrors naming ``new-number`` or ``new-source``."""
    connection = find(connection_id)
    key = phones.match_key(number)
    if phones.e164(number) is None or not key:
        text = _("Номер не распознан. Пример: +7 912 345-67-89.")
        raise ValidationErrors.one("new-number", text)
    if any(row.key == key for row in connection.lines):
        raise ValidationErrors.one("new-number", _("Эта линия уже есть в списке."))
    row = _new(connection, number)
    errors = _bind(row, source_id, "new-source")
    if errors:
        raise ValidationErrors(errors)
    _record(connection, by, {}, {row.number: source_id})
    return row


@operation
def save_lines(connection_id: int, by: Principal | None, sources: Mapping[int, int | None]) -> None:
    """Which source each line advertises: id of the line → id of the source or None.

    Raises ValidationErrors naming ``source-<id>``; a line of another connection is NotFound.
    """
    connection = find(connection_id)
    rows = {row.id: row for row in connection.lines}
    if set(sources) - set(rows):
        raise NotFound(_("Такой линии нет."))
    before = {row.number: row.source_id for row in rows.values()}
    errors = [
        error
        for pk, source_id in sources.items()
        if source_id != rows[pk].source_id
        for error in _bind(rows[pk], source_id, f"source-{pk}")
    ]
    if errors:
        raise ValidationErrors(errors)
    _record(connection, by, before, {row.number: row.source_id for row in rows.values()})


@operation
def delete_line(connection_id: int, line_id: int, by: Principal | None) -> None:
    """Forget a line; calls through it stay."""
    connection = find(connection_id)
    row = next((row for row in connection.lines if row.id == line_id), None)
    if row is None:
        raise NotFound(_("Такой линии нет."))
    connection.lines.remove(row)
    _record(connection, by, {row.number: row.source_id}, {row.number: None})


@operation
def merge_lines(connection_id: int, by: Principal | None, found: list[Line]) -> int:
    """Take over the operator's list of numbers; returns how many are new.

    A line whose number stands at a source already belongs to it without a word of anybody.
    """
    connection = find(connection_id)
    known = {row.key: row for row in connection.lines}
    fresh = {}
    for item in found:
        key = phones.match_key(item.number)
        if not key or phones.is_internal(item.number):
            continue
        row = known.get(key)
        if row is None:
            row = known[key] = _new(connection, item.number)
            fresh[row.number] = row.source_id
        row.title = item.name.strip()[:120] or row.title
    _record(connection, by, {}, fresh)
    return len(fresh)


def add_seen(connection_id: int, by: Principal | None) -> int:
    """Take over the numbers through which calls have come; returns how many are new."""
    query = (
        select(Call.line_number)
        .where(Call.connection_id == connection_id, Call.line_number.is_not(None))
        .group_by(Call.line_number)
        .order_by(func.count().desc())
        .limit(_MOST_SEEN)
    )
    seen = [Line(number=number) for number in db.session.scalars(query) if number]
    return merge_lines(connection_id, by, seen)


def source_by_phone(key: str) -> Source | None:
    """The active source whose own phone the number is."""
    query = select(Source).where(Source.active, Source.phone_key == key).order_by(Source.id)
    found: Source | None = db.session.scalars(query.limit(1)).first()
    return found


def _new(connection: TelephonyConnection, number: str) -> TelephonyLine:
    shown = phones.e164(number) or number
    row = TelephonyLine(number=shown[:32], key=phones.match_key(number)[:32])
    connection.lines.append(row)
    return row


def _bind(row: TelephonyLine, source_id: int | None, field: str) -> list[FieldError]:
    """A number tells of one source only: its own phone has the first word."""
    source = db.session.get(Source, source_id) if source_id is not None else None
    if source_id is not None and (source is None or not source.active):
        return [FieldError(field, _("Такого источника нет, или он отключён."))]
    owner = source_by_phone(row.key)
    if source is not None and owner is not None and owner.id != source.id:
        text = _(
            "Номер %(number)s указан телефоном источника «%(name)s».",
            number=row.number,
            name=owner.name,
        )
        return [FieldError(field, text)]
    row.source = source
    row.source_id = source_id
    return []


def _record(
    connection: TelephonyConnection,
    by: Principal | None,
    before: Mapping[str, int | None],
    after: Mapping[str, int | None],
) -> None:
    changed = [key for key in after if before.get(key, -1) != after[key]]
    if changed:
        audit.record(
            "lines",
            connection,
            by,
            before={key: before.get(key) for key in changed},
            after={key: after[key] for key in changed},
        )
