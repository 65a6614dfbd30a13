"""A deal made by hand from a call that has none."""

from __future__ import annotations

from typing import Any

import pytest

from crm.integrations.telephony.base import CallKind
from crm.models import (
    Appeal,
    Call,
    CallLeg,
    CallState,
    Contact,
    Deal,
    Employee,
    Source,
    TimelineEvent,
    UserGrant,
    db,
)
from crm.operations import calls
from crm.security.grants import Grant
from tests import inbound
from tests.factories import Factory
from tests.views.telephony_rows import call, ringing

NUMBER = "+79215540813"


@pytest.fixture
def rung(people: dict[str, Employee]) -> Call:
    """A call without a contact and a deal; the manager's telephone rings with it."""
    made = ringing(None, client_number=NUMBER[1:], client_key=NUMBER[2:])
    db.session.add(CallLeg(call_id=made.id, leg_id="1", employee_id=people["manager"].id))
    db.session.commit()
    return made


def form(make: Factory, **values: Any) -> dict[str, Any]:
    source = db.session.query(Source).filter_by(name="Вывеска").first() or make.source("Вывеска")
    return {
        "pipeline_id": make.pipeline.id,
        "source": source.id,
        "contact_name": "Ольга Мартынова",
        **values,
    }


def test_the_form_knows_the_number_and_the_source(sign_in: Any, make: Factory, rung: Call) -> None:
    source = make.source("ДомКлик")
    rung.source_id = source.id
    db.session.commit()
    text = sign_in("manager").get(f"/deals/add?call={rung.id}").get_data(as_text=True)
    assert "+7 921 554-08-13" in text
    assert 'name="contact_phone"' not in text
    assert f'<option value="{source.id}" selected>' in text


def test_a_masked_number_is_never_shown_and_still_serves(
    sign_in: Any, make: Factory, rung: Call, people: dict[str, Employee]
) -> None:
    db.session.add(
        UserGrant(user_id=people["manager"].id, code=Grant.ONLY_STAFF_CONTACTS, allow=True)
    )
    db.session.commit()
    client, url = sign_in("manager"), f"/deals/add?call={rung.id}"
    refused = client.post(url, data=form(make, source="")).get_data(as_text=True)
    for text in (client.get(url).get_data(as_text=True), refused):
        assert "554-08-13" not in text
        assert "5540813" not in text
        assert "***-**-13" in text
    assert client.post(url, data=form(make)).status_code == 302
    assert db.session.query(Contact).one().phones[0].number == NUMBER


def test_the_call_and_its_client_belong_to_the_new_deal(
    sign_in: Any, make: Factory, rung: Call
) -> None:
    answer = sign_in("manager").post(
        f"/deals/add?call={rung.id}", data=form(make, contact_phone="+79990000000")
    )
    deal = db.session.query(Deal).one()
    assert answer.headers["Location"].endswith(f"/deals/{deal.id}")
    assert (rung.deal_id, rung.contact_id) == (deal.id, deal.contact_id)
    assert deal.contact.name == "Ольга Мартынова"
    assert [phone.number for phone in deal.contact.phones] == [NUMBER], "not what was typed"
    assert (deal.channel, deal.first_appeal_at, deal.is_saved) == ("call", rung.started_at, True)
    appeal = db.session.query(Appeal).one()
    assert (appeal.call_id, appeal.deal_id, appeal.created_deal) == (rung.id, deal.id, False)


