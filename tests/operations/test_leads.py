"""A stored request becomes an appeal with everything it told."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from flask import Flask

from crm.models import Appeal, DeliveryState, db
from crm.operations import inbox
from crm.values.clock import utc_now
from tests import inbound
from tests.factories import Factory
from tests.inbound import deliveries

FULL = {
    "name": "Мария Лебедева",
    "phone": "8 (916) 204-17-35",
    "email": "M.Lebedeva@example.org",
    "comment": "Ищу двухкомнатную",
    "page_url": "https://www.example.org/flats/17?utm_source=yandex&utm_medium=cpc",
    "form_name": "Подбор",
    "consent": "да",
    "этаж": "не первый",
}


def take_in(point: Any, body: Any, **values: Any) -> Appeal:
    inbound.deliver_lead(point, json.dumps(body).encode(), **values)
    inbox.drain()
    row = deliveries()[-1]
    assert row.state in (DeliveryState.DONE, DeliveryState.SPAM), row.error
    found: Appeal = db.session.query(Appeal).filter_by(delivery_id=row.id).one()
    return found


def test_everything_told_is_kept(app: Flask, make: Factory) -> None:
    source = make.source("Яндекс Директ", utm_source="yandex", utm_medium="cpc")
    appeal = take_in(inbound.point(), FULL)
    assert (appeal.name, appeal.phone) == ("Мария Лебедева", "+79162041735")
    assert (appeal.email, appeal.form_name) == ("m.lebedeva@example.org", "Подбор")
    assert appeal.comment == "Ищу двухкомнатную\nэтаж: не первый"
    assert (appeal.utm_source, appeal.utm_medium) == ("yandex", "cpc")
    assert (appeal.source_id, appeal.source_step) == (source.id, 3)
    assert appeal.contact is not None
    assert appeal.contact.consent_at == appeal.received_at
    assert [row.email for row in appeal.contact.emails] == ["m.lebedeva@example.org"]
    assert deliveries()[0].verdict == f"обращение № {appeal.id}: новая сделка № {appeal.deal_id}"


def test_the_settings_of_the_point(app: Flask, make: Factory, people: dict[str, Any]) -> None:
    source = make.source("Лендинг")
    point = inbound.point(
        source_id=source.id,
        responsible_id=people["manager"].id,
        department_id=people["manager"].department_id,
        channel="tilda",
        aliases={"Бюджет": "comment"},
    )
    appeal = take_in(
        point,
        {
            "phone": "89162041735",
            "бюджет": "до 12 млн",
        },
    )
    assert (appeal.source_id, appeal.source_step, appeal.channel) == (source.id, 1, "tilda")
    assert appeal.comment == "до 12 млн"
    assert appeal.deal is not None
    assert appeal.deal.responsible_id == people["manager"].id
    assert appeal.deal.department_id == people["manager"].department_id


def test_the_sender_names_a_person_or_a_source_only_where_it_is_allowed(
    app: Flask, make: Factory, people: dict[str, Any]
) -> None:
    source = make.source("Назван отправителем")
    told = {"responsible_email": "Teammate@example.ru", "source_id": str(source.id)}
    strict = take_in(inbound.point(), {"phone": "89162041731", **told})
    assert strict.deal is not None
    assert strict.deal.responsible_id is None
    assert strict.source_id != source.id
    open_point = inbound.point(key="o" * 32, allow_responsible=True, allow_source=True)
    appeal = take_in(open_point, {"phone": "89162041732", **told})
    assert appeal.deal is not None
    assert appeal.deal.responsible_id == people["teammate"].id
    assert appeal.source_id == source.id
    unknown = take_in(open_point, {"phone": "89162041733", "source_id": "99999"})
    assert unknown.source_step == 7


def test_the_listing_is_linked(app: Flask, make: Factory) -> None:
    listing = make.listing(public_id="flat-17")
    point = inbound.point()
    assert take_in(point, {"phone": "89162041731", "object": "flat-17"}).listing_id == listing.id
    by_number = take_in(point, {"phone": "89162041732", "object": str(listing.id)})
    assert by_number.listing_id == listing.id
    assert by_number.deal is not None
    assert by_number.deal.listing_id == listing.id
    assert take_in(point, {"phone": "89162041733", "object": "нет такого"}).listing_id is None


def test_a_double_over_the_border_of_the_window(app: Flask) -> None:
    point = inbound.point()
    first = take_in(point, FULL, received_at=utc_now() - dt.timedelta(minutes=6))
    second = take_in(point, FULL)
    assert second.extra["duplicate_of"] == first.id
    assert second.deal_id == first.deal_id
    assert "повтор обращения" in (deliveries()[1].verdict or "")


def test_an_employees_number_is_suspicious(app: Flask, people: dict[str, Any]) -> None:
    people["teammate"].phone = "+79162041735"
    db.session.commit()
    appeal = take_in(inbound.point(), FULL)
    assert appeal.is_spam
    assert "сотрудника" in (appeal.spam_reasons or "")
    assert deliveries()[0].state == DeliveryState.SPAM


def test_long_and_strange_texts_are_taken(app: Flask) -> None:
    strange = {
        "name": "Я" * 5000,
        "phone": "+7 916 204-17-35, +7 916 204-17-36",
        "comment": "\u0000\ud800 ☎ " + "текст " * 3000,
        "utm_source": "y" * 3000,
        "form_name": "f" * 900,
        "external_id": "e" * 900,
        "action": "нечто",
    }
    appeal = take_in(inbound.point(), strange)
    assert appeal.deal is not None
    assert appeal.contact is not None
    assert len(appeal.contact.phones) == 2
