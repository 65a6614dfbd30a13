"""Which call an event belongs to: by its ids and aliases, by our request, by number and time.

An operator may name a call twice (a leg after a transfer), not at all (an ordered call), or only
in its live events (a history without ids). Whatever comes first, the call ends up as one row.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from crm.integrations.telephony import registry
from crm.integrations.telephony.base import CallEvent, Direction
from crm.models import (
    Appeal,
    Call,
    CallAlias,
    CallLeg,
    SeenCallEvent,
    TelephonyExtension,
    TimelineEvent,
    db,
)
from crm.operations import call_state, memory
from crm.values import phones

# Id of a call that we have asked for and the operator has not named yet.
REQUEST_PREFIX = "crm:"
# Clocks of the webhook and of the history differ by so much at most.
_SLACK = dt.timedelta(seconds=60)
# A longer call is told by nobody's history as one row.
_LONGEST = dt.timedelta(hours=6)
_MOST = 20


def lock_keys(event: CallEvent) -> list[str]:
    """What must be held while the event's call is found: its ids, and its client's number."""
    ids = [pk for pk in (event.provider_call_id, *event.alias_call_ids) if pk]
    key = phones.match_key(event.client_number)
    return [f"{event.connection_id}:{pk}" for pk in ids] + ([f"client:{key}"] if key else [])


def find_or_new(event: CallEvent, known: list[Call], run_id: int | None = None) -> Call | None:
    """The event's call, made if need be; None when the event names no call that we know.

    ``known``: what `by_ids` has found; ``run_id``: the look into the history that a new call was
    found by.
    """
    for other in known[1:]:
        _unite(known[0], other)
    call = known[0] if known else None
    asked = _by_request(event, but=call)
    if call is not None and asked is not None:
        _unite(call, asked)
    call = call or asked or _by_moment(event)
    if call is None:
        if not event.provider_call_id:
            return None
        call = _new(event, run_id)
    _name(call, event)
    return call


def employee_id(event: CallEvent) -> int | None:
    """Whose the operator's key or internal number in the event is (at most 1 query)."""
    wanted = [key for key in (event.employee_key, event.extension) if key]
    if not wanted:
        return None
    pk = event.connection_id
    owners = memory.kept(f"extensions:{pk}", lambda: _owners(pk))
    return next((owners[key] for key in wanted if owners.get(key) is not None), None)


def _owners(connection_id: int) -> dict[str | None, int | None]:
    """Employees of a connection by the operator's keys and internal numbers."""
    extension = TelephonyExtension
    query = select(extension.key, extension.number, extension.employee_id)
    mine = query.where(extension.connection_id == connection_id).order_by(extension.id)
    with db.session.no_autoflush:
        rows = list(db.session.execute(mine))
    # The key proves more than the number.
    owners: dict[str | None, int | None] = {row.number: row.employee_id for row in rows}
    return owners | {row.key: row.employee_id for row in rows}


# --- finding ----------------------------------------------------------------------------------


def by_ids(event: CallEvent) -> list[Call]:
    """Rows of the calls that the event names, the oldest first; several turn out to be one."""
    ids = [pk for pk in (event.provider_call_id, *event.alias_call_ids) if pk]
    if not ids:
        return []
    return list(db.session.scalars(_named(), {"connection": event.connection_id, "ids": ids}))


@cache
def _named() -> Select[tuple[Call]]:
    """One statement for all events: making it costs more than running it."""
    mine: BindParameter[int] = bindparam("connection")
    ids: BindParameter[list[str]] = bindparam("ids", expanding=True)
    aliased = select(CallAlias.call_id).where(
        CallAlias.connection_id == mine, CallAlias.alias.in_(ids)
    )
    named = or_(Call.provider_call_id.in_(ids), Call.id.in_(aliased))
    return _as_they_are(select(Call).where(Call.connection_id == mine, named), _MOST)


def _by_request(event: CallEvent, but: Call | None) -> Call | None:
    """The call that we have asked for and this event belongs to."""
    query = _of(event).where(Call.id != (but.id if but is not None else 0))
    if event.crm_request_id:
        found = _found(query.where(Call.crm_request_id == event.crm_request_id))
        return found[0] if found else None
    key = phones.match_key(event.client_number)
    if but is not None or event.direction is not Direction.OUT or not key:
        return None
    # A click-to-call whose id the operator does not return (rule 10).
    window = registry.get(event.operator).request_window
    # The first event to come may be the end of a long talk.
    begun = event.started_at or event.occurred_at
    found = _found(
        query.where(
            Call.client_key == key,
            Call.employee_id == employee_id(event),
            Call.provider_call_id.startswith(REQUEST_PREFIX),
            Call.started_at >= begun - window,
            Call.started_at <= begun + window,
        )
    )
    return found[0] if found else None


def _by_moment(event: CallEvent) -> Call | None:
    """The call of the same number at the same time, when one side knows no true id.

    A client makes one call at a time: whatever begins before his call is over belongs to it.
    """
    key = phones.match_key(event.client_number)
    if not key or not event.provider_call_id:
        return None
    begun = event.started_at or event.occurred_at
    query = _of(event).where(
        Call.client_key == key,
        Call.started_at > begun - _LONGEST,
        Call.started_at <= (event.ended_at or begun) + _SLACK,
        _same_direction(event),
    )
    if not event.id_is_made_up:
        query = query.where(Call.id_is_made_up)
    near = [call for call in _found(query, _MOST) if _overlaps(call, event)]
    return min(near, key=lambda call: (abs(call.started_at - begun), call.id), default=None)


