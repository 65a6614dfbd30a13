"""Declarative base, the session and the column types that every table shares.

The naming convention must be set before FAB's security models are imported:
otherwise the constraints of its ``ab_*`` tables get database-made names and
the second autogenerate is not empty.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from flask_appbuilder.models.sqla import Model
from sqlalchemy import DateTime, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from crm.values.clock import utc_now
from crm.values.vault import vault

Model.metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

from flask_appbuilder.utils.legacy import get_sqla_class  # noqa: E402

db = get_sqla_class()(
    metadata=Model.metadata,
    # Objects stay readable after the commit: events and answers are made from them.
    session_options={"expire_on_commit": False},
)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """Aware UTC moment; refuses naive values. SQLite stores it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        value = _in_utc(value)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: Any,
        dialect: Dialect,  # noqa: ARG002
    ) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _in_utc(moment: dt.datetime) -> dt.datetime:
    """At the ends of the calendar UTC has no such hour: one may still compare with the moment."""
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        return moment.replace(tzinfo=dt.UTC)


class EncryptedJSON(TypeDecorator[dict[str, Any]]):
    """JSON object kept encrypted at rest (operators' credentials, one-time links)."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self,
        value: dict[str, Any] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> str | None:
        return None if value is None else vault.seal(json.dumps(value, ensure_ascii=False))

    def process_result_value(
        self,
        value: Any,
        dialect: Dialect,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        return None if value is None else json.loads(vault.open(value))


def bytewise(length: int) -> TypeEngine[str]:
    """Text compared byte by byte, so that a prefix search may walk the index on PostgreSQL."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class Timestamps:
    """Row's own moments (UTC)."""

    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)


__all__ = ["EncryptedJSON", "Model", "Timestamps", "UtcDateTime", "bytewise", "db"]
