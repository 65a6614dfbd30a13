"""The storm: calls of all operators over real HTTP while parts of the product are being killed.

``python benchmarks/storm.py --events 100000 --calls 20000`` posts the notices of so many calls to
the real web server on PostgreSQL, mixed, doubled and late, kills the worker, Redis, the scheduler
and the database's connections in turn, waits until the inbox is empty and looks for what was lost
or doubled. It ends with code 1 when it finds anything. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import psycopg  # noqa: E402 - the root of the project comes first

from benchmarks import storm_check, storm_ground  # noqa: E402
from benchmarks.ground import application  # noqa: E402
from benchmarks.storm_events import Storm, build  # noqa: E402
from benchmarks.storm_product import Blows, Product, connect, database  # noqa: E402
from benchmarks.storm_sender import Outcome, Sender  # noqa: E402

TELL_SECONDS = 5.0
LOOK_SECONDS = 2.0
_STEP_SECONDS = 0.1
_PENDING = "SELECT count(*) FROM inbound_delivery WHERE state IN ('new', 'retry')"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the storm; 1 when something was lost, doubled or wrong."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        with database() as url, application(url) as app:
            instance = Path(app.config["INSTANCE_DIR"])
            began = time.monotonic()
            storm = build(
                storm_ground.make(),
                storm_ground.LINES,
                options.calls,
                options.events,
                options.seed,
            )
            _tell_plan(storm, time.monotonic() - began)
            with _running(Product(instance, url, _logs(options), _port()), options) as product:
                return _storm(storm, product, options)
    except KeyboardInterrupt:
        say("stopped")
        return 130


def say(text: str) -> None:
    """A line that is there at once, also in a file."""
    print(text, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="requests, with doubles")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=0, help="requests/s; as fast as it goes")
    parser.add_argument("--senders", type=int, default=16, help="kept connections")
    parser.add_argument("--pause", type=float, default=6, help="seconds between two blows")
    parser.add_argument("--blows", type=int, default=25, help="most blows of each kind")
    parser.add_argument("--calm", action="store_true", help="kill nothing")
    parser.add_argument("--backlog", action="store_true", help="the worker starts after the storm")
    parser.add_argument("--patience", type=float, default=900, help="seconds without any progress")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--logs", type=Path, help="folder for the logs of the processes")
    return parser.parse_args(arguments)


def _leave(_number: int, _frame: Any) -> NoReturn:
    raise SystemExit(143)


def _logs(options: argparse.Namespace) -> Path:
    folder: Path = options.logs or Path(tempfile.mkdtemp(prefix="kvartal-storm-logs-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _port() -> int:
    """A port that is free together with the next one."""
    import socket

    for port in range(21_000 + os.getpid() % 5_000, 32_000, 2):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise SystemExit("no two free ports in a row")


@contextmanager
def _running(product: Product, options: argparse.Namespace) -> Iterator[Product]:
    try:
        product.start(worker=not options.backlog)
        yield product
    finally:
        product.stop()
        if options.logs is None:
            shutil.rmtree(product.logs, ignore_errors=True)


# --- the storm --------------------------------------------------------------------------------


class Watch:
    """Progress: what was sent, what waits, and whether anything moves."""

    def __init__(self, own: psycopg.Connection[Any], sender: Sender, blows: Blows) -> None:
        self._own, self._sender, self._blows = own, sender, blows
        self._began = self._told_at = self.moved_at = time.monotonic()
        self._looked_at = 0.0
        self._last = (0, 0)
        self._told = 0
        self.pending = 0
        self.best = 0.0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def look(self, *, at_once: bool = False) -> None:
        """Count what waits; tell of it every few seconds."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS and not at_once:
            return
        self._looked_at = now
        self.pending = _number(self._own, _PENDING)
        stored = _number(self._own, "SELECT count(*) FROM inbound_delivery")
        state = (stored, stored - self.pending)
        if state != self._last:
            self.moved_at = now
        self._last = state
        if now - self._told_at >= TELL_SECONDS:
            self._tell(*state, now - self._told_at)
            self._told_at = now

    def _tell(self, stored: int, taken: int, seconds: float) -> None:
        rate = (taken - self._told) / seconds
        self._told, self.best = taken, max(self.best, rate)
        hits = ", ".join(f"{kind} {count}" for kind, count in sorted(self._blows.counts.items()))
        say(
            f"[{self.seconds:6.0f} s] sent {self._sender.sent}, again {self._sender.again},"
            f" stored {stored}, waiting {self.pending}, taken in {rate:.0f}/s;"
            f" blows: {hits or 'none'}"
        )


