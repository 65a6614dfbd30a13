"""What the demonstration agency consists of, so that it can be taken away again."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from crm.models.base import Model, UtcDateTime
from crm.values.clock import utc_now


class DemoManifest(Model):
    """Ids of the rows made by one load, by table, as inclusive ranges."""

    __tablename__ = "demo_manifest"

    id: Mapped[int] = mapped_column(primary_key=True)
    made_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utc_now)
    ranges: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    # Values of the company's row before the load: they come back on removal.
    company_before: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
