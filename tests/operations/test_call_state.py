"""All orders of one call's events give the same call (no database)."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.integrations.telephony.base import CallEvent, CallKind, CallResult, Direction
from tests.call_fold import fold

START = dt.datetime(2026, 11, 24, 9, 0, tzinfo=dt.UTC)


def at(seconds: int) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def event(kind: CallKind, seconds: int, **values: Any) -> CallEvent:
    return CallEvent(
        kind=kind,
        operator="mango",
        connection_id=1,
        provider_call_id="c1",
        event_id=f"{kind.value}-{seconds}-{values.get('leg_id')}",
        occurred_at=at(seconds),
        **values,
    )


IN = {"direction": Direction.IN, "client_number": "79161234567", "line_number": "74955550100"}
LEG1 = {"leg_id": "a", "extension": "101", **IN}
LEG2 = {"leg_id": "b", "extension": "102", **IN}
ANSWERED = [
    event(CallKind.RINGING, 0, leg_id="menu", **IN),
    event(CallKind.RINGING, 6, **LEG1),
    event(CallKind.RINGING, 6, **LEG2),
    event(CallKind.ANSWERED, 11, **LEG2),
    event(CallKind.LEG_ENDED, 12, **LEG1),
    event(
        CallKind.ENDED, 101, final=True, started_at=at(1), answered_at=at(11), ended_at=at(100),
        talk=89, duration_total=99, result=CallResult.ANSWERED, extension="102", **IN,
    ),
    event(CallKind.RECORDING_READY, 104, recording_ref="rec-1"),
]  # fmt: skip
MISSED = [
    event(CallKind.RINGING, 0, leg_id="menu", **IN),
    event(CallKind.RINGING, 6, **LEG1),
    event(CallKind.LEG_ENDED, 20, **LEG1),
    event(CallKind.MISSED, 21, final=True, started_at=at(0), ended_at=at(21), talk=0,
          result=CallResult.NO_ANSWER, extension="101", **IN),
]  # fmt: skip
# No final record, a transfer, a contradicting live number, a line that only one event knows.
LIVE = [
    event(CallKind.RINGING, 0, leg_id="a", extension="101", client_number="79161234567"),
    event(CallKind.ANSWERED, 5, leg_id="a", extension="101", direction=Direction.IN),
    event(CallKind.ANSWERED, 40, leg_id="b", extension="102", direction=Direction.IN),
    event(CallKind.MISSED, 60, direction=Direction.IN, line_number="74955550100"),
    event(CallKind.RINGING, 38, leg_id="b", extension="102", client_number="9161234567"),
]
OUT = [
    event(CallKind.RINGING, 0, leg_id="a", extension="101", crm_request_id="kv-1"),
    event(CallKind.LEG_ENDED, 9, leg_id="a", extension="101"),
    event(CallKind.ENDED, 10, final=True, direction=Direction.OUT, client_number="79161234567",
          result=CallResult.BUSY, talk=0),
    event(CallKind.RECORDING_READY, 12, recording_url="https://a.test/1"),
    event(CallKind.RECORDING_READY, 30, recording_url="https://a.test/2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "state", "employee"),
    [
        (ANSWERED, "ended", 2),
        (MISSED, "missed", None),
        (LIVE, "ended", 1),
        (OUT, "ended", 1),
    ],
    ids=["answered", "missed", "live", "out"],
)
def test_every_order_gives_the_same_call(
    events: list[CallEvent], state: str, employee: int | None
) -> None:
    expected = fold(events)
    assert (expected["state"], expected["employee"]) == (state, employee)
    for order in itertools.permutations(events):
        assert fold(list(order)) == expected


def test_what_the_answered_call_is() -> None:
    call = fold(ANSWERED)
    assert call["started_at"] == at(1), "the final record overrules the first live event"
    assert (call["talk"], call["result"]) == (89, "answered")
    assert call["recording_ref"]["ref"] == "rec-1"
    assert call["recording_due_at"] == at(164)


def test_answered_evidence_is_stronger_than_a_late_missed() -> None:
    call = fold(LIVE)
    assert (call["state"], call["result"], call["answered_at"]) == ("ended", "answered", at(5))


def test_the_newest_address_of_a_recording_stays() -> None:
    assert fold(OUT)["recording_ref"]["url"] == "https://a.test/2"


def test_an_empty_event_erases_nothing() -> None:
    bare = event(CallKind.ENDED, 200, final=True)
    call = fold([*ANSWERED, bare])
    assert call["recording_ref"]["ref"] == "rec-1"
    assert (call["talk"], call["duration_total"], call["client_number"]) == (89, 99, "79161234567")


def test_states_never_go_back() -> None:
    rank = {"new": 0, "ringing": 1, "answered": 2, "ended": 3, "missed": 3}
    for order in itertools.permutations(ANSWERED[:6]):
        states = [rank[fold(list(order[:n]))["state"]] for n in range(1, 7)]
        assert states == sorted(states)


kinds = st.sampled_from([kind for kind in CallKind if kind is not CallKind.UNKNOWN])
maybe = st.none() | st.integers(0, 300).map(at)


@st.composite
def any_event(draw: st.DrawFn) -> CallEvent:
    extension = draw(st.sampled_from([None, "101", "102"]))
    return event(
        draw(kinds),
        draw(st.integers(0, 300)),
        final=draw(st.booleans()),
        leg_id=f"leg-{extension}" if extension else None,
        extension=extension,
        direction=draw(st.sampled_from([None, Direction.IN, Direction.OUT])),
        client_number=draw(st.sampled_from([None, "79161234567", "79160000000"])),
        line_number=draw(st.sampled_from([None, "74955550100"])),
        started_at=draw(maybe),
        answered_at=draw(maybe),
        ended_at=draw(maybe),
        talk=draw(st.none() | st.integers(0, 100)),
        result=draw(st.none() | st.sampled_from(CallResult)),
        duration_total=draw(st.none() | st.integers(1, 100)),
        recording_ref=draw(st.sampled_from([None, "r1", "r2"])),
        recording_url=draw(st.sampled_from([None, "https://a.test/1"])),
    )


@settings(deadline=None)
@given(st.data())
def test_any_events_in_any_order_and_any_repeats(data: st.DataObject) -> None:
    events = data.draw(st.lists(any_event(), min_size=1, max_size=6))
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=3))
    shuffled = data.draw(st.permutations([*events, *repeats]))
    expected, found = fold(events), fold(list(shuffled))
    assert found == expected
