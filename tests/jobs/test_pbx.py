"""The listener: what a PBX says ends in the inbox, whatever breaks meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError

from crm.integrations.telephony.asterisk import Asterisk
from crm.jobs import context, pbx, worker
from crm.jobs.pbx import Listener, Store
from crm.models import Call, CallState, InboundDelivery, TelephonyConnection, db
from crm.operations import connections, inbox
from tests.conftest import SECRET as APP_SECRET
from tests.integrations.telephony.test_asterisk_stream import (
    HANGUP,
    NEW,
    SECRET,
    FakeAmi,
    listening,
    packet,
)

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def haste(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The application as in a worker, and short pauses."""
    monkeypatch.setattr(context._process, "app", committed)
    monkeypatch.setattr(Asterisk, "poll_seconds", 0.02)
    monkeypatch.setattr(pbx, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(pbx, "PAUSES", (0.05, 0.1))
    monkeypatch.setattr(pbx, "RETRY_SECONDS", 0.05)


@contextmanager
def running(name: str = "") -> Iterator[Listener]:
    listener, stop = Listener(name), threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not listener.lines


def connection(port: int, **changed: Any) -> TelephonyConnection:
    credentials = {"host": "127.0.0.1", "port": str(port), "username": "crm", "password": SECRET}
    values = {"name": "АТС офиса", "token": "t" * 43, "credentials": credentials, **changed}
    row = TelephonyConnection(operator=values.pop("operator", "asterisk"), **values)
    db.session.add(row)
    db.session.commit()
    return row


def stored() -> list[InboundDelivery]:
    db.session.rollback()
    query = select(InboundDelivery).order_by(InboundDelivery.id)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def told() -> list[str]:
    """Names of the stored events, without the marks of connections."""
    names = [json.loads(row.body)["event"]["Event"] for row in stored()]
    return [name for name in names if name != "CrmConnected"]


def fresh(row_id: int) -> TelephonyConnection:
    db.session.rollback()
    row = db.session.get(TelephonyConnection, row_id, populate_existing=True)
    assert row is not None
    return row


def play(*events: dict[str, Any]) -> Callable[[socket.socket], None]:
    return lambda told: told.sendall(b"".join(packet(event) for event in events))


def call_of(uid: str) -> list[dict[str, Any]]:
    return [{**event, "Uniqueid": uid, "Linkedid": uid} for event in (NEW, HANGUP)]


def test_events_end_as_deliveries_and_as_a_call() -> None:
    with listening(FakeAmi(play(NEW, HANGUP)).serve) as port:
        row = connection(port)
        row_id, changed = row.id, row.updated_at
        with running():
            wait_for(lambda: told() == ["Newchannel", "Hangup"])
        deliveries = stored()
    assert {delivery.door for delivery in deliveries} == {f"telephony:{row_id}"}
    assert {(delivery.method, delivery.path_tail) for delivery in deliveries} == {("STREAM", "ami")}
    assert {delivery.adapter for delivery in deliveries} == {"asterisk"}
    assert not [delivery for delivery in deliveries if SECRET in delivery.body_masked]
    inbox.drain()
    (call,) = db.session.scalars(select(Call))
    assert (call.state, call.direction, call.client_number) == (
        CallState.MISSED,
        "in",
        "79000000001",
    )
    assert call.deal_id is not None
    assert fresh(row_id).last_event_at is not None
    assert fresh(row_id).updated_at == changed


def test_it_reconnects_after_a_break() -> None:
    calls = iter([call_of("1.1"), call_of("2.1"), call_of("3.1")])

    def drop(connected: socket.socket) -> None:
        play(*next(calls, []))(connected)
        connected.shutdown(socket.SHUT_RDWR)

    fake = FakeAmi(drop)
    with listening(fake.serve) as port:
        row_id = connection(port).id
        with running():
            wait_for(lambda: told() == ["Newchannel", "Hangup"] * 3)
            wait_for(lambda: "закрыла соединение" in (fresh(row_id).last_error or ""))
            fake.after = lambda _: None
            wait_for(lambda: fresh(row_id).last_error is None)
    assert fake.logins > 3


def test_nothing_is_lost_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event for number in range(1, 31) for event in call_of(f"{number}.1")]
    accept, tries = inbox.accept, []

    def away(*args: Any, **values: Any) -> Any:
        tries.append(1)
        if len(tries) % 7 in (1, 2, 3):
            raise OperationalError("INSERT", {}, Exception("the server closed the connection"))
        return accept(*args, **values)

    monkeypatch.setattr(inbox, "accept", away)
    with listening(FakeAmi(play(*events)).serve) as port:
        connection(port)
        with running():
            wait_for(lambda: len(told()) == len(events), 20)
    ids = [json.loads(row.body)["event"].get("Uniqueid") for row in stored()]
    assert [uid for uid in ids if uid] == [event["Uniqueid"] for event in events]
    assert len(tries) > len(events) + 1


