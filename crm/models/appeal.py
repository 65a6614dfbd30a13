"""Appeals: every incoming contact, call or request. The unit of lead statistics."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm.models.base import Model, UtcDateTime
from crm.models.contact import Contact
from crm.models.deal import Deal
from crm.models.inbound import IntakePoint
from crm.models.organization import Department
from crm.models.source import Source
from crm.models.staff import Employee
from crm.models.telephony import Call
from crm.values.clock import utc_now


class Channel(enum.StrEnum):
    """Technical way in (domain §1)."""

    CALL = "call"
    SITE_FORM = "site_form"
    TILDA = "tilda"
    VK_LEAD_FORM = "vk_lead_form"
    VK_MESSAGE = "vk_message"
    VK_ADS = "vk_ads"
    META_LEADGEN = "meta_leadgen"
    AVITO_CHAT = "avito_chat"
    AVITO_CALL = "avito_call"
    CIAN_CHAT = "cian_chat"
    CIAN_CALL = "cian_call"
    YANDEX_CALL = "yandex_call"
    DOMCLICK_CHAT = "domclick_chat"
    EMAIL = "email"
    CHAT_WIDGET = "chat_widget"
    TELEGRAM = "telegram"
    WHATSAPP = "whatsapp"
    IMPORT = "import"
    MANUAL = "manual"
    API = "api"


class Appeal(Model):
    """One call or request with the source it was traced to."""

    __tablename__ = "appeal"
    __table_args__ = (
        UniqueConstraint("call_id"),
        UniqueConstraint("delivery_id"),
        Index("ix_appeal_received", "received_at", "id"),
        Index("ix_appeal_deal", "deal_id"),
        Index("ix_appeal_contact", "contact_id", "received_at"),
        Index("ix_appeal_source", "source_id", "received_at"),
        # Doubles of a form within ten minutes (site.md §8.2).
        Index("ix_appeal_double", "double_key", "received_at"),
        # Black list: numbers that a person has marked as spam, a handful among many.
        Index(
            "ix_appeal_spam_phone",
            "phone",
            postgresql_where=text("is_spam"),
            sqlite_where=text("is_spam"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(String(20))
    received_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"))
    deal_id: Mapped[int | None] = mapped_column(ForeignKey("deal.id"))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"))
    responsible_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    call_id: Mapped[int | None] = mapped_column(ForeignKey("call.id", ondelete="CASCADE"))
    delivery_id: Mapped[int | None] = mapped_column(
        ForeignKey("inbound_delivery.id", ondelete="SET NULL")
    )
    intake_point_id: Mapped[int | None] = mapped_column(
        ForeignKey("intake_point.id", ondelete="SET NULL")
    )
    listing_id: Mapped[int | None] = mapped_column(ForeignKey("listing.id", ondelete="SET NULL"))

    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id"))
    # «Почему так?»: which evidence gave the source.
    source_step: Mapped[int] = mapped_column(Integer, default=7)
    source_why: Mapped[str | None] = mapped_column(String(500))

    is_repeat: Mapped[bool] = mapped_column(Boolean, default=False)
    created_deal: Mapped[bool] = mapped_column(Boolean, default=False)
    is_spam: Mapped[bool] = mapped_column(Boolean, default=False)
    spam_reasons: Mapped[str | None] = mapped_column(Text)

    name: Mapped[str | None] = mapped_column(String(255))
    phone: Mapped[str | None] = mapped_column(String(64))
    email: Mapped[str | None] = mapped_column(String(255))
    comment: Mapped[str | None] = mapped_column(Text)
    deal_type: Mapped[str | None] = mapped_column(String(20))
    form_name: Mapped[str | None] = mapped_column(String(255))
    page_url: Mapped[str | None] = mapped_column(Text)
    referrer: Mapped[str | None] = mapped_column(Text)
    utm_source: Mapped[str | None] = mapped_column(String(255))
    utm_medium: Mapped[str | None] = mapped_column(String(255))
    utm_campaign: Mapped[str | None] = mapped_column(String(255))
    utm_content: Mapped[str | None] = mapped_column(String(255))
    utm_term: Mapped[str | None] = mapped_column(String(255))
    external_id: Mapped[str | None] = mapped_column(String(255))
    double_key: Mapped[str | None] = mapped_column(String(64))
    extra: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    contact: Mapped[Contact | None] = relationship()
    deal: Mapped[Deal | None] = relationship()
    department: Mapped[Department | None] = relationship()
    responsible: Mapped[Employee | None] = relationship()
    call: Mapped[Call | None] = relationship()
    intake_point: Mapped[IntakePoint | None] = relationship()
    source: Mapped[Source | None] = relationship()
