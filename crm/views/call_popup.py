"""The card that pops up while a telephone rings or is dialled."""

from __future__ import annotations

from flask import Response, abort, jsonify, request

from crm.models import Employee, db
from crm.reports import call_card
from crm.security.principal import current_principal
from crm.views import call_words
from crm.views.access import signed_in
from crm.views.base import CrmView, expose


class CallPopupView(CrmView):
    """``GET /calls/<id>/popup``: a piece of HTML for ``static/js/callpop.js``."""

    route_base = "/calls"
    class_permission_name = "Calls"
    default_view = "popup"

    @expose("/<int:pk>/popup", methods=["GET"])
    @signed_in
    def popup(self, pk: int) -> str | Response:
        """The card of a call on the line; 204 when it is over or not the person's.

        A call may end while its card is asked for: that is no error, and no browser is to log
        one. ``?new=1``: it is about to appear, so nothing may have been silent for a minute.
        """
        principal = current_principal()
        card = call_card.card(principal, pk, fresh="new" in request.args)
        if card is None:
            return Response(status=204)
        taken = call_words.taken_by(card.call.employee) if card.state == "taken" else ""
        return self.page("calls/popup.html", card=card, me=principal.id, taken=taken)

    @expose("/taken-by/<int:pk>", methods=["GET"])
    @signed_in
    def taken_by(self, pk: int) -> Response:
        """Who has answered, in words: colleagues' names are no secret, the call is not told."""
        colleague: Employee = db.session.get(Employee, pk) or abort(404)
        return jsonify(text=call_words.taken_by(colleague))
