"""People and companies the agency works with."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, Timestamps, UtcDateTime, bytewise


class Contact(Timestamps, Model):
    """Client or owner; one contact has many deals."""

    __tablename__ = "contact"
    __table_args__ = (Index("ix_contact_responsible_id", "responsible_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # Empty until somebody asks: then the phone is shown instead.
    name: Mapped[str] = mapped_column(String(255), default="")
    is_company: Mapped[bool] = mapped_column(Boolean, default=False)
    is_owner: Mapped[bool] = mapped_column(Boolean, default=False)
    comment: Mapped[str | None] = mapped_column(Text)
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    consent_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    consent_page: Mapped[str | None] = mapped_column(String(500))

    phones: Mapped[list[ContactPhone]] = relationship(
        back_populates="contact",
        order_by="ContactPhone.position",
        cascade="all, delete-orphan",
        lazy="selectin",
    )
    emails: Mapped[list[ContactEmail]] = relationship(
        back_populates="contact",
        order_by="ContactEmail.position",
        cascade="all, delete-orphan",
        lazy="selectin",
    )

    def __repr__(self) -> str:
        return self.name or f"Контакт {self.id}"


class ContactPhone(Model):
    """A number of a contact; ``key`` is what numbers are compared by."""

    __tablename__ = "contact_phone"
    __table_args__ = (
        UniqueConstraint("contact_id", "key"),
        # Search by the last digits walks the reversed key.
        Index("ix_contact_phone_key_reversed", "key_reversed"),
        Index("ix_contact_phone_key", "key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contact.id", ondelete="CASCADE"))
    number: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(bytewise(32))
    key_reversed: Mapped[str] = mapped_column(bytewise(32))
    extension: Mapped[str | None] = mapped_column(String(16))
    flag: Mapped[str | None] = mapped_column(String(20))
    position: Mapped[int] = mapped_column(Integer, default=0)

    contact: Mapped[Contact] = relationship(back_populates="phones")

    def __repr__(self) -> str:
        return self.number


class ContactEmail(Model):
    """A mail address of a contact, lower case."""

    __tablename__ = "contact_email"
    __table_args__ = (
        UniqueConstraint("contact_id", "email"),
        Index("ix_contact_email_email", "email"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contact.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(String(255))
    position: Mapped[int] = mapped_column(Integer, default=0)

    contact: Mapped[Contact] = relationship(back_populates="emails")

    def __repr__(self) -> str:
        return self.email
