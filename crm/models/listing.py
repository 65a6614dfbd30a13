"""Listings, their photos and the history of their price."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime, bytewise
from crm.models.contact import Contact
from crm.models.files import StoredFile
from crm.models.organization import Department
from crm.models.staff import Employee
from crm.values.clock import utc_now


class ListingState(enum.StrEnum):
    """Only active listings go to feeds."""

    DRAFT = "draft"
    MODERATION = "moderation"
    ACTIVE = "active"
    DEPOSIT = "deposit"
    CLOSED = "closed"
    ARCHIVE = "archive"


class Listing(Timestamps, Model):
    """A flat, house, plot or premises for sale or rent.

    What lists filter and sort by are columns; the rest of the canonical fields
    (``crm.integrations.portals.base.FIELDS``) lies in ``attributes``.
    """

    __tablename__ = "listing"
    __table_args__ = (
        UniqueConstraint("import_feed_id", "internal_id"),
        UniqueConstraint("public_id"),
        Index("ix_listing_state", "state", "id"),
        Index("ix_listing_price", "price", "id"),
        Index("ix_listing_area", "area_total", "id"),
        Index("ix_listing_responsible", "responsible_id"),
        Index("ix_listing_address_key", "address_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    # Identity at every portal; survives edits.
    public_id: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(12), default=ListingState.DRAFT)
    deal_type: Mapped[str] = mapped_column(String(12))
    kind: Mapped[str] = mapped_column(String(24))
    market: Mapped[str | None] = mapped_column(String(16))
    title: Mapped[str | None] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)

    region: Mapped[str | None] = mapped_column(String(255))
    district: Mapped[str | None] = mapped_column(String(255))
    locality: Mapped[str | None] = mapped_column(String(255))
    sub_locality: Mapped[str | None] = mapped_column(String(255))
    address: Mapped[str | None] = mapped_column(String(500))
    # Compared for doubles: lower case, without punctuation.
    address_key: Mapped[str | None] = mapped_column(bytewise(255))
    flat_number: Mapped[str | None] = mapped_column(String(32))
    cadastral_number: Mapped[str | None] = mapped_column(String(64))
    lat: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    lon: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))

    price: Mapped[Decimal | None] = mapped_column(Numeric(16, 2))
    currency: Mapped[str] = mapped_column(String(3), default="RUB")
    rooms: Mapped[int | None] = mapped_column(Integer)
    area_total: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    area_living: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    area_kitchen: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    land_area_m2: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    floor: Mapped[int | None] = mapped_column(Integer)
    floors_total: Mapped[int | None] = mapped_column(Integer)

    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"))
    exclusive_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    published_from: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    import_feed_id: Mapped[int | None] = mapped_column(
        ForeignKey("import_feed.id", ondelete="SET NULL")
    )
    internal_id: Mapped[str | None] = mapped_column(String(128))
    # SHA-256 of the imported offer: an unchanged offer is not written again.
    import_hash: Mapped[str | None] = mapped_column(String(64))
    missing_since: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    version: Mapped[int] = mapped_column(Integer, default=1)

    responsible: Mapped[Employee | None] = relationship()
    department: Mapped[Department | None] = relationship()
    owner: Mapped[Contact | None] = relationship()
    photos: Mapped[list[ListingPhoto]] = relationship(
        back_populates="listing", order_by="ListingPhoto.position", cascade="all, delete-orphan"
    )

    __mapper_args__ = {"version_id_col": version}

    def __repr__(self) -> str:
        return f"Объект № {self.id}"


class PhotoState(enum.StrEnum):
    """An imported photo waits until a job has fetched it."""

    STORED = "stored"
    WAITING = "waiting"
    FAILED = "failed"


class ListingPhoto(Model):
    """A picture of a listing in its order; the first one is the cover."""

    __tablename__ = "listing_photo"
    __table_args__ = (
        Index("ix_listing_photo_listing", "listing_id", "position"),
        Index("ix_listing_photo_state", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    listing_id: Mapped[int] = mapped_column(ForeignKey("listing.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer, default=0)
    kind: Mapped[str] = mapped_column(String(16), default="photo")
    state: Mapped[str] = mapped_column(String(10), default=PhotoState.STORED)
    # Where an imported photo came from; the identity of a repeated import.
    source_url: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    due_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(String(500))
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    large_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))
    medium_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))
    thumb_id: Mapped[int | None] = mapped_column(ForeignKey("stored_file.id"))

    listing: Mapped[Listing] = relationship(back_populates="photos")
    large: Mapped[StoredFile | None] = relationship(foreign_keys=[large_id])
    medium: Mapped[StoredFile | None] = relationship(foreign_keys=[medium_id])
    thumb: Mapped[StoredFile | None] = relationship(foreign_keys=[thumb_id])


class PriceChange(Model):
    """Every change of a price is a row."""

    __tablename__ = "price_change"
    __table_args__ = (Index("ix_price_change_listing", "listing_id", "changed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    listing_id: Mapped[int] = mapped_column(ForeignKey("listing.id", ondelete="CASCADE"))
    old_price: Mapped[Decimal | None] = mapped_column(Numeric(16, 2))
    new_price: Mapped[Decimal | None] = mapped_column(Numeric(16, 2))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    changed_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    by_import: Mapped[bool] = mapped_column(Boolean, default=False)
