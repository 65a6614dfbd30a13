"""Whether the product works, for monitors and for the process that started it."""

from __future__ import annotations

from flask import Response, jsonify, make_response

from crm.reports import health
from crm.values.release import VERSION
from crm.views.base import CrmView, expose, public


class HealthView(CrmView):
    """``GET /health``: public, tells states only."""

    route_base = ""
    class_permission_name = "Health"
    default_view = "health"

    @expose("/health", methods=["GET"])
    @public
    def health(self) -> Response:
        """200 when every part works, else 503 and which part does not."""
        parts = health.check()
        body = {name: "ok" if works else "down" for name, works in parts.items()}
        return make_response(jsonify(**body, version=VERSION), 200 if all(parts.values()) else 503)
