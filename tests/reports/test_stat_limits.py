"""Extra permissions 6 and 7, and sources that are kept out of statistics."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm.models import Deal, Employee, UserGrant, db
from crm.reports import stat_limits
from crm.reports.stat_limits import StatLimits
from crm.security.grants import Grant
from crm.security.principal import load_principal
from tests.factories import Factory


def limits(person: Employee, code: Grant, value: Any, *, allow: bool = True) -> StatLimits:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=allow, value=value))
    db.session.commit()
    return stat_limits.of(load_principal(person))


def shown(found: StatLimits, *, with_excluded: bool = False) -> set[int]:
    conditions = found.conditions(
        source=Deal.source_id,
        in_departments=Deal.department_id.in_,
        with_excluded=with_excluded,
    )
    return set(db.session.scalars(select(Deal.id).where(*conditions)))


def test_without_the_permissions_everything_is_shown(
    people: dict[str, Employee], make: Factory
) -> None:
    deals = {make.deal().id, make.deal("stranger", source_id=make.source().id).id}
    found = stat_limits.of(load_principal(people["head"]))
    assert shown(found) == deals
    assert found.offers_source(1)
    assert found.offers_department(1)


def test_only_the_listed_sources(people: dict[str, Employee], make: Factory) -> None:
    avito, cian = make.source("Авито"), make.source("Циан")
    wanted = make.deal(source_id=avito.id)
    make.deal(source_id=cian.id)
    make.deal()
    found = limits(people["head"], Grant.LIMIT_STATS_SOURCES, [avito.id])
    assert shown(found) == {wanted.id}
    assert found.offers_source(avito.id)
    assert not found.offers_source(cian.id)


def test_only_the_listed_departments(people: dict[str, Employee], make: Factory) -> None:
    wanted = make.deal("manager")
    make.deal("stranger")
    make.deal(None)
    own = people["manager"].department_id
    found = limits(people["director"], Grant.LIMIT_STATS_DEPARTMENTS, [own])
    assert shown(found) == {wanted.id}
    assert not found.offers_department(people["stranger"].department_id or 0)


@pytest.mark.parametrize("code", [Grant.LIMIT_STATS_SOURCES, Grant.LIMIT_STATS_DEPARTMENTS])
@pytest.mark.parametrize("value", [[], None, "1", {"a": 1}, [True, "2"]])
def test_an_empty_or_broken_list_allows_nothing(
    people: dict[str, Employee], make: Factory, code: Grant, value: Any
) -> None:
    make.deal(source_id=make.source().id)
    assert shown(limits(people["director"], code, value)) == set()


def test_a_refused_permission_does_not_limit(people: dict[str, Employee], make: Factory) -> None:
    deal = make.deal()
    found = limits(people["head"], Grant.LIMIT_STATS_SOURCES, [], allow=False)
    assert shown(found) == {deal.id}


def test_an_administrator_is_not_limited(people: dict[str, Employee], make: Factory) -> None:
    deal = make.deal()
    assert shown(limits(people["admin"], Grant.LIMIT_STATS_SOURCES, [])) == {deal.id}


def test_excluded_sources_are_left_out_until_asked_for(
    people: dict[str, Employee], make: Factory
) -> None:
    excluded = make.source("Тесты", exclude_from_stats=True)
    kept, left_out = make.deal(), make.deal(source_id=excluded.id)
    found = stat_limits.of(load_principal(people["director"]))
    assert shown(found) == {kept.id}
    assert shown(found, with_excluded=True) == {kept.id, left_out.id}
