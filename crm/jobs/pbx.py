"""The listener: connections to PBXs that are kept open, one thread each.

What comes is stored raw, as a webhook would be, and read by the drainer of the inbox. With the
database away it waits in memory, in order. One listener works at a time; without Redis nobody can
tell, and then the unique key of a delivery keeps repeats out.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import Capability, OperatorError, TelephonyOperator
from crm.jobs.context import job_context
from crm.models import TelephonyConnection, db
from crm.operations import bus, connections, inbox

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
# A wrong password repeated often locks the CRM out of the PBX; new settings are tried at once.
PERMANENT_PAUSE = 600.0
# A connection that has stood so long was a good one.
STEADY_SECONDS = 60.0
MAX_WAITING = 10_000
BATCH = 100
RETRY_SECONDS = 1.0
END_SECONDS = 2.5
LEASE_KEY = "kvartal:pbx"
LEASE_SECONDS = 15
_AWAY = (OperationalError, InterfaceError, PoolTimeout)

Task = Callable[[], None]
# What a thread was started with: operator, secret address, time of the last change.
Mark = tuple[str, str, dt.datetime]


class Store:
    """Writes to the database in the order of arrival; while it is away, tasks wait in memory."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._change = threading.Condition()
        self._is_ending = False
        self._lost = 0
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def ensure(self) -> None:
        """Begin to write, or go on after a fall."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="pbx-store", daemon=True)
            self._thread.start()

    def put(self, task: Task) -> None:
        """Have a task run; of too many the oldest is lost."""
        with self._change:
            if len(self._tasks) >= MAX_WAITING:
                self._tasks.popleft()
                self._lost += 1
                if self._lost % 1000 == 1:
                    log.error("pbx: the database is away too long, events lost: %s", self._lost)
            self._tasks.append(task)
            self._change.notify()

    def finish(self, seconds: float) -> None:
        """Write what is left, for so long at most."""
        with self._change:
            self._is_ending = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(seconds)
        if self._tasks:
            log.error("pbx: ended with %s events not stored", len(self._tasks))

    def _run(self) -> None:
        while self._has_work():
            try:
                with job_context():
                    self._write_batch()
            except _AWAY as error:
                log.warning("pbx: the database does not answer: %s", type(error).__name__)
                time.sleep(RETRY_SECONDS)

    def _has_work(self) -> bool:
        with self._change:
            while not self._tasks and not self._is_ending:
                self._change.wait()
            return bool(self._tasks)

    def _write_batch(self) -> None:
        for _ in range(BATCH):
            with self._change:
                task = self._tasks.popleft() if self._tasks else None
            if task is None:
                return
            try:
                task()
            except _AWAY:
                with self._change:
                    self._tasks.appendleft(task)
                raise
            except SQLAlchemyError as error:
                # What the database will never take must not stop what comes after it.
                log.warning("pbx: an event cannot be stored: %s", type(error).__name__)


class Line(threading.Thread):
    """One connection: listens, reconnects after growing pauses, tells what is wrong."""

    def __init__(self, operator: TelephonyOperator, mark: Mark, store: Store) -> None:
        super().__init__(name=f"pbx-{operator.connection_id}", daemon=True)
        self.mark = mark
        self.stop = threading.Event()
        self._operator = operator
        self._store = store
        # None: not known, so that what an earlier listener noted is replaced.
        self._noted: str | None = None

    def run(self) -> None:
        """Listen until told to stop."""
        failures = 0
        while not self.stop.is_set():
            begun = time.monotonic()
            pause = self._listen()
            steady = time.monotonic() - begun >= STEADY_SECONDS
            failures = 0 if steady else failures
            self.stop.wait(pause or PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    def _listen(self) -> float:
        """One connection from its beginning to its end; the least pause after it, in seconds."""
        try:
            for request in self._operator.stream(self.stop):
                # The first request says that the connection stands.
                self._note("")
                self._keep(request)
        except OperatorError as error:
            self._note(error.message)
            return PERMANENT_PAUSE if error.permanent else 0.0
        return 0.0

    def _keep(self, request: InboundRequest) -> None:
        operator = self._operator
        key, masked = operator.delivery_key(request), operator.mask(request)
        notes = operator.notes(request)

        def store() -> None:
            door = f"telephony:{operator.connection_id}"
            inbox.accept(door, "telephony", operator.slug, request, key, masked, notes)

        self._store.put(store)

    def _note(self, message: str) -> None:
        if message == self._noted:
            return
        self._noted = message
        number = self._operator.connection_id
        if message:
            log.warning("pbx %s: %s", number, message)
        self._store.put(lambda: connections.note_error(number, message or None))


@dataclass(frozen=True)
class _Wanted:
    """A connection that must be listened to."""

    id: int
    mark: Mark


class Listener:
    """Keeps a thread for every active connection whose operator sends events by a stream."""

    def __init__(self, name: str = "") -> None:
        self.store = Store()
        self.lines: dict[int, Line] = {}
        # The same for whoever takes a fallen one's place in the same worker.
        self._name = name or f"{socket.gethostname()}:{os.getppid()}"

    def run(self, stop: threading.Event) -> None:
        """Look after the threads until ``stop``."""
        while not stop.is_set():
            self.store.ensure()
            self.look()
            stop.wait(LOOK_SECONDS)
        self._end(list(self.lines))
        self.store.finish(END_SECONDS)
        self._give_up()

    def look(self) -> None:
        """Start, restart and end threads as the settings say; with the database away keep them."""
        try:
            with job_context():
                wanted = list(self._wanted()) if self._is_mine() else []
                changed = [one for one in wanted if self._is_changed(one)]
                operators = {one.id: self._build(one) for one in changed}
        except SQLAlchemyError as error:
            log.warning("pbx: the database does not answer: %s", type(error).__name__)
            return
        kept = {one.id for one in wanted}
        self._end([number for number in self.lines if number not in kept or number in operators])
        for one in changed:
            operator = operators[one.id]
            if operator is not None:
                self.lines[one.id] = Line(operator, one.mark, self.store)
                self.lines[one.id].start()

    def _wanted(self) -> Iterator[_Wanted]:
        query = select(
            TelephonyConnection.id,
            TelephonyConnection.operator,
            TelephonyConnection.token,
            TelephonyConnection.updated_at,
        ).where(TelephonyConnection.active)
        for number, slug, token, changed in db.session.execute(query):
            try:
                kind = registry.get(slug)
            except registry.UnknownOperator:
                continue
            if Capability.STREAM in kind.capabilities:
                yield _Wanted(number, (slug, token, changed))

    def _is_changed(self, one: _Wanted) -> bool:
        line = self.lines.get(one.id)
        return line is None or line.mark != one.mark or not line.is_alive()

    def _build(self, one: _Wanted) -> TelephonyOperator | None:
        """The operator with its settings; None for a connection deleted in this moment."""
        row = db.session.get(TelephonyConnection, one.id)
        if row is None:
            return None
        return connections.build(row)

    def _end(self, numbers: list[int]) -> None:
        lines = [self.lines.pop(number) for number in numbers if number in self.lines]
        for line in lines:
            line.stop.set()
        deadline = time.monotonic() + END_SECONDS
        for line in lines:
            line.join(max(0.0, deadline - time.monotonic()))

    def _is_mine(self) -> bool:
        """Whether this process is the one that listens; yes when nobody can tell."""
        try:
            client = bus.redis()
            if client.set(LEASE_KEY, self._name, nx=True, ex=LEASE_SECONDS):
                return True
            mine = client.get(LEASE_KEY) == self._name.encode()
            if mine:
                client.expire(LEASE_KEY, LEASE_SECONDS)
            return mine
        except RedisError:
            return True

    def _give_up(self) -> None:
        """Let another listener begin at once."""
        try:
            with job_context():
                if bus.redis().get(LEASE_KEY) == self._name.encode():
                    bus.redis().delete(LEASE_KEY)
        except RedisError:
            log.info("pbx: the queue is unreachable, the lease ends by itself")


def run_pbx() -> None:
    """The listener, until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_args: stop.set())
    Listener().run(stop)
