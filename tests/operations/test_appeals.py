"""The path of an appeal: contact, deal, source, department, spam and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from crm.models import (
    Appeal,
    BrowserEvent,
    Contact,
    Deal,
    DealSide,
    MoveHow,
    Pipeline,
    Stage,
    StageHistory,
    StageType,
    db,
)
from crm.operations import appeals, install
from crm.operations.appeals import Incoming
from crm.operations.attribution import Evidence
from crm.operations.errors import Conflict, Forbidden, NotFound
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import utc_now
from tests.factories import Factory

PHONE = "+79161234567"


def incoming(**values: Any) -> Incoming:
    values.setdefault("channel", "site_form")
    values.setdefault("received_at", utc_now())
    values.setdefault("evidence", Evidence(channel="site_form"))
    number = values.pop("phone", PHONE)
    parsed = phones.parse(number)
    values.setdefault("phones", (parsed,) if parsed else ())
    return Incoming(**values)


def second_pipeline(side: str = DealSide.SELLER) -> Pipeline:
    pipeline = Pipeline(name=f"Вторая {side}", side=side, position=5)
    install.make_stages(pipeline)
    db.session.add(pipeline)
    db.session.commit()
    return pipeline


class TestPath:
    def test_a_stranger_gets_a_contact_and_an_unprocessed_deal(
        self, app: Flask, make: Factory
    ) -> None:
        at = utc_now() - dt.timedelta(minutes=3)
        appeal = appeals.register(incoming(name="Мария", received_at=at))
        deal = appeal.deal
        assert deal is not None
        assert (deal.is_saved, deal.stage_id, deal.responsible_id) == (
            False,
            make.stage(0).id,
            None,
        )
        assert (deal.first_appeal_at, appeal.received_at) == (at, at)
        assert (appeal.created_deal, appeal.is_repeat) == (True, False)
        assert deal.contact is not None
        assert deal.contact.name == "Мария"
        assert [phone.number for phone in deal.contact.phones] == [PHONE]
        born = db.session.query(StageHistory).filter_by(deal_id=deal.id).one()
        assert born.how == MoveHow.INTAKE
        event = db.session.query(BrowserEvent).filter_by(kind="appeal.created").one()
        assert event.data == {"appeal_id": appeal.id, "deal_id": deal.id}

    def test_a_known_client_joins_the_deal_in_work_and_its_responsible_is_told(
        self, app: Flask, make: Factory, people: dict[str, Any]
    ) -> None:
        contact = make.contact(phone=PHONE)
        deal = make.deal("manager", contact=contact)
        appeal = appeals.register(incoming(phone="8 916 123-45-67"))
        assert (appeal.deal_id, appeal.created_deal, appeal.is_repeat) == (deal.id, False, True)
        assert appeal.responsible_id == people["manager"].id
        event = db.session.query(BrowserEvent).filter_by(kind="appeal.created").one()
        assert event.user_id == people["manager"].id

    def test_only_closed_deals_mean_a_new_one(self, app: Flask, make: Factory) -> None:
        contact = make.contact(phone=PHONE)
        refused = next(stage for stage in make.pipeline.stages if stage.type == StageType.REFUSAL)
        make.deal("manager", stage=refused, contact=contact)
        make.deal("manager", contact=contact, deleted_at=utc_now())
        appeal = appeals.register(incoming())
        assert (appeal.created_deal, appeal.is_repeat) == (True, True)
        assert appeal.contact_id == contact.id

    def test_which_of_several_open_deals(self, app: Flask, make: Factory) -> None:
        contact = make.contact(phone=PHONE)
        old = utc_now() - dt.timedelta(days=9)
        sellers = second_pipeline()
        listing = make.listing()
        by_listing = make.deal(contact=contact, listing_id=listing.id, last_activity_at=old)
        latest = make.deal(contact=contact)
        by_pipeline = make.deal(contact=contact, stage=sellers.stages[0], last_activity_at=old)
        assert appeals.register(incoming()).deal_id == latest.id
        assert appeals.register(incoming(listing_id=listing.id)).deal_id == by_listing.id
        wanted = incoming(listing_id=listing.id, pipeline_id=sellers.id)
        assert appeals.register(wanted).deal_id == by_pipeline.id

    def test_the_pipeline_of_a_new_deal(self, app: Flask, make: Factory) -> None:
        sellers = second_pipeline()
        sellers.departments.append(make.people["stranger"].department)
        db.session.commit()
        sell = appeals.register(incoming(deal_type="sell", phone="+79160000001"))
        named = appeals.register(incoming(pipeline_id=sellers.id, phone="+79160000002"))
        department = make.people["stranger"].department_id
        by_department = appeals.register(incoming(department_id=department, phone="+79160000003"))
        other = appeals.register(incoming(phone="+79160000004"))
        found = [row.deal.pipeline_id for row in (sell, named, by_department, other) if row.deal]
        assert found == [sellers.id, sellers.id, sellers.id, make.pipeline.id]

    def test_first_touch_stays_on_the_deal(self, app: Flask, make: Factory) -> None:
        one = make.source("Сайт", channel="site_form")
        two = make.source("Яндекс", utm_source="yandex")
        first = appeals.register(incoming())
        marked = Evidence(channel="site_form", utm=("yandex", "cpc", "", ""))
        second = appeals.register(incoming(evidence=marked))
        assert (first.source_id, second.source_id) == (one.id, two.id)
        assert second.deal is not None
        assert second.deal.source_id == one.id
        assert second.source_step == 3

    def test_a_bound_source_gives_its_department(self, app: Flask, make: Factory) -> None:
        department = make.people["stranger"].department_id
        make.source("Новостройки", channel="site_form", department_id=department)
        appeal = appeals.register(incoming(department_id=make.people["manager"].department_id))
        assert appeal.department_id == department
        assert appeal.deal is not None
        assert appeal.deal.department_id == department

    def test_the_responsible_of_the_door_unless_he_is_off(
        self, app: Flask, people: dict[str, Any]
    ) -> None:
        mine = appeals.register(incoming(responsible_id=people["manager"].id))
        assert mine.deal is not None
        assert mine.deal.responsible_id == people["manager"].id
        people["teammate"].active = False
        db.session.commit()
        off = appeals.register(incoming(responsible_id=people["teammate"].id, phone="+79160000009"))
        assert off.deal is not None
        assert off.deal.responsible_id is None

    def test_somebody_without_a_number_still_gets_a_deal(self, app: Flask) -> None:
        appeal = appeals.register(incoming(phones=(), name="Без телефона"))
        assert appeal.deal is not None


class TestDouble:
    def test_the_same_words_within_ten_minutes_disturb_nobody(self, app: Flask) -> None:
        at = utc_now()
        first = appeals.register(incoming(double_key="k" * 64, received_at=at))
        second = appeals.register(
            incoming(double_key="k" * 64, received_at=at + dt.timedelta(minutes=9))
        )
        assert second.deal_id == first.deal_id
        assert second.extra["duplicate_of"] == first.id
        assert db.session.query(BrowserEvent).filter_by(kind="appeal.created").count() == 1
        later = appeals.register(
            incoming(double_key="k" * 64, received_at=at + dt.timedelta(minutes=30))
        )
        assert "duplicate_of" not in later.extra


class TestSpam:
    def test_suspected_spam_is_kept_without_a_deal_and_restored_with_its_time(
        self, app: Flask, principal: Callable[[str], Principal], make: Factory
    ) -> None:
        source = make.source("Яндекс", utm_source="yandex")
        at = utc_now() - dt.timedelta(hours=5)
        spam = incoming(
            received_at=at,
            name="Мария",
            evidence=Evidence(channel="site_form", utm=("yandex", "", "", "")),
            spam_reasons=("заполнено скрытое поле-ловушка",),
        )
        appeal = appeals.register(spam)
        assert (appeal.is_spam, appeal.deal_id, appeal.contact_id) == (True, None, None)
        assert db.session.query(Contact).count() == 0
        appeals.not_spam(appeal.id, principal("admin"))
        assert appeal.is_spam is False
        assert appeal.deal is not None
        assert appeal.deal.first_appeal_at == at
        assert (appeal.source_id, appeal.deal.source_id) == (source.id, source.id)
        with pytest.raises(Conflict):
            appeals.not_spam(appeal.id, principal("admin"))

    def test_by_hand_the_unprocessed_deal_closes_and_the_number_is_remembered(
        self, app: Flask, principal: Callable[[str], Principal]
    ) -> None:
        appeal = appeals.register(incoming())
        appeals.mark_spam(appeal.id, principal("director"))
        deal = db.session.get(Deal, appeal.deal_id)
        assert deal is not None
        assert db.session.get(Stage, deal.stage_id).type == StageType.NON_TARGET
        assert deal.closed_at is not None
        assert appeals.is_black_listed(incoming().phones)
        appeals.not_spam(appeal.id, principal("director"))
        assert (deal.closed_at, deal.is_saved) == (None, False)
        assert db.session.get(Stage, deal.stage_id).type == StageType.IN_WORK
        assert not appeals.is_black_listed(incoming().phones)

    def test_a_processed_deal_stays_as_it_is(
        self, app: Flask, principal: Callable[[str], Principal], make: Factory
    ) -> None:
        deal = make.deal("manager", contact=make.contact(phone=PHONE))
        appeal = appeals.register(incoming())
        appeals.mark_spam(appeal.id, principal("admin"))
        assert deal.closed_at is None

    def test_rights(self, app: Flask, principal: Callable[[str], Principal], make: Factory) -> None:
        make.deal("manager", contact=make.contact(phone=PHONE))
        appeal = appeals.register(incoming())
        for name in ("stranger", "marketer"):
            with pytest.raises((NotFound, Forbidden)):
                appeals.mark_spam(appeal.id, principal(name))
        assert db.session.get(Appeal, appeal.id).is_spam is False
        appeals.mark_spam(appeal.id, principal("manager"))
        assert db.session.get(Appeal, appeal.id).is_spam is True
