"""Nothing inbound is lost, nothing is taken in twice, one bad delivery stops nobody."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from flask import Flask
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import func, select

from crm.models import (
    Appeal,
    AuditEntry,
    Call,
    Contact,
    Deal,
    DeliveryState,
    InboundDelivery,
    TelephonyConnection,
    db,
)
from crm.operations import bus, inbox, leads
from crm.operations.errors import Conflict, NotFound
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests import inbound
from tests.inbound import deliveries


def lead(number: int) -> bytes:
    return json.dumps({"name": f"Клиент {number}", "phone": f"8916{number:07}"}).encode()


def count(model: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(model)) or 0


class Wakeful:
    """A Redis that remembers the wake-up key and the jobs."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.jobs: list[str] = []

    def set(self, key: str, _value: str, *, nx: bool, ex: int) -> bool:
        assert nx
        assert ex > 0
        fresh = key not in self.keys
        self.keys.add(key)
        return fresh

    def delete(self, key: str) -> None:
        self.keys.discard(key)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Wakeful:
    made = Wakeful()
    monkeypatch.setattr(inbox, "_quiet_until", 0.0)
    monkeypatch.setattr(bus, "redis", lambda: made)
    monkeypatch.setattr(bus, "enqueue_now", lambda _queue, job, **_rest: made.jobs.append(job))
    return made


