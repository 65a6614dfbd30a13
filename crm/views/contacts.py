"""Contacts: the list, the card, the form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import abort, flash, redirect, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm.models import Contact
from crm.operations import contacts as operations
from crm.operations.errors import ValidationErrors
from crm.reports import appeals, calls, contact_masks, contacts
from crm.security.principal import current_principal
from crm.views import arguments
from crm.views.access import requires
from crm.views.appeals import CHANNELS
from crm.views.base import CrmView, expose

_TEXTS = ("name", "comment", "email")


@dataclass
class ContactForm:
    """What was typed, and what is wrong with it."""

    name: str = ""
    phones: str = ""
    email: str = ""
    comment: str = ""
    is_company: bool = False
    is_owner: bool = False
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def typed(cls) -> ContactForm:
        """The form as it was sent."""
        texts: dict[str, Any] = {
            name: request.form.get(name, "").replace("\x00", "")[:2000]
            for name in (*_TEXTS, "phones")
        }
        return cls(
            **texts,
            is_company="is_company" in request.form,
            is_owner="is_owner" in request.form,
        )

    @classmethod
    def of(cls, row: contacts.ContactRow) -> ContactForm:
        """The form of a stored contact; hidden numbers are not put into it."""
        contact = row.contact
        return cls(
            name=row.name,
            phones="" if row.hidden else "\n".join(phone.text for phone in row.phones),
            email="" if row.hidden else next(iter(row.emails), ""),
            comment=contact.comment or "",
            is_company=contact.is_company,
            is_owner=contact.is_owner,
        )

    def values(self, seen: contacts.ContactRow | None = None) -> dict[str, Any]:
        """What the operation takes; what is hidden in the row that was seen stays as it is."""
        found: dict[str, Any] = {
            "comment": self.comment.strip() or None,
            "is_company": self.is_company,
        }
        hidden = seen is not None and seen.hidden
        if not hidden or (seen is not None and not seen.contact.is_owner):
            found |= {"name": self.name, "is_owner": self.is_owner}
        if not hidden:
            found["phones"] = [line for line in self.phones.splitlines() if line.strip()]
            found["email"] = self.email
        return found

    def refuse(self, error: ValidationErrors) -> None:
        """Put the complaints beside their fields."""
        self.errors = {complaint.field or "name": complaint.message for complaint in error.errors}


class ContactsView(CrmView):
    """``/contacts``."""

    route_base = "/contacts"
    class_permission_name = "Contacts"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Contacts that the person may see, the newest first."""
        text, only = arguments.text("q"), arguments.choice("only", ("mine", "owners"))
        rows, more = contacts.page(current_principal(), text, only, arguments.place())
        return self.page(
            "contacts/index.html",
            rows=rows,
            text=text,
            only=only,
            link=arguments.link,
            next_url=arguments.link(after=str(more)) if more else None,
        )

    @expose("/<int:pk>", methods=["GET"])
    @requires("show")
    def show(self, pk: int) -> str:
        """Phones, deals, calls and appeals of one contact."""
        principal, row = current_principal(), _row_or_404(pk)
        return self.page(
            "contacts/card.html",
            row=row,
            contact=row.contact,
            editable=contacts.may_edit(principal, row.contact),
            deals=contacts.deals(principal, pk),
            listings=contacts.listings(principal, pk),
            calls=calls.of_contact(principal, pk),
            appeals=appeals.of_contact(principal, pk),
            channels=CHANNELS,
        )

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> Response | str:
        """New contact; one with the same number is only pointed out."""
        form = ContactForm.typed()
        if request.method == "POST":
            try:
                change = operations.create_contact(
                    current_principal(),
                    **form.values(),
                    responsible_id=current_principal().id,
                )
            except ValidationErrors as error:
                form.refuse(error)
            else:
                return _saved(change)
        return self.page("contacts/form.html", form=form, seen=None)

    @expose("/<int:pk>/edit", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, pk: int) -> Response | str:
        """Change a contact; a refused form comes back with everything typed."""
        row = _row_or_404(pk)
        if not contacts.may_edit(current_principal(), row.contact):
            abort(403)
        form = ContactForm.typed() if request.method == "POST" else ContactForm.of(row)
        if request.method == "POST":
            try:
                return _saved(
                    operations.update_contact(pk, current_principal(), **form.values(row))
                )
            except ValidationErrors as error:
                form.refuse(error)
        return self.page("contacts/form.html", form=form, seen=row)


def _row_or_404(pk: int) -> contacts.ContactRow:
    row = contacts.card(current_principal(), pk)
    if row is None:
        abort(404)
    return row


def _saved(change: operations.ContactChange) -> Response:
    name = contact_masks.shown_name(current_principal(), change.contact) or str(change.contact)
    flash(_("Сохранено: %(name)s", name=name), "success")
    for warning in change.warnings:
        flash(warning, "warning")
    contact: Contact = change.contact
    return redirect(url_for("ContactsView.show", pk=contact.id))
