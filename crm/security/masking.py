"""Phones and mail addresses as a person may see them. Masked here, never in a page."""

from __future__ import annotations

from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones


def hides_contacts(
    principal: Principal, *, is_owner: bool = False, own: bool = False, own_shown: bool = False
) -> bool:
    """Whether a contact's phones and addresses are masked for ``principal``.

    ``own``: the deal or listing at hand is the person's own; ``own_shown``: the
    company lets people see contacts in their own deals.
    """
    if principal.is_admin:
        return False
    if principal.can(Grant.ONLY_STAFF_CONTACTS):
        return not (own and own_shown)
    return is_owner and principal.can(Grant.HIDE_OWNER_CONTACTS) and not own


def shown_phone(number: str | None, hidden: bool) -> str:
    """``+7 912 345-67-89``, or ``+7 912 ***-**-89`` when hidden."""
    if not number:
        return ""
    return phones.masked(number) if hidden else phones.pretty(number)


def shown_email(email: str | None, hidden: bool) -> str:
    """The address, or its first letter and domain when hidden."""
    if not email or not hidden:
        return email or ""
    name, _, domain = email.partition("@")
    return f"{name[:1]}***@{domain}"


def shown_name(name: str, hidden: bool) -> str:
    """An owner's name beyond the first name is hidden along with the contacts."""
    return name.split(" ", 1)[0] if hidden and name else name