def _overlaps(call: Call, event: CallEvent) -> bool:
    begun = event.started_at or event.occurred_at
    over = call.ended_at or call.started_at
    return call.started_at - _SLACK <= begun <= max(over, call.started_at + _SLACK)


def _same_direction(event: CallEvent) -> ColumnElement[bool]:
    if event.direction is None:
        return Call.direction.is_not(None)
    return or_(Call.direction.is_(None), Call.direction == event.direction.value)


def _of(event: CallEvent) -> Select[tuple[Call]]:
    return select(Call).where(Call.connection_id == event.connection_id)


def _found(query: Select[tuple[Call]], most: int = _MOST) -> list[Call]:
    return list(db.session.scalars(_as_they_are(query, most)))


def _as_they_are(query: Select[tuple[Call]], most: int) -> Select[tuple[Call]]:
    """In the database now: the session may remember a call from another delivery."""
    return query.order_by(Call.id).limit(most).execution_options(populate_existing=True)


# --- naming -----------------------------------------------------------------------------------


def _new(event: CallEvent, run_id: int | None) -> Call:
    call = Call(
        connection_id=event.connection_id,
        provider_call_id=event.provider_call_id,
        id_is_made_up=event.id_is_made_up,
        final_fields=[],
        history_run_id=run_id,
    )
    db.session.add(call)
    return call


def _name(call: Call, event: CallEvent) -> None:
    """Keep every id the call has ever had; the operator's true one is its name."""
    ids = {call.provider_call_id, event.provider_call_id, *event.alias_call_ids} - {""}
    if event.provider_call_id and _is_better(call, event):
        call.provider_call_id = event.provider_call_id
        call.id_is_made_up = event.id_is_made_up
    _keep_aliases(call, ids - {call.provider_call_id})


def _keep_aliases(call: Call, aliases: set[str]) -> None:
    if not aliases:
        return
    db.session.flush()
    rows = [
        {"connection_id": call.connection_id, "alias": alias, "call_id": call.id}
        for alias in sorted(aliases)
    ]
    db.session.execute(
        _dialect()
        .insert(CallAlias)
        .values(rows)
        .on_conflict_do_update(index_elements=["connection_id", "alias"], set_={"call_id": call.id})
    )


def _is_better(call: Call, event: CallEvent) -> bool:
    if _is_nameless(call):
        return not event.id_is_made_up or not call.id_is_made_up
    return call.provider_call_id in event.alias_call_ids


def _dialect() -> Any:
    return postgresql if db.session.get_bind().dialect.name == "postgresql" else sqlite


# --- uniting ----------------------------------------------------------------------------------


def _unite(kept: Call, other: Call) -> None:
    """Two rows turned out to be one call: everything of ``other`` goes to ``kept``."""
    call_state.unite(kept, other)
    kept.deal_id = kept.deal_id or other.deal_id
    kept.contact_id = kept.contact_id or other.contact_id
    kept.employee_id = kept.employee_id or other.employee_id
    kept.source_id = kept.source_id or other.source_id
    kept.callback_task_id = kept.callback_task_id or other.callback_task_id
    names = {kept.provider_call_id, other.provider_call_id}
    wins = _is_nameless(kept) and not _is_nameless(other)
    named = other if wins else kept
    name, made_up = named.provider_call_id, named.id_is_made_up
    _hand_over(kept, other)
    kept.provider_call_id, kept.id_is_made_up = name, made_up
    _keep_aliases(kept, names - {name})


def _is_nameless(call: Call) -> bool:
    """The operator has not told its true id yet."""
    return call.id_is_made_up or call.provider_call_id.startswith(REQUEST_PREFIX)


def _hand_over(kept: Call, other: Call) -> None:
    """Everything that points to ``other``; its name is free afterwards."""
    db.session.flush()
    mine = select(CallLeg.leg_id).where(CallLeg.call_id == kept.id)
    double = CallLeg.leg_id.in_(mine)
    db.session.execute(delete(CallLeg).where(CallLeg.call_id == other.id, double))
    for model in (CallLeg, SeenCallEvent, CallAlias):
        moved = update(model).where(model.call_id == other.id).values(call_id=kept.id)
        db.session.execute(moved)
    _unite_appeals(kept, other)
    db.session.delete(other)
    db.session.flush()


def _unite_appeals(kept: Call, other: Call) -> None:
    """One call is one appeal: a second one stays as a double of the first, without the call."""
    appeals = {
        appeal.call_id: appeal
        for appeal in db.session.scalars(
            select(Appeal).where(Appeal.call_id.in_((kept.id, other.id)))
        )
    }
    mine, second = appeals.get(kept.id), appeals.get(other.id)
    lines = TimelineEvent.call_id == other.id
    if second is None:
        told = select(TimelineEvent.id).where(TimelineEvent.call_id == kept.id).limit(1)
        if db.session.scalar(told) is None:
            db.session.execute(update(TimelineEvent).where(lines).values(call_id=kept.id))
    elif mine is None:
        second.call = kept
        db.session.execute(update(TimelineEvent).where(lines).values(call_id=kept.id))
    else:
        second.call = None
        second.is_repeat = True
        second.extra = {**second.extra, "duplicate_of": mine.id}
    db.session.execute(delete(TimelineEvent).where(lines))
    db.session.flush()
