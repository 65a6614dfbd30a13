"""Employees and roles: cards, invitations, personal rights, and no way to raise oneself."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import time_machine
from flask_appbuilder.security.sqla.models import PermissionView, Role
from sqlalchemy import select

from crm.models import (
    Action,
    AuditEntry,
    AuthSession,
    Employee,
    ObjectKind,
    RoleScope,
    Scope,
    UserGrant,
    db,
)
from crm.operations import invitations
from crm.security.grants import Grant
from crm.security.principal import ADMIN_ROLE
from tests.people import PASSWORD

NEW = "completely-new-phrase-5"


def role(name: str) -> Role:
    return db.session.scalars(select(Role).where(Role.name == name)).one()


def card(person: Employee | None = None, **changes: Any) -> dict[str, Any]:
    form: dict[str, Any] = {
        "last_name": "Орлова",
        "first_name": "Мария",
        "email": "m.orlova@example.ru",
        "username": "m.orlova",
        "roles": [str(role("Менеджер").id)],
        "on_shift": "y",
    }
    if person is not None:
        form |= {
            "last_name": person.last_name,
            "first_name": person.first_name,
            "email": person.email,
            "username": person.username,
            "roles": [str(one.id) for one in person.roles],
        }
    return {**form, **changes}


def hire(client: Any, **changes: Any) -> Employee:
    assert client.post("/employees/add", data=card(**changes)).status_code == 302
    return db.session.scalars(select(Employee).order_by(Employee.id.desc()).limit(1)).one()


# --- the card -----------------------------------------------------------------------------


def test_a_new_employee_sets_his_password_by_a_link_that_dies(sign_in: Any, visitor: Any) -> None:
    admin = sign_in("admin")
    person = hire(admin, phone="8 912 345 67 89", birth_date="1990-03-14", gender="f")
    assert (person.phone, person.birth_date) == ("+79123456789", dt.date(1990, 3, 14))
    page = admin.post(f"/employees/{person.id}/invite").text
    path = page.split("http://localhost/invite/")[1].split("<")[0].split('"')[0]
    link = f"/invite/{path}"
    assert "Мария" in visitor.get(link).text
    weak = visitor.post(link, data={"password": "m.orlova12", "repeat": "m.orlova12"})
    assert "не должен состоять" in weak.text
    assert visitor.post(link, data={"password": NEW, "repeat": NEW}).status_code == 302
    assert visitor.get(link).status_code == 404
    assert visitor.post(link, data={"password": NEW + "x", "repeat": NEW + "x"}).status_code == 404
    data = {"username": "M.Orlova@Example.ru", "password": NEW}
    assert visitor.post("/login/", data=data).status_code == 302


def test_a_link_lives_three_days_and_cannot_be_made_up(app: Any, people: Any, visitor: Any) -> None:
    token = invitations.invite(people["manager"].id, None)
    assert visitor.get(f"/invite/{token}").status_code == 200
    assert visitor.get(f"/invite/{token}x").status_code == 404
    assert visitor.get("/invite/1").status_code == 404
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=73), tick=False):
        assert visitor.get(f"/invite/{token}").status_code == 404
    people["manager"].active = False
    db.session.commit()
    assert visitor.get(f"/invite/{token}").status_code == 404


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"email": ""}, "kv-field-bad"),
        ({"email": "почта"}, "Это не похоже на адрес почты."),
        ({"username": "MANAGER"}, "Уже занято другим сотрудником."),
        ({"username": "head@example.ru"}, "Уже занято другим сотрудником."),
        ({"email": "Manager@Example.ru"}, "Уже занято другим сотрудником."),
        ({"roles": []}, "Выберите хотя бы одну роль."),
        ({"birth_date": "2025-01-01"}, "Проверьте дату рождения."),
        ({"phone": "12"}, "Номер не распознан."),
    ],
)
def test_a_wrong_card_is_refused_beside_the_field(
    sign_in: Any, people: Any, change: dict[str, Any], complaint: str
) -> None:
    page = sign_in("admin").post("/employees/add", data=card(**change))
    assert page.status_code == 200
    assert complaint in page.text
    assert 'value="Орлова"' in page.text
    assert db.session.scalars(select(Employee).where(Employee.last_name == "Орлова")).all() == []


def test_heads_make_no_circle(sign_in: Any, people: Any) -> None:
    director, manager = people["director"], people["manager"]
    path = f"/employees/edit/{director.id}"
    admin = sign_in("admin")
    assert "получится круг" in admin.post(path, data=card(director, manager=str(manager.id))).text
    himself = admin.post(path, data=card(director, manager=str(director.id))).text
    assert "не может руководить сам собой" in himself
    db.session.expire_all()
    assert director.manager_id is None


def test_a_change_of_roles_ends_the_sign_ins_and_is_written_down(sign_in: Any, people: Any) -> None:
    manager, admin = sign_in("manager"), sign_in("admin")
    person = people["manager"]
    form = card(person, roles=[str(role("Оператор").id)])
    assert admin.post(f"/employees/edit/{person.id}", data=form).status_code == 302
    assert manager.get("/profile").status_code == 302
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "roles")).one()
    assert (entry.before, entry.after) == ({"roles": ["Менеджер"]}, {"roles": ["Оператор"]})


def test_switching_off_is_at_once_and_can_be_undone(sign_in: Any, people: Any) -> None:
    manager, admin, pk = sign_in("manager"), sign_in("admin"), people["manager"].id
    assert admin.post(f"/employees/{pk}/deactivate").status_code == 302
    assert manager.get("/profile").status_code == 302
    db.session.expire_all()
    assert not people["manager"].active
    assert admin.post(f"/employees/{pk}/activate").status_code == 302
    db.session.expire_all()
    assert people["manager"].active


def test_the_last_administrator_stays(sign_in: Any, people: Any) -> None:
    admin, person = sign_in("admin"), people["admin"]
    assert (
        "Себя отключить нельзя."
        in admin.post(f"/employees/{person.id}/deactivate", follow_redirects=True).text
    )
    page = admin.post(
        f"/employees/edit/{person.id}", data=card(person, roles=[str(role("Директор").id)])
    ).text
    assert "Это последний администратор" in page


def test_sign_ins_are_listed_and_ended(sign_in: Any, people: Any) -> None:
    manager, admin, pk = sign_in("manager"), sign_in("admin"), people["manager"].id
    session = db.session.scalars(select(AuthSession.id).where(AuthSession.user_id == pk)).one()
    assert f"/sessions/{session}/end" in admin.get(f"/employees/edit/{pk}").text
    assert admin.post(f"/employees/{pk}/sessions/{session}/end").status_code == 302
    assert manager.get("/profile").status_code == 302
    assert admin.post(f"/employees/{pk}/sessions/{session}/end").status_code == 404


def test_a_person_is_never_deleted(sign_in: Any, people: Any) -> None:
    path = f"/employees/delete/{people['manager'].id}"
    assert sign_in("admin").post(path).status_code in (404, 405)


# --- personal exceptions ------------------------------------------------------------------------


def test_personal_rights_win_and_carry_values(sign_in: Any, people: Any, principal: Any) -> None:
    admin, pk = sign_in("admin"), people["manager"].id
    form = {
        "grant-max_requests_day": "yes",
        "grant-max_requests_day-value": "7",
        "grant-hear_all_records": "yes",
        "grant-forbid_click_to_call": "no",
        "grant-limit_stats_departments": "yes",
        "grant-limit_stats_departments-value": [str(people["manager"].department_id)],
    }
    assert admin.post(f"/employees/{pk}/grants", data=form).status_code == 302
    rights = principal("manager")
    assert rights.grant_value(Grant.MAX_REQUESTS_DAY) == 7
    assert rights.can(Grant.HEAR_ALL_RECORDS)
    assert rights.grant_value(Grant.LIMIT_STATS_DEPARTMENTS) == [people["manager"].department_id]
    assert len(db.session.scalars(select(UserGrant)).all()) == 4
    wrong = admin.post(
        f"/employees/{pk}/grants", data={**form, "grant-max_requests_day-value": "много"}
    )
    assert "Укажите целое число" in wrong.text
    assert "много" in wrong.text
    assert principal("manager").grant_value(Grant.MAX_REQUESTS_DAY) == 7
    assert admin.post(f"/employees/{pk}/grants", data={}).status_code == 302
    assert db.session.scalars(select(UserGrant)).all() == []


# --- nobody raises himself ------------------------------------------------------------------------


@pytest.fixture
def personnel(sign_in: Any, people: Any) -> Any:
    """The head may hire, change people and edit roles, but is no administrator."""
    for view in ("Employees", "Roles"):
        for name in ("can_list", "can_add", "can_edit", "can_delete"):
            give_right("Руководитель", name, view)
    return sign_in("head")


def give_right(role_name: str, name: str, view: str) -> None:
    rights = db.session.scalars(select(PermissionView)).unique()
    found = [r for r in rights if (r.permission.name, r.view_menu.name) == (name, view)]
    holder = role(role_name)
    holder.permissions.extend(right for right in found if right not in holder.permissions)
    db.session.commit()


def test_a_personnel_officer_makes_no_administrator(personnel: Any, people: Any) -> None:
    admins = [str(role(ADMIN_ROLE).id)]
    assert "только администратор" in personnel.post("/employees/add", data=card(roles=admins)).text
    own = personnel.post(
        f"/employees/edit/{people['head'].id}", data=card(people["head"], roles=admins)
    )
    assert "Свою роль меняет другой человек." in own.text
    hired = hire(personnel)
    assert [one.name for one in hired.roles] == ["Менеджер"]


def test_a_personnel_officer_does_not_touch_administrators(personnel: Any, people: Any) -> None:
    pk = people["admin"].id
    for path in ("invite", "deactivate", "sessions/end", "grants", "extensions"):
        assert personnel.post(f"/employees/{pk}/{path}", data={}).status_code in (302, 403)
    assert personnel.post(f"/employees/{pk}/invite").status_code == 403
    numbers = {"extension-1": "101", f"extension-{'9' * 5000}": "1"}
    assert personnel.post(f"/employees/{pk}/extensions", data=numbers).status_code == 403
    other = people["manager"].id
    assert personnel.post(f"/employees/{other}/extensions", data=numbers).status_code == 200
    form = card(people["admin"], email="thief@example.ru")
    assert personnel.post(f"/employees/edit/{pk}", data=form).status_code == 403
    db.session.expire_all()
    assert people["admin"].active
    assert people["admin"].email == "admin@example.ru"


def test_nobody_gives_a_right_he_does_not_have(personnel: Any, people: Any) -> None:
    form = {"grant-hear_all_records": "yes"}
    refused = personnel.post(f"/employees/{people['manager'].id}/grants", data=form)
    assert "Такое право даёт тот, у кого оно есть." in refused.text
    assert personnel.post(f"/employees/{people['head'].id}/grants", data=form).status_code == 403


def test_a_personnel_officer_does_not_deal_out_power(personnel: Any) -> None:
    rights = [str(right.id) for right in role(ADMIN_ROLE).permissions]
    manager, own = role("Менеджер").id, role("Руководитель").id
    for pk in (manager, own, role(ADMIN_ROLE).id):
        data = {"name": "Роль", "rights": rights}
        assert personnel.post(f"/roles/{pk}", data=data).status_code == 403
    db.session.expire_all()
    assert role("Менеджер").name == "Менеджер"


# --- roles ---------------------------------------------------------------------------------------


def test_a_role_is_copied_changed_and_deleted(sign_in: Any, principal: Any) -> None:
    admin, source = sign_in("admin"), role("Старший менеджер")
    answer = admin.post("/roles/add", data={"name": "Стажёр", "copy_of": str(source.id)})
    made = role("Стажёр")
    assert answer.headers["Location"] == f"/roles/{made.id}"
    assert {r.id for r in made.permissions} == {r.id for r in source.permissions}
    form = {
        "name": "Практикант",
        "rights": [],
        "scope-deal-view": "own",
        "scope-deal-edit": "none",
        "grant-max_requests_day": "y",
        "grant-max_requests_day-value": "3",
    }
    assert admin.post(f"/roles/{made.id}", data=form).status_code == 302
    db.session.expire_all()
    scopes = {
        (row.kind, row.action): row.scope
        for row in db.session.scalars(select(RoleScope).where(RoleScope.role_id == made.id))
    }
    assert made.name == "Практикант"
    assert scopes[ObjectKind.DEAL, Action.VIEW] == Scope.OWN
    assert scopes[ObjectKind.TASK, Action.VIEW] == Scope.NONE
    wrong = admin.post(f"/roles/{made.id}", data={**form, "name": "менеджер"})
    assert "Роль с таким названием уже есть." in wrong.text
    number = admin.post(f"/roles/{made.id}", data={**form, "grant-max_requests_day-value": "x"})
    assert "Укажите целое число" in number.text
    assert (
        admin.post(f"/roles/{made.id}", data={**form, "scope-deal-view": "zz"}).status_code == 400
    )
    assert admin.post(f"/roles/{made.id}/delete").status_code == 302
    assert db.session.get(Role, made.id) is None


def test_a_used_role_and_the_administrators_stay(sign_in: Any) -> None:
    admin = sign_in("admin")
    used = admin.post(f"/roles/{role('Менеджер').id}/delete", follow_redirects=True)
    assert "Роль есть у сотрудников" in used.text
    pk = role(ADMIN_ROLE).id
    assert admin.post(f"/roles/{pk}", data={"name": "x"}).status_code == 403
    assert admin.post(f"/roles/{pk}/delete").status_code == 403
    page = admin.get(f"/roles/{pk}").text
    assert "эта роль не меняется" in page
    assert "Сохранить роль" not in page


def test_the_list_of_people_costs_the_same_whatever_their_number(
    sign_in: Any, count_queries: Any
) -> None:
    admin = sign_in("admin")
    with count_queries() as few:
        admin.get("/employees/list/")
    for number in range(15):
        db.session.add(
            Employee(
                username=f"p{number}",
                first_name="П",
                last_name=f"Л{number}",
                active=True,
                email=f"p{number}@example.ru",
                roles=[role("Менеджер")],
                password=PASSWORD,
            )
        )
    db.session.commit()
    with count_queries() as many:
        admin.get("/employees/list/")
    assert len(many) <= len(few) + 1
    assert len(many) <= 15