def test_a_database_away_for_a_look_ends_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(FakeAmi().serve) as port:
        row_id = connection(port).id
        with running() as listener:
            wait_for(lambda: row_id in listener.lines)
            line = listener.lines[row_id]

            def away(_self: Listener) -> Any:
                raise OperationalError("SELECT", {}, Exception("away"))

            with monkeypatch.context() as patched:
                patched.setattr(Listener, "_wanted", away)
                time.sleep(0.3)
                assert listener.lines == {row_id: line}
            time.sleep(0.2)
            assert listener.lines == {row_id: line}
            assert line.is_alive()


def test_a_wrong_password_is_told_once_and_new_settings_are_tried_at_once() -> None:
    fake = FakeAmi()
    with listening(fake.serve) as port:
        wrong = {"host": "127.0.0.1", "port": str(port), "username": "crm", "password": "wrong"}
        row_id = connection(port, credentials=wrong).id
        with running():
            wait_for(lambda: "имя или пароль" in (fresh(row_id).last_error or ""))
            time.sleep(0.4)
            assert [asked["Action"] for asked in fake.asked] == ["Challenge", "Login"]
            row = fresh(row_id)
            row.credentials = {**wrong, "password": SECRET}
            db.session.commit()
            wait_for(lambda: fresh(row_id).last_error is None)
    assert fake.logins == 1
    assert "wrong" not in (fresh(row_id).last_error or "")


def test_a_connection_that_is_switched_off_is_left_and_others_have_none() -> None:
    fake = FakeAmi()
    with listening(fake.serve) as port:
        row_id = connection(port).id
        connection(port, name="Манго", token="m" * 43, operator="mango")
        connection(port, name="Неизвестный", token="n" * 43, operator="no-such")
        connection(port, name="Выключена", token="o" * 43, active=False)
        with running() as listener:
            wait_for(lambda: fake.logins == 1)
            assert set(listener.lines) == {row_id}
            line = listener.lines[row_id]
            row = fresh(row_id)
            row.active = False
            db.session.commit()
            wait_for(lambda: not listener.lines)
            wait_for(lambda: not line.is_alive())
            row = fresh(row_id)
            row.active = True
            db.session.commit()
            wait_for(lambda: fake.logins == 2)


def test_a_thread_that_fell_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fallen: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: fallen.append(str(told.exc_value)))
    parse, broken = Asterisk._told, iter([True])

    def told_badly(self: Asterisk, event: Any) -> Any:
        if next(broken, False):
            raise ZeroDivisionError("a mistake of ours")
        return parse(self, event)

    monkeypatch.setattr(Asterisk, "_told", told_badly)
    with listening(FakeAmi(play(NEW)).serve) as port:
        connection(port)
        with running():
            wait_for(lambda: told() == ["Newchannel"])
    assert fallen == ["a mistake of ours"]


