"""Advertising sources: rules kept ready for choosing, and what may be saved (domain §7)."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import exists, func, or_, select

from crm.integrations.leads import addresses
from crm.models import (
    Appeal,
    Call,
    Deal,
    IntakePoint,
    Model,
    Source,
    TelephonyConnection,
    TelephonyLine,
    db,
)
from crm.operations import checks, records
from crm.operations.attribution import Evidence, RuleIndex, SourceRule, Verdict, choose
from crm.operations.errors import FieldError
from crm.security.principal import Principal
from crm.values import phones

_MARKS = ("utm_source", "utm_medium", "utm_campaign", "utm_content")
# Every table that a source may be named in.
_USES = (
    (Deal, Deal.source_id),
    (Appeal, Appeal.source_id),
    (Call, Call.source_id),
    (IntakePoint, IntakePoint.source_id),
    (IntakePoint, IntakePoint.default_source_id),
    (TelephonyConnection, TelephonyConnection.default_source_id),
    (TelephonyLine, TelephonyLine.source_id),
)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """Two equal stamps of one database mean the same sources."""

    database: str
    count: int
    newest_id: int
    changed_at: dt.datetime | None
    lines: int
    line_changed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class SourceRules:
    """Sources arranged for choosing, with what the caller asks of the chosen one."""

    index: RuleIndex
    undefined_id: int
    departments: dict[int, int | None]

    def department_of(self, source_id: int) -> int | None:
        """Department that the source is bound to."""
        return self.departments.get(source_id)


# One entry: the rules of the newest stamp this process has seen.
_kept: dict[_Stamp, SourceRules] = {}


def rules() -> SourceRules:
    """Rules of all sources as the database has them now (1 small query when nothing changed)."""
    stamp = _stamp()
    known = _kept.get(stamp)
    if known is None:
        known = _load()
        _kept.clear()
        _kept[stamp] = known
    return known


def attribute(evidence: Evidence) -> Verdict:
    """The source of an appeal and why."""
    known = rules()
    return choose(evidence, known.index, known.undefined_id)


def _stamp() -> _Stamp:
    query = select(
        func.count(Source.id),
        func.max(Source.id),
        func.max(Source.updated_at),
        select(func.count(TelephonyLine.id)).scalar_subquery(),
        select(func.max(TelephonyLine.updated_at)).scalar_subquery(),
    )
    count, newest, changed, lines, line_changed = db.session.execute(query).one()
    url = str(db.session.get_bind().engine.url)
    return _Stamp(url, count, newest or 0, changed, lines, line_changed)


def _load() -> SourceRules:
    sources = list(db.session.scalars(select(Source)))
    lines: dict[int, tuple[str, ...]] = {}
    bound = select(TelephonyLine.source_id, TelephonyLine.key)
    for source_id, key in db.session.execute(bound.where(TelephonyLine.source_id.is_not(None))):
        lines[source_id] = (*lines.get(source_id, ()), key)
    undefined = next((source.id for source in sources if source.is_system), None)
    if undefined is None:
        raise RuntimeError("the system source is missing: run `crm init`")
    index = RuleIndex([rule_of(source, lines.get(source.id, ())) for source in sources])
    return SourceRules(index, undefined, {s.id: s.department_id for s in sources})


def rule_of(source: Source, line_keys: tuple[str, ...] = ()) -> SourceRule:
    """A source as the choosing core sees it; ``line_keys``: lines bound to it in telephony."""
    source_mark, medium, campaign, content = (getattr(source, name) or "" for name in _MARKS)
    return SourceRule(
        id=source.id,
        name=source.name,
        phone_key=source.phone_key,
        line_keys=line_keys,
        domains=tuple(split_domains(source.domains)),
        utm=(source_mark, medium, campaign, content),
        channels=(source.channel,) if source.channel else (),
        department_id=source.department_id,
        active=source.active,
        is_system=source.is_system,
    )


def split_domains(text: str | None) -> list[str]:
    """Domains of a list typed through commas, semicolons, spaces or lines."""
    return [part for part in re.split(r"[\s,;]+", text or "") if part]


# --- what may be saved ------------------------------------------------------------------------


@records.validator(Source)
def check_source(record: Model, _by: Principal | None) -> list[FieldError]:
    """All complaints about a source; its number and domains are normalised here."""
    assert isinstance(record, Source)
    checks.clean(record, "name", "channel", "comment", *_MARKS)
    errors = checks.required(record, name=_("Укажите название."))
    errors += checks.unique_name(record) + _system(record)
    errors += _phone(record) + _domains(record) + _channel(record) + _costs(record)
    return errors


def _system(source: Source) -> list[FieldError]:
    was_system = _was_system(source)
    if was_system != bool(source.is_system):
        source.is_system = was_system
    if was_system and not source.active:
        return [FieldError("active", _("Этот источник системный, его нельзя отключить."))]
    return []


def _phone(source: Source) -> list[FieldError]:
    errors = checks.phone(source)
    source.phone_key = None if errors else phones.match_key(source.phone) or None
    if not source.phone_key or not source.active:
        return errors
    bound = select(TelephonyLine.source_id).where(TelephonyLine.key == source.phone_key)
    other = _other(source, or_(Source.phone_key == source.phone_key, Source.id.in_(bound)))
    if other:
        errors.append(
            FieldError("phone", _("Этот номер уже у источника «%(name)s».", name=other.name))
        )
    return errors


def _domains(source: Source) -> list[FieldError]:
    """Domains are kept through a comma, in punycode, without ``www.``."""
    kept: list[str] = []
    wrong: list[str] = []
    for typed in split_domains(source.domains):
        name = addresses.site(typed.removeprefix("*."))
        (kept if "." in name or name == "localhost" else wrong).append(name or typed)
    source.domains = ", ".join(dict.fromkeys(kept)) or None
    if not wrong:
        return []
    return [FieldError("domains", _("Это не домены: %(names)s", names=", ".join(wrong)))]


def _channel(source: Source) -> list[FieldError]:
    """A channel may belong to several sources only if their departments differ."""
    if not source.channel or not source.active:
        return []
    same_department = (
        Source.department_id.is_(None)
        if source.department_id is None
        else Source.department_id == source.department_id
    )
    other = _other(source, Source.channel == source.channel, same_department)
    if other is None:
        return []
    text = _("Канал уже у источника «%(name)s» того же отдела.", name=other.name)
    return [FieldError("channel", text)]


def _costs(source: Source) -> list[FieldError]:
    names = ("cost_per_month", "cost_per_lead")
    wrong = [name for name in names if (getattr(source, name) or 0) < 0]
    return [FieldError(name, _("Сумма не может быть отрицательной.")) for name in wrong]


def _other(source: Source, *conditions: Any) -> Source | None:
    query = select(Source).where(Source.active, *conditions)
    pk: int | None = source.id
    if pk is not None:
        query = query.where(Source.id != pk)
    found: Source | None = db.session.scalars(query.order_by(Source.id).limit(1)).first()
    return found


def _was_system(source: Source) -> bool:
    """As the database has it; a new record is nobody's system."""
    return bool(db.session.scalar(select(Source.is_system).where(Source.id == source.id)))


@records.delete_guard(Source)
def keep_used_source(record: Model) -> str | None:
    """Why a source cannot be deleted: it is the system's, or something was traced to it."""
    assert isinstance(record, Source)
    if record.is_system:
        return str(_("Этот источник системный, его нельзя удалить."))
    used = or_(*(exists().where(column == record.id) for _model, column in _USES))
    if db.session.scalar(select(used)):
        text = _("К источнику привязаны обращения или сделки. Отключите его вместо удаления.")
        return str(text)
    return None
