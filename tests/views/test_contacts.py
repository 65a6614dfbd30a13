from __future__ import annotations

from typing import Any

import pytest

from crm.models import Contact, Employee, UserGrant, db
from crm.operations import search_index
from crm.security.grants import Grant
from tests.factories import Factory
from tests.views.telephony_rows import call


def known(make: Factory, name: str, phone: str | None = None, **values: Any) -> Contact:
    contact = make.contact(name, phone, **values)
    search_index.reindex_contact(contact)
    db.session.commit()
    return contact


def test_list_and_search(sign_in: Any, make: Factory) -> None:
    make.deal(contact=known(make, "Анна Своя", "+79213334455"))
    make.deal(contact=known(make, "Борис Другой", "+79210001122"))
    make.deal("stranger", contact=known(make, "Вера Чужая"))
    client = sign_in("manager")
    text = client.get("/contacts").get_data(as_text=True)
    assert "Анна Своя" in text
    assert "+7 921 333-44-55" in text
    assert "Вера Чужая" not in text
    for typed in ("своя", "89213334455", "4455"):
        found = client.get("/contacts", query_string={"q": typed}).get_data(as_text=True)
        assert "Анна Своя" in found
        assert "Борис Другой" not in found
    assert "Никого не нашлось" in client.get("/contacts?q=%25").get_data(as_text=True)


def test_card_shows_what_belongs_to_the_person(sign_in: Any, make: Factory) -> None:
    contact = known(make, "Анна", "+79213334455")
    mine, foreign = make.deal(contact=contact), make.deal("stranger", contact=contact)
    call(mine)
    text = sign_in("manager").get(f"/contacts/{contact.id}").get_data(as_text=True)
    assert f"/deals/{mine.id}" in text
    assert f"/deals/{foreign.id}" not in text
    assert f'data-call="{contact.phones[0].id}"' in text


def test_who_may_open(sign_in: Any, make: Factory, visitor: Any) -> None:
    contact = known(make, "Анна")
    make.deal(contact=contact)
    for url in ("/contacts", f"/contacts/{contact.id}", "/contacts/add"):
        assert visitor.get(url).status_code == 302
        assert sign_in("marketer").get(url).status_code == 403
    assert sign_in("stranger").get(f"/contacts/{contact.id}").status_code == 404
    assert sign_in("stranger").get(f"/contacts/{contact.id}/edit").status_code == 404
    assert sign_in("manager").get("/contacts/999999").status_code == 404


def test_numbers_are_hidden_from_the_masked(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    contact = known(make, "Анна", "+79213334455")
    make.deal(contact=contact)
    db.session.add(
        UserGrant(user_id=people["manager"].id, code=Grant.ONLY_STAFF_CONTACTS, allow=True)
    )
    db.session.commit()
    client = sign_in("manager")
    for url in ("/contacts", f"/contacts/{contact.id}", f"/contacts/{contact.id}/edit"):
        text = client.get(url).get_data(as_text=True)
        assert "333-44" not in text
        assert "9213334455" not in text
    client.post(f"/contacts/{contact.id}/edit", data={"name": "Анна Н", "phones": "***"})
    db.session.expire_all()
    kept = db.session.get(Contact, contact.id)
    assert (kept.name, kept.phones[0].number) == ("Анна Н", "+79213334455")


def test_adding_and_its_warning(sign_in: Any, make: Factory) -> None:
    known(make, "Анна", "+79213334455")
    client = sign_in("manager")
    typed = {
        "name": "Новый",
        "phones": "8 921 333-44-55\n+7 903 000-11-22",
        "email": "A@Example.ru",
    }
    answer = client.post("/contacts/add", data=typed, follow_redirects=True)
    text = answer.get_data(as_text=True)
    assert "+7 903 000-11-22" in text
    assert "a@example.ru" in text
    assert "уже есть у контакта" in text


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ({"phones": ""}, "Укажите имя или телефон"),
        ({"name": "Анна", "phones": "12"}, "Номер не распознан"),
    ],
)
def test_refused_form_keeps_what_was_typed(
    sign_in: Any, typed: dict[str, str], complaint: str
) -> None:
    typed = {"comment": "важная заметка", **typed}
    answer = sign_in("manager").post("/contacts/add", data=typed)
    text = answer.get_data(as_text=True)
    assert complaint in text
    assert "важная заметка" in text


def test_editing_is_for_those_who_may(sign_in: Any, make: Factory) -> None:
    contact = known(make, "Анна", "+79213334455")
    make.deal(contact=contact)
    client = sign_in("manager")
    assert "+7 921 333-44-55" in client.get(f"/contacts/{contact.id}/edit").get_data(as_text=True)
    answer = client.post(
        f"/contacts/{contact.id}/edit",
        data={"name": "Анна Ивановна", "phones": "+7 921 333-44-55", "is_owner": "y"},
    )
    assert answer.status_code == 302
    db.session.expire_all()
    changed = db.session.get(Contact, contact.id)
    assert (changed.name, changed.is_owner, len(changed.phones)) == ("Анна Ивановна", True, 1)


@pytest.mark.parametrize("person", ["manager", "director"])
def test_list_costs_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, person: str
) -> None:
    client, counted = sign_in(person), []
    for rows in (2, 45):
        for number in range(rows):
            make.deal(contact=known(make, f"Анна {rows} {number}"))
        with count_queries() as queries:
            client.get("/contacts?q=анна")
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 15


def test_card_costs_the_same_for_many(sign_in: Any, make: Factory, count_queries: Any) -> None:
    contact, client, counted = known(make, "Анна"), sign_in("manager"), []
    for rows in (1, 30):
        for number in range(rows):
            source = make.source(f"И {rows} {number}")
            call(make.deal(contact=contact), source_id=source.id)
        with count_queries() as queries:
            client.get(f"/contacts/{contact.id}")
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 20
