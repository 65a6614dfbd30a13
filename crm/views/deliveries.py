"""Everything that came from outside: what it was, what became of it, once more."""

from __future__ import annotations

from flask import abort, flash, redirect, request, url_for
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from crm.models import DeliveryState
from crm.operations import inbox
from crm.operations.errors import OperationError
from crm.reports import deliveries
from crm.security.grants import Grant
from crm.security.principal import current_principal
from crm.views import arguments
from crm.views.access import local_path, requires
from crm.views.base import CrmView, expose

STATES: dict[str, tuple[LazyString, str]] = {
    DeliveryState.NEW: (_l("Новая"), "accent"),
    DeliveryState.RETRY: (_l("Повтор"), "warn"),
    DeliveryState.FAILED: (_l("Ошибка"), "bad"),
    DeliveryState.DONE: (_l("Обработана"), "ok"),
    DeliveryState.IGNORED: (_l("Пропущена"), ""),
    DeliveryState.SPAM: (_l("Спам"), ""),
}
MOST_AT_ONCE = 200


class DeliveriesView(CrmView):
    """``/settings/deliveries``."""

    route_base = "/settings/deliveries"
    class_permission_name = "Deliveries"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Deliveries, the newest first."""
        wanted = read_filter()
        rows, more = deliveries.page(wanted, arguments.place(), with_bodies=not _hides_bodies())
        return self.page(
            "deliveries/index.html",
            rows=rows,
            wanted=wanted,
            doors=deliveries.doors(),
            counts=deliveries.counts(),
            states=STATES,
            link=arguments.link,
            here=request.full_path.rstrip("?"),
            next_url=arguments.link(after=str(more)) if more else None,
        )

    @expose("/<int:pk>", methods=["GET"])
    @requires("show")
    def show(self, pk: int) -> str:
        """One delivery: headers, body with its secrets masked, verdict, error, what it made."""
        delivery = deliveries.find(pk)
        if delivery is None:
            abort(404)
        return self.page(
            "deliveries/show.html",
            delivery=delivery,
            origin=deliveries.origin(delivery),
            door=dict(deliveries.doors()).get(delivery.door, delivery.door),
            states=STATES,
            body_hidden=_hides_bodies(),
        )

    @expose("/<int:pk>/replay", methods=["POST"])
    @requires("replay")
    def replay(self, pk: int) -> Response:
        """Take one delivery in once more."""
        try:
            inbox.replay(pk, current_principal())
        except OperationError as error:
            flash(error.message, "danger")
        else:
            flash(_("Доставка поставлена на повторную обработку."), "success")
        shown = url_for("DeliveriesView.show", pk=pk)
        return redirect(local_path(request.form.get("next"), shown))

    @expose("/replay", methods=["POST"])
    @requires("replay")
    def replay_many(self) -> Response:
        """Take the checked deliveries in once more."""
        ids = [int(pk) for pk in request.form.getlist("rowid") if pk.isdecimal() and len(pk) < 10]  # noqa: PLR2004
        done = inbox.replay_many(ids[:MOST_AT_ONCE], current_principal())
        flash(
            _("На повторную обработку поставлено доставок: %(count)s.", count=done),
            "success" if done else "warning",
        )
        return redirect(local_path(request.form.get("next"), url_for("DeliveriesView.index")))


def _hides_bodies() -> bool:
    """The texts hold clients' phones: who may not see phones may neither read nor search them."""
    principal = current_principal()
    return principal.can(Grant.ONLY_STAFF_CONTACTS) and not principal.is_admin


def read_filter() -> deliveries.DeliveryFilter:
    """The filter written in the address."""
    return deliveries.DeliveryFilter(
        state=arguments.choice("state", tuple(STATES)),
        door=arguments.text("door", 40),
        day_from=arguments.day("from"),
        day_to=arguments.day("to"),
        text=arguments.text("q"),
    )
