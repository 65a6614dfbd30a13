from __future__ import annotations

from typing import Any

import pytest

from crm.models import Contact, Employee, UserGrant, db
from crm.operations import search_index
from crm.reports import search
from crm.security.grants import Grant
from tests.factories import Factory


def known(make: Factory, name: str, phone: str | None = None, **values: Any) -> Contact:
    contact = make.contact(name, phone, **values)
    search_index.reindex_contact(contact)
    db.session.commit()
    return contact


def titles(client: Any, text: str) -> dict[str, list[str]]:
    answer = client.get("/api/v1/search/", query_string={"q": text})
    assert answer.status_code == 200
    return {
        group["title"]: [item["title"] for item in group["items"]]
        for group in answer.json["groups"]
    }


@pytest.mark.parametrize(
    "typed",
    [
        "+7 921 554-08-13", "8(921)5540813", "9215540813", "79215540813", "0813", "554-08-13",
        "марты", "ольга мартынова", "МАРТЫНОВА Ольга", "ольга алё",
    ],
)  # fmt: skip
def test_finds_a_person_by_anything(sign_in: Any, make: Factory, typed: str) -> None:
    make.deal(contact=known(make, "Ольга Алёновна Мартынова", "+79215540813"))
    make.deal(contact=known(make, "Борис Панин", "+79030001122"))
    found = titles(sign_in("manager"), typed)
    assert found["Контакты"] == ["Ольга Алёновна Мартынова"]
    assert found["Сделки"] == ["Ольга Алёновна Мартынова"]


def test_finds_a_deal_by_its_number(sign_in: Any, make: Factory) -> None:
    deal = make.deal(contact=make.contact("Анна"))
    for typed in (str(deal.id), f"№ {deal.id}", f"№{deal.id}", f"#{deal.id}"):
        assert titles(sign_in("manager"), typed)["Сделки"] == ["Анна"]


def test_finds_a_listing_by_its_address(sign_in: Any, make: Factory) -> None:
    listing = make.listing(address="Санкт-Петербург, Невский проспект, 12", title=None)
    search_index.reindex_listing(listing)
    db.session.commit()
    assert titles(sign_in("admin"), "невск 12")["Объекты"] == [listing.address]
    assert titles(sign_in("admin"), "невск 13") == {}


def test_nobody_finds_what_he_may_not_see(sign_in: Any, make: Factory) -> None:
    deal = make.deal(contact=known(make, "Ольга Мартынова", "+79215540813"))
    client = sign_in("stranger")
    for typed in ("мартынова", "9215540813", "0813", str(deal.id)):
        assert titles(client, typed) == {}
    assert titles(sign_in("director"), "мартынова") != {}


def test_masked_person_asks_by_whole_numbers_only(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    make.deal(contact=known(make, "Ольга Своя", "+79215540813"))
    make.deal("stranger", contact=known(make, "Борис Чужой", "+79030001122"))
    db.session.add(
        UserGrant(user_id=people["manager"].id, code=Grant.ONLY_STAFF_CONTACTS, allow=True)
    )
    db.session.commit()
    client = sign_in("manager")
    assert titles(client, "0813") == {}
    own = client.get("/api/v1/search/?q=89215540813")
    assert own.json["known"] is True
    assert "554-08" not in own.get_data(as_text=True)
    foreign = client.get("/api/v1/search/?q=89030001122").json
    assert (foreign["known"], foreign["groups"]) == (True, [])
    assert client.get("/api/v1/search/?q=89009998877").json["known"] is False
    page = client.get("/search?q=89030001122").get_data(as_text=True)
    assert "Номер есть в базе" in page
    assert "Чужой" not in page


def test_owners_number_cannot_be_found_out(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    owner = known(make, "Вера Хозяйка", "+79215540813", is_owner=True)
    make.deal(contact=owner)
    db.session.add(
        UserGrant(user_id=people["manager"].id, code=Grant.HIDE_OWNER_CONTACTS, allow=True)
    )
    db.session.commit()
    assert titles(sign_in("manager"), "0813") == {}


@pytest.mark.parametrize(
    "typed", ["", " ", "а" * 500, "%_\\", "№", "99999999999", "+7", "'; --", "\x00"]
)
def test_odd_texts_find_nothing_and_break_nothing(sign_in: Any, typed: str) -> None:
    assert titles(sign_in("manager"), typed) == {}
    assert sign_in("manager").get("/search", query_string={"q": typed}).status_code == 200


def test_only_what_the_role_may_open_is_offered(sign_in: Any, make: Factory, visitor: Any) -> None:
    make.deal(contact=known(make, "Ольга Мартынова"))
    listing = make.listing(address="Мартынова улица, 1", title=None)
    search_index.reindex_listing(listing)
    db.session.commit()
    assert set(titles(sign_in("marketer"), "мартынова")) <= {"Объекты"}
    assert "Ольга" not in sign_in("marketer").get("/search?q=мартынова").get_data(as_text=True)
    assert visitor.get("/api/v1/search/?q=x").status_code == 401
    assert visitor.get("/search?q=x").status_code == 302


def test_page_shows_all_groups(sign_in: Any, make: Factory) -> None:
    make.deal(contact=known(make, "Ольга Мартынова", "+79215540813"))
    text = sign_in("manager").get("/search?q=мартынова").get_data(as_text=True)
    assert "Ольга Мартынова" in text
    assert "+7 921 554-08-13" in text


@pytest.mark.parametrize("typed", ["мартынова", "0813", "9215540813"])
def test_search_costs_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, typed: str
) -> None:
    client, counted = sign_in("manager"), []
    for rows in (1, 30):
        for number in range(rows):
            phone = "+79215540813" if number == 0 else f"+7921{number:03d}0813"
            make.deal(contact=known(make, f"Мартынова {number}", phone))
        with count_queries() as queries:
            client.get("/api/v1/search/", query_string={"q": typed})
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 12


def test_understands_what_is_typed() -> None:
    assert search.understand("№ 2318").number == 2318
    assert search.understand("2318").digits == "2318"
    assert search.understand("+7 (921) 554").digits == "921554"
    assert search.understand("Ленина 12").words == ("ленина", "12")
