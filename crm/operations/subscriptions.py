"""Subscriptions to events that end by themselves: made, renewed before their end."""

from __future__ import annotations

import datetime as dt
import logging

from sqlalchemy import or_, select, update

from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import Capability, Subscription
from crm.models import TelephonyConnection, db
from crm.operations import bus, connections
from crm.operations.transaction import operation
from crm.values.clock import utc_now

log = logging.getLogger(__name__)
# Renewed so long before the end: the scheduler and the operator may both be late.
AHEAD = dt.timedelta(minutes=20)
RENEW_JOB = "crm.jobs.telephony.renew_subscriptions"


def renew_due() -> int:
    """Make or renew every subscription that ends soon; how many. Failures are noted."""
    soon = TelephonyConnection.subscribed_until < utc_now() + AHEAD
    query = select(TelephonyConnection).where(
        TelephonyConnection.active,
        or_(TelephonyConnection.subscribed_until.is_(None), soon),
    )
    return sum(_renew_quietly(connection) for connection in list(db.session.scalars(query)))


def watch() -> int:
    """Make anew the subscriptions that are gone before their end; how many. Failures are noted.

    An operator may drop a subscription without a word: until its end nobody would hear of calls.
    """
    query = select(TelephonyConnection).where(
        TelephonyConnection.active,
        TelephonyConnection.subscription_id.is_not(None),
        TelephonyConnection.subscribed_until >= utc_now() + AHEAD,
    )
    found = list(db.session.scalars(query))
    return sum(_is_gone(connection) and _renew_quietly(connection) for connection in found)


def lost(connection: TelephonyConnection, subscription_id: str) -> bool:
    """The operator says that a subscription has ended: whether it was the connection's own.

    Ours is ordered anew at once, in the caller's transaction. Of one that was replaced before, the
    end is told too and means nothing.
    """
    if subscription_id not in ("", connection.subscription_id):
        return False
    table = TelephonyConnection.__table__
    db.session.execute(
        update(table)
        .where(table.c.id == connection.id)
        .values(subscribed_until=None, updated_at=table.c.updated_at)
    )
    bus.enqueue("default", RENEW_JOB, job_id=f"renew-{connection.id}")
    return True


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


def _is_gone(connection: TelephonyConnection) -> bool:
    operator = connections.build(connection)
    if Capability.SUBSCRIPTION not in operator.capabilities or operator.missing_credentials():
        return False
    url, current = connections.webhook_url(connection), connection.subscription_id or ""
    connection_id = connection.id
    db.session.commit()
    try:
        return not operator.subscription_lives(url, current)
    except IntegrationError as error:
        log.warning("subscription of connection %s: %s", connection_id, type(error).__name__)
        connections.note_error(connection_id, error.message)
        return False


@operation
def _keep(connection_id: int, made: Subscription) -> None:
    connection = connections.find(connection_id)
    connection.subscription_id = made.id[:128]
    connection.subscribed_until = made.expires_at
    connection.last_error = None
