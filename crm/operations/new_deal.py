"""A deal made by hand for a client given by his phone: contact and deal in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import exists, select

from crm.models import Channel, Contact, Deal, Stage, StageType, db
from crm.operations import call_deals, contacts, deals, locks
from crm.operations.errors import ValidationErrors
from crm.operations.transaction import operation
from crm.reports import contact_masks
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones

_CLIENT = ("contact_name", "contact_email")


@operation
def create_with_client(
    *,
    pipeline_id: int,
    by: Principal,
    values: Mapping[str, Any],
    phone: str = "",
    contact_id: int | None = None,
    call_id: int | None = None,
    confirmed: bool = False,
    **rest: Any,
) -> Deal:
    """Find or make the client, then make the deal (see ``deals.create_deal`` for ``rest``).

    ``call_id``: the client is who called, whatever number is typed, and the call comes to belong
    to the deal; NotFound when the person may not see it, Conflict when it has a deal already.

    A client that is known already keeps his name and address; he is known by his number alone: by
    an address anybody's client could be taken. A second open deal of the
    client in the pipeline needs ``confirmed`` (domain §13). Raises ValidationErrors naming
    ``contact_phone``, ``contact_id``, ``confirmed`` or a field of the card.
    """
    card = dict(values)
    call = call_deals.free_call(call_id, by) if call_id is not None else None
    contact = _visible(contact_id, by) if contact_id is not None else None
    if contact is None and call is not None:
        rest = {"channel": Channel.CALL, **rest}
        name, email = (str(card.get(code) or "") for code in _CLIENT)
        contact = call_deals.client_of(call, name, email)
    contact = contact or _by_phone(phone, card)
    if contact is not None:
        # A form that was sent twice at once must not make two deals.
        locks.hold("client", [str(contact.id)])
        if not confirmed and _has_open_deal(contact, pipeline_id):
            raise ValidationErrors.one(
                "confirmed", _("У этого клиента уже есть открытая сделка в этой воронке.")
            )
        for code in _CLIENT:
            card.pop(code, None)
    deal = deals.create_deal(pipeline_id=pipeline_id, by=by, contact=contact, values=card, **rest)
    if call is not None:
        call_deals.tie(call, deal, by)
    return deal


def _visible(contact_id: int, by: Principal) -> Contact:
    found = visibility.get_visible(by, Contact, contact_id)
    if found is None:
        raise ValidationErrors.one("contact_id", _("Такого контакта нет, или он вам недоступен."))
    if contact_masks.opened_by_deal(by, found):
        text = _("Контакты этого клиента от вас скрыты: сделку заводит тот, кто его ведёт.")
        raise ValidationErrors.one("contact_id", text)
    return found


def _by_phone(phone: str, card: Mapping[str, Any]) -> Contact | None:
    if not phone:
        return None
    if phones.e164(phone) is None:
        raise ValidationErrors.one(
            "contact_phone", _("Номер не распознан. Пример: +7 912 345-67-89.")
        )
    email, name = (str(card.get(code) or "") for code in ("contact_email", "contact_name"))
    return contacts.by_hand(phone, name, email)


def _has_open_deal(contact: Contact, pipeline_id: int) -> bool:
    open_stages = select(Stage.id).where(Stage.type == StageType.IN_WORK)
    return bool(
        db.session.scalar(
            select(
                exists().where(
                    Deal.contact_id == contact.id,
                    Deal.pipeline_id == pipeline_id,
                    Deal.deleted_at.is_(None),
                    Deal.stage_id.in_(open_stages),
                )
            )
        )
    )
