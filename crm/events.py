"""The event stream: ``/events`` for open browsers, a small application in a process of its own.

Served by gunicorn's gevent worker, where thousands of idle connections cost little and can never
starve the pages. Works alike on plain threads. One subscription to Redis a process; every stream
has a bounded queue, and who does not read is told to reload and let go. A message is a kind and
ids, so that a page asks for what it may see (``static/js/events.js``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from flask import Flask, Response, abort, current_app, jsonify, request, session
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

import config
from crm.models import db
from crm.operations.bus import CHANNEL
from crm.reports import browser_events
from crm.security import sessions

log = logging.getLogger(__name__)
PING_SECONDS = 20.0
RETRY_MS = 3000
CHECK_SECONDS = 60.0
RECONNECT_SECONDS = 1.0
QUEUE_LENGTH = 100
STREAMS_OF_ONE = 50
# Longer numbers are no ids and would not fit the column.
MAX_DIGITS = 18
SESSION_CLOSED = "session.closed"
# Whoever asks after this process looks here; the key dies with it.
ALIVE_KEY = "kvartal:events"
ALIVE_SECONDS = 30
BEAT_SECONDS = 5.0
RESYNC = 'data: {"type": "resync", "data": {}}\n\n'


def frame(number: int | None, kind: str, data: Mapping[str, Any]) -> str:
    """One message as the browser's EventSource reads it: unnamed, the kind inside."""
    head = f"id: {number}\n" if number else ""
    body = json.dumps({"id": number, "type": kind, "data": data}, ensure_ascii=False)
    return f"{head}data: {body}\n\n"


