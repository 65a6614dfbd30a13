"""After the storm: what was sent against what the database holds, all of it in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.storm_events import NO_TALK, Storm
from benchmarks.storm_sender import Outcome
from crm.operations.missed_calls import TASK_TEXT
from crm.values import phones

SHOWN = 5
_TABLES = """
CREATE TABLE storm_delivery (
    door text, key text, call integer, sent integer, accepted integer, PRIMARY KEY (door, key));
CREATE TABLE storm_call (
    number integer PRIMARY KEY, operator text, connection_id integer, provider_call_id text,
    client_key text, line text, inbound boolean, answered boolean, talk integer,
    employee_id integer, started_at timestamptz, recorded boolean, whole boolean);
"""
# A wanted call beside the row that it has become.
_PAIRS = """
storm_call w JOIN call c ON c.connection_id = w.connection_id
    AND c.provider_call_id = w.provider_call_id"""
_SENT = "storm_delivery s LEFT JOIN inbound_delivery d ON d.door = s.door AND d.dedup_key = s.key"


@dataclass(frozen=True)
class Check:
    """A query for what must not be; ``kind`` says how it counts: lost, doubled or wrong.

    What is only ``noted`` does not count.
    """

    kind: str
    title: str
    query: str


@dataclass(frozen=True)
class Found:
    """What a check has found, with some examples."""

    check: Check
    count: int
    examples: list[tuple[Any, ...]]


CHECKS = (
    Check(
        "lost",
        "accepted deliveries that are not stored",
        f"SELECT s.door, s.key, s.call FROM {_SENT} WHERE s.accepted > 0 AND d.id IS NULL",
    ),
    Check(
        "doubled",
        "deliveries that are stored more than once",
        "SELECT door, dedup_key, count(*) FROM inbound_delivery GROUP BY 1, 2 HAVING count(*) > 1",
    ),
    Check(
        "wrong",
        "deliveries that nobody has sent",
        "SELECT d.id, d.door FROM inbound_delivery d LEFT JOIN storm_delivery s"
        " ON d.door = s.door AND d.dedup_key = s.key WHERE s.key IS NULL",
    ),
    Check(
        "wrong",
        "repeats that are miscounted",
        f"SELECT s.door, s.key, s.accepted, s.sent, d.repeats FROM {_SENT}"
        " WHERE d.repeats + 1 NOT BETWEEN s.accepted AND s.sent",
    ),
    Check(
        "lost",
        "deliveries that are still to be taken in",
        "SELECT id, door, state, attempts, left(error, 200) FROM inbound_delivery"
        " WHERE state IN ('new', 'retry')",
    ),
    Check(
        "lost",
        "deliveries that failed",
        "SELECT id, door, attempts, left(error, 300) FROM inbound_delivery WHERE state = 'failed'",
    ),
    Check(
        "lost",
        "deliveries whose call was not found",
        "SELECT id, door, verdict FROM inbound_delivery WHERE verdict LIKE '%не найден%'",
    ),
    Check(
        "lost",
        "calls without a row",
        "SELECT w.operator, w.provider_call_id FROM storm_call w WHERE w.whole AND NOT EXISTS"
        " (SELECT FROM call c WHERE c.connection_id = w.connection_id"
        " AND c.provider_call_id = w.provider_call_id)",
    ),
    Check(
        "doubled",
        "rows of calls that no call has",
        "SELECT c.id, c.connection_id, c.provider_call_id, c.client_key, c.direction FROM call c"
        " LEFT JOIN storm_call w ON c.connection_id = w.connection_id"
        " AND c.provider_call_id = w.provider_call_id WHERE w.number IS NULL",
    ),
    Check(
        "wrong",
        "calls in a wrong final state",
        f"SELECT w.operator, c.id, w.inbound, w.answered, c.direction, c.state, c.result,"
        f" c.answered_at FROM {_PAIRS} WHERE w.whole AND ("
        " c.direction <> CASE WHEN w.inbound THEN 'in' ELSE 'out' END"
        " OR c.state <> CASE WHEN w.inbound AND NOT w.answered THEN 'missed' ELSE 'ended' END"
        " OR (coalesce(c.result, '') = 'answered') <> w.answered"
        " OR (c.answered_at IS NOT NULL) <> w.answered)",
    ),
    Check(
        "wrong",
        "calls of a wrong client, line or time",
        f"SELECT w.operator, c.id, w.client_key, c.client_key, w.line, c.line_number, w.started_at,"
        f" c.started_at FROM {_PAIRS} WHERE w.whole AND (c.client_key IS DISTINCT FROM w.client_key"
        " OR (w.inbound AND c.line_number IS NULL) OR c.line_number <> w.line"
        " OR abs(extract(epoch FROM c.started_at - w.started_at)) > 15)",
    ),
    Check(
        "wrong",
        "calls with a wrong talk",
        f"SELECT w.operator, c.id, w.answered, w.talk, c.talk FROM {_PAIRS} WHERE w.whole"
        " AND CASE WHEN w.answered THEN w.talk IS NOT NULL AND abs(coalesce(c.talk, -9) - w.talk)"
        " > 1 ELSE coalesce(c.talk, 0) <> 0 END",
    ),
    Check(
        "wrong",
        "calls of a wrong employee",
        f"SELECT w.operator, c.id, w.inbound, w.answered, w.employee_id, c.employee_id"
        f" FROM {_PAIRS} WHERE w.whole AND c.employee_id IS DISTINCT FROM"
        " CASE WHEN w.answered OR NOT w.inbound THEN w.employee_id END",
    ),
    Check(
        "lost",
        "recordings that nobody waits for",
        f"SELECT w.operator, c.id FROM {_PAIRS}"
        " WHERE w.whole AND w.recorded AND c.recording_state = 'none'",
    ),
    Check(
        "lost",
        "inbound calls without an appeal, a contact or a deal",
        f"SELECT w.operator, c.id, a.id, c.contact_id, c.deal_id FROM {_PAIRS}"
        " LEFT JOIN appeal a ON a.call_id = c.id WHERE w.inbound"
        " AND (a.id IS NULL OR c.contact_id IS NULL OR c.deal_id IS NULL)",
    ),
    Check(
        "doubled",
        "calls with several appeals, or appeals without an inbound call",
        "SELECT a.call_id, count(*) FROM appeal a LEFT JOIN call c ON c.id = a.call_id"
        " AND c.direction = 'in' GROUP BY a.call_id, c.id HAVING count(*) > 1 OR c.id IS NULL",
    ),
    Check(
        "doubled",
        "clients with several contacts",
        "SELECT key, count(*) FROM contact_phone GROUP BY key HAVING count(*) > 1",
    ),
    Check(
        "doubled",
        "clients with several deals in work",
        "SELECT d.contact_id, count(*) FROM deal d JOIN stage s ON s.id = d.stage_id"
        " WHERE d.deleted_at IS NULL AND s.type = 'in_work' GROUP BY 1 HAVING count(*) > 1",
    ),
    Check(
        "doubled",
        "clients with several tasks to call back",
        "SELECT d.contact_id, count(*) FROM task t JOIN deal d ON d.id = t.deal_id"
        f" WHERE t.done_at IS NULL AND t.text = '{TASK_TEXT}' GROUP BY 1 HAVING count(*) > 1",
    ),
    Check(
        "doubled",
        "calls told twice in one feed",
        "SELECT call_id, kind, count(*) FROM timeline_event WHERE call_id IS NOT NULL"
        " AND kind = 'call' GROUP BY 1, 2 HAVING count(*) > 1",
    ),
    Check(
        "lost",
        "inbound calls that no feed tells of",
        f"SELECT w.operator, c.id FROM {_PAIRS} WHERE w.inbound AND NOT EXISTS"
        " (SELECT FROM timeline_event e WHERE e.call_id = c.id AND e.deal_id = c.deal_id)",
    ),
    Check(
        "lost",
        "missed calls without a time to call back",
        f"SELECT w.operator, c.id FROM {_PAIRS} WHERE w.whole AND w.inbound AND NOT w.answered"
        " AND c.callback_due_at IS NULL",
    ),
    Check(
        "lost",
        "missed clients with whom nobody talked and who are nobody's task",
        f"SELECT w.operator, c.id, c.client_key FROM {_PAIRS} WHERE w.whole AND w.inbound"
        " AND NOT w.answered AND NOT EXISTS (SELECT FROM storm_call o WHERE o.answered"
        " AND o.client_key = w.client_key AND o.started_at >= w.started_at)"
        " AND NOT EXISTS (SELECT FROM task t WHERE t.id = c.callback_task_id"
        " AND t.done_at IS NULL)",
    ),
    Check(
        "wrong",
        "missed calls that are waited for though somebody talked to the client later",
        f"SELECT w.operator, c.id, c.client_key FROM {_PAIRS} WHERE w.whole AND w.inbound"
        " AND NOT w.answered AND c.reached_at IS NULL AND EXISTS (SELECT FROM storm_call o"
        " WHERE o.answered AND o.whole AND o.client_key = w.client_key"
        " AND o.started_at > w.started_at)",
    ),
    Check(
        "wrong",
        "missed calls that are taken as settled though nobody talked to the client later",
        f"SELECT w.operator, c.id, c.client_key, c.started_at, c.reached_at FROM {_PAIRS}"
        " WHERE w.whole AND w.inbound AND NOT w.answered AND c.reached_at IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM storm_call o WHERE o.answered"
        " AND o.client_key = w.client_key AND o.started_at > w.started_at)",
    ),
    # Strangers are not made contacts by our calling them; who calls us later is known from then on.
    Check(
        "noted",
        "outgoing calls to a client whom we should have known by then, not in his feed",
        f"SELECT w.operator, c.id, c.client_key FROM {_PAIRS} WHERE NOT w.inbound"
        " AND c.contact_id IS NULL AND EXISTS (SELECT FROM storm_call o WHERE o.inbound"
        " AND o.client_key = w.client_key AND o.started_at < w.started_at)",
    ),
)


def fill(connection: psycopg.Connection[Any], storm: Storm, outcome: Outcome) -> None:
    """Put beside the product's tables what was sent and what must come of it."""
    connection.execute(_TABLES)
    whole = _whole(storm, outcome)
    with connection.cursor() as cursor:
        names = "door, key, call, sent, accepted"
        with cursor.copy(f"COPY storm_delivery ({names}) FROM STDIN") as copy:
            for row in _delivery_rows(storm, outcome):
                copy.write_row(row)
        with cursor.copy("COPY storm_call FROM STDIN") as copy:
            for number, row in enumerate(_call_rows(storm)):
                copy.write_row((number, *row, whole[number]))
    connection.execute("CREATE INDEX ON storm_call (client_key)")
    connection.execute("CREATE INDEX ON storm_call (connection_id, provider_call_id)")
    connection.execute("ANALYZE")


