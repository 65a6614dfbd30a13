from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from redis import Redis

from crm import embedded, events
from crm.models import BrowserEvent, Employee, db
from crm.operations import bus
from crm.operations.transaction import transaction
from crm.reports import browser_events
from crm.security import sessions
from crm.supervisor import events_argv
from tests.conftest import SECRET


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis of this module only."""
    instance = tmp_path_factory.mktemp("redis")
    process = embedded.ensure_redis(instance)
    assert process is not None
    yield embedded.redis_url(instance, {})
    process.terminate()
    process.wait(10)


@pytest.fixture
def staff(committed: Flask) -> dict[str, int]:
    """Ids of the suite's people by name."""
    return {user.username: user.id for user in db.session.query(Employee)}


@pytest.fixture
def bus_redis(committed: Flask, redis_url: str) -> Iterator[Redis]:
    """The application talks to the real Redis."""
    before = committed.extensions["redis"]
    client = committed.extensions["redis"] = Redis.from_url(redis_url)
    yield client
    client.close()
    committed.extensions["redis"] = before


@pytest.fixture
def server(committed: Flask, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The event stream as it runs in production, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "INSTANCE_DIR": str(tmp_path),
        "SECRET_KEY": SECRET,
        "REDIS_URL": redis_url,
        "DATABASE_URL": committed.config["SQLALCHEMY_DATABASE_URI"],
        "PORT": str(port - 1),
        "PUBLIC_URL": f"http://127.0.0.1:{port - 1}",
    }
    argv = events_argv({"PORT": port - 1})
    process = subprocess.Popen(argv, env=env, cwd=Path(__file__).parents[2])
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(base + "/healthz"), 40)
        yield base
        process.terminate()
        assert process.wait(6) == 0, "open streams must not hold the server up"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(5)


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code == 200
    except requests.RequestException:
        return False


def cookie(app: Flask, user_id: int) -> tuple[str, str]:
    """A cookie as the login page sets it, and the token inside."""
    token = sessions.open_session(user_id, hours=1)
    db.session.commit()
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    return serializer.dumps({"_user_id": f"{user_id}.{token}"}), token


