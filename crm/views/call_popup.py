"""The card that pops up while the phone rings."""

from __future__ import annotations

from flask import abort

from crm.reports import calls
from crm.security.principal import current_principal
from crm.views.access import signed_in
from crm.views.base import CrmView, expose


class CallPopupView(CrmView):
    """``GET /calls/<id>/popup``: a piece of HTML for ``static/js/callpop.js``."""

    route_base = "/calls"
    class_permission_name = "Calls"
    default_view = "popup"

    @expose("/<int:pk>/popup", methods=["GET"])
    @signed_in
    def popup(self, pk: int) -> str:
        """The card of a call on the line; 404 when it is over or not the person's."""
        card = calls.card(current_principal(), pk)
        if card is None:
            abort(404)
        return self.page("calls/popup.html", card=card, me=current_principal().id)