class TestAccept:
    def test_a_repeat_is_counted_not_stored(self, app: Flask) -> None:
        point = inbound.point()
        first = inbound.deliver_lead(point, lead(1), "same")
        again = inbound.deliver_lead(point, lead(1), "same")
        assert (first.is_new, again.is_new) == (True, False)
        assert again.delivery_id == first.delivery_id
        (stored,) = deliveries()
        assert stored.repeats == 1

    def test_the_same_key_of_another_door_is_another_delivery(self, app: Flask) -> None:
        one, two = inbound.point(), inbound.point(key="k" * 32)
        assert inbound.deliver_lead(one, lead(1), "same").is_new
        assert inbound.deliver_lead(two, lead(1), "same").is_new

    def test_it_is_one_statement(self, app: Flask, count_queries: Callable[[], Any]) -> None:
        point = inbound.point()
        with count_queries() as queries:
            inbound.deliver_lead(point, lead(1))
        assert len(queries) == 1

    def test_secrets_of_headers_and_zero_bytes_are_not_kept(self, app: Flask) -> None:
        point = inbound.point()
        headers = {
            "Content-Type": "application/json",
            "Cookie": "kvartal=1",
            "Authorization": "Bearer x",
            "X-Intake-Signature": "sha256=1",
            "Idempotency-Key": "keep-me",
            "User-Agent": "a\x00b",
        }
        inbound.deliver_lead(point, b"\x00\xff", headers=headers)
        (stored,) = deliveries()
        assert stored.body == b"\x00\xff"
        assert stored.headers == {
            "content-type": "application/json",
            "idempotency-key": "keep-me",
            "user-agent": "ab",
        }

    def test_at_most_one_wake_up_waits(self, app: Flask, redis: Wakeful) -> None:
        point = inbound.point()
        for number in range(3):
            inbound.deliver_lead(point, lead(number))
        assert redis.jobs == [inbox.DRAIN_JOB]

    def test_a_delivery_during_a_drain_wakes_again(
        self, app: Flask, redis: Wakeful, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point = inbound.point()
        inbound.deliver_lead(point, lead(1))
        keys_while_reading: list[set[str]] = []
        real = inbox._oldest

        def spy(*args: Any, **options: Any) -> Any:
            keys_while_reading.append(set(redis.keys))
            return real(*args, **options)

        monkeypatch.setattr(inbox, "_oldest", spy)
        inbox.drain()
        assert keys_while_reading[0] == set()
        inbound.deliver_lead(point, lead(2))
        assert len(redis.jobs) == 2

    def test_a_dead_redis_is_left_alone_for_a_while(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []

        def dead() -> Any:
            asked.append(1)
            raise RedisConnectionError("nobody there")

        monkeypatch.setattr(inbox, "_quiet_until", 0.0)
        monkeypatch.setattr(bus, "redis", dead)
        point = inbound.point()
        for number in range(5):
            assert inbound.deliver_lead(point, lead(number)).is_new
        assert len(asked) == 1


class TestDrain:
    def test_fifty_deliveries_without_redis_are_all_swept(self, app: Flask) -> None:
        point = inbound.point()
        for number in range(50):
            inbound.deliver_lead(point, lead(number))
        assert inbox.sweep().done == 0
        with time_machine.travel(utc_now() + dt.timedelta(seconds=61), tick=True):
            assert inbox.sweep().done == 50
        assert {row.state for row in deliveries()} == {DeliveryState.DONE}
        assert (count(Appeal), count(Deal), count(Contact)) == (50, 50, 50)

    def test_a_poisoned_delivery_stops_nobody(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point = inbound.point()
        ids = [inbound.deliver_lead(point, lead(number)).delivery_id for number in range(3)]
        real = leads.take_in

        def poisoned(delivery: InboundDelivery) -> Any:
            answer = real(delivery)
            if delivery.id == ids[0]:
                raise ZeroDivisionError("boom")
            return answer

        monkeypatch.setitem(inbox._HANDLERS, "intake", poisoned)
        taken = inbox.drain()
        assert (taken.done, taken.failed) == (2, 1)
        bad, *good = deliveries()
        assert {row.state for row in good} == {DeliveryState.DONE}
        assert (bad.state, bad.attempts) == (DeliveryState.RETRY, 1)
        assert bad.error == "ZeroDivisionError: boom"
        assert count(Appeal) == 2, "what the failed one did was rolled back"

    def test_it_is_put_off_longer_and_longer_then_fails(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_delivery: InboundDelivery) -> Any:
            raise RuntimeError("always")

        monkeypatch.setitem(inbox._HANDLERS, "intake", broken)
        inbound.deliver_lead(inbound.point(), lead(1))
        pauses: list[float] = []
        for _ in range(inbox.MAX_ATTEMPTS):
            (row,) = deliveries()
            with time_machine.travel(row.next_attempt_at, tick=False):
                inbox.drain()
                (row,) = deliveries()
                pauses.append((row.next_attempt_at - utc_now()).total_seconds())
        assert row.state == DeliveryState.FAILED
        assert pauses[:4] == [2, 10, 60, 300]
        assert row.attempts == 8

    def test_what_is_not_due_waits_and_the_sweeper_takes_due_retries(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_delivery: InboundDelivery) -> Any:
            raise RuntimeError("once")

        inbound.deliver_lead(inbound.point(), lead(1))
        with monkeypatch.context() as patch:
            patch.setitem(inbox._HANDLERS, "intake", broken)
            inbox.drain()
        assert inbox.drain().done == 0
        with time_machine.travel(utc_now() + dt.timedelta(seconds=3), tick=True):
            assert inbox.sweep().done == 1

    def test_a_crash_in_the_middle_loses_nothing(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process dies (no exception handler of ours runs): the next one goes on."""
        point = inbound.point()
        for number in range(5):
            inbound.deliver_lead(point, lead(number))
        real, calls = leads.take_in, []

        def dies(delivery: InboundDelivery) -> Any:
            answer = real(delivery)
            calls.append(delivery.id)
            if len(calls) == 3:
                raise SystemExit
            return answer

        with monkeypatch.context() as patch:
            patch.setitem(inbox._HANDLERS, "intake", dies)
            with pytest.raises(SystemExit):
                inbox.drain()
        db.session.remove()
        assert count(Appeal) == 2
        inbox.drain()
        assert {row.state for row in deliveries()} == {DeliveryState.DONE}
        assert (count(Appeal), count(Deal)) == (5, 5)

    def test_a_vanished_door_is_told(self, app: Flask) -> None:
        point = inbound.point()
        inbound.deliver_lead(point, lead(1))
        db.session.delete(point)
        db.session.commit()
        inbox.drain()
        (row,) = deliveries()
        assert (row.state, row.error) == (DeliveryState.RETRY, "Точка приёма заявок удалена.")


class TestReplay:
    def test_a_failed_one_is_taken_in_again(
        self, app: Flask, principal: Callable[[str], Principal], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point = inbound.point()
        inbound.deliver_lead(point, b"{broken")
        inbox.drain()
        (row,) = deliveries()
        assert row.state == DeliveryState.FAILED
        row.body = lead(1)
        db.session.commit()
        inbox.replay(row.id, principal("admin"))
        inbox.drain()
        (row,) = deliveries()
        assert (row.state, row.error) == (DeliveryState.DONE, None)
        entry = db.session.query(AuditEntry).filter_by(action="replay").one()
        assert entry.object_id == row.id

    def test_a_done_one_makes_nothing_twice(
        self, app: Flask, principal: Callable[[str], Principal]
    ) -> None:
        inbound.deliver_lead(inbound.point(), lead(1))
        inbox.drain()
        (row,) = deliveries()
        assert inbox.replay_many([row.id, row.id, 999], principal("admin")) == 1
        inbox.drain()
        assert (count(Appeal), count(Deal)) == (1, 1)

    def test_refusals(self, app: Flask) -> None:
        with pytest.raises(NotFound):
            inbox.replay(1, None)
        inbound.deliver_lead(inbound.point(), lead(1))
        with pytest.raises(Conflict):
            inbox.replay(deliveries()[0].id, None)


class TestParallel:
    """Several drains at once, with real commits."""

    def drain_in_threads(self, app: Flask, number: int) -> list[BaseException]:
        errors: list[BaseException] = []

        def run() -> None:
            with app.app_context():
                try:
                    inbox.drain(1000)
                except BaseException as error:  # noqa: BLE001 - told to the test
                    errors.append(error)
                finally:
                    db.session.remove()

        threads = [threading.Thread(target=run) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return errors

    def test_requests_are_not_doubled(self, committed: Flask) -> None:
        point = inbound.point()
        # Twenty requests of ten people: two of the same person meet in different threads.
        for number in range(20):
            body = json.dumps({"phone": f"8916000{number % 10:04}", "comment": f"{number}"})
            inbound.deliver_lead(point, body.encode())
        assert self.drain_in_threads(committed, 4) == []
        again = [row for row in deliveries() if row.state != DeliveryState.DONE]
        assert [(row.state, row.error) for row in again] == []
        assert (count(Appeal), count(Contact), count(Deal)) == (20, 10, 10)

    def test_events_of_one_call_meet(self, committed: Flask) -> None:
        connection = inbound.connection()
        for number in range(4):
            call = inbound.scenario(client_number=f"7916000000{number % 2}")
            for sent in inbound.requests_of(connection, call):
                inbound.deliver(connection, sent)
        assert self.drain_in_threads(committed, 4) == []
        bad = [(row.state, row.error) for row in deliveries() if row.state != DeliveryState.DONE]
        assert bad == []
        assert (count(Call), count(Appeal), count(Contact), count(Deal)) == (4, 4, 2, 2)
        states = set(db.session.scalars(select(Call.state)))
        assert states == {"ended"}


def test_an_operator_that_is_gone_is_an_error_at_once(app: Flask) -> None:
    connection = inbound.connection()
    call = inbound.requests_of(connection, inbound.scenario())[0]
    inbound.deliver(connection, call)
    db.session.execute(
        TelephonyConnection.__table__.update().values(operator="nobody-knows-this-one")
    )
    db.session.commit()
    inbox.drain()
    (row,) = deliveries()
    assert row.state == DeliveryState.FAILED
    assert "не известен" in (row.error or "")


def test_the_job_drains_in_a_context_of_its_own(app: Flask) -> None:
    from crm.jobs import inbox as job

    inbound.deliver_lead(inbound.point(), lead(1))
    job.drain()
    assert deliveries()[0].state == DeliveryState.DONE
