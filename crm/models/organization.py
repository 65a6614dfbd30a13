"""The agency: company, offices, departments."""

from __future__ import annotations

import datetime as dt
import enum

from sqlalchemy import Boolean, Integer, String, Text, Time
from sqlalchemy.orm import Mapped, mapped_column

from crm.models.base import Model, Timestamps


class DepartmentKind(enum.StrEnum):
    """What a department sells (domain §8)."""

    RESALE = "resale"
    NEW_BUILDING = "new_building"
    RENT = "rent"
    COMMERCIAL = "commercial"
    COUNTRY = "country"
    MORTGAGE = "mortgage"
    MARKETING = "marketing"
    OTHER = "other"


class Company(Timestamps, Model):
    """The agency's own data; one row after installation."""

    __tablename__ = "company"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    # Name in the state register: Yandex refuses a feed of an agency without it.
    ogrn_name: Mapped[str | None] = mapped_column(String(255))
    phone: Mapped[str | None] = mapped_column(String(32))
    address: Mapped[str | None] = mapped_column(String(500))
    site: Mapped[str | None] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(255))
    policy_url: Mapped[str | None] = mapped_column(String(500))
    logo_key: Mapped[str | None] = mapped_column(String(255))
    timezone: Mapped[str] = mapped_column(String(64), default="Europe/Moscow")
    city: Mapped[str | None] = mapped_column(String(120))
    city_code: Mapped[str | None] = mapped_column(String(8))
    work_start: Mapped[dt.time] = mapped_column(Time, default=dt.time(9))
    work_end: Mapped[dt.time] = mapped_column(Time, default=dt.time(19))
    work_days: Mapped[str] = mapped_column(String(20), default="1,2,3,4,5")
    currency: Mapped[str] = mapped_column(String(3), default="RUB")
    # Minutes after which an unprocessed deal turns red (domain §6.5).
    request_limit_minutes: Mapped[int] = mapped_column(Integer, default=15)
    call_limit_minutes: Mapped[int] = mapped_column(Integer, default=60)
    task_result_required: Mapped[bool] = mapped_column(Boolean, default=False)
    show_contacts_in_own_deals: Mapped[bool] = mapped_column(Boolean, default=False)

    def __repr__(self) -> str:
        return self.name


class Office(Timestamps, Model):
    """Place of work."""

    __tablename__ = "office"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    address: Mapped[str | None] = mapped_column(String(500))
    phone: Mapped[str | None] = mapped_column(String(32))
    active: Mapped[bool] = mapped_column(Boolean, default=True)

    def __repr__(self) -> str:
        return self.name


class Department(Timestamps, Model):
    """Unit of staff; can be switched off, deleted only when empty."""

    __tablename__ = "department"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(20), default=DepartmentKind.RESALE)
    description: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    position: Mapped[int] = mapped_column(Integer, default=0)

    def __repr__(self) -> str:
        return self.name