@dataclass(eq=False)
class Stream:
    """One open page of one sign-in."""

    user_id: int
    token_hash: str
    waiting: queue.Queue[str | None] = field(default_factory=lambda: queue.Queue(QUEUE_LENGTH))

    def put(self, text: str) -> bool:
        """Queue a message; False when the reader is too slow for it."""
        try:
            self.waiting.put_nowait(text)
        except queue.Full:
            return False
        return True

    def close(self, *last: str) -> None:
        """End the stream after the ``last`` messages; what is still queued is given up."""
        self._give_up()
        for item in (*last, None):
            while True:
                try:
                    self.waiting.put_nowait(item)
                    break
                except queue.Full:  # a message came in between
                    self._give_up()

    def _give_up(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.waiting.get_nowait()

    def read(self) -> Iterator[str]:
        """Messages until the stream is closed, with a sign of life in between."""
        while True:
            try:
                text = self.waiting.get(timeout=PING_SECONDS)
            except queue.Empty:
                text = ": ping\n\n"
            if text is None:
                return
            yield text


class Hub:
    """All streams of this process and the one subscription that feeds them."""

    def __init__(self, app: Flask, redis: Redis) -> None:
        self.app = app
        self.redis = redis
        self.connected = False
        self._streams: dict[int, list[Stream]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._suspects: queue.Queue[int] = queue.Queue()

    # --- streams ------------------------------------------------------------

    def join(self, user_id: int, token_hash: str) -> Stream:
        """A new stream; a person's oldest one ends when he has too many."""
        stream = Stream(user_id, token_hash)
        with self._lock:
            own = self._streams.setdefault(user_id, [])
            own.append(stream)
            surplus = own[0] if len(own) > STREAMS_OF_ONE else None
        if surplus:
            self.drop(surplus)
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            own = self._streams.get(stream.user_id, [])
            if stream in own:
                own.remove(stream)
            if not own:
                self._streams.pop(stream.user_id, None)

    def drop(self, stream: Stream, *last: str) -> None:
        """End a stream from our side."""
        self.leave(stream)
        stream.close(*last)

    def streams(self, user_id: int | None = None) -> list[Stream]:
        """Streams of one person, or all of them."""
        with self._lock:
            if user_id is not None:
                return list(self._streams.get(user_id, ()))
            return [stream for own in self._streams.values() for stream in own]

    def deliver(self, message: Mapping[str, Any]) -> None:
        """Give a message of the bus to those it is for."""
        if message["kind"] == SESSION_CLOSED:
            # Which of his sign-ins ended, the database tells.
            if message["to"] is not None:
                self._suspects.put(int(message["to"]))
            return
        text = frame(message.get("id"), message["kind"], message["data"])
        for stream in self.streams(message["to"]):
            if not stream.put(text):
                self.drop(stream, RESYNC)

    def resync(self) -> None:
        """Messages may have been lost: pages reload what they show."""
        for stream in self.streams():
            if not stream.put(RESYNC):
                self.drop(stream, RESYNC)

    # --- the loops ----------------------------------------------------------

    def start(self) -> None:
        """Start listening and checking (green threads under gevent)."""
        for loop in (self._listen_forever, self._check_forever):
            threading.Thread(target=loop, daemon=True).start()

    def stop(self) -> None:
        """End the loops and all streams, so that the process can go."""
        self._stopped.set()
        for stream in self.streams():
            self.drop(stream)

    def _listen_forever(self) -> None:
        was_lost = False
        while not self._stopped.is_set():
            try:
                with self.redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(CHANNEL)
                    self.connected = True
                    if was_lost:
                        self.resync()
                    self._listen(channel)
            except RedisError as error:
                log.warning("events: Redis is out of reach: %s", type(error).__name__)
            self.connected = False
            was_lost = True
            self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self, channel: PubSub) -> None:
        beaten_at = 0.0
        while not self._stopped.is_set():
            if time.monotonic() - beaten_at >= BEAT_SECONDS:
                self.redis.set(ALIVE_KEY, "1", ex=ALIVE_SECONDS)
                beaten_at = time.monotonic()
            message = channel.get_message(timeout=1.0)
            if message is None:
                continue
            try:
                self.deliver(json.loads(message["data"]))
            except (ValueError, KeyError, TypeError):
                log.warning("events: a message that is not ours was skipped")

    def _check_forever(self) -> None:
        """End the streams of dead sign-ins: all of them by the minute, a suspect's at once."""
        next_round = time.monotonic() + CHECK_SECONDS
        while not self._stopped.is_set():
            try:
                suspect = self._suspects.get(timeout=1.0)
                self._check(self.streams(suspect))
            except queue.Empty:
                if time.monotonic() >= next_round:
                    self._check(self.streams())
                    next_round = time.monotonic() + CHECK_SECONDS

    def _check(self, streams: list[Stream]) -> None:
        if not streams:
            return
        hashes = {stream.token_hash for stream in streams}
        try:
            with self.app.app_context():
                alive = browser_events.alive_sign_ins(
                    hashes, idle_hours=self.app.config["SESSION_IDLE_HOURS"]
                )
        except SQLAlchemyError as error:
            # Ids alone travel here: a page without a sign-in can ask nothing about them.
            log.warning("events: sign-ins were not checked: %s", type(error).__name__)
            return
        for stream in streams:
            if stream.token_hash not in alive:
                self.drop(stream)


# --- the application ------------------------------------------------------------------------------


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """The WSGI application; its hub listens from the first moment."""
    app = Flask("crm.events", static_folder=None)
    app.config.update(config.load())
    app.config.update(overrides or {})
    if app.config["PROXY_HOPS"]:
        hops = app.config["PROXY_HOPS"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    db.init_app(app)
    url = app.config["REDIS_URL"] or "redis://127.0.0.1:6379/0"
    hub = Hub(app, Redis.from_url(url, socket_connect_timeout=2, health_check_interval=15))
    app.extensions["hub"] = hub
    app.add_url_rule("/events", view_func=events)
    app.add_url_rule("/healthz", view_func=healthz)
    app.after_request(_guard_headers)
    hub.start()
    _stop_on_signal(hub)
    return app


def events() -> Response:
    """The stream of the signed-in person; ``since`` brings what was missed meanwhile."""
    if not _origin_allowed():
        abort(403)
    user_id, token = _signed_in()
    hub: Hub = current_app.extensions["hub"]
    stream = hub.join(user_id, sessions.fingerprint(token))
    try:
        missed = _missed(user_id, request.args.get("since", ""))
    except BaseException:
        # Nobody will read it, so nobody would ever end it.
        hub.leave(stream)
        raise
    response = Response(_write(hub, stream, missed), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    return response


def healthz() -> tuple[Response, int]:
    """200 while messages arrive, 503 while Redis is out of reach."""
    hub: Hub = current_app.extensions["hub"]
    code = 200 if hub.connected else 503
    return jsonify(redis=hub.connected, streams=len(hub.streams())), code


def _write(hub: Hub, stream: Stream, missed: list[str]) -> Iterator[str]:
    """Everything of one stream; no database and no request is held meanwhile."""
    try:
        yield f"retry: {RETRY_MS}\n\n"
        yield from missed
        yield from stream.read()
    finally:
        hub.leave(stream)


def _signed_in() -> tuple[int, str]:
    """Id and token of a live sign-in by the pages' own cookie; else 401."""
    identity = str(session.get("_user_id", ""))
    user = sessions.find_user(identity, idle_hours=current_app.config["SESSION_IDLE_HOURS"])
    if user is None:
        abort(401)
    return user.id, identity.partition(".")[2]


def _missed(user_id: int, since: str) -> list[str]:
    if not since.isdecimal() or len(since) > MAX_DIGITS:
        return []
    rows, complete = browser_events.newer(user_id, int(since))
    frames = [frame(row.id, row.kind, row.data) for row in rows]
    return frames if complete else [RESYNC, *frames]


# --- the rim --------------------------------------------------------------------------------------


def _origin_allowed() -> bool:
    """Pages of this site only: its public address, or this very host at the web port."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    asked = urlsplit(origin)
    public = urlsplit(current_app.config["PUBLIC_URL"])
    if (asked.scheme, asked.hostname, _port(asked)) == (
        public.scheme,
        public.hostname,
        _port(public),
    ):
        return True
    own = urlsplit(f"//{request.host}")
    return asked.hostname == own.hostname and _port(asked) == current_app.config["PORT"]


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


def _guard_headers(response: Response) -> Response:
    origin = request.headers.get("Origin")
    if origin and _origin_allowed():
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Vary"] = "Origin"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _stop_on_signal(hub: Hub) -> None:
    """Streams never end by themselves: let them go before the server waits for them."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            continue

        def end(received: int, place: FrameType | None, then: Any = before) -> None:
            threading.Thread(target=hub.stop, daemon=True).start()
            then(received, place)

        signal.signal(number, end)
