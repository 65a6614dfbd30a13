"""A button that calls stands at every phone, for those who may call."""

from __future__ import annotations

from typing import Any

import pytest

from crm.models import Appeal, Employee, UserGrant, db
from crm.operations import search_index
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.telephony_rows import call

NUMBER = "+79215540813"


@pytest.fixture
def pages(make: Factory) -> dict[str, str]:
    """Pages with a phone on them, and what their button says."""
    contact = make.contact("Ольга Мартынова", NUMBER, is_owner=True)
    search_index.reindex_contact(contact)
    deal = make.deal(contact=contact)
    waiting = make.deal(contact=make.contact("", "+79215540814"), is_saved=False, channel="call")
    listing = make.listing(owner_id=contact.id)
    made = call(deal)
    appeal = Appeal(
        channel="call",
        received_at=utc_now(),
        call_id=made.id,
        contact_id=contact.id,
        deal_id=deal.id,
        responsible_id=deal.responsible_id,
    )
    db.session.add(appeal)
    db.session.commit()
    phone = contact.phones[0].id
    return {
        f"/deals/{deal.id}": f'data-call="{phone}" data-call-deal="{deal.id}"',
        "/deals": f'data-call-deal="{deal.id}"',
        "/board": f'data-call-deal="{waiting.id}"',
        "/contacts": f'data-call="{phone}"',
        f"/contacts/{contact.id}": f'data-call="{phone}"',
        f"/listings/{listing.id}": f'data-call="{phone}"',
        "/appeals": f'data-call-deal="{waiting.id}"',
        "/appeals?show=all": f'data-call="{phone}" data-call-deal="{deal.id}"',
        "/calls": f'data-call-again="{made.id}"',
        "/search?q=Мартынова": f'data-call="{phone}"',
    }


def test_every_phone_has_a_button(sign_in: Any, pages: dict[str, str]) -> None:
    client = sign_in("manager")
    for url, mark in pages.items():
        assert mark in client.get(url).get_data(as_text=True), url


def test_who_may_not_call_has_none(
    sign_in: Any, pages: dict[str, str], people: dict[str, Employee]
) -> None:
    give(people["manager"], Grant.FORBID_CLICK_TO_CALL)
    client = sign_in("manager")
    for url in pages:
        text = client.get(url).get_data(as_text=True)
        assert "data-call" not in text.replace("data-calls", ""), url
        assert "kv-dial" not in text, url


def test_who_sees_stars_may_call_all_the_same(
    sign_in: Any, pages: dict[str, str], people: dict[str, Employee]
) -> None:
    give(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    client = sign_in("manager")
    for url, mark in pages.items():
        text = client.get(url).get_data(as_text=True)
        # An owner's surname is hidden with his number, so a search by it finds nobody.
        assert (mark in text) is not url.startswith("/search"), url
        assert "554-08" not in text, url
        assert "5540813" not in text, url


def give(person: Employee, code: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=True))
    db.session.commit()
