"""Events for browsers whose stream does not pass: they ask every few seconds."""

from __future__ import annotations

from flask import Response, request

from crm.reports import browser_events
from crm.security.principal import current_principal
from crm.views.access import signed_in
from crm.views.base import expose
from crm.views.base_api import CrmApi

# Longer numbers are no ids and would not fit the column.
MAX_DIGITS = 18


class EventsApi(CrmApi):
    """``GET /api/v1/events/poll?since=<id>``: what ``static/js/events.js`` polls."""

    resource_name = "events"
    class_permission_name = "Events"

    @expose("/poll", methods=["GET"])
    @signed_in
    def poll(self) -> Response:
        """Events after ``since`` for the person; without it only where to start from."""
        since = request.args.get("since", "")
        if not since.isdecimal() or len(since) > MAX_DIGITS:
            return self.answer(events=[], last=browser_events.newest_id())
        rows, complete = browser_events.newer(current_principal().id, int(since))
        events = [{"id": row.id, "type": row.kind, "data": row.data} for row in rows]
        last = rows[-1].id if rows else int(since)
        return self.answer(events=events, last=last, resync=not complete)
