"""Rows about calls for the tests of pages."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from crm.models import Call, CallState, Deal, TelephonyConnection, db
from crm.values import phones
from crm.values.clock import utc_now

_numbers = itertools.count(1)


def connection() -> TelephonyConnection:
    """The one connection of the test."""
    found = db.session.query(TelephonyConnection).first()
    if found is None:
        found = TelephonyConnection(name="Манго", operator="mango", token="t" * 40)
        db.session.add(found)
        db.session.commit()
    return found


def call(deal: Deal | None = None, **values: Any) -> Call:
    """A finished inbound call of the deal's contact; every column can be given."""
    number = next(_numbers)
    contact = deal.contact if deal else None
    phone = contact.phones[0].number if contact else f"+7921100{number:04d}"
    defaults: dict[str, Any] = {
        "connection_id": connection().id,
        "provider_call_id": f"test-{number}",
        "direction": "in",
        "state": CallState.ENDED,
        "client_number": phone.lstrip("+"),
        "client_key": phones.match_key(phone),
        "line_number": "78126401102",
        "contact_id": contact.id if contact else None,
        "deal_id": deal.id if deal else None,
        "employee_id": deal.responsible_id if deal else None,
        "started_at": utc_now() - dt.timedelta(minutes=number),
        "talk": 60,
    }
    row = Call(**{**defaults, **values})
    db.session.add(row)
    db.session.commit()
    return row


def ringing(deal: Deal | None = None, **values: Any) -> Call:
    """A call that rings now."""
    values = {"state": CallState.RINGING, "employee_id": None, "talk": None, **values}
    return call(deal, **{"started_at": utc_now() - dt.timedelta(seconds=7), **values})
