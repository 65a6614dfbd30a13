"""One line in the feed of a deal, a contact or a listing."""

from __future__ import annotations

import datetime as dt
from typing import Any

from crm.models import (
    Appeal,
    Call,
    Comment,
    Contact,
    Deal,
    EventKind,
    Listing,
    TimelineEvent,
    db,
)
from crm.operations import rows
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values.clock import utc_now


@operation
def note(
    kind: EventKind,
    *,
    deal: Deal | None = None,
    contact: Contact | None = None,
    listing: Listing | None = None,
    by: Principal | None = None,
    call: Call | None = None,
    appeal: Appeal | None = None,
    comment: Comment | None = None,
    at: dt.datetime | None = None,
    **data: Any,
) -> TimelineEvent:
    """Write that something happened (``at``: aware moment, now by default).

    ``data`` is what the line says, plain JSON; never phones or addresses of a client.
    A deal's line also moves its last activity forward.
    """
    db.session.flush()
    event = TimelineEvent(
        kind=kind,
        deal_id=deal.id if deal else None,
        contact_id=contact.id if contact else None,
        listing_id=listing.id if listing else None,
        actor_id=by.id if by else None,
        call_id=call.id if call else None,
        appeal_id=appeal.id if appeal else None,
        comment_id=comment.id if comment else None,
        occurred_at=at or utc_now(),
        data=data,
    )
    db.session.add(event)
    if deal is not None and event.occurred_at > deal.last_activity_at:
        rows.touch(deal, last_activity_at=event.occurred_at)
    return event
