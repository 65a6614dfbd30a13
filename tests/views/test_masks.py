"""Hidden contacts attacked: shown whole, found out piece by piece, opened by one's own rows."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

from crm.models import (
    Appeal,
    Call,
    CallLeg,
    Contact,
    ContactEmail,
    Deal,
    Employee,
    Listing,
    RoleScope,
    UserGrant,
    db,
)
from crm.operations import search_index
from crm.reports.company import company
from crm.security.grants import Grant
from tests.factories import Factory
from tests.views.telephony_rows import call, ringing
from tests.views.test_attack import closed, filled

SURNAME, PHONE, EMAIL = "Зюзюкина", "+79995550177", "zyuzyu@example.ru"
SHAPES = (SURNAME, "9995550177", "555-01-77", EMAIL)
_TOKEN = re.compile(r"\.eJ[\w.-]+")
COMMON = 6  # the stage that everybody sees
SALE = {"deal_type": "sale", "kind": "flat"}


def give(person: Employee, grant: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=grant, allow=True))
    db.session.commit()


@pytest.fixture
def owner(make: Factory) -> Contact:
    """An owner in a common deal of a stranger, whose name and number are of the stranger alone."""
    contact = make.contact(f"Ольга {SURNAME}", PHONE, is_owner=True)
    contact.emails = [ContactEmail(email=EMAIL)]
    search_index.reindex_contact(contact)
    db.session.commit()
    return contact


@pytest.fixture
def deal(make: Factory, owner: Contact) -> Deal:
    return make.deal("stranger", COMMON, contact=owner)


@pytest.fixture
def listing(make: Factory, owner: Contact) -> Listing:
    return make.listing("stranger", owner_id=owner.id, title="Студия")


@pytest.fixture
def masked(sign_in: Any, people: dict[str, Employee]) -> Any:
    """The manager, who may not see owners' contacts."""
    give(people["manager"], Grant.HIDE_OWNER_CONTACTS)
    return sign_in("manager")


def ringing_for(person: Employee, deal: Deal) -> Call:
    made = ringing(deal, client_number=PHONE[1:], client_key=PHONE[2:])
    db.session.add(CallLeg(call_id=made.id, leg_id="1", employee_id=person.id))
    db.session.commit()
    return made


# --- shown ------------------------------------------------------------------------------


class World:
    """The hidden owner's rows by the arguments of routes."""

    def __init__(self, deal: Deal, listing: Listing, made: Call) -> None:
        self.deal, self.listing, self.call = deal, listing, made

    def pk(self, rule: str, name: str) -> int:
        found: int = {
            "/contacts": self.deal.contact_id, "/calls": self.call.id,
            "/listings": self.listing.id, "/tasks": 1,
        }.get(next((p for p in ("/contacts", "/calls", "/listings", "/tasks") if p in rule), ""),
              self.deal.id)  # fmt: skip
        return found


@pytest.mark.parametrize("grant", [Grant.HIDE_OWNER_CONTACTS, Grant.ONLY_STAFF_CONTACTS])
def test_no_page_shows_what_is_hidden(
    app: Flask,
    sign_in: Any,
    people: dict[str, Employee],
    deal: Deal,
    listing: Listing,
    grant: Grant,
) -> None:
    give(people["manager"], grant)
    made = call(deal, employee_id=people["manager"].id)
    db.session.add(
        Appeal(
            channel="site_form", deal_id=deal.id, contact_id=deal.contact_id, name=SURNAME,
            phone=PHONE, email=EMAIL, responsible_id=people["stranger"].id,
        )
    )  # fmt: skip
    db.session.commit()
    client, told, seen = sign_in("manager"), [], 0
    queries = (
        "", "?common=1&show=all&result=missed", "?q=%D0%9E%D0%BB%D1%8C%D0%B3%D0%B0&common=1",
        f"?q=89995550177&phone=89995550177&contact={deal.contact_id}&call={made.id}",
    )  # fmt: skip
    world: Any = World(deal, listing, made)
    for rule, _handler in closed(app):
        if "GET" not in (rule.methods or ()):
            continue
        for query in queries:
            text = client.get(filled(rule, world) + query).get_data().decode("utf-8", "replace")
            seen += "Ольга" in text.replace("q=Ольга", "")
            asked = text.replace("89995550177", "")
            told += [f"{rule.rule} {query}: {shape}" for shape in SHAPES if shape in asked]
    assert told == []
    assert seen > 10, "the rows themselves are seen"


