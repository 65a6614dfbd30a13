"""Numbers of the agency itself and its people: who calls from them is no client."""

from __future__ import annotations

from sqlalchemy import select

from crm.models import Company, Employee, Office, Source, TelephonyLine, db
from crm.values import phones


def known() -> frozenset[str]:
    """Match keys of the numbers of company, offices, lines, sources and people (5 queries)."""
    typed = [
        *db.session.scalars(select(Company.phone).where(Company.phone.is_not(None))),
        *db.session.scalars(select(Office.phone).where(Office.phone.is_not(None))),
        *db.session.scalars(
            select(Employee.phone).where(Employee.phone.is_not(None), Employee.active)
        ),
        *db.session.scalars(select(TelephonyLine.key)),
        *db.session.scalars(
            select(Source.phone_key).where(Source.phone_key.is_not(None), Source.active)
        ),
    ]
    return frozenset(key for text in typed if (key := phones.match_key(text)))
