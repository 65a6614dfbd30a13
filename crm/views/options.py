"""Answers for remote-search select boxes."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, abort, request

from crm.reports import options
from crm.security.principal import current_principal
from crm.views.access import signed_in
from crm.views.base import expose
from crm.views.base_api import CrmApi


class OptionsApi(CrmApi):
    """``GET /api/v1/options/<kind>?q=&page=``: rows that the person may see."""

    resource_name = "options"
    class_permission_name = "Options"

    @expose("/<string:kind>", methods=["GET"])
    @signed_in
    def index(self, kind: str) -> Response:
        """Matching rows, 20 a page."""
        text = request.args.get("q", "")[:100]
        page = request.args.get("page", "0")
        number = min(int(page), 50) if page.isdecimal() else 0
        try:
            rows, more = options.find(current_principal(), kind, text, number)
        except KeyError:
            abort(404)
        return self.answer(results=[asdict(row) for row in rows], more=more)
