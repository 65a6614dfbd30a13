"""Contacts: finding the one person behind numbers and addresses, and changing what is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import select

from crm.models import Action, Contact, ContactEmail, ContactPhone, db
from crm.operations import audit, checks, locks, search_index
from crm.operations.errors import FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.reports import contact_masks
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones as numbers
from crm.values.phones import Phone, PhoneFlag

# Shorter digits are an extension or a slip of the finger: never a person.
_SHORTEST_KEY = 6
_NUMBER_LENGTH = 32
_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class ContactChange:
    """What came of an edit: the contact, and other contacts with the same number or address."""

    contact: Contact
    duplicates: list[Contact] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """The same for a person."""
        return [
            _("Такой номер или адрес уже есть у контакта № %(id)s.", id=other.id)
            for other in self.duplicates
        ]


def find_or_create(
    phones: Sequence[Phone | str], email: str | None = None, name: str | None = None
) -> tuple[Contact, bool]:
    """The contact behind the numbers, else behind the address, else a new one; and whether new.

    Two who come at once with the same number get the same contact. New numbers and a missing
    name are added. Runs inside a transaction of the caller.
    """
    entries, address = _entries(phones), clean_email(email)
    _hold(entries, address)
    contact = _by_phones(entries) or _by_email(address)
    created = contact is None
    if contact is None:
        contact = Contact(name="")
        db.session.add(contact)
    _complete(contact, entries, address, name)
    db.session.flush()
    search_index.reindex_contact(contact)
    return contact, created


def by_hand(phone: Phone | str, name: str = "", email: str = "") -> Contact:
    """The contact behind a number that a person has typed, else a new one with the rest of it.

    A known one gets at most the name he lacks. Runs inside a transaction of the caller; raises
    ValidationErrors naming ``contact_email``.
    """
    if wrong := _email_errors(email):
        raise ValidationErrors.one("contact_email", wrong[0].message)
    contact, created = find_or_create([phone], None, name or None)
    if created and email:
        set_email(contact, email, None)
    return contact


def find(phones: Sequence[Phone | str], email: str | None = None) -> Contact | None:
    """The known contact behind the numbers, else behind the address."""
    return _by_phones(_entries(phones)) or _by_email(clean_email(email))


def duplicates(
    phones: Sequence[Phone | str], email: str | None = None, except_id: int | None = None
) -> list[Contact]:
    """Contacts that have one of the numbers or the address, the oldest first (at most 10)."""
    keys, address = [entry.key for entry in _entries(phones)], clean_email(email)
    found = _with_keys(keys) + ([] if not address else _with_email(address))
    unique = {contact.id: contact for contact in found if contact.id != except_id}
    return [unique[pk] for pk in sorted(unique)][:10]


@operation
def create_contact(
    by: Principal | None,
    *,
    name: str = "",
    phones: Sequence[str] = (),
    email: str | None = None,
    **values: Any,
) -> ContactChange:
    """A contact made by hand; an existing one with the same number is only pointed out.

    Raises ValidationErrors when neither a name nor a number is given or one is not understood.
    """
    errors = _phone_errors(phones) + _email_errors(email)
    if not (name.strip() or any(text.strip() for text in phones)):
        errors.append(FieldError("name", _("Укажите имя или телефон.")))
    if errors:
        raise ValidationErrors(errors)
    others = duplicates(phones, email)
    contact = Contact(name=_short_name(name), **values)
    db.session.add(contact)
    _complete(contact, _entries(phones), clean_email(email), None)
    db.session.flush()
    search_index.reindex_contact(contact)
    audit.record("create", contact, by, after=audit.snapshot(contact))
    return ContactChange(contact, others)


@operation
def update_contact(contact_id: int, by: Principal, **values: Any) -> ContactChange:
    """Change ``name``, ``comment``, ``is_company``, ``is_owner``, ``email``, ``phones`` (texts).

    Only what is given changes; ``phones`` replaces the whole list. Raises NotFound, Forbidden
    (not editable, or what is to change is hidden from the person) and ValidationErrors.
    """
    contact = _editable(contact_id, by)
    typed, email = values.pop("phones", None), values.pop("email", None)
    if typed is not None or email is not None or _touches_owner(contact, values):
        _refuse_hidden(contact, by)
    errors = _phone_errors(typed or ()) + _email_errors(email)
    if errors:
        raise ValidationErrors(errors)
    others = duplicates(typed or (), email, except_id=contact.id)
    for name in ("comment", "is_company", "is_owner", "responsible_id"):
        if name in values:
            setattr(contact, name, values[name])
    if "name" in values:
        contact.name = _short_name(values["name"] or "")
    before, after = audit.changes(contact)
    if typed is not None:
        before["phones"], after["phones"] = _replace_phones(contact, typed)
    if email is not None:
        _put_email(contact, clean_email(email))
    db.session.flush()
    search_index.reindex_contact(contact)
    audit.record("update", contact, by, before=before, after=after)
    return ContactChange(contact, others)


@operation
def rename(contact: Contact, name: str, by: Principal | None) -> Contact:
    """Give the contact a name; the caller has checked the right to the deal or the contact."""
    contact.name = _short_name(name)
    before, after = audit.changes(contact)
    db.session.flush()
    if after:
        search_index.reindex_contact(contact)
        audit.record("update", contact, by, before=before, after=after)
    return contact


@operation
def set_email(contact: Contact, email: str | None, by: Principal | None) -> Contact:
    """Make ``email`` the first address (empty: remove it); raises ValidationErrors."""
    errors = _email_errors(email)
    if errors:
        raise ValidationErrors(errors)
    _put_email(contact, clean_email(email))
    db.session.flush()
    audit.record("update", contact, by, after={"email": bool(email)})
    return contact


@operation
def add_phone(contact: Contact, number: str, by: Principal | None) -> ContactChange:
    """One more number; raises ValidationErrors when it is not understood."""
    errors = _phone_errors([number])
    if errors:
        raise ValidationErrors(errors)
    others = duplicates([number], except_id=contact.id)
    _add_numbers(contact, _entries([number]))
    db.session.flush()
    audit.record("update", contact, by, after={"phones": len(contact.phones)})
    return ContactChange(contact, others)


def give_consent(contact: Contact, at: dt.datetime, page: str) -> None:
    """Note that the person agreed to the processing of his data; the first time counts."""
    if contact.consent_at is None:
        contact.consent_at, contact.consent_page = at, page[:500] or None


def clean_email(email: str | None) -> str:
    """Mail address as it is compared."""
    return (email or "").strip().lower()[:255]


# --- numbers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    number: str
    key: str
    extension: str | None
    flag: str | None

    @property
    def tells_a_person(self) -> bool:
        return self.flag != PhoneFlag.SUSPICIOUS.value and len(self.key) >= _SHORTEST_KEY


def _entries(phones: Iterable[Phone | str]) -> list[_Entry]:
    found: dict[str, _Entry] = {}
    for item in phones:
        phone = numbers.parse(item) if isinstance(item, str) else item
        entry = _entry(phone) if phone else None
        if entry:
            found.setdefault(entry.key, entry)
    return list(found.values())


def _entry(phone: Phone) -> _Entry | None:
    number = phone.e164 or phone.raw
    key = numbers.match_key(number)[:_NUMBER_LENGTH]
    if not key:
        return None
    flag = phone.flag.value if phone.flag else None
    extension = phone.extension[:16] if phone.extension else None
    return _Entry(number[:_NUMBER_LENGTH], key, extension, flag)


def _hold(entries: list[_Entry], address: str) -> None:
    locks.hold("phone", [entry.key for entry in entries])
    if address:
        locks.hold("email", [address])


def _by_phones(entries: list[_Entry]) -> Contact | None:
    """The first number known decides: people name their own number first."""
    keys = [entry.key for entry in entries if entry.tells_a_person]
    found = _with_keys(keys)
    place = {key: order for order, key in enumerate(keys)}

    def rank(contact: Contact) -> tuple[int, int]:
        known = [place[phone.key] for phone in contact.phones if phone.key in place]
        return min(known), contact.id

    return min(found, key=rank, default=None)


def _with_keys(keys: list[str]) -> list[Contact]:
    if not keys:
        return []
    ids = select(ContactPhone.contact_id).where(ContactPhone.key.in_(keys))
    return list(db.session.scalars(select(Contact).where(Contact.id.in_(ids)).limit(50)))


def _by_email(address: str) -> Contact | None:
    return next(iter(_with_email(address)), None) if address else None


def _with_email(address: str) -> list[Contact]:
    ids = select(ContactEmail.contact_id).where(ContactEmail.email == address)
    query = select(Contact).where(Contact.id.in_(ids)).order_by(Contact.id)
    return list(db.session.scalars(query.limit(50)))


def _complete(contact: Contact, entries: list[_Entry], address: str, name: str | None) -> None:
    if name and not contact.name:
        contact.name = _short_name(name)
    _add_numbers(contact, entries)
    if address and all(kept.email != address for kept in contact.emails):
        contact.emails.append(ContactEmail(email=address, position=len(contact.emails)))


def _add_numbers(contact: Contact, entries: list[_Entry]) -> None:
    known = {phone.key for phone in contact.phones}
    for entry in entries:
        if entry.key not in known:
            contact.phones.append(_row(entry, len(contact.phones)))


def _row(entry: _Entry, position: int) -> ContactPhone:
    return ContactPhone(
        number=entry.number,
        key=entry.key,
        key_reversed=entry.key[::-1],
        extension=entry.extension,
        flag=entry.flag,
        position=position,
    )


def _replace_phones(contact: Contact, typed: Sequence[str]) -> tuple[int, int]:
    """Make the list equal to what was typed, keeping rows that stay; counts before and after."""
    before, wanted = len(contact.phones), _entries(typed)
    kept = {phone.key: phone for phone in contact.phones}
    contact.phones = [
        _placed(kept[entry.key], place) if entry.key in kept else _row(entry, place)
        for place, entry in enumerate(wanted)
    ]
    return before, len(wanted)


def _placed(phone: ContactPhone, place: int) -> ContactPhone:
    phone.position = place
    return phone


def _put_email(contact: Contact, address: str) -> None:
    rest = [kept for kept in contact.emails if kept.email != address]
    if not address:
        contact.emails = rest[1:]
        return
    mine = next((kept for kept in contact.emails if kept.email == address), None)
    contact.emails = [mine or ContactEmail(email=address), *rest]
    for place, kept in enumerate(contact.emails):
        kept.position = place


# --- checks -------------------------------------------------------------------------------------


def _phone_errors(typed: Sequence[str]) -> list[FieldError]:
    wrong = [text for text in typed if text.strip() and numbers.e164(text) is None]
    if not wrong:
        return []
    listed = ", ".join(wrong)
    return [FieldError("phones", _("Номер не распознан: %(numbers)s", numbers=listed))]


def _email_errors(email: str | None) -> list[FieldError]:
    if not (email or "").strip():
        return []
    probe = ContactEmail(email=email)
    return checks.email(probe)


def _editable(contact_id: int, by: Principal) -> Contact:
    contact = visibility.get_visible(by, Contact, contact_id, Action.EDIT)
    if contact is not None:
        return contact
    if visibility.get_visible(by, Contact, contact_id) is None:
        raise NotFound(_("Такого контакта нет, или он вам недоступен."))
    raise Forbidden(_("Этот контакт вы можете только смотреть."))


def _touches_owner(contact: Contact, values: Mapping[str, Any]) -> bool:
    """An owner's name is hidden with his numbers; who is no owner any more is hidden no more."""
    renamed = values.get("name", contact.name) != contact.name
    return contact.is_owner and (renamed or not values.get("is_owner", True))


def _refuse_hidden(contact: Contact, by: Principal) -> None:
    """Who sees stars instead of a number cannot write the stars over it."""
    if contact_masks.hidden_from(by, contact):
        raise Forbidden(_("Телефоны и почта этого контакта от вас скрыты, менять их нельзя."))


def _short_name(name: str) -> str:
    return " ".join(name.split())[:_NAME_LENGTH]