def test_a_pop_up_hides_the_name_as_soon_as_it_hides_the_number(
    sign_in: Any, people: dict[str, Employee], deal: Deal
) -> None:
    give(people["manager"], Grant.HIDE_OWNER_CONTACTS)
    made = ringing_for(people["manager"], deal)
    client, url = sign_in("manager"), f"/calls/{made.id}/popup"
    assert "555-01-77" in client.get(url).text, "while the call comes in"
    made.state, made.employee_id = "answered", people["stranger"].id
    db.session.commit()
    text = client.get(url).text
    assert "Ольга" in text
    assert SURNAME not in text
    assert "555-01-77" not in text


# --- found out --------------------------------------------------------------------------

ORACLES = (
    "/deals?common=1&q={}",
    "/board?common=1&q={}",
    "/contacts?q={}",
    "/calls?q={}",
    "/search?q={}",
    "/api/v1/search/?q={}",
    "/api/v1/options/contacts?q={}",
    "/api/v1/options/deals?q={}",
)


def _told(answer: str, asked: str) -> str:
    """An answer without what was asked and without the forms' tokens, which know the time."""
    return _TOKEN.sub("", answer.replace(asked, "").replace(quote(asked), ""))


@pytest.mark.parametrize("grant", [Grant.HIDE_OWNER_CONTACTS, Grant.ONLY_STAFF_CONTACTS])
@pytest.mark.parametrize("piece", ["0177", "50177", "955550177", "зюз", "Зюзюкина"])
def test_nothing_hidden_is_found_out_piece_by_piece(
    sign_in: Any, people: dict[str, Employee], deal: Deal, grant: Grant, piece: str
) -> None:
    give(people["manager"], grant)
    call(deal, employee_id=people["manager"].id)
    client, wrong = sign_in("manager"), []
    miss = "0000" if piece.isdigit() else "ъъъ"
    for oracle in ORACLES:
        hit, other = (client.get(oracle.format(text)).text for text in (piece, miss))
        if _told(hit, piece) != _told(other, miss):
            wrong.append(oracle)
    assert wrong == []


@pytest.mark.parametrize("oracle", ORACLES)
def test_whoever_sees_the_contact_finds_him_by_a_piece(
    sign_in: Any, deal: Deal, oracle: str
) -> None:
    client = sign_in("director")
    call(deal)
    for piece, miss in (("50177", "00000"), ("зюз", "ъъъ")):
        if oracle.startswith("/calls") and not piece.isdigit():
            continue
        if oracle.endswith("options/deals?q={}") and piece.isdigit():
            continue
        hit, other = (client.get(oracle.format(text)).text for text in (piece, miss))
        assert _told(hit, piece) != _told(other, miss)


def test_ones_own_owner_is_still_found_by_name(masked: Any, make: Factory, owner: Contact) -> None:
    make.listing("manager", owner_id=owner.id)
    assert SURNAME in masked.get("/contacts?q=зюз").text
    assert SURNAME in masked.get("/api/v1/options/contacts?q=зюз").json["results"][0]["text"]


# --- opened by one's own rows -----------------------------------------------------------


def test_a_deal_of_ones_own_does_not_open_a_hidden_owner(
    masked: Any, make: Factory, deal: Deal
) -> None:
    body = {
        "pipeline_id": make.pipeline.id, "contact_id": deal.contact_id, "confirmed": True,
        "source_id": make.source().id,
    }  # fmt: skip
    assert masked.post("/api/v1/deals", json=body).status_code == 422
    url = f"/deals/add?contact={deal.contact_id}"
    form = {"pipeline_id": make.pipeline.id, "source": body["source_id"], "confirmed": "y"}
    assert "скрыт" in masked.post(url, data=form).text
    assert db.session.query(Deal).count() == 1