def run(connection: psycopg.Connection[Any]) -> Iterator[Found]:
    """Every check with what it has found."""
    for check in CHECKS:
        row = connection.execute(f"SELECT count(*) FROM ({check.query}) found").fetchone()
        count = int(row[0]) if row else 0
        shown = f"SELECT * FROM ({check.query}) found LIMIT {SHOWN}"
        yield Found(check, count, connection.execute(shown).fetchall() if count else [])


def verdicts(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """What became of the deliveries, without the numbers of calls."""
    query = (
        "SELECT state, regexp_replace(coalesce(verdict, ''), '\\d+', 'N', 'g') AS said, count(*)"
        " FROM inbound_delivery GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20"
    )
    return connection.execute(query).fetchall()


def taken_in(connection: psycopg.Connection[Any]) -> tuple[int, float]:
    """How many deliveries were taken in, and the seconds from the first to come to the last."""
    query = (
        "SELECT count(*), extract(epoch FROM max(processed_at) - min(received_at))"
        " FROM inbound_delivery WHERE processed_at IS NOT NULL"
    )
    row = connection.execute(query).fetchone()
    return (int(row[0]), float(row[1] or 1)) if row else (0, 1.0)


def retried(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Deliveries that were taken in at a later attempt, and the most attempts of one."""
    query = "SELECT count(*) FILTER (WHERE attempts > 1), max(attempts) FROM inbound_delivery"
    row = connection.execute(query).fetchone()
    return (int(row[0]), int(row[1] or 0)) if row else (0, 0)


def _delivery_rows(storm: Storm, outcome: Outcome) -> Iterator[tuple[str, str, int, int, int]]:
    sent, accepted = [0] * len(storm.deliveries), [0] * len(storm.deliveries)
    for number, shot in enumerate(storm.shots):
        sent[shot.delivery] += outcome.tries[number]
        accepted[shot.delivery] += outcome.accepted[number]
    # Two requests of one call may be the same to the inbox: then they are one delivery.
    merged: dict[tuple[str, str], list[int]] = {}
    for number, delivery in enumerate(storm.deliveries):
        row = merged.setdefault((delivery.door, delivery.key), [delivery.call, 0, 0])
        row[1] += sent[number]
        row[2] += accepted[number]
    for (door, key), (call, tries, taken) in merged.items():
        yield door, key, call, tries, taken


def _whole(storm: Storm, outcome: Outcome) -> list[bool]:
    """Whether each call's every delivery was acknowledged at least once."""
    taken = [False] * len(storm.deliveries)
    for number, shot in enumerate(storm.shots):
        taken[shot.delivery] |= bool(outcome.accepted[number])
    whole = [True] * len(storm.calls)
    for number, delivery in enumerate(storm.deliveries):
        whole[delivery.call] &= taken[number]
    return whole


def _call_rows(storm: Storm) -> Iterator[tuple[Any, ...]]:
    for call in storm.calls:
        scenario, account = call.scenario, call.account
        slug = account.operator.slug
        talk = None if slug in NO_TALK else int(scenario.talk.total_seconds())
        yield (
            slug,
            account.connection_id,
            call.provider_call_id,
            phones.match_key(scenario.client_number),
            scenario.line_number,
            scenario.direction.value == "in",
            scenario.answered,
            talk if scenario.answered else None,
            account.employees[scenario.extension],
            scenario.started_at,
            scenario.recorded and scenario.answered,
        )
