"""Rules of the company's own data, offices and departments (domain §2, §8)."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask_babel import gettext as _
from PIL import Image, ImageOps, UnidentifiedImageError
from sqlalchemy import Select, exists, select

from crm.models import (
    Company,
    Deal,
    Department,
    Employee,
    IntakePoint,
    Listing,
    Model,
    Office,
    Source,
    StoredFile,
    TelephonyConnection,
    db,
)
from crm.operations import audit, checks, files, records
from crm.operations.errors import FieldError, ValidationErrors
from crm.operations.transaction import operation
from crm.security.principal import Principal

MAX_LOGO_BYTES = 5 * 1024 * 1024
# A bomb of a few kilobytes may hold a picture of gigabytes: its size is read before its pixels.
_MAX_PIXELS = 40_000_000
_LOGO_SIDE = 800
_WEEK_MINUTES = 10_080
_LOGO_FORMATS = ("PNG", "JPEG")
_COMPANY_TEXTS = (
    "name", "ogrn_name", "address", "site", "policy_url", "city", "city_code", "timezone",
)  # fmt: skip


@records.validator(Company)
def check_company(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about the company's data."""
    assert isinstance(record, Company)
    checks.clean(record, *_COMPANY_TEXTS)
    errors = checks.required(record, name=_("Укажите название агентства."))
    errors += checks.phone(record) + checks.email(record)
    errors += _web_address(record, "site") + _web_address(record, "policy_url")
    return errors + _zone(record) + _working_time(record) + _limits(record)


def _web_address(record: Company, field: str) -> list[FieldError]:
    text = getattr(record, field)
    if not text:
        return []
    if "://" not in text:
        text = "https://" + text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or "." not in parts.netloc:
        return [FieldError(field, _("Адрес сайта выглядит так: https://example.ru"))]
    setattr(record, field, text)
    return []


def _zone(record: Company) -> list[FieldError]:
    try:
        ZoneInfo(record.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [FieldError("timezone", _("Такого часового пояса нет."))]
    return []


def _working_time(record: Company) -> list[FieldError]:
    errors = []
    if None in (record.work_start, record.work_end) or record.work_start >= record.work_end:
        errors.append(FieldError("work_end", _("Рабочий день кончается позже, чем начинается.")))
    if not record.work_days:
        errors.append(FieldError("work_days", _("Отметьте хотя бы один рабочий день.")))
    return errors


def _limits(record: Company) -> list[FieldError]:
    names = ("request_limit_minutes", "call_limit_minutes")
    return [
        FieldError(name, _("Укажите число минут от 1 до 10 080 (неделя)."))
        for name in names
        if not 1 <= (getattr(record, name) or 0) <= _WEEK_MINUTES
    ]


# --- logo -----------------------------------------------------------------------


@operation
def set_logo(company_id: int, data: bytes, by: Principal | None) -> None:
    """Replace the logo: PNG or JPEG, redrawn without metadata.

    Raises ValidationErrors naming ``logo``. An SVG may carry scripts and is refused.
    """
    company = db.session.get_one(Company, company_id)
    content, kind = _redrawn(data)
    stored = files.store_bytes(content, f"image/{kind.lower()}", kind="logo")
    _replace_logo(company, stored.key, by)


@operation
def remove_logo(company_id: int, by: Principal | None) -> None:
    """Go back to the name as text."""
    company = db.session.get_one(Company, company_id)
    if company.logo_key:
        _replace_logo(company, None, by)


def logo_file(company: Company) -> StoredFile | None:
    """The stored logo."""
    query = select(StoredFile).where(StoredFile.key == company.logo_key)
    found: StoredFile | None = db.session.scalars(query).one_or_none()
    return found


def _replace_logo(company: Company, key: str | None, by: Principal | None) -> None:
    old = logo_file(company)
    before = company.logo_key
    company.logo_key = key
    audit.record("update", company, by, before={"logo_key": before}, after={"logo_key": key})
    if old is not None:
        files.delete_file(old)


def _redrawn(data: bytes) -> tuple[bytes, str]:
    if len(data) > MAX_LOGO_BYTES:
        raise ValidationErrors.one("logo", _("Файл больше 5 МБ."))
    try:
        with Image.open(BytesIO(data), formats=_LOGO_FORMATS) as picture:
            kind = picture.format or "PNG"
            if picture.width * picture.height > _MAX_PIXELS:
                raise ValidationErrors.one(
                    "logo", _("Картинка слишком велика: до 40 мегапикселей.")
                )
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((_LOGO_SIDE, _LOGO_SIDE))
            drawn = upright.convert("RGB" if kind == "JPEG" else "RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValidationErrors.one("logo", _("Нужна картинка PNG или JPEG.")) from error
    out = BytesIO()
    drawn.save(out, kind, optimize=True)
    return out.getvalue(), kind


# --- offices and departments ------------------------------------------------------


@records.validator(Office)
def check_office(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about an office."""
    checks.clean(record, "name", "address")
    errors = checks.required(record, name=_("Укажите название офиса."))
    return errors + checks.unique_name(record) + checks.phone(record)


@records.delete_guard(Office)
def keep_used_office(record: Model) -> str | None:
    """An office with people stays."""
    if _any(select(Employee.id).where(Employee.office_id == record.id)):
        return str(_("В офисе числятся сотрудники. Переведите их или выключите офис."))
    return None


@records.validator(Department)
def check_department(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a department."""
    checks.clean(record, "name", "description")
    errors = checks.required(record, name=_("Укажите название отдела."))
    return errors + checks.unique_name(record)


@records.delete_guard(Department)
def keep_used_department(record: Model) -> str | None:
    """Only an empty department is deleted; another one is switched off (domain §8)."""
    if _any(select(Employee.id).where(Employee.department_id == record.id)):
        return str(_("В отделе есть сотрудники. Переведите их или выключите отдел."))
    for model in (Deal, Listing, Source, TelephonyConnection, IntakePoint):
        if _any(select(model.id).where(model.department_id == record.id)):
            text = _(
                "К отделу привязаны сделки, объекты или источники. Выключите его вместо удаления."
            )
            return str(text)
    return None


def _any(query: Select[Any]) -> bool:
    return bool(db.session.scalar(select(exists(query))))