def test_only_one_of_two_listeners_listens(live_redis: Redis) -> None:
    fake = FakeAmi()
    with listening(fake.serve) as port:
        connection(port)
        with running("second") as second, running("first") as first:
            wait_for(lambda: bool(first.lines) != bool(second.lines))
            time.sleep(0.3)
            assert len(first.lines) + len(second.lines) == 1
            assert fake.logins == 1
            # Whoever loses the lease lets go; the other one begins.
            loser, winner = (first, second) if first.lines else (second, first)
            live_redis.set(pbx.LEASE_KEY, winner._name)
            wait_for(lambda: winner.lines and not loser.lines)
    assert live_redis.get(pbx.LEASE_KEY) is None


def test_a_store_is_bounded_and_the_oldest_are_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pbx, "MAX_WAITING", 5)
    store, done = Store(), []
    for number in range(8):
        store.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert len(store) == 5
    store.ensure()
    store.finish(5)
    assert done == [3, 4, 5, 6, 7]
    assert "events lost" in caplog.text


def test_what_cannot_be_stored_stops_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    store, done = Store(), []

    def never() -> None:
        raise DataError("INSERT", {"number": "79000000001"}, Exception("too long"))

    def mistake() -> None:
        raise ZeroDivisionError

    for task in (never, lambda: done.append(1), mistake, lambda: done.append(2)):
        store.put(task)
    store.ensure()
    wait_for(lambda: not store._thread.is_alive())  # type: ignore[union-attr]
    store.ensure()
    store.finish(5)
    assert done == [1, 2]
    assert "79000000001" not in caplog.text


def test_an_end_with_the_database_away_says_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()

    def away() -> None:
        raise OperationalError("INSERT", {}, Exception("away"))

    store.put(away)
    store.ensure()
    store.finish(0.2)
    assert "not stored" in caplog.text
    store._tasks.clear()


def test_pauses_grow_and_a_good_connection_forgets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbx, "PAUSES", (1.0, 2.0, 5.0, 15.0, 30.0, 60.0))
    lasts = iter([0, 0, 0, 0, 0, 0, 0, 100, 0])
    clock, waited = [0.0], []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    row = connection(port)
    line = pbx.Line(connections.build(row), ("asterisk", "", row.updated_at), Store())
    monkeypatch.setattr(pbx.time, "monotonic", lambda: clock[0])

    def listen() -> float:
        clock[0] += next(lasts)
        return 0.0

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 9:
            line.stop.set()

    monkeypatch.setattr(line, "_listen", listen)
    monkeypatch.setattr(line.stop, "wait", wait)
    line.run()
    assert waited == [1, 2, 5, 15, 30, 60, 60, 1, 2]


def test_the_worker_has_a_lane_for_it(committed: Flask) -> None:
    (lane,) = [lane for lane in worker.build_lanes(committed).lanes if lane.name == "pbx"]
    assert lane.work is pbx.run_pbx


def test_it_lives_in_the_worker_and_ends_with_it(
    committed: Flask, live_redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    fake = FakeAmi(play(NEW))
    env = {
        **os.environ,
        "INSTANCE_DIR": str(tmp_path),
        "SECRET_KEY": APP_SECRET,
        "REDIS_URL": redis_url,
        "DATABASE_URL": committed.config["SQLALCHEMY_DATABASE_URI"],
        "OUTBOUND_ALLOW_PRIVATE": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    start = "from crm.cli import main; main(prog_name='crm')"
    with listening(fake.serve) as port, (tmp_path / "log").open("wb") as log:
        connection(port)
        process = subprocess.Popen(
            [sys.executable, "-c", start, "worker"], env=env, cwd=ROOT, stderr=log
        )
        try:
            wait_for(lambda: told() == ["Newchannel"], 60)
            (listener,) = [pid for pid in children(process.pid) if listens(pid, port)]
            os.kill(listener, signal.SIGKILL)
            wait_for(lambda: fake.logins == 2, 30)
            process.terminate()
            assert process.wait(15) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(5)
    assert live_redis.get(pbx.LEASE_KEY) is None


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(part) for part in text.split()]


def listens(pid: int, port: int) -> bool:
    """Whether the process has a connection to the port (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in rows if int(row[2].partition(":")[2], 16) == port}
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return bool(ours & {link[8:-1] for link in links if link.startswith("socket:[")})
