"""A stored delivery as the translators see it: the request, and the door it came through."""

from __future__ import annotations

from crm.integrations.inbound import InboundRequest
from crm.models import InboundDelivery


def door_id(delivery: InboundDelivery) -> int:
    """Number of the connection or the intake point: the part of the door after the colon."""
    return int(delivery.door.partition(":")[2])


def request_of(delivery: InboundDelivery) -> InboundRequest:
    """The request as it came, without the secret of its address."""
    return InboundRequest(
        method=delivery.method,
        path_tail=delivery.path_tail,
        query=delivery.query,
        headers=delivery.headers,
        body=delivery.body,
        remote_addr=delivery.remote_addr or "",
        received_at=delivery.received_at,
    )