class Browser:
    """Reads a stream in a thread."""

    def __init__(self, url: str, value: str, **params: str) -> None:
        self.response = requests.get(
            url + "/events",
            params=params,
            cookies={"kvartal": value},
            headers={"Origin": f"http://127.0.0.1:{int(url.rpartition(':')[2]) - 1}"},
            stream=True,
            timeout=(5, 60),
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self.response.iter_lines(chunk_size=1, decode_unicode=True):
                self.lines.put(line)
        except requests.RequestException:
            pass
        self.ended.set()

    def message(self, seconds: float = 5) -> dict[str, Any]:
        """The next message."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            if line.startswith("data: "):
                found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return found

    def silent(self) -> bool:
        """No message within a moment."""
        try:
            self.message(0.7)
        except queue.Empty:
            return True
        return False


def emit(kind: str, user_ids: list[int] | None, **data: Any) -> None:
    with transaction():
        bus.emit(kind, user_ids, **data)


def test_stream_brings_what_is_for_the_person(
    server: str, committed: Flask, staff: dict[str, int], bus_redis: Redis
) -> None:
    mine = Browser(server, cookie(committed, staff["manager"])[0])
    other = Browser(server, cookie(committed, staff["stranger"])[0])
    headers = mine.response.headers
    assert mine.response.status_code == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Access-Control-Allow-Origin"].endswith(str(int(server[-5:]) - 1))
    assert mine.lines.get(timeout=5) == "retry: 3000"

    emit("call.ringing", [staff["manager"]], call_id=7)
    message = mine.message()
    assert (message["type"], message["data"]) == ("call.ringing", {"call_id": 7})
    assert message["id"] > 0
    assert other.silent()

    emit("deal.changed", None, deal_id=3)
    assert mine.message()["data"] == other.message()["data"] == {"deal_id": 3}


def test_reconnecting_brings_what_was_missed(
    server: str, committed: Flask, staff: dict[str, int], bus_redis: Redis
) -> None:
    since = browser_events.newest_id()
    emit("deal.changed", [staff["manager"]], deal_id=1)
    emit("deal.changed", [staff["stranger"]], deal_id=2)
    value, _token = cookie(committed, staff["manager"])
    browser = Browser(server, value, since=str(since))
    assert browser.message()["data"] == {"deal_id": 1}
    assert browser.silent()


def test_logout_ends_the_stream_at_once(
    server: str, committed: Flask, staff: dict[str, int], bus_redis: Redis
) -> None:
    value, token = cookie(committed, staff["manager"])
    kept = Browser(server, cookie(committed, staff["manager"])[0])
    browser = Browser(server, value)
    with transaction():
        sessions.close_session(token)
        bus.emit("session.closed", [staff["manager"]])
    assert browser.ended.wait(5)
    assert not kept.ended.is_set()
    assert Browser(server, value).response.status_code == 401


def test_strangers_are_refused(server: str, committed: Flask, staff: dict[str, int]) -> None:
    assert requests.get(server + "/events", timeout=5).status_code == 401
    forged = requests.get(server + "/events", cookies={"kvartal": "x.y.z"}, timeout=5)
    assert forged.status_code == 401
    value, _token = cookie(committed, staff["manager"])
    foreign = requests.get(
        server + "/events",
        cookies={"kvartal": value},
        headers={"Origin": "https://evil.example"},
        timeout=5,
    )
    assert foreign.status_code == 403
    assert "Access-Control-Allow-Origin" not in foreign.headers


# --- the hub, without a server --------------------------------------------------------------------


@contextmanager
def hub_on(app: Flask, url: str) -> Iterator[events.Hub]:
    hub = events.Hub(app, Redis.from_url(url))
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def test_survives_a_restart_of_redis(committed: Flask, tmp_path: Path) -> None:
    process = embedded.ensure_redis(tmp_path)
    assert process is not None
    url = embedded.redis_url(tmp_path, {})
    with hub_on(committed, url) as hub:
        wait_for(lambda: hub.connected)
        stream = hub.join(1, "hash")
        process.terminate()
        process.wait(10)
        wait_for(lambda: not hub.connected)
        process = embedded.ensure_redis(tmp_path)
        assert process is not None
        wait_for(lambda: hub.connected)
        # Something may have been lost meanwhile: the page is told to reload what it shows.
        assert stream.waiting.get(timeout=5) == events.RESYNC
        message = {"id": 5, "kind": "deal.changed", "to": None, "data": {"deal_id": 9}}
        Redis.from_url(url).publish(bus.CHANNEL, json.dumps(message))
        assert '"deal_id": 9' in (stream.waiting.get(timeout=5) or "")
    process.terminate()
    process.wait(10)


def test_slow_reader_is_told_to_reload_and_let_go(app: Flask) -> None:
    hub = events.Hub(app, Redis())
    slow, other = hub.join(1, "a"), hub.join(2, "b")
    for number in range(events.QUEUE_LENGTH + 1):
        hub.deliver({"id": number + 1, "kind": "deal.changed", "to": 1, "data": {}})
    assert list(slow.read()) == [events.RESYNC]
    assert hub.streams() == [other]
    assert other.waiting.empty()


def test_nonsense_starts_anew_and_a_refused_stream_is_forgotten(
    app: Flask, people: dict[str, Employee], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events._missed(people["manager"].id, "9" * 30) == []
    made = events.Hub(app, Redis())
    app.extensions["hub"] = made

    def fail(*_args: Any) -> list[str]:
        raise OverflowError

    monkeypatch.setattr(events, "_missed", fail)
    monkeypatch.setattr(events, "_signed_in", lambda: (1, "token"))
    with app.test_request_context("/events"), pytest.raises(OverflowError):
        events.events()
    assert made.streams() == []


def test_one_person_cannot_hold_all_streams(app: Flask) -> None:
    hub = events.Hub(app, Redis())
    streams = [hub.join(1, "a") for _ in range(events.STREAMS_OF_ONE + 1)]
    assert list(streams[0].read()) == []
    assert len(hub.streams(1)) == events.STREAMS_OF_ONE


def test_dead_sign_ins_are_found_by_the_round(app: Flask, people: dict[str, Employee]) -> None:
    token = sessions.open_session(people["manager"].id, hours=1)
    db.session.commit()
    hub = events.Hub(app, Redis())
    alive = hub.join(people["manager"].id, sessions.fingerprint(token))
    dead = hub.join(people["manager"].id, sessions.fingerprint("gone"))
    hub._check(hub.streams())
    assert hub.streams() == [alive]
    assert list(dead.read()) == []


def test_messages_that_are_not_ours_do_not_stop_the_listener(app: Flask) -> None:
    hub = events.Hub(app, Redis())
    with pytest.raises(KeyError):
        hub.deliver({"kind": "x"})
    assert hub.streams() == []


# --- polling --------------------------------------------------------------------------------------


def test_polling_brings_own_and_common_events(sign_in: Any, people: dict[str, Employee]) -> None:
    client = sign_in("manager")
    start = client.get("/api/v1/events/poll").json
    assert start["events"] == []
    emit("deal.changed", [people["manager"].id], deal_id=1)
    emit("deal.changed", [people["stranger"].id], deal_id=2)
    emit("run.changed", None, run_id=3)
    answer = client.get(f"/api/v1/events/poll?since={start['last']}").json
    assert [row["data"] for row in answer["events"]] == [{"deal_id": 1}, {"run_id": 3}]
    assert answer["resync"] is False
    again = client.get(f"/api/v1/events/poll?since={answer['last']}").json
    assert (again["events"], again["last"]) == ([], answer["last"])


def test_polling_after_a_long_absence_asks_to_reload(
    sign_in: Any, people: dict[str, Employee]
) -> None:
    client = sign_in("manager")
    db.session.add_all(BrowserEvent(kind="deal.changed", data={}) for _ in range(120))
    db.session.commit()
    answer = client.get("/api/v1/events/poll?since=0").json
    assert len(answer["events"]) == browser_events.PAGE
    assert answer["resync"] is True


@pytest.mark.parametrize("since", ["x", "-1", "", "9" * 40])
def test_polling_with_nonsense_starts_anew(sign_in: Any, since: str) -> None:
    answer = sign_in("manager").get("/api/v1/events/poll", query_string={"since": since})
    assert answer.status_code == 200
    assert answer.json["events"] == []


def test_polling_is_for_the_signed_in(visitor: Any) -> None:
    assert visitor.get("/api/v1/events/poll").status_code == 401


def test_poll_costs_few_queries(sign_in: Any, count_queries: Any) -> None:
    client = sign_in("manager")
    with count_queries() as queries:
        client.get("/api/v1/events/poll?since=0")
    assert len(queries) <= 6
