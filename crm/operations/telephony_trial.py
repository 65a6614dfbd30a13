"""A trial call of the connection wizard: an internal number is connected with a typed one."""

from __future__ import annotations

import secrets

from flask_babel import gettext as _

from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import Capability, ClickToCall
from crm.models import TelephonyExtension, db
from crm.operations import audit, connections
from crm.operations.errors import Conflict, Forbidden, ValidationErrors
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones


def place(connection_id: int, extension_id: int, number: str, by: Principal) -> None:
    """Have the operator ring the internal number, then ``number``.

    The call comes back by its events, as any other. Raises Forbidden (permission 15), NotFound,
    ValidationErrors naming ``number`` or ``extension``, Conflict with the operator's reason.
    """
    if by.can(Grant.FORBID_CLICK_TO_CALL):
        raise Forbidden(_("Звонки из CRM для вас отключены."))
    connection = connections.find(connection_id)
    row = db.session.get(TelephonyExtension, extension_id)
    if row is None or row.connection_id != connection.id:
        raise ValidationErrors.one("extension", _("Выберите внутренний номер."))
    client = phones.e164(number)
    if client is None:
        raise ValidationErrors.one("number", _("Номер не распознан. Пример: +7 912 345-67-89."))
    operator = connections.build(connection)
    if Capability.CLICK_TO_CALL not in operator.capabilities:
        raise Conflict(_("Этот оператор не умеет звонить из CRM."))
    line = next((line.number for line in connection.lines), None)
    order = ClickToCall(
        extension=row.number or row.key,
        employee_key=row.key,
        number=phones.digits(client) or client,
        request_id=f"kv-{secrets.token_hex(12)}",
        line_number=phones.digits(line) if line else None,
    )
    audit.record("trial_call", connection, by, after={"extension": row.key})
    db.session.commit()
    try:
        operator.place_call(order)
    except IntegrationError as error:
        connections.note_error(connection.id, error.message)
        raise Conflict(error.message) from error