def test_a_client_who_stays_hidden_gets_a_second_deal(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    give(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    first = make.deal(contact=make.contact("Анна", "+79213334455"))
    body = {
        "pipeline_id": make.pipeline.id, "contact_id": first.contact_id, "confirmed": True,
        "source_id": make.source().id,
    }  # fmt: skip
    assert sign_in("manager").post("/api/v1/deals", json=body).status_code == 201


def test_contacts_shown_in_own_deals_are_not_made_own(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    company().show_contacts_in_own_deals = True
    give(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    foreign = make.deal("stranger", COMMON, contact=make.contact("Анна", "+79213334455"))
    body = {
        "pipeline_id": make.pipeline.id, "contact_id": foreign.contact_id, "confirmed": True,
        "source_id": make.source().id,
    }  # fmt: skip
    assert sign_in("manager").post("/api/v1/deals", json=body).status_code == 422


def test_a_listing_of_ones_own_does_not_open_a_hidden_owner(
    masked: Any, make: Factory, deal: Deal
) -> None:
    own = make.listing("manager", **SALE)
    made = masked.post("/api/v1/listings", json={**SALE, "owner_id": deal.contact_id})
    changed = masked.patch(f"/api/v1/listings/{own.id}", json={"owner_id": deal.contact_id})
    assert (made.status_code, changed.status_code) == (422, 422)
    page = masked.post(f"/listings/{own.id}/edit", data={**SALE, "owner_id": deal.contact_id})
    assert SURNAME not in page.text
    db.session.expire_all()
    assert db.session.get(Listing, own.id).owner_id is None


def test_a_copy_leaves_a_hidden_owner_behind(
    masked: Any, people: dict[str, Employee], listing: Listing
) -> None:
    give(people["manager"], Grant.EDIT_ANY_LISTING)
    made = masked.post(f"/api/v1/listings/{listing.id}/copy", json={})
    assert db.session.get(Listing, made.json["id"]).owner_id is None


@pytest.fixture
def edits_all(people: dict[str, Employee]) -> None:
    """The manager's role edits all contacts and deals."""
    role = people["manager"].roles[0].id
    for row in db.session.query(RoleScope).filter(
        RoleScope.role_id == role, RoleScope.kind.in_(("contact", "deal"))
    ):
        row.scope = "all"
    db.session.commit()


@pytest.mark.usefixtures("edits_all")
def test_a_hidden_owner_stays_an_owner(masked: Any, deal: Deal) -> None:
    url = f"/contacts/{deal.contact_id}/edit"
    page = masked.get(url).text
    assert "Ольга" in page
    assert SURNAME not in page
    assert masked.post(url, data={"name": "Ольга", "comment": "заметка"}).status_code == 302
    db.session.expire_all()
    kept = db.session.get(Contact, deal.contact_id)
    assert (kept.is_owner, kept.name, kept.comment) == (True, f"Ольга {SURNAME}", "заметка")
    assert SURNAME not in masked.get("/contacts").text


@pytest.mark.usefixtures("edits_all")
def test_what_is_hidden_is_not_written_over_from_the_deal(masked: Any, deal: Deal) -> None:
    url = f"/api/v1/deals/{deal.id}"
    for values in ({"contact_email": ""}, {"contact_email": "x@y.ru"}, {"contact_name": "Ольга"}):
        assert masked.patch(url, json=values).status_code == 422, values
    assert masked.patch(url, json={"payment": "наличные"}).status_code == 200
    db.session.expire_all()
    kept = db.session.get(Contact, deal.contact_id)
    assert (kept.name, [row.email for row in kept.emails]) == (f"Ольга {SURNAME}", [EMAIL])


def test_an_own_deals_owner_is_edited_by_who_sees_him(
    masked: Any, make: Factory, owner: Contact
) -> None:
    mine = make.deal(contact=owner)
    form = {"name": owner.name, "phones": PHONE, "email": EMAIL, "is_owner": "y"}
    assert masked.post(f"/contacts/{owner.id}/edit", data=form).status_code == 302
    change = masked.patch(f"/api/v1/deals/{mine.id}", json={"contact_email": "new@example.ru"})
    assert change.status_code == 200


# --- a client taken by his address ------------------------------------------------------


def test_a_typed_address_takes_nobody_along(sign_in: Any, make: Factory, owner: Contact) -> None:
    """A contact is found by mail on intake only: by hand that would open a stranger's client."""
    body = {
        "pipeline_id": make.pipeline.id, "source_id": make.source().id, "phone": "+79210000001",
        "values": {"contact_name": "Я", "contact_email": EMAIL},
    }  # fmt: skip
    made = sign_in("manager").post("/api/v1/deals", json=body)
    assert made.status_code == 201
    mine = db.session.get(Deal, made.json["id"]).contact
    assert mine.id != owner.id
    assert ([row.email for row in mine.emails], len(owner.phones)) == ([EMAIL], 1)


def test_a_known_client_keeps_his_address(sign_in: Any, make: Factory) -> None:
    known = make.contact("Анна", "+79213334455")
    body = {
        "pipeline_id": make.pipeline.id, "source_id": make.source().id, "phone": "+79213334455",
        "values": {"contact_name": "Я", "contact_email": "me@example.ru"},
    }  # fmt: skip
    assert sign_in("manager").post("/api/v1/deals", json=body).status_code == 201
    assert (known.name, known.emails) == ("Анна", [])
