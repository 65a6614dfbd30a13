"""Departments, offices and the twelve employees."""

from __future__ import annotations

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from crm.models import Company, Department, Employee, Office, db
from crm.operations.accounts import hash_password
from crm.operations.demo.world import Person, World

PASSWORD = "demo-kvartal-2026"  # noqa: S105  (known on purpose: printed and offered at the login)
RESALE, NEW, COUNTRY = "Вторичная недвижимость", "Новостройки", "Загородная недвижимость"
# login, first name, last name, role, position, department, head, extension
STAFF = (
    ("admin", "Павел", "Громов", "Администратор", "Администратор", None, None, None),
    ("director", "Ирина", "Ковалёва", "Директор", "Директор", None, None, "100"),
    ("head", "Сергей", "Никитин", "Руководитель", "Руководитель отдела", RESALE, "director", "101"),
    ("head2", "Марина", "Белова", "Руководитель", "Руководитель отдела", NEW, "director", "102"),
    ("senior", "Дмитрий", "Карпов", "Старший менеджер", "Ведущий специалист", RESALE, "head", "103"),
    ("manager", "Ольга", "Соколова", "Менеджер", "Специалист по недвижимости", RESALE, "senior", "104"),
    ("manager2", "Илья", "Поляков", "Менеджер", "Специалист по недвижимости", RESALE, "senior", "105"),
    ("manager3", "Надежда", "Миронова", "Менеджер", "Специалист по новостройкам", NEW, "head2", "106"),
    ("manager4", "Максим", "Шестаков", "Менеджер", "Специалист по загородной недвижимости", COUNTRY, "director", "107"),
    ("marketer", "Вера", "Тихонова", "Маркетолог", "Маркетолог", "Маркетинг", "director", None),
    ("operator", "Алина", "Фролова", "Оператор", "Оператор", RESALE, "head", "108"),
    ("quality", "Юлия", "Осипова", "Контроль качества", "Контроль качества", None, "director", None),
)  # fmt: skip
_SELLING = {"senior", "manager", "manager2", "manager3", "manager4"}
_COMPANY = {
    "name": "Агентство «Новый адрес»",
    "ogrn_name": "ООО «Новый адрес» (демонстрация)",
    "phone": "+78120000100",
    "address": "Санкт-Петербург, улица Марата, 1 (демонстрация)",
    "site": "https://novy-adres.example.ru",
    "email": "hello@example.ru",
    "city": "Санкт-Петербург",
    "city_code": "812",
}


def logins() -> list[dict[str, str]]:
    """Login, name, role and password of the demo people who can sign in now."""
    query = select(Employee.username).where(Employee.is_demo.is_(True), Employee.active.is_(True))
    known = set(db.session.scalars(query))
    return [
        {"login": login, "name": f"{first} {last}", "role": role, "password": PASSWORD}
        for login, first, last, role, *_rest in STAFF
        if login in known
    ]


def dress_company() -> dict[str, object]:
    """Give the company the demo's data; returns what stood there before."""
    company = db.session.scalars(select(Company).order_by(Company.id).limit(1)).one()
    before = {name: getattr(company, name) for name in _COMPANY}
    for name, value in _COMPANY.items():
        setattr(company, name, value)
    return before


def make_people(world: World) -> None:
    """Offices and employees with their heads."""
    departments = {d.name: d for d in db.session.scalars(select(Department))}
    world.departments = {name: row.id for name, row in departments.items()}
    offices = [
        Office(name="Центральный офис (демо)", address="улица Марата, 1", phone="+78120000100"),
        Office(name="Офис на Савушкина (демо)", address="улица Савушкина, 2", phone="+78120000200"),
    ]
    world.add(*offices)
    roles = {role.name: role for role in db.session.scalars(select(Role))}
    made: dict[str, Employee] = {}
    hashed = hash_password(PASSWORD)
    for index, (login, first, last, role, position, place, head, extension) in enumerate(STAFF):
        made[login] = Employee(
            username=login,
            first_name=first,
            last_name=last,
            email=f"{login}@demo.example.ru",
            phone=f"+7812000{index:04d}",
            position=position,
            active=True,
            is_demo=True,
            password=hashed,
            department=departments.get(place or ""),
            office=offices[index % 2],
            manager=made.get(head or ""),
            roles=[roles[role]],
        )
        world.add(made[login])
        person = Person(made[login].id, login, made[login].department_id, extension)
        world.people.append(person)
        if login in _SELLING:
            world.sellers.append(person)
