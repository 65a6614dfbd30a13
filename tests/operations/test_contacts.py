"""One person behind many spellings of a number; edits with rights and warnings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crm.models import AuditEntry, Contact, ContactPhone, SearchToken, UserGrant, db
from crm.operations import contacts, search_index
from crm.operations.errors import Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import transaction
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import phones
from tests.factories import Factory

PHONE = "+79161234567"


def found(*numbers: str, email: str | None = None, name: str | None = None) -> tuple[Contact, bool]:
    with transaction():
        return contacts.find_or_create(numbers, email, name)


def tokens(contact: Contact) -> set[str]:
    query = select(SearchToken.token).where(
        SearchToken.kind == "contact", SearchToken.object_id == contact.id
    )
    return set(db.session.scalars(query))


class TestFind:
    def test_every_spelling_is_the_same_person(self, app: Flask) -> None:
        contact, created = found(PHONE, name="Анна Лебёдева")
        assert created
        for text in ("8 (916) 123-45-67", "9161234567", "7-916-123-45-67", "sip:79161234567@pbx"):
            assert found(text) == (contact, False)
        assert db.session.query(ContactPhone).count() == 1
        assert tokens(contact) == {"анна", "лебедева"}

    def test_the_address_matches_and_brings_the_number(self, app: Flask) -> None:
        contact, _ = found(email="Anna@Example.ru")
        again, created = found(PHONE, email="anna@example.ru ", name="Анна")
        assert (again, created) == (contact, False)
        assert (contact.name, [row.number for row in contact.phones]) == ("Анна", [PHONE])

    def test_the_number_is_stronger_than_the_address(self, app: Flask) -> None:
        by_phone, _ = found(PHONE)
        by_mail, _ = found(email="b@example.ru")
        contact, _ = found(PHONE, email="b@example.ru")
        assert contact == by_phone != by_mail

    def test_new_numbers_are_added_and_a_name_is_not_overwritten(self, app: Flask) -> None:
        contact, _ = found(PHONE, name="Анна")
        found(PHONE, "+79160000001", name="Другая")
        assert contact.name == "Анна"
        assert [row.number for row in contact.phones] == [PHONE, "+79160000001"]

    def test_impossible_numbers_join_nobody(self, app: Flask) -> None:
        one, _ = found("1111111111")
        two, _ = found("1111111111")
        assert one.id != two.id
        assert one.phones[0].flag == "suspicious"

    def test_an_extension_is_kept(self, app: Flask) -> None:
        contact, _ = found("+7 916 123-45-67 доб. 12")
        assert (contact.phones[0].number, contact.phones[0].extension) == (PHONE, "12")

    def test_two_at_once_make_one_contact(self, committed: Flask) -> None:
        start, errors = threading.Barrier(4), []

        def run() -> None:
            with committed.app_context():
                try:
                    start.wait(10)
                    with transaction():
                        contacts.find_or_create([PHONE], "a@example.ru", "Анна")
                except Exception as error:  # noqa: BLE001 - told to the test
                    errors.append(error)
                finally:
                    db.session.remove()

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert db.session.query(Contact).count() == 1


class TestEdit:
    def test_the_owner_changes_and_others_do_not(
        self, app: Flask, make: Factory, principal: Callable[[str], Principal]
    ) -> None:
        contact = make.contact("Анна", phone=PHONE)
        make.deal("manager", contact=contact)
        changed = contacts.update_contact(
            contact.id,
            principal("manager"),
            name="  Анна   Ёлкина ",
            phones=["8 916 000-00-01", PHONE],
            email="Anna@Example.ru",
        )
        assert changed.warnings == []
        assert contact.name == "Анна Ёлкина"
        assert [row.number for row in contact.phones] == ["+79160000001", PHONE]
        assert [row.email for row in contact.emails] == ["anna@example.ru"]
        assert tokens(contact) == {"анна", "елкина"}
        entry = db.session.query(AuditEntry).filter_by(object_type="contact").one()
        assert PHONE not in str(entry.after)
        for name in ("stranger", "marketer"):
            with pytest.raises((NotFound, Forbidden)):
                contacts.update_contact(contact.id, principal(name), name="Взлом")
        assert contact.name == "Анна Ёлкина"

    def test_a_double_is_a_warning(
        self, app: Flask, make: Factory, principal: Callable[[str], Principal]
    ) -> None:
        other = make.contact("Борис", phone=PHONE)
        made = contacts.create_contact(principal("manager"), name="Анна", phones=[PHONE])
        assert made.duplicates == [other]
        assert str(other.id) in made.warnings[0]
        assert made.contact.id != other.id

    def test_what_is_not_understood_is_told_by_field(
        self, app: Flask, principal: Callable[[str], Principal]
    ) -> None:
        with pytest.raises(ValidationErrors) as caught:
            contacts.create_contact(principal("manager"), phones=["12"], email="не почта")
        assert {error.field for error in caught.value.errors} == {"phones", "email"}
        with pytest.raises(ValidationErrors):
            contacts.create_contact(principal("manager"))

    def test_who_sees_stars_may_not_write_numbers(
        self,
        app: Flask,
        make: Factory,
        people: dict[str, Any],
        principal: Callable[[str], Principal],
    ) -> None:
        contact = make.contact("Анна", phone=PHONE)
        make.deal("manager", contact=contact)
        db.session.add(
            UserGrant(user_id=people["manager"].id, code=Grant.ONLY_STAFF_CONTACTS, allow=True)
        )
        db.session.commit()
        by = principal("manager")
        contacts.update_contact(contact.id, by, name="Анна Петровна")
        with pytest.raises(Forbidden):
            contacts.update_contact(contact.id, by, phones=[phones.masked(PHONE)])
        assert [row.number for row in contact.phones] == [PHONE]

    def test_single_changes(self, app: Flask, make: Factory) -> None:
        contact = make.contact("Анна", phone=PHONE)
        contacts.rename(contact, "Вера", None)
        contacts.set_email(contact, "v@example.ru", None)
        contacts.set_email(contact, "w@example.ru", None)
        assert [row.email for row in contact.emails] == ["w@example.ru", "v@example.ru"]
        contacts.set_email(contact, "", None)
        assert [row.email for row in contact.emails] == ["v@example.ru"]
        contacts.add_phone(contact, "8 916 000 00 01", None)
        assert len(contact.phones) == 2
        with pytest.raises(ValidationErrors):
            contacts.add_phone(contact, "дом", None)
        assert tokens(contact) == {"вера"}


class TestIndex:
    def test_words(self) -> None:
        assert search_index.words("ул. Ёлочная, д. 5", None, "УЛ.") == ["ул", "елочная", "д", "5"]
        assert len(search_index.words(" ".join(map(str, range(100))))) == 40
        assert search_index.words("я" * 100) == ["я" * 64]

    def test_everything_is_rebuilt_and_the_vanished_forgotten(
        self, app: Flask, make: Factory
    ) -> None:
        contact = make.contact("Анна Лебедева")
        listing = make.listing(address="Тверская, 7", locality="Москва")
        db.session.add(SearchToken(token="призрак", kind="contact", object_id=999))
        db.session.commit()
        assert search_index.reindex_all() == 2
        assert search_index.reindex_all() == 2
        rows = db.session.execute(
            select(SearchToken.kind, SearchToken.object_id, SearchToken.token)
        ).all()
        assert sorted(map(tuple, rows)) == sorted(
            [("contact", contact.id, word) for word in ("анна", "лебедева")]
            + [("listing", listing.id, word) for word in ("тверская", "7", "москва")]
        )

    def test_an_unchanged_name_writes_nothing(
        self, app: Flask, make: Factory, count_queries: Callable[[], Any]
    ) -> None:
        contact = make.contact("Анна")
        search_index.reindex_contact(contact)
        db.session.commit()
        with count_queries() as queries:
            search_index.reindex_contact(contact)
        assert len(queries) == 1
