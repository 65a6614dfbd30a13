"""The operators of the storm: a process that posts over kept connections and asks again."""

from __future__ import annotations

import contextlib
import heapq
import http.client
import multiprocessing
import signal
import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.storm_events import Shot
from crm.embedded import die_with_parent

HOST = "127.0.0.1"
# Seconds after each refusal; an operator that has been refused so often gives the event up.
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
_ANSWER_SECONDS = 30.0


@dataclass
class Outcome:
    """What the operators saw; ``accepted`` and ``tries`` are counts by shot."""

    accepted: bytearray
    tries: bytearray
    latencies: array[float] = field(default_factory=lambda: array("d"))
    refusals: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def given_up(self) -> int:
        """Shots that nobody has acknowledged."""
        return self.accepted.count(0)


class Sender:
    """The process of the operators, seen from outside."""

    def __init__(self, shots: Sequence[Shot], port: int, workers: int, rate: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._sent = context.Value("L", 0)
        self._again = context.Value("L", 0)
        self._results, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_post_all,
            args=(list(shots), port, workers, rate, self._sent, self._again, theirs),
            daemon=True,
        )
        self._outcome: Outcome | None = None

    def start(self) -> None:
        """Begin to send."""
        self._process.start()

    @property
    def sent(self) -> int:
        """Shots that were acknowledged so far."""
        return int(self._sent.value)

    @property
    def again(self) -> int:
        """Times that a shot had to be sent again so far."""
        return int(self._again.value)

    def outcome(self) -> Outcome | None:
        """What came of it; None while it goes on. Raises RuntimeError when the process fell."""
        if self._outcome is None and self._results.poll():
            self._outcome = self._results.recv()
            self._process.join()
        if self._outcome is None and not self._process.is_alive():
            raise RuntimeError(f"the sender fell with code {self._process.exitcode}")
        return self._outcome

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        if self._process.pid is not None:
            self._process.join()


# --- in the process ---------------------------------------------------------------------------


class _Line:
    """What is to be sent next: refused shots when their time has come, else the next new one."""

    def __init__(self, total: int, rate: float) -> None:
        self._total, self._rate = total, rate
        self._next = 0
        self._refused: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def take(self) -> int | None:
        """The number of the shot; waits for it. None when nothing is left."""
        while True:
            with self._lock:
                now = time.monotonic()
                if self._refused and self._refused[0][0] <= now:
                    return heapq.heappop(self._refused)[1]
                if self._next < self._total:
                    due = self._began + self._next / self._rate if self._rate else now
                    if due <= now:
                        self._next += 1
                        return self._next - 1
                elif not self._refused:
                    return None
                else:
                    due = self._refused[0][0]
            time.sleep(min(max(due - now, 0.0005), 0.1))

    def put_back(self, number: int, pause: float) -> None:
        """Send it again after ``pause`` seconds."""
        with self._lock:
            heapq.heappush(self._refused, (time.monotonic() + pause, number))


def _post_all(
    shots: list[Shot],
    port: int,
    workers: int,
    rate: float,
    sent: Any,
    again: Any,
    results: Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    outcome = Outcome(bytearray(len(shots)), bytearray(len(shots)))
    line, lock = _Line(len(shots), rate), threading.Lock()
    began = time.monotonic()
    threads = [
        threading.Thread(target=_work, args=(shots, port, line, outcome, lock, sent, again))
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.monotonic() - began
    results.send(outcome)


def _work(
    shots: list[Shot],
    port: int,
    line: _Line,
    outcome: Outcome,
    lock: threading.Lock,
    sent: Any,
    again: Any,
) -> None:
    client = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)
    while (number := line.take()) is not None:
        refusal, took = _post(client, shots[number])
        with lock:
            outcome.tries[number] += 1
            tries = outcome.tries[number]
            if refusal is None:
                outcome.accepted[number] = 1
                outcome.latencies.append(took)
                sent.value += 1
                continue
            outcome.refusals[refusal] += 1
            if tries <= len(PAUSES):
                again.value += 1
        if tries <= len(PAUSES):
            line.put_back(number, PAUSES[tries - 1])
    client.close()


def _post(client: http.client.HTTPConnection, shot: Shot) -> tuple[str | None, float]:
    """Why it was refused (None when it was not) and the seconds until the answer."""
    began = time.perf_counter()
    try:
        client.request(shot.method, shot.target, body=shot.body, headers=dict(shot.headers))
        answer = client.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        with contextlib.suppress(OSError):
            client.close()
        return type(error).__name__, 0.0
    took = time.perf_counter() - began
    return (None, took) if 200 <= answer.status < 300 else (f"HTTP {answer.status}", took)
