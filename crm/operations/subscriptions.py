"""Subscriptions to events that end by themselves: made, renewed before their end."""

from __future__ import annotations

import datetime as dt
import logging

from sqlalchemy import or_, select

from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import Capability, Subscription
from crm.models import TelephonyConnection, db
from crm.operations import connections
from crm.operations.transaction import operation
from crm.values.clock import utc_now

log = logging.getLogger(__name__)
# Renewed so long before the end: the scheduler and the operator may both be late.
AHEAD = dt.timedelta(minutes=20)


def renew_due() -> int:
    """Make or renew every subscription that ends soon; how many. Failures are noted."""
    soon = TelephonyConnection.subscribed_until < utc_now() + AHEAD
    query = select(TelephonyConnection).where(
        TelephonyConnection.active,
        or_(TelephonyConnection.subscribed_until.is_(None), soon),
    )
    return sum(_renew_quietly(connection) for connection in list(db.session.scalars(query)))


def renew(connection_id: int) -> dt.datetime:
    """Make or renew the subscription now; until when it holds. Raises OperatorError."""
    connection = connections.find(connection_id)
    operator = connections.build(connection)
    url, current = connections.webhook_url(connection), connection.subscription_id
    db.session.commit()
    made = operator.subscribe(url, current)
    _keep(connection_id, made)
    return made.expires_at


def _renew_quietly(connection: TelephonyConnection) -> bool:
    operator = connections.build(connection)
    if Capability.SUBSCRIPTION not in operator.capabilities or operator.missing_credentials():
        return False
    try:
        renew(connection.id)
    except IntegrationError as error:
        log.warning("subscription of connection %s: %s", connection.id, type(error).__name__)
        connections.note_error(connection.id, error.message)
        return False
    return True


@operation
def _keep(connection_id: int, made: Subscription) -> None:
    connection = connections.find(connection_id)
    connection.subscription_id = made.id[:128]
    connection.subscribed_until = made.expires_at
    connection.last_error = None
