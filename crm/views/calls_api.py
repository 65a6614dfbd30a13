"""Calls for scripts: dialling, where a dialled call stands, marks of calling back."""

from __future__ import annotations

from flask import Response, abort, request
from flask_babel import gettext as _

from crm.operations import dialling, missed_calls
from crm.operations.errors import ValidationErrors
from crm.reports import call_card
from crm.security.principal import current_principal
from crm.views import call_words
from crm.views.access import requires
from crm.views.base import expose
from crm.views.base_api import CrmApi


class CallsApi(CrmApi):
    """``/api/v1/calls``."""

    resource_name = "calls"
    class_permission_name = "Calls"

    @expose("/dial", methods=["POST"])
    @requires("list")
    def dial(self) -> Response:
        """Ring the person, then the client: one of ``contact_phone_id``, ``number``, ``call_id``.

        Without any of them the client of ``deal_id`` is called.
        """
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            raise ValidationErrors.one("", _("Нужен объект JSON."))
        call = dialling.click_to_call(
            current_principal(),
            contact_phone_id=_id(body, "contact_phone_id"),
            number=_text(body, "number"),
            call_id=_id(body, "call_id"),
            deal_id=_id(body, "deal_id"),
        )
        return self.answer(202, message=_("Снимите трубку: сначала звонок вам."), call_id=call.id)

    @expose("/<int:pk>/state", methods=["GET"])
    @requires("list")
    def state(self, pk: int) -> Response:
        """How far a call has come: ``ordered``, ``calling``, ``talking`` … or ``over``."""
        found = call_card.progress(current_principal(), pk)
        if found is None:
            abort(404)
        talked = bool(found.seconds) or found.result == "answered"
        reason = "" if found.state != "over" or talked else call_words.failure(found.result)
        return self.answer(state=found.state, seconds=found.seconds, reason=reason)

    @expose("/<int:pk>/called-back", methods=["POST", "DELETE"])
    @requires("list")
    def called_back(self, pk: int) -> Response:
        """«Перезвонил(а)» by hand, and taking it back."""
        by = current_principal()
        if request.method == "DELETE":
            missed_calls.undo_called_back(pk, by)
            return self.answer(message=_("Отметка снята."))
        missed_calls.mark_called_back(pk, by)
        return self.answer(message=_("Отмечено: клиенту перезвонили."))


def _id(body: dict[str, object], name: str) -> int | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or len(str(value)) > 10:  # noqa: PLR2004
        raise ValidationErrors.one(name, _("Нужен номер записи."))
    return int(str(value))


def _text(body: dict[str, object], name: str) -> str | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or len(value) > 40:  # noqa: PLR2004 no phone is longer
        raise ValidationErrors.one(name, _("Нужен номер телефона."))
    return value
