"""Rights about calls: the same rows whichever way a query asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from crm.models import Call, CallLeg, CallState, Deal, UserGrant, db
from crm.security import call_rights, visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from tests.factories import Factory
from tests.views.telephony_rows import call

EVERYBODY = ("director", "head", "manager", "teammate", "stranger", "marketer", "admin")
Rights = Callable[[str], Principal]


@pytest.fixture
def made(make: Factory, people: dict[str, Any]) -> list[Call]:
    """Calls in all relations to people and deals that decide who sees them."""
    department = people["manager"].department_id
    gone = make.deal("manager")
    rows = [
        call(make.deal("manager")),
        call(make.deal("teammate"), employee_id=people["manager"].id),
        call(make.deal("stranger")),
        call(make.deal("stranger"), employee_id=people["teammate"].id),
        call(make.deal(None, department_id=department), state=CallState.MISSED),
        call(make.deal(None, department_id=None)),
        call(make.deal(None, department_id=people["stranger"].department_id)),
        call(gone, employee_id=None),
        call(None),
        call(None, employee_id=people["head"].id),
        call(make.deal("manager", stage=8), employee_id=None),
    ]
    gone.deleted_at = gone.created_at
    db.session.commit()
    return rows


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("grant", [None, Grant.HIDE_ALL_DEPARTMENT_REQUESTS])
def test_joining_the_deals_shows_the_same_calls(
    made: list[Call], principal: Rights, people: dict[str, Any], name: str, grant: Grant | None
) -> None:
    if grant is not None:
        db.session.add(UserGrant(user_id=people[name].id, code=grant, allow=True))
        db.session.commit()
    by = principal(name)
    joined = select(Call.id).outerjoin(Deal, Deal.id == Call.deal_id)
    joined = joined.where(visibility.joined_call_condition(by))
    plain = visibility.visible(select(Call.id), by, Call)
    assert sorted(db.session.scalars(joined)) == sorted(db.session.scalars(plain))


@pytest.mark.parametrize("name", EVERYBODY)
def test_what_is_settled_and_exported_is_seen(
    made: list[Call], principal: Rights, name: str
) -> None:
    by = principal(name)
    seen = set(db.session.scalars(visibility.visible(select(Call.id), by, Call)))
    joined = select(Call.id).outerjoin(Deal, Deal.id == Call.deal_id)
    for condition in (call_rights.settle_condition(by), call_rights.export_condition(by)):
        found = set(db.session.scalars(joined.where(condition)))
        assert found <= seen
    assert call_rights.may_export(by) == (name in ("director", "head", "admin"))


@pytest.mark.parametrize("name", ["manager", "quality"])
def test_hearing_all_recordings_settles_no_foreign_call(
    made: list[Call], principal: Rights, people: dict[str, Any], name: str
) -> None:
    """Who checks how calls are handled sees all of them and must not tick them off."""
    query = select(Call.id).outerjoin(Deal, Deal.id == Call.deal_id)
    if name == "quality":
        role = db.session.scalars(select(Role).where(Role.name == "Контроль качества")).one()
        people["stranger"].roles = [role]
        db.session.commit()
        by = principal("stranger")
        assert by.can(Grant.HEAR_ALL_RECORDS)
        heard = query.where(visibility.recording_condition(by))
        assert set(db.session.scalars(heard)) == {row.id for row in made}
        expected: set[int] = set()
    else:
        before = query.where(call_rights.settle_condition(principal(name)))
        expected = set(db.session.scalars(before))
        grant = Grant.HEAR_ALL_RECORDS
        db.session.add(UserGrant(user_id=people[name].id, code=grant, allow=True))
        db.session.commit()
        by = principal(name)
    found = set(db.session.scalars(query.where(call_rights.settle_condition(by))))
    assert found == expected


def test_whose_telephone_rang_has_met_the_call(
    made: list[Call], principal: Rights, people: dict[str, Any]
) -> None:
    foreign = made[2]
    query = select(Call.id).where(Call.id == foreign.id)
    by = principal("manager")
    assert db.session.scalar(query.where(call_rights.met_condition(by))) is None
    db.session.add(CallLeg(call_id=foreign.id, leg_id="1", employee_id=people["manager"].id))
    db.session.commit()
    assert db.session.scalar(query.where(call_rights.met_condition(by))) == foreign.id
