"""Sources: rules from the database, and what may not be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from crm.models import Source, db
from crm.operations import records, sources
from crm.operations.attribution import Evidence, Step
from crm.operations.errors import Conflict, ValidationErrors
from tests.factories import Factory


def fields(caught: pytest.ExceptionInfo[ValidationErrors]) -> set[str]:
    return {error.field for error in caught.value.errors}


def make_source(**values: Any) -> Source:
    values.setdefault("name", "Щит")
    values.setdefault("active", True)
    record = records.create(Source(**values), None)
    assert isinstance(record, Source)
    return record


class TestAttribute:
    def test_it_follows_the_database(self, app: Flask) -> None:
        called = Evidence(called_number="+74955550100")
        undefined = sources.attribute(called)
        assert undefined.step is Step.UNDEFINED
        source = make_source(phone="8 (495) 555-01-00")
        assert sources.attribute(called).source_id == source.id
        source.active = False
        records.update(source, None)
        assert sources.attribute(called).source_id == undefined.source_id

    def test_unchanged_rules_cost_one_query(
        self, app: Flask, count_queries: Callable[[], Any]
    ) -> None:
        make_source(domains="example.ru")
        sources.attribute(Evidence())
        with count_queries() as queries:
            verdict = sources.attribute(Evidence(page_url="https://www.example.ru/1"))
        assert verdict.step is Step.DOMAIN
        assert len(queries) == 1

    def test_each_step(self, app: Flask, make: Factory) -> None:
        by_mark = make_source(name="Яндекс", utm_source="yandex", utm_medium="*")
        by_channel = make_source(name="Форма", channel="site_form")
        by_default = make_source(name="Прочий сайт")
        marked = Evidence(utm=("Yandex", "cpc", "", ""), channel="site_form")
        assert sources.attribute(marked).source_id == by_mark.id
        assert sources.attribute(Evidence(channel="site_form")).source_id == by_channel.id
        fallback = Evidence(channel="email", default_source_id=by_default.id)
        assert sources.attribute(fallback).step is Step.DEFAULT


class TestSaving:
    def test_numbers_and_domains_are_normalised(self, app: Flask) -> None:
        source = make_source(
            phone="8 495 555 01 00", domains="https://www.Example.ru/ , *.пример.рф; example.ru"
        )
        assert (source.phone, source.phone_key) == ("+74955550100", "4955550100")
        assert source.domains == "example.ru, xn--e1afmkfd.xn--p1ai"
        source.phone = None
        records.update(source, None)
        assert source.phone_key is None

    def test_a_number_belongs_to_one_active_source(self, app: Flask) -> None:
        first = make_source(phone="+74955550100")
        with pytest.raises(ValidationErrors) as caught:
            make_source(name="Второй", phone="8(495)555-01-00")
        assert fields(caught) == {"phone"}
        first.active = False
        records.update(first, None)
        make_source(name="Второй", phone="+74955550100")
        first.active = True
        with pytest.raises(ValidationErrors) as caught:
            records.update(first, None)
        assert fields(caught) == {"phone"}

    def test_a_channel_only_with_different_departments(self, app: Flask, make: Factory) -> None:
        department = make.people["manager"].department_id
        make_source(name="Один", channel="site_form")
        make_source(name="Два", channel="site_form", department_id=department)
        with pytest.raises(ValidationErrors) as caught:
            make_source(name="Три", channel="site_form", department_id=department)
        assert fields(caught) == {"channel"}

    def test_everything_wrong_at_once(self, app: Flask) -> None:
        with pytest.raises(ValidationErrors) as caught:
            make_source(name=" ", phone="12", domains="не домен", cost_per_lead=-1)
        assert fields(caught) == {"name", "phone", "domains", "cost_per_lead"}

    def test_the_system_source_stays(self, app: Flask) -> None:
        system = db.session.query(Source).filter_by(is_system=True).one()
        system.active = False
        with pytest.raises(ValidationErrors) as caught:
            records.update(system, None)
        assert fields(caught) == {"active"}
        db.session.expire(system)
        system.is_system = False
        records.update(system, None)
        assert system.is_system is True
        with pytest.raises(Conflict):
            records.delete(system, None)
        forged = make_source(name="Самозванец", is_system=True)
        assert forged.is_system is False

    def test_a_used_one_is_archived_an_unused_one_deleted(self, app: Flask, make: Factory) -> None:
        used, unused = make_source(name="Есть сделки"), make_source(name="Нет сделок")
        make.deal(source_id=used.id)
        with pytest.raises(Conflict):
            records.delete(used, None)
        records.delete(unused, None)
        assert db.session.get(Source, unused.id) is None
