"""Doors for requests from sites: keys made by us, secrets, allowed domains, aliases."""

from __future__ import annotations

import re
import secrets

from flask_babel import gettext as _
from sqlalchemy import exists, select

from crm.integrations.leads import addresses
from crm.models import Appeal, IntakePoint, Model, db
from crm.operations import audit, checks, records
from crm.operations.errors import FieldError, NotFound
from crm.operations.transaction import operation
from crm.security.principal import Principal

_HONEYPOT = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{1,59}")
# Fields of ours that a site's own label may be led to.
TARGETS = (
    "name", "phone", "email", "comment", "deal_type", "listing_id", "form_name", "external_id",
    "consent",
)  # fmt: skip


@records.validator(IntakePoint)
def check_point(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a door; a new one gets its key and the secret of its tokens here."""
    assert isinstance(record, IntakePoint)
    _complete(record)
    checks.clean(record, "name", "honeypot")
    errors = checks.required(record, name=_("Укажите название."))
    errors += checks.unique_name(record) + _domains(record) + _aliases(record)
    if not _HONEYPOT.fullmatch(record.honeypot):
        text = _("Латинские буквы, цифры, «_» и «-»; начинается с буквы.")
        errors.append(FieldError("honeypot", text))
    if record.require_signature and not secret(record):
        text = _("Сначала задайте секрет: без него подпись проверить нечем.")
        errors.append(FieldError("require_signature", text))
    return errors


def _complete(point: IntakePoint) -> None:
    point.key = point.key or secrets.token_urlsafe(24)
    kept = point.secrets or {}
    if not kept.get("token_secret"):
        point.secrets = {**kept, "token_secret": secrets.token_urlsafe(32)}
    point.honeypot = point.honeypot or "website"


def _domains(point: IntakePoint) -> list[FieldError]:
    """Domains are kept one a line, in punycode, as the rim compares them."""
    typed = re.split(r"[\s,;]+", point.allowed_domains or "")
    kept: list[str] = []
    wrong: list[str] = []
    for text in filter(None, typed):
        star = "*." if text.startswith("*.") else ""
        name = addresses.host(text.removeprefix("*."))
        (kept if "." in name or name == "localhost" else wrong).append(
            star + name if name else text
        )
    point.allowed_domains = "\n".join(dict.fromkeys(kept)) or None
    if wrong:
        names = ", ".join(wrong)
        return [FieldError("allowed_domains", _("Это не домены: %(names)s", names=names))]
    return []


def _aliases(point: IntakePoint) -> list[FieldError]:
    unknown = [target for target in (point.aliases or {}).values() if target not in TARGETS]
    if unknown:
        names = ", ".join(map(str, unknown))
        return [FieldError("aliases", _("Таких полей заявки нет: %(names)s", names=names))]
    return []


@records.delete_guard(IntakePoint)
def keep_used_point(record: Model) -> str | None:
    """A door through which requests came is switched off, not deleted."""
    if db.session.scalar(select(exists().where(Appeal.intake_point_id == record.id))):
        reason: str = _("Через точку приёма приходили заявки. Выключите её вместо удаления.")
        return reason
    return None


def secret(point: IntakePoint) -> str:
    """The secret that signs requests of servers, "" when there is none."""
    return str((point.secrets or {}).get("secret") or "")


@operation
def rotate_key(point_id: int, by: Principal | None) -> str:
    """A new address; the old one stops at once."""
    point = _find(point_id)
    point.key = secrets.token_urlsafe(24)
    audit.record("rotate_key", point, by)
    return point.key


@operation
def make_secret(point_id: int, by: Principal | None) -> str:
    """A new signing secret, returned to be shown once; the old one stops at once."""
    point = _find(point_id)
    made = secrets.token_urlsafe(32)
    point.secrets = {**(point.secrets or {}), "secret": made}
    audit.record("rotate_secret", point, by)
    return made


@operation
def remove_secret(point_id: int, by: Principal | None) -> None:
    """No signature any more; one that is demanded is no longer demanded."""
    point = _find(point_id)
    point.secrets = {key: value for key, value in (point.secrets or {}).items() if key != "secret"}
    point.require_signature = False
    audit.record("remove_secret", point, by)


def _find(point_id: int) -> IntakePoint:
    point: IntakePoint | None = db.session.get(IntakePoint, point_id)
    if point is None:
        raise NotFound(_("Такой точки приёма нет."))
    return point
