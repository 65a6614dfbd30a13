"""The agency's own row, read once a request."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from flask import g, has_request_context
from sqlalchemy import select

from crm.models import Company, db
from crm.values.clock import utc_now, zone


def company() -> Company:
    """The company; before installation an unsaved one with the defaults."""
    if has_request_context() and (cached := g.get("company")) is not None:
        found: Company = cached
        return found
    found = db.session.scalars(select(Company).order_by(Company.id).limit(1)).first() or Company(
        name="", timezone="Europe/Moscow", work_end=dt.time(19), work_start=dt.time(9)
    )
    if has_request_context():
        g.company = found
    return found


def company_zone() -> ZoneInfo:
    """The zone in which people read moments."""
    return zone(company().timezone)


def local_today() -> dt.date:
    """The calendar day at the agency."""
    return utc_now().astimezone(company_zone()).date()
