"""What the storm needs in the database: lines, people, one connection for each operator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from benchmarks.dataset import FIRST, LAST
from benchmarks.storm_events import Account
from crm.integrations.http import GuardedClient
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    Capability,
    CredentialField,
    Direction,
    TelephonyOperator,
)
from crm.integrations.telephony.simulation import CallScenario
from crm.models import (
    Department,
    Employee,
    Source,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import connections
from crm.values import phones
from crm.values.clock import utc_now

PEOPLE = 20
LINES = tuple(f"7495555{number:04d}" for number in range(101, 113))
# Where nobody listens: the product refuses this address, so that nothing is asked of anybody.
NOWHERE = "https://127.0.0.1:9"
_ADDRESSES = frozenset(
    {"api_base", "api_url", "data_api_base", "call_api_base", "recordings_base", "service"}
)
# How the simulated platform counts seconds, which its administrator would choose as well.
_CHOSEN = {"durations": "total"}


def make() -> list[Account]:
    """Rows of the agency; its accounts at every operator that sends its events by HTTP."""
    _sources()
    people = _people()
    kinds = [kind for kind in registry.all_operators() if _posts(kind)]
    made = [_account(kind, people) for kind in kinds]
    db.session.remove()
    return made


def _posts(kind: type[TelephonyOperator]) -> bool:
    """Whether events come to us, rather than over a connection that we keep open."""
    return not _operator(kind).capabilities & Capability.STREAM


def _operator(kind: type[TelephonyOperator]) -> TelephonyOperator:
    return kind(0, {}, GuardedClient())


def _sources() -> None:
    for number, line in enumerate(LINES):
        phone = phones.e164(line)
        db.session.add(
            Source(name=f"Реклама {number + 1}", phone=phone, phone_key=phones.match_key(line))
        )
    db.session.commit()


def _people() -> list[Employee]:
    role = db.session.scalars(select(Role).where(Role.name == "Менеджер")).one()
    departments = list(db.session.scalars(select(Department).order_by(Department.id).limit(2)))
    people = [
        Employee(
            username=f"storm{number}",
            first_name=FIRST[number % len(FIRST)],
            last_name=LAST[number % len(LAST)],
            email=f"storm{number}@example.ru",
            active=True,
            on_shift=number % 2 == 0,
            department=departments[number % len(departments)],
            roles=[role],
        )
        for number in range(PEOPLE)
    ]
    db.session.add_all(people)
    db.session.commit()
    return people


def _account(kind: type[TelephonyOperator], people: list[Employee]) -> Account:
    owners = {str(101 + number): person.id for number, person in enumerate(people)}
    row = TelephonyConnection(
        name=f"Шторм: {kind.slug}",
        operator=kind.slug,
        token=connections.new_token(),
        credentials=_credentials(_operator(kind)),
    )
    db.session.add(row)
    db.session.commit()
    operator = connections.build(row)
    missing = [item.name for item in operator.missing_credentials()]
    if missing:
        raise SystemExit(f"{kind.slug}: no value for {', '.join(missing)}")
    row.extensions = [
        TelephonyExtension(key=_key(operator, number, row.token), number=number, employee_id=owner)
        for number, owner in owners.items()
    ]
    db.session.commit()
    return Account(row.id, operator, row.token, owners)


def _credentials(operator: TelephonyOperator) -> dict[str, str]:
    """Invented values of all fields that are required; addresses that lead nowhere."""
    return dict(_invented(operator.credentials))


def _invented(fields: tuple[CredentialField, ...]) -> Iterator[tuple[str, str]]:
    for item in fields:
        if item.name in _ADDRESSES:
            if not item.choices:
                yield item.name, NOWHERE
        elif item.name in _CHOSEN:
            yield item.name, _CHOSEN[item.name]
        elif item.required and not item.default:
            yield item.name, f"invented-{item.name.replace('_', '-')}@example.ru"


def _key(operator: TelephonyOperator, extension: str, token: str) -> str:
    """The operator's key of who has this internal number, as its list of people would tell."""
    scenario = CallScenario(
        call_key=f"key-{extension}",
        client_number="79000000000",
        line_number=LINES[0],
        extension=extension,
        started_at=utc_now(),
        direction=Direction.OUT,
        recorded=False,
    )
    requests = operator.simulate(scenario)
    events = itertools.chain.from_iterable(
        operator.parse(request.received(utc_now(), token)) for request in requests
    )
    told = [event.employee_key for event in events if event.employee_key]
    return told[0] if told else extension
