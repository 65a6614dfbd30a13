"""Who sees which deals, contacts, calls and listings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from crm.models import Action, Contact, Deal, Listing, UserGrant, db
from crm.security import visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from tests.factories import Factory

Rights = Callable[[str], Principal]


def seen(principal: Principal, model: type, action: Action = Action.VIEW) -> set[int]:
    query = visibility.visible(select(model.id), principal, model, action)
    return set(db.session.scalars(query))


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("admin", {"manager", "teammate", "stranger"}),
        ("director", {"manager", "teammate", "stranger"}),
        ("head", {"manager", "teammate"}),
        ("manager", {"manager"}),
        ("stranger", {"stranger"}),
        ("marketer", set()),
    ],
)
def test_each_role_sees_its_deals(
    who: str, sees: set[str], make: Factory, principal: Rights
) -> None:
    deals = {name: make.deal(name).id for name in ("manager", "teammate", "stranger")}
    assert seen(principal(who), Deal) == {deals[name] for name in sees}


def test_undistributed_deals_are_seen_by_their_department(make: Factory, principal: Rights) -> None:
    own = make.deal(None, department_id=make.people["manager"].department_id).id
    foreign = make.deal(None, department_id=make.people["stranger"].department_id).id
    common = make.deal(None).id
    assert seen(principal("manager"), Deal) == {own, common}
    assert seen(principal("stranger"), Deal) == {foreign, common}


def test_requests_of_all_departments_can_be_hidden(make: Factory, principal: Rights) -> None:
    common = make.deal(None).id
    grant = Grant.HIDE_ALL_DEPARTMENT_REQUESTS
    db.session.add(UserGrant(user_id=make.people["manager"].id, code=grant, allow=True))
    db.session.commit()
    assert common not in seen(principal("manager"), Deal)
    assert common in seen(principal("teammate"), Deal)


def test_open_stage_is_seen_by_all_but_edited_only_when_fully_open(
    make: Factory, principal: Rights
) -> None:
    stage = make.stage(6)
    deal = make.deal("stranger", stage)
    assert stage.open_view
    assert deal.id in seen(principal("manager"), Deal)
    assert deal.id not in seen(principal("manager"), Deal, Action.EDIT)
    stage.open_full = True
    db.session.commit()
    assert deal.id in seen(principal("manager"), Deal, Action.EDIT)


def test_stage_closed_to_managers_hides_even_own_deals(make: Factory, principal: Rights) -> None:
    deal = make.deal("manager", 2)
    make.stage(2).available_to_manager = False
    db.session.commit()
    assert deal.id not in seen(principal("manager"), Deal)
    assert deal.id in seen(principal("head"), Deal)


def test_deleted_deals_are_seen_by_nobody(make: Factory, principal: Rights) -> None:
    from crm.values.clock import utc_now

    deal = make.deal("manager", deleted_at=utc_now())
    for who in ("admin", "director", "manager"):
        assert deal.id not in seen(principal(who), Deal)


def test_contacts_follow_deals(make: Factory, principal: Rights) -> None:
    mine, foreign = make.deal("manager"), make.deal("stranger")
    assert seen(principal("manager"), Contact) == {mine.contact_id}
    assert foreign.contact_id in seen(principal("director"), Contact)


def test_listings_are_seen_by_all_and_edited_by_their_owner(
    make: Factory, principal: Rights
) -> None:
    mine, foreign = make.listing("manager").id, make.listing("stranger").id
    assert seen(principal("manager"), Listing) >= {mine, foreign}
    assert seen(principal("manager"), Listing, Action.EDIT) == {mine}
    grant = Grant.EDIT_ANY_LISTING
    db.session.add(UserGrant(user_id=make.people["manager"].id, code=grant, allow=True))
    db.session.commit()
    assert seen(principal("manager"), Listing, Action.EDIT) >= {mine, foreign}


def test_may_agrees_with_visible(make: Factory, principal: Rights) -> None:
    deals = [make.deal(name) for name in ("manager", "teammate", "stranger")]
    for who in ("director", "head", "manager", "marketer"):
        rights = principal(who)
        for action in (Action.VIEW, Action.EDIT):
            ids = seen(rights, Deal, action)
            for deal in deals:
                assert visibility.may(rights, action, deal) == (deal.id in ids)


def test_personal_denial_beats_the_role(make: Factory, principal: Rights) -> None:
    from crm.models import RoleGrant

    manager = make.people["manager"]
    grant = Grant.HEAR_ALL_RECORDS
    db.session.add(RoleGrant(role_id=manager.roles[0].id, code=grant))
    db.session.commit()
    assert principal("manager").can(grant)
    db.session.add(UserGrant(user_id=manager.id, code=grant, allow=False))
    db.session.commit()
    assert not principal("manager").can(grant)
    assert principal("teammate").can(grant)