def _storm(storm: Storm, product: Product, options: argparse.Namespace) -> int:
    sender = Sender(storm.shots, product.port, options.senders, options.rate)
    blows = Blows(product, options.pause, 0 if options.calm else options.blows, options.seed)
    with connect(product.url) as own:
        watch = Watch(own, sender, blows)
        sender.start()
        try:
            outcome = _while_sending(sender, watch, blows)
        finally:
            sender.stop()
        if options.backlog:
            product.start_worker()
        sent_after = watch.seconds
        watch.look(at_once=True)
        left = watch.pending
        _until_drained(watch, blows, options)
        _tell_figures(own, storm, outcome, blows, watch)
        rest = max(watch.seconds - sent_after, 0.001)
        say(f"of them after the last request {left} in {rest:.0f} s: {left / rest:.0f}/s")
        storm_check.fill(own, storm, outcome)
        return _tell_checks(own, outcome)


def _while_sending(sender: Sender, watch: Watch, blows: Blows) -> Outcome:
    while (outcome := sender.outcome()) is None:
        blows.step()
        watch.look()
        time.sleep(_STEP_SECONDS)
    return outcome


def _until_drained(watch: Watch, blows: Blows, options: argparse.Namespace) -> None:
    """Also until everything was hit often enough; the rest is taken in undisturbed."""
    while time.monotonic() - watch.moved_at < options.patience:
        if options.calm or blows.enough:
            blows.stop()
            if not watch.pending:
                return
        blows.step()
        watch.look()
        time.sleep(_STEP_SECONDS)


def _number(own: psycopg.Connection[Any], query: str) -> int:
    row = own.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


# --- the report -------------------------------------------------------------------------------


def _tell_plan(storm: Storm, seconds: float) -> None:
    accounts = sorted({call.account.operator.slug for call in storm.calls})
    say(
        f"{len(storm.shots)} requests of {len(storm.calls)} calls of {len(accounts)} operators"
        f" ({', '.join(accounts)}), made in {seconds:.0f} s:\n"
        f"  {storm.doubles} doubles ({storm.doubles / len(storm.shots):.0%} of all),"
        f" {storm.late} late ({storm.late / len(storm.deliveries):.0%} of the different ones),"
        f" {storm.disordered} calls out of order ({storm.disordered / len(storm.calls):.0%})"
    )


def _tell_figures(
    own: psycopg.Connection[Any], storm: Storm, outcome: Outcome, blows: Blows, watch: Watch
) -> None:
    took = sorted(outcome.latencies) or [0.0]
    p50, p95, p99 = (took[int(len(took) * share)] * 1e3 for share in (0.5, 0.95, 0.99))
    refused = ", ".join(f"{name} {count}" for name, count in outcome.refusals.most_common())
    later, most = storm_check.retried(own)
    stored, seconds = storm_check.taken_in(own)
    say(
        f"\nacknowledged {len(outcome.latencies)} of {len(storm.shots)} requests in"
        f" {outcome.seconds:.0f} s: {len(outcome.latencies) / outcome.seconds:.0f}/s\n"
        f"acknowledgement: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms,"
        f" longest {took[-1] * 1e3:.0f} ms\n"
        f"refused and sent again {outcome.refusals.total()} ({refused or 'none'}),"
        f" given up {outcome.given_up}\n"
        f"blows: {dict(blows.counts)}, database connections cut {blows.connections},"
        f" fallen by themselves: {dict(blows.fallen) or 'none'}\n"
        f"deliveries with several attempts: {later}, most attempts {most}\n"
        f"taken in {stored} deliveries in {seconds:.0f} s: {stored / seconds:.0f}/s,"
        f" at best {watch.best:.0f}/s"
    )


def _tell_checks(own: psycopg.Connection[Any], outcome: Outcome) -> int:
    say("\nverdicts:")
    for state, said, count in storm_check.verdicts(own):
        say(f"  {count:>7} {state:<8} {said}")
    totals = {"lost": 0, "doubled": 0, "wrong": 0, "noted": 0}
    say("\nchecks:")
    for found in storm_check.run(own):
        totals[found.check.kind] += found.count
        mark = f"{found.check.kind} {found.count}" if found.count else "ok"
        say(f"  {mark:<14} {found.check.title}")
        for example in found.examples:
            say(f"      {example}")
    say(f"\nlost {totals['lost']}, doubled {totals['doubled']}, wrong {totals['wrong']}")
    bad = totals["lost"] + totals["doubled"] + totals["wrong"]
    return int(bad > 0 or outcome.given_up > 0)


if __name__ == "__main__":
    sys.exit(main())
