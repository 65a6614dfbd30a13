"""What the steps of the connection wizard send: keys, numbers, lines, trials, looks."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Response as FlaskResponse
from flask import jsonify, request, session, url_for
from flask_babel import get_locale
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm.integrations.errors import IntegrationError
from crm.models import Call, InboundDelivery
from crm.operations import (
    call_history,
    connections,
    subscriptions,
    telephony_lines,
    telephony_settings,
    telephony_trial,
)
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports import telephony_health
from crm.reports.company import company_zone
from crm.security import masking
from crm.security.grants import Grant
from crm.security.principal import current_principal
from crm.values import formats
from crm.values.clock import utc_now
from crm.views.base import CrmView, expose, requires
from crm.views.settings.telephony import back_to, connection_or_404, typed_fields
from crm.views.settings.telephony_steps import TRIAL_KEPT, Step

_TRIAL_WINDOW = dt.timedelta(minutes=15)
_SPANS = {"day": 1, "three": 3, "week": 7, "month": 30}


class TelephonyFormsView(CrmView):
    """`/settings/telephony/<id>/…`: each form goes back to its step."""

    route_base = "/settings/telephony"
    class_permission_name = "Telephony"
    default_view = "pulse"

    @expose("/<int:pk>/subscribe", methods=["POST"])
    @requires("edit")
    def subscribe(self, pk: int) -> Response:
        """Make or renew the subscription to events at once."""
        connection_or_404(pk)
        try:
            until = subscriptions.renew(pk)
        except IntegrationError as error:
            return back_to(pk, Step.ADDRESS, error.message, "danger")
        text = _("Подписка действует до %(at)s.", at=_moment(until))
        return back_to(pk, Step.ADDRESS, text)

    # --- numbers ----------------------------------------------------------------------------

    @expose("/<int:pk>/extensions", methods=["POST"])
    @requires("edit")
    def extensions(self, pk: int) -> Response:
        """Whose each internal number is, and a new one."""
        connection_or_404(pk)
        by = current_principal()
        owners = {key: _number(value) for key, value in typed_fields("owner-").items()}
        key, owner = request.form.get("new-key", "").strip()[:64], request.form.get("new-owner", "")
        try:
            telephony_settings.save_extensions(pk, by, owners)
            if key:
                telephony_settings.add_extension(pk, key, by, employee_id=_number(owner))
        except ValidationErrors as error:
            return back_to(pk, Step.NUMBERS, error.message, "danger", key=key, owner=owner)
        return back_to(pk, Step.NUMBERS, _("Внутренние номера сохранены."))

    @expose("/<int:pk>/extensions/load", methods=["POST"])
    @requires("edit")
    def load_extensions(self, pk: int) -> Response:
        """Ask the operator for its internal numbers."""
        connection = connection_or_404(pk)
        try:
            found = connections.build(connection).extensions()
        except IntegrationError as error:
            return back_to(pk, Step.NUMBERS, error.message, "danger")
        new = telephony_settings.merge_extensions(pk, current_principal(), found)
        text = _("Получено номеров: %(all)s, новых: %(new)s.", all=len(found), new=new)
        return back_to(pk, Step.NUMBERS, text)

    @expose("/<int:pk>/extensions/delete", methods=["POST"])
    @requires("edit")
    def delete_extension(self, pk: int) -> Response:
        """Forget an internal number."""
        connection_or_404(pk)
        try:
            telephony_settings.delete_extension(
                pk, request.form.get("key", "")[:64], current_principal()
            )
        except OperationError as error:
            return back_to(pk, Step.NUMBERS, error.message, "danger")
        return back_to(pk, Step.NUMBERS, _("Номер удалён."))

    # --- lines --------------------------------------------------------------------------------

    @expose("/<int:pk>/lines", methods=["POST"])
    @requires("edit")
    def lines(self, pk: int) -> Response:
        """Which source each line advertises, and a new line."""
        connection_or_404(pk)
        by = current_principal()
        chosen = {
            int(name): _number(value)
            for name, value in typed_fields("source-").items()
            if _number(name) is not None
        }
        added = request.form.get("new-number", "").strip()[:40]
        source = request.form.get("new-source", "")
        try:
            telephony_lines.save_lines(pk, by, chosen)
            if added:
                telephony_lines.add_line(pk, added, by, source_id=_number(source))
        except OperationError as error:
            return back_to(pk, Step.LINES, error.message, "danger", number=added, source=source)
        return back_to(pk, Step.LINES, _("Линии сохранены."))

    @expose("/<int:pk>/lines/load", methods=["POST"])
    @requires("edit")
    def load_lines(self, pk: int) -> Response:
        """Ask the operator for its numbers; one that cannot tell is asked nothing."""
        connection = connection_or_404(pk)
        by = current_principal()
        if "seen" in request.form:
            new = telephony_lines.add_seen(pk, by)
            return back_to(pk, Step.LINES, _("Новых линий из звонков: %(new)s.", new=new))
        try:
            found = connections.build(connection).lines()
        except IntegrationError as error:
            return back_to(pk, Step.LINES, error.message, "danger")
        new = telephony_lines.merge_lines(pk, by, found)
        text = _("Получено линий: %(all)s, новых: %(new)s.", all=len(found), new=new)
        return back_to(pk, Step.LINES, text)

    @expose("/<int:pk>/lines/delete", methods=["POST"])
    @requires("edit")
    def delete_line(self, pk: int) -> Response:
        """Forget a line."""
        connection_or_404(pk)
        try:
            line_id = _number(request.form.get("line", "")) or 0
            telephony_lines.delete_line(pk, line_id, current_principal())
        except OperationError as error:
            return back_to(pk, Step.LINES, error.message, "danger")
        return back_to(pk, Step.LINES, _("Линия удалена. Звонки по ней остались."))

    # --- history and trial --------------------------------------------------------------------

    @expose("/<int:pk>/history", methods=["POST"])
    @requires("edit")
    def history(self, pk: int) -> Response:
        """Order a look into the operator's list of calls."""
        connection_or_404(pk)
        days = _SPANS.get(request.form.get("span", ""), 1)
        try:
            call_history.start(pk, utc_now() - dt.timedelta(days=days), by=current_principal())
        except OperationError as error:
            return back_to(pk, Step.TRIAL, error.message, "danger")
        text = _("Сверка запущена. Итог появится в журнале сверок ниже.")
        return back_to(pk, Step.TRIAL, text)

    @expose("/<int:pk>/trial", methods=["POST"])
    @requires("edit")
    def trial(self, pk: int) -> Response:
        """Have the operator call an internal number and connect it with the typed one."""
        connection_or_404(pk)
        extension_id = _number(request.form.get("extension", "")) or 0
        number = request.form.get("number", "")[:40]
        try:
            telephony_trial.place(pk, extension_id, number, current_principal())
        except OperationError as error:
            # A person's number has no place in an address: those are logged.
            session[TRIAL_KEPT] = [extension_id, number]
            return back_to(pk, Step.TRIAL, error.message, "danger")
        text = _("Оператор принял звонок: снимите трубку, затем зазвонит второй телефон.")
        return back_to(pk, Step.TRIAL, text)

    @expose("/<int:pk>/pulse", methods=["GET"])
    @requires("edit")
    def pulse(self, pk: int) -> FlaskResponse:
        """What has come since the trial was opened, for the page that waits for it."""
        connection = connection_or_404(pk)
        after = _number(request.args.get("after", "")) or 0
        came = telephony_health.latest_deliveries(pk, after)
        call = telephony_health.latest_call(pk, utc_now() - _TRIAL_WINDOW)
        return jsonify(
            last=came[-1].id if came else after,
            events=[_event(row) for row in came],
            call=_call(call) if call is not None else None,
            error=connection.last_error,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004


def _is_masked() -> bool:
    principal = current_principal()
    return principal.can(Grant.ONLY_STAFF_CONTACTS) and not principal.is_admin


def _moment(at: dt.datetime) -> str:
    return formats.moment(at, company_zone(), utc_now(), str(get_locale() or "ru"))


def _event(row: InboundDelivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": _moment(row.received_at),
        "text": row.error or row.verdict or str(_("принято, разбирается")),
        "tone": "bad" if row.error else "ok",
        "href": url_for("DeliveriesView.show", pk=row.id),
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "number": masking.shown_phone(call.client_number, _is_masked()) or str(_("номер скрыт")),
        "source": call.source.name if call.source else str(_("не определён")),
        "employee": call.employee.full_name if call.employee else "",
        "deal": url_for("DealsView.show", deal_id=call.deal_id) if call.deal_id else None,
        "state": call.state,
    }
