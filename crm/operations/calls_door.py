"""A delivery of a telephony operator: its parser, then its events one by one."""

from __future__ import annotations

from crm.models import DeliveryState, InboundDelivery, TelephonyConnection, db
from crm.operations import calls, connections, deliveries, subscriptions
from crm.operations.errors import NotFound


def take_in(delivery: InboundDelivery) -> tuple[DeliveryState, str]:
    """Apply what the operator tells; raises MalformedRequest for what cannot be read."""
    connection: TelephonyConnection | None = db.session.get(
        TelephonyConnection, deliveries.door_id(delivery)
    )
    if connection is None:
        raise NotFound("Подключение телефонии удалено.")
    connections.note_event(connection, delivery.received_at)
    operator, request = connections.build(connection), deliveries.request_of(delivery)
    events = operator.parse(request)
    ended = operator.ended_subscription(request)
    if ended is not None and subscriptions.lost(connection, ended):
        return DeliveryState.DONE, "подписка на события закончилась, заказываем новую"
    if not events:
        return DeliveryState.IGNORED, "служебное сообщение"
    verdicts = [calls.apply(event, connection) for event in events]
    useful = any(verdict.startswith("звонок №") for verdict in verdicts)
    state = DeliveryState.DONE if useful else DeliveryState.IGNORED
    return state, "; ".join(dict.fromkeys(verdicts))
