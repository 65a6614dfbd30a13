"""Every operator's call in the database: any order, repeats, lost notices, the history after all.

The operators and their invented accounts are those of the conformance suites.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from crm.integrations.inbound import MAX_BODY_BYTES
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import CallEvent, Capability, Direction
from crm.models import (
    Appeal,
    Call,
    Deal,
    InboundDelivery,
    TelephonyConnection,
    TelephonyExtension,
    db,
)
from crm.operations import calls, connections, inbox
from crm.values.clock import utc_now
from tests.inbound import TOKEN
from tests.integrations import telephony as suites
from tests.integrations.telephony.conformance import GARBAGE, OperatorConformance


def _suites() -> Iterator[type[OperatorConformance]]:
    for found in pkgutil.iter_modules(suites.__path__, suites.__name__ + "."):
        if not found.name.rpartition(".")[2].startswith("test_"):
            continue
        module = importlib.import_module(found.name)
        for thing in vars(module).values():
            own = isinstance(thing, type) and thing.__module__ == module.__name__
            if own and issubclass(thing, OperatorConformance):
                yield thing


SUITES = list(_suites())
CALLS: dict[str, dict[str, Any]] = {
    "answered": {},
    "missed": {"answered": False},
    "outgoing": {"direction": Direction.OUT},
}


def test_no_operator_is_left_out() -> None:
    assert {suite.operator_class for suite in SUITES} == set(registry.all_operators())


class Ground:
    """One operator's connection, whose extension 101 is the manager's."""

    def __init__(self, suite: type[OperatorConformance], owner_id: int) -> None:
        self.suite = suite()
        self.owner_id = owner_id
        self.row = TelephonyConnection(
            name=suite.operator_class.title,
            operator=suite.operator_class.slug,
            credentials=dict(suite.settings_of),
            token=TOKEN,
        )
        self.row.extensions = [TelephonyExtension(key="101", employee_id=owner_id)]
        db.session.add(self.row)
        db.session.commit()
        self._number = 79160000000

    def call(self, **changed: Any) -> Any:
        """A call of a client who has never called before."""
        self._number += 1
        return self.suite.scenario(
            call_key=f"call-{self._number}",
            client_number=str(self._number),
            started_at=utc_now().replace(microsecond=0),
            **changed,
        )

    def events(self, scenario: Any) -> list[CallEvent]:
        operator = connections.build(self.row)
        knocks = [item.received(utc_now(), TOKEN) for item in operator.simulate(scenario)]
        return [event for knock in knocks for event in operator.parse(knock)]

    def apply(self, events: list[CallEvent]) -> None:
        for event in events:
            calls.apply(event, self.row)

    def picture(self, scenario: Any) -> dict[str, Any]:
        """What the database says of the scenario's call, without ids and moments."""
        key = scenario.client_number[-10:]
        call = db.session.scalars(
            select(Call).where(Call.client_key == key).execution_options(populate_existing=True)
        ).one()
        appeal = db.session.scalars(select(Appeal).where(Appeal.call_id == call.id)).one_or_none()
        deals = 0
        if appeal is not None:
            mine = select(func.count(Deal.id)).where(Deal.contact_id == appeal.contact_id)
            deals = db.session.scalar(mine) or 0
        return {
            "state": call.state,
            "direction": call.direction,
            "answered": call.answered_at is not None or bool(call.talk),
            "line": call.line_number,
            "employee": call.employee_id,
            "appeal": appeal is not None,
            "deals": deals,
            "to_call_back": call.callback_due_at is not None,
        }


@pytest.fixture(params=SUITES, ids=[suite.__name__ for suite in SUITES])
def ground(request: pytest.FixtureRequest, app: Flask, people: dict[str, Any]) -> Ground:
    return Ground(request.param, people["manager"].id)


def expected(kind: str, owner_id: int, told: dict[str, Any]) -> dict[str, Any]:
    inbound = kind != "outgoing"
    return {
        "state": "missed" if kind == "missed" else "ended",
        "direction": "in" if inbound else "out",
        "answered": kind != "missed",
        "line": told["line"],
        "employee": None if kind == "missed" else owner_id,
        "appeal": inbound,
        "deals": int(inbound),
        "to_call_back": kind == "missed",
    }


