"""Doors for tests: a telephony connection, an intake point, and what knocks at them."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from sqlalchemy import select

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony.base import CallEvent, CallKind, Direction
from crm.integrations.telephony.simulation import CallScenario, SimulatedRequest
from crm.models import (
    Employee,
    InboundDelivery,
    IntakePoint,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import connections, inbox
from crm.values.clock import utc_now

TOKEN = "tests-only-token-of-the-webhook-address"
KEY = "tests-only-public-key-of-the-point-1"
CREDENTIALS = {"api_key": "invented-key", "api_salt": "invented-salt"}
LINE = "74955550100"
CLIENT = "79161234567"
_numbers = itertools.count(1)


def connection(owner: Employee | None = None, **values: Any) -> TelephonyConnection:
    """A Mango connection whose extension 101 belongs to ``owner``."""
    values.setdefault("name", f"Манго {next(_numbers)}")
    values.setdefault("token", TOKEN)
    values.setdefault("credentials", CREDENTIALS)
    row = TelephonyConnection(operator="mango", **values)
    if owner is not None:
        row.extensions = [TelephonyExtension(key="101", employee_id=owner.id)]
    db.session.add(row)
    db.session.commit()
    return row


def point(**values: Any) -> IntakePoint:
    """A site's door; no snippet, no signature, any origin."""
    values.setdefault("name", f"Сайт {next(_numbers)}")
    values.setdefault("key", KEY)
    values.setdefault("honeypot", "website")
    row = IntakePoint(**values)
    db.session.add(row)
    db.session.commit()
    return row


def scenario(**values: Any) -> CallScenario:
    """A call of a client to the line, from two minutes ago."""
    values.setdefault("call_key", f"call-{next(_numbers)}")
    values.setdefault("client_number", CLIENT)
    values.setdefault("line_number", LINE)
    values.setdefault("extension", "101")
    values.setdefault("started_at", utc_now().replace(microsecond=0) - dt.timedelta(minutes=2))
    return CallScenario(**values)


def requests_of(row: TelephonyConnection, call: CallScenario) -> list[SimulatedRequest]:
    """What the operator sends in the course of a call, signed."""
    return connections.build(row).simulate(call)


def events_of(row: TelephonyConnection, call: CallScenario) -> list[CallEvent]:
    """The same as normalized events."""
    operator = connections.build(row)
    knocks = [item.received(utc_now(), TOKEN) for item in operator.simulate(call)]
    return [event for knock in knocks for event in operator.parse(knock)]


def event(row: TelephonyConnection, kind: CallKind, **values: Any) -> CallEvent:
    """A hand-made event of the call «c1»."""
    values.setdefault("provider_call_id", "c1")
    values.setdefault("event_id", f"event-{next(_numbers)}")
    values.setdefault("occurred_at", utc_now().replace(microsecond=0))
    values.setdefault("direction", Direction.IN)
    values.setdefault("client_number", CLIENT)
    values.setdefault("line_number", LINE)
    return CallEvent(kind=kind, operator="mango", connection_id=row.id, **values)


def deliver(row: TelephonyConnection, sent: SimulatedRequest) -> inbox.Accepted:
    """Put one notice into the inbox, as the web door does."""
    operator = connections.build(row)
    knock = sent.received(utc_now(), TOKEN)
    operator.verify(knock)
    return inbox.accept(
        f"telephony:{row.id}",
        "telephony",
        "mango",
        knock,
        operator.delivery_key(knock),
        operator.mask(knock),
    )


def deliver_lead(
    row: IntakePoint, body: bytes, dedup_key: str = "", **values: Any
) -> inbox.Accepted:
    """Put one request into the inbox without the web."""
    values.setdefault("headers", {"Content-Type": "application/json"})
    values.setdefault("received_at", utc_now())
    knock = InboundRequest(
        method="POST", path_tail=row.key, query={}, body=body, remote_addr="203.0.113.7", **values
    )
    key = dedup_key or f"key-{next(_numbers)}"
    return inbox.accept(f"intake:{row.id}", "intake", row.channel, knock, key, "", {})


def deliveries() -> list[InboundDelivery]:
    """All stored deliveries as the database has them now."""
    query = select(InboundDelivery).order_by(InboundDelivery.id)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))
