"""Settings pages: who may open them, what they keep, what they refuse and how."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from crm.models import (
    AuditEntry,
    Company,
    Department,
    IntakePoint,
    LossReason,
    Office,
    Source,
    Tag,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import organization, records
from crm.security.principal import Principal

PAGES = (
    "/settings/company/edit/1",
    "/settings/offices/list/",
    "/settings/departments/list/",
    "/settings/source-groups/list/",
    "/settings/tags/list/",
    "/settings/sources/list/",
    "/settings/sources/check",
    "/settings/loss-reasons/list/",
    "/settings/telephony/list/",
    "/settings/intake/list/",
    "/employees/list/",
    "/roles/",
    "/settings/pipelines/",
    "/settings/audit/",
    "/settings",
)
DIRECTORS = (
    "/settings",
    "/settings/departments/list/",
    "/settings/sources/list/",
    "/employees/list/",
    "/settings/pipelines/",
)


@pytest.mark.parametrize("page", PAGES)
def test_who_opens_what(sign_in: Any, visitor: Any, page: str) -> None:
    assert sign_in("admin").get(page).status_code == 200
    assert sign_in("stranger").get(page).status_code == 403
    assert sign_in("manager").get(page).status_code == 403
    assert visitor.get(page).status_code == 302


@pytest.mark.parametrize("page", DIRECTORS)
def test_the_director_reads(sign_in: Any, page: str) -> None:
    assert sign_in("director").get(page).status_code == 200


def test_the_director_does_not_write(sign_in: Any) -> None:
    director = sign_in("director")
    for path in (
        "/settings/departments/edit/1",
        "/settings/sources/add",
        "/settings/pipelines/add",
        "/employees/4/deactivate",
        "/employees/4/grants",
    ):
        assert director.post(path, data={"name": "x"}).status_code == 403


def test_the_first_page_shows_what_one_may_open_in_few_queries(
    sign_in: Any, count_queries: Any
) -> None:
    admin = sign_in("admin").get("/settings").text
    assert "1 воронка" in admin
    assert "Журнал изменений" in admin
    with count_queries() as queries:
        director = sign_in("director").get("/settings").text
    assert "Воронки и этапы" in director
    assert "Журнал изменений" not in director
    assert "Роли" not in director
    assert len(queries) <= 14  # four of them sign in and read the rights


# --- small tables ---------------------------------------------------------------------


def test_an_office_is_made_changed_and_deleted(sign_in: Any) -> None:
    admin = sign_in("admin")
    data = {
        "name": " Центр ",
        "address": "ул. Республики, 61",
        "phone": "8 912 345-67-89",
        "active": "y",
    }
    assert admin.post("/settings/offices/add", data=data).status_code == 302
    office = db.session.scalars(select(Office)).one()
    assert (office.name, office.phone) == ("Центр", "+79123456789")
    assert "Центр" in admin.get("/settings/offices/list/").text
    path = f"/settings/offices/edit/{office.id}"
    assert admin.post(path, data={"name": "Север"}).status_code == 302
    db.session.expire_all()
    assert (office.name, office.active) == ("Север", False)
    assert admin.post(f"/settings/offices/delete/{office.id}").status_code == 302
    assert db.session.scalars(select(Office)).all() == []
    actions = db.session.scalars(
        select(AuditEntry.action).where(AuditEntry.object_type == "office")
    )
    assert list(actions) == ["create", "update", "delete"]


@pytest.mark.parametrize(
    ("page", "data", "complaint"),
    [
        ("/settings/offices/add", {"name": "А", "phone": "12"}, "Номер не распознан."),
        (
            "/settings/departments/add",
            {"name": "НОВОСТРОЙКИ", "kind": "rent", "position": "1"},
            "Такое название уже есть.",
        ),
        ("/settings/tags/add", {"name": "Тег", "color": "red"}, "Цвет задаётся как"),
        (
            "/settings/loss-reasons/add",
            {"name": "дубль", "position": "1"},
            "Такое название уже есть.",
        ),
        (
            "/settings/sources/add",
            {"name": "А", "phone": "номер", "active": "y"},
            "Номер не распознан.",
        ),
        (
            "/settings/intake/add",
            {"name": "С", "channel": "site_form", "honeypot": "w", "allowed_domains": "!!"},
            "Это не домены",
        ),
        (
            "/settings/intake/add",
            {"name": "С", "channel": "site_form", "honeypot": "web", "aliases": "тел = phones"},
            "Таких полей заявки нет",
        ),
        (
            "/settings/intake/add",
            {"name": "С", "channel": "site_form", "honeypot": "web", "aliases": "тел"},
            "нужно «поле сайта = поле заявки»",
        ),
        ("/settings/telephony/add", {"name": "", "operator": "nobody"}, "kv-field-bad"),
    ],
)
def test_complaints_stand_beside_the_fields(
    sign_in: Any, page: str, data: dict[str, str], complaint: str
) -> None:
    answer = sign_in("admin").post(page, data=data)
    assert answer.status_code == 200
    assert complaint in answer.text
    assert "kv-field-bad" in answer.text
    assert not data["name"] or f'value="{data["name"]}"' in answer.text


def test_only_an_empty_department_is_deleted(sign_in: Any, people: Any) -> None:
    admin, used = sign_in("admin"), people["manager"].department_id
    answer = admin.post(f"/settings/departments/delete/{used}", follow_redirects=True)
    assert "В отделе есть сотрудники." in answer.text
    assert db.session.get(Department, used) is not None
    empty = db.session.scalars(select(Department).where(Department.name == "Аренда")).one().id
    assert admin.post(f"/settings/departments/delete/{empty}").status_code == 302
    db.session.expire_all()
    assert db.session.get(Department, empty) is None


def test_a_used_reason_stays(sign_in: Any, make: Any) -> None:
    reason = db.session.scalars(select(LossReason).limit(1)).one()
    make.deal("manager", loss_reason_id=reason.id)
    sign_in("admin").post(f"/settings/loss-reasons/delete/{reason.id}")
    db.session.expire_all()
    assert db.session.get(LossReason, reason.id) is not None


# --- company ------------------------------------------------------------------------------


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 128).save(out, kind)
    return out.getvalue()


def test_the_company_is_one_form(sign_in: Any) -> None:
    admin = sign_in("admin")
    assert admin.get("/settings/company/list/").headers["Location"] == "/settings/company/edit/1"
    data = {
        "name": "Дом",
        "timezone": "Asia/Yekaterinburg",
        "work_start": "9:30",
        "work_end": "18:00",
        "work_days": ["1", "2", "6"],
        "request_limit_minutes": "20",
        "call_limit_minutes": "60",
        "site": "dom.ru",
        "phone": "89123456789",
    }
    assert admin.post("/settings/company/edit/1", data=data).status_code == 302
    company = db.session.get_one(Company, 1)
    db.session.refresh(company)
    assert (company.name, company.work_days, company.site) == ("Дом", "1,2,6", "https://dom.ru")
    assert (company.work_start.hour, company.phone) == (9, "+79123456789")
    wrong = {**data, "work_end": "08:00", "request_limit_minutes": "0"}
    page = admin.post("/settings/company/edit/1", data=wrong).text
    assert "Рабочий день кончается позже, чем начинается." in page
    assert "Укажите число минут" in page


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]
)
def test_a_logo_is_redrawn_and_served(sign_in: Any, visitor: Any, kind: str, mode: str) -> None:
    admin = sign_in("admin")
    upload = {"logo": (io.BytesIO(picture(kind, mode)), "../../logo.svg")}
    assert admin.post("/settings/company/logo", data=upload).status_code == 302
    shown = admin.get("/settings/company/logo")
    assert shown.content_type == f"image/{kind.lower()}"
    assert Image.open(io.BytesIO(shown.data)).size == (40, 20)
    assert visitor.get("/settings/company/logo").status_code == 302
    assert admin.post("/settings/company/logo/delete").status_code == 302
    assert admin.get("/settings/company/logo").status_code == 404


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a",
        picture("PNG")[:40],
        picture("PNG") + bytes(2000),
    ],
)
def test_other_files_are_no_logo(
    sign_in: Any, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(organization, "MAX_LOGO_BYTES", 1000)
    admin = sign_in("admin")
    admin.post("/settings/company/logo", data={"logo": (io.BytesIO(data), "logo.png")})
    assert db.session.scalar(select(Company.logo_key)) is None


# --- sources --------------------------------------------------------------------------------


def test_the_check_says_which_source_wins_and_why(sign_in: Any, make: Any) -> None:
    make.source("Директ", utm_source="yandex", utm_medium="cpc")
    make.source("Баннер", phone="+79129990011", phone_key="9129990011")
    admin = sign_in("admin")
    page = "https://example.ru/?utm_source=Yandex&utm_medium=cpc"
    by_marks = admin.get("/settings/sources/check", query_string={"page": page}).text
    assert "Директ" in by_marks
    assert "Совпали UTM-метки (2)" in by_marks
    by_phone = admin.get("/settings/sources/check", query_string={"phone": "8(912)999-00-11"}).text
    assert "это телефон источника «Баннер»" in by_phone
    nothing = admin.get("/settings/sources/check", query_string={"channel": "email"}).text
    assert "Не определён" in nothing
    assert admin.get("/settings/sources/check?page=http://[").status_code == 200


def test_the_system_source_stays(sign_in: Any) -> None:
    system = db.session.scalars(select(Source).where(Source.is_system)).one()
    admin = sign_in("admin")
    admin.post(f"/settings/sources/delete/{system.id}")
    off = admin.post(f"/settings/sources/edit/{system.id}", data={"name": system.name})
    assert "его нельзя отключить" in off.text
    db.session.expire_all()
    assert db.session.get_one(Source, system.id).active


# --- telephony ----------------------------------------------------------------------------------


@pytest.fixture
def connection(app: Any, people: Any) -> TelephonyConnection:
    row = TelephonyConnection(name="Манго", operator="mango", active=True)
    records.create(row, Principal(people["admin"].id, is_admin=True))
    return row


def test_secrets_are_kept_and_never_sent_back(sign_in: Any, connection: Any) -> None:
    admin, path = sign_in("admin"), f"/settings/telephony/{connection.id}/credentials"
    refused = admin.post(path, data={"credential-api_key": "key-1234567"})
    assert "Заполните это поле." in refused.text
    assert "key-1234567" not in refused.text
    data = {"credential-api_key": "key-1234567", "credential-api_salt": "salt-7654321"}
    assert admin.post(path, data=data).status_code == 302
    page = admin.get(f"/settings/telephony/edit/{connection.id}").text
    assert "••• задано" in page
    assert "key-1234567" not in page
    assert "salt-7654321" not in page
    assert admin.post(path, data={"credential-api_salt": "salt-new"}).status_code == 302
    db.session.refresh(connection)
    assert connection.credentials["api_key"] == "key-1234567"
    assert connection.credentials["api_salt"] == "salt-new"
    journal = " ".join(str(row.after) for row in db.session.scalars(select(AuditEntry)))
    assert "salt-new" not in journal


def test_the_address_is_replaced(sign_in: Any, connection: Any) -> None:
    old = connection.token
    admin = sign_in("admin")
    page = admin.get(f"/settings/telephony/edit/{connection.id}?step=address").text
    assert f"/telephony/mango/{old}" in page
    admin.post(f"/settings/telephony/{connection.id}/rotate")
    db.session.refresh(connection)
    assert connection.token != old


def test_internal_numbers_get_their_people(sign_in: Any, connection: Any, people: Any) -> None:
    admin, pk = sign_in("admin"), people["manager"].id
    path = f"/settings/telephony/{connection.id}/extensions"
    admin.post(path, data={"new-key": "101", "new-owner": str(pk)})
    row = db.session.scalars(select(TelephonyExtension)).one()
    assert (row.key, row.employee_id) == ("101", pk)
    admin.post(path, data={"owner-101": ""})
    db.session.refresh(row)
    assert row.employee_id is None
    admin.post(path, data={"owner-101": "999999"})
    db.session.refresh(row)
    assert row.employee_id is None


# --- intake -------------------------------------------------------------------------------------


def test_a_door_gets_its_key_and_shows_its_secret_once(sign_in: Any) -> None:
    admin = sign_in("admin")
    data = {
        "name": "Сайт",
        "channel": "site_form",
        "honeypot": "website",
        "active": "y",
        "allowed_domains": "Пример.рф\n*.dom.ru",
        "aliases": "Ваш телефон = phone",
    }
    assert admin.post("/settings/intake/add", data=data).status_code == 302
    point = db.session.scalars(select(IntakePoint)).one()
    assert len(point.key) >= 32
    assert point.allowed_domains == "xn--e1afmkfd.xn--p1ai\n*.dom.ru"
    assert point.aliases == {"Ваш телефон": "phone"}
    page = admin.get(f"/settings/intake/edit/{point.id}").text
    assert f"/api/v1/intake/{point.key}" in page
    assert "Открыто для всех сайтов" not in page
    shown = admin.post(f"/settings/intake/{point.id}/secret").text
    db.session.refresh(point)
    secret = point.secrets["secret"]
    assert secret in shown
    assert secret not in admin.get(f"/settings/intake/edit/{point.id}").text
    old = point.key
    admin.post(f"/settings/intake/{point.id}/rotate")
    db.session.refresh(point)
    assert point.key != old


def test_an_open_door_warns(sign_in: Any) -> None:
    admin = sign_in("admin")
    admin.post(
        "/settings/intake/add", data={"name": "Сайт", "channel": "site_form", "honeypot": "website"}
    )
    point = db.session.scalars(select(IntakePoint)).one()
    assert "Открыто для всех сайтов" in admin.get(f"/settings/intake/edit/{point.id}").text
    signed = {
        "name": "Сайт",
        "channel": "site_form",
        "honeypot": "website",
        "require_signature": "y",
    }
    page = admin.post(f"/settings/intake/edit/{point.id}", data=signed).text
    assert "Сначала задайте секрет" in page


# --- journal --------------------------------------------------------------------------------------


def test_the_journal_pages_and_filters(sign_in: Any, people: Any) -> None:
    for number in range(120):
        db.session.add(
            AuditEntry(
                action="update",
                object_type="tag",
                object_id=number,
                actor_id=people["admin"].id,
                before={"name": f"old{number}"},
                after={"name": f"new{number}"},
            )
        )
    db.session.commit()
    admin, seen, path = sign_in("admin"), [], "/settings/audit/?object=tag"
    for _page in range(5):
        text = admin.get(path).text
        seen += [number for number in range(120) if f"<ins>new{number}</ins>" in text]
        if 'rel="next"' not in text:
            break
        path = text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert sorted(seen) == list(range(120))
    back = text.split('rel="prev" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "<ins>new50</ins>" in admin.get(back).text
    one = admin.get("/settings/audit/?object=tag&id=7&action=update").text
    assert "<ins>new7</ins>" in one
    assert "<ins>new8</ins>" not in one
    assert (
        admin.get("/settings/audit/?after=zzz&actor=abc&since=yesterday&object=x").status_code
        == 200
    )


def test_a_tag_keeps_its_colour(sign_in: Any) -> None:
    admin = sign_in("admin")
    admin.post("/settings/tags/add", data={"name": "Контекст", "color": "#7a5af8", "active": "y"})
    assert db.session.scalars(select(Tag)).one().color == "#7a5af8"
    assert "--c:#7a5af8" in admin.get("/settings/tags/list/").text