def test_later_events_of_the_call_find_the_deal(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    mango = inbound.connection(people["manager"], makes_deals=False)
    calls.apply(inbound.event(mango, CallKind.RINGING, extension="101"), mango)
    made = db.session.query(Call).one()
    assert made.deal_id is None
    sign_in("manager").post(f"/deals/add?call={made.id}", data=form(make))
    for kind in (CallKind.ANSWERED, CallKind.ENDED):
        calls.apply(inbound.event(mango, kind, extension="101"), mango)
    deal = db.session.query(Deal).one()
    assert (made.deal_id, made.state) == (deal.id, CallState.ENDED)
    assert db.session.query(Appeal).count() == 1
    assert db.session.query(TimelineEvent).filter_by(kind="call").count() == 1


def test_an_outgoing_call_is_a_line_of_the_feed_once(sign_in: Any, make: Factory) -> None:
    made = call(None, direction="out", employee_id=make.people["manager"].id)
    sign_in("manager").post(f"/deals/add?call={made.id}", data=form(make))
    deal = db.session.query(Deal).one()
    assert made.deal_id == deal.id
    assert db.session.query(Appeal).count() == 0
    assert db.session.query(TimelineEvent).filter_by(kind="call", deal_id=deal.id).count() == 1


def test_a_call_with_a_hidden_number_asks_for_it(sign_in: Any, make: Factory, rung: Call) -> None:
    rung.client_number = rung.client_key = None
    db.session.commit()
    client, url = sign_in("manager"), f"/deals/add?call={rung.id}"
    assert 'name="contact_phone"' in client.get(url).get_data(as_text=True)
    client.post(url, data=form(make, contact_phone=NUMBER))
    deal = db.session.query(Deal).one()
    assert (rung.deal_id, rung.contact_id) == (deal.id, deal.contact_id)
    assert deal.contact.phones[0].number == NUMBER


def test_who_may(sign_in: Any, rung: Call, visitor: Any, make: Factory) -> None:
    url = f"/deals/add?call={rung.id}"
    for name in ("stranger", "teammate"):
        assert sign_in(name).get(url).status_code == 404
        assert sign_in(name).post(url, data=form(make)).status_code == 404
        assert sign_in(name).get(f"/deals/known?call={rung.id}").status_code == 404
    assert sign_in("director").get(url).status_code == 200
    assert sign_in("marketer").get(url).status_code == 403
    assert visitor.get(url).status_code == 302
    for garbage in ("x", "", "0", "99999999999999"):
        assert sign_in("manager").get(f"/deals/add?call={garbage}").status_code == 404
    assert db.session.query(Deal).count() == 0


def test_a_call_that_has_a_deal_leads_to_it(sign_in: Any, make: Factory) -> None:
    deal, foreign = make.deal(), make.deal("stranger")
    mine = call(deal)
    client = sign_in("manager")
    answer = client.get(f"/deals/add?call={mine.id}")
    assert answer.headers["Location"].endswith(f"/deals/{deal.id}")
    theirs = call(foreign)
    db.session.add(CallLeg(call_id=theirs.id, leg_id="1", employee_id=deal.responsible_id))
    db.session.commit()
    answer = client.post(f"/deals/add?call={theirs.id}", data=form(make))
    assert answer.headers["Location"].endswith("/deals")
    assert db.session.query(Deal).count() == 2


def test_who_is_known_behind_the_number_is_told_without_it(
    sign_in: Any, make: Factory, rung: Call
) -> None:
    make.deal("stranger", contact=make.contact("Ольга", NUMBER))
    text = sign_in("manager").get(f"/deals/known?call={rung.id}").get_data(as_text=True)
    assert "Клиент закреплён" in text
    assert "Stranger Тестов" in text
    assert "554" not in text


def test_a_second_open_deal_wants_to_be_confirmed(sign_in: Any, make: Factory, rung: Call) -> None:
    make.deal("stranger", contact=make.contact("Ольга", NUMBER))
    client, url = sign_in("manager"), f"/deals/add?call={rung.id}"
    assert "уже есть открытая сделка" in client.post(url, data=form(make)).get_data(as_text=True)
    assert rung.deal_id is None
    assert client.post(url, data=form(make, confirmed="y")).status_code == 302
    assert rung.deal_id == db.session.query(Deal).order_by(Deal.id.desc()).first().id