@pytest.mark.parametrize("kind", CALLS)
def test_any_order_with_repeats_gives_one_whole_call(ground: Ground, kind: str) -> None:
    chance = random.Random(f"{ground.row.operator} {kind}")
    for turn in range(5):
        scenario = ground.call(**CALLS[kind])
        events = ground.events(scenario)
        order = events if turn == 0 else events[::-1]
        if turn > 1:
            order = chance.sample(events, len(events))
        ground.apply([*order, *chance.sample(events, min(2, len(events)))])
        told = ground.picture(scenario)
        assert told == expected(kind, ground.owner_id, told), [event.kind for event in order]


@pytest.mark.parametrize("kind", ["answered", "missed"])
@pytest.mark.parametrize("first", ["events", "history"])
def test_history_and_events_of_one_call_merge(ground: Ground, kind: str, first: str) -> None:
    if Capability.HISTORY not in connections.build(ground.row).capabilities:
        return
    scenario = ground.call(**CALLS[kind])
    live = ground.events(scenario)
    history = [_of(event, ground.row) for event in ground.suite.history_of(scenario)]
    for events in (live, history) if first == "events" else (history, live):
        ground.apply(events)
    ground.apply(history)
    told = ground.picture(scenario)
    wanted = expected(kind, ground.owner_id, told)
    assert told == wanted


@pytest.mark.parametrize("kind", ["answered", "missed"])
def test_a_call_of_which_no_notice_came_is_found_by_the_history(ground: Ground, kind: str) -> None:
    if Capability.HISTORY not in connections.build(ground.row).capabilities:
        return
    scenario = ground.call(**CALLS[kind])
    ground.apply([_of(event, ground.row) for event in ground.suite.history_of(scenario)])
    told = ground.picture(scenario)
    assert (told["appeal"], told["deals"]) == (True, 1)
    assert told["state"] == ("ended" if kind == "answered" else "missed")


def _of(event: CallEvent, row: TelephonyConnection) -> CallEvent:
    """The suites' accounts have a number of their own."""
    return replace(event, connection_id=row.id)


# --- over HTTP ------------------------------------------------------------------------


def _post(client: Any, ground: Ground, sent: Any, **changed: Any) -> Any:
    tail = f"/{sent.path_tail}" if sent.path_tail else ""
    token = changed.pop("token", TOKEN)
    return client.open(
        f"/telephony/{ground.row.operator}/{token}{tail}",
        method=sent.method,
        query_string=dict(sent.query),
        headers=dict(sent.headers),
        data=changed.pop("body", sent.body),
        csrf=False,
    )


def _stored() -> int:
    return db.session.scalar(select(func.count()).select_from(InboundDelivery)) or 0


def test_a_wrong_secret_is_refused_and_nothing_is_stored(
    ground: Ground, visitor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "another-secret-of-the-same-length-012345"
    for sent in connections.build(ground.row).simulate(ground.call()):
        assert _post(visitor, ground, sent, token=wrong).status_code == 403
    assert _stored() == 0
    assert wrong not in caplog.text


def test_the_same_delivery_twice_is_kept_once_and_drained_to_one_call(
    ground: Ground, visitor: Any
) -> None:
    scenario = ground.call()
    sent = connections.build(ground.row).simulate(scenario)
    for item in [*sent, *sent]:
        assert 200 <= _post(visitor, ground, item).status_code < 300
    assert _stored() == len(sent)
    taken = inbox.drain()
    assert (taken.done, taken.failed) == (len(sent), 0)
    told = ground.picture(scenario)
    assert told == expected("answered", ground.owner_id, told)


@pytest.mark.parametrize("body", [*GARBAGE[:-1], b"x" * (MAX_BODY_BYTES + 1)], ids=range(15))
def test_garbage_is_refused_or_kept_but_never_breaks(
    ground: Ground, visitor: Any, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (sent, *_rest) = connections.build(ground.row).simulate(ground.call())
    answer = _post(visitor, ground, sent, body=body)
    assert answer.status_code < 500
    inbox.drain()
    shown = answer.get_data(as_text=True) + caplog.text
    assert not [secret for secret in connections.build(ground.row).secrets() if secret in shown]
