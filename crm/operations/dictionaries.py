"""Rules of small lists: groups and tags of sources, reasons of refusal."""

from __future__ import annotations

from flask_babel import gettext as _
from sqlalchemy import exists, select

from crm.models import Deal, LossReason, Model, Source, SourceGroup, Tag, db
from crm.operations import checks, records
from crm.operations.errors import FieldError
from crm.security.principal import Principal


@records.validator(SourceGroup)
def check_group(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a group of sources."""
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите название группы."))
    return errors + checks.unique_name(record)


@records.delete_guard(SourceGroup)
def keep_used_group(record: Model) -> str | None:
    """A group with sources stays."""
    used = select(exists().where(Source.group_id == record.id))
    if db.session.scalar(used):
        return str(_("В группе есть источники. Сначала перенесите их в другую группу."))
    return None


@records.validator(Tag)
def check_tag(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a tag."""
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите название тега."))
    return errors + checks.unique_name(record) + checks.color(record)


@records.validator(LossReason)
def check_reason(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a reason of refusal."""
    checks.clean(record, "name")
    errors = checks.required(record, name=_("Укажите причину."))
    if record.position is None:
        record.position = 0
    return errors + checks.unique_name(record)


@records.delete_guard(LossReason)
def keep_used_reason(record: Model) -> str | None:
    """A reason that closed deals is switched off, not deleted: reports count by it."""
    if db.session.scalar(select(exists().where(Deal.loss_reason_id == record.id))):
        return str(_("По этой причине закрыты сделки. Выключите её вместо удаления."))
    return None
