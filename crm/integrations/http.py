"""The only way out to addresses that other people give us: a client that guards our own network.

Every address a name resolves to is checked, and the connection is made to a checked address, so
a name that changes its answer between the check and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import json as jsonlib
import logging
import random
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from email.message import Message
from threading import Timer
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager

from crm.integrations.addresses import forbidden_reason
from crm.integrations.errors import IntegrationError
from crm.integrations.hosts import is_listed, leaves_tls
from crm.integrations.http_words import reason
from crm.integrations.tls import trusting

log = logging.getLogger(__name__)
# At DEBUG the library writes whole addresses with their query strings, where keys travel.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

MAX_REDIRECTS = 5
DEFAULT_MAX_BYTES = 50 * 1024 * 1024
CHUNK = 64 * 1024
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What may follow a redirect to another host; everything else may be a credential.
_HARMLESS_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "if-modified-since",
        "range",
        "user-agent",
    }
)


class FetchRefused(IntegrationError):
    """The address may not be visited; repeating changes nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class FetchFailed(IntegrationError):
    """No whole answer came; it may come later."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=False)


class TooLarge(IntegrationError):
    """The answer is larger than allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class _Deadline:
    """Total time of one request: at its end the socket is shut, whatever the peer is doing."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._timer = Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def left(self) -> float:
        return self._end - time.monotonic()

    @property
    def passed(self) -> bool:
        return self.left() <= 0

    def watch(self, connection: socket.socket) -> None:
        """Keep a second handle of the connection: TLS takes the first one away."""
        self._release()
        self._socket = connection.dup()

    def close(self) -> None:
        self._timer.cancel()
        self._release()

    def _release(self) -> None:
        handle, self._socket = self._socket, None
        if handle is not None:
            handle.close()

    def _cut(self) -> None:
        handle = self._socket
        if handle is not None:
            try:
                handle.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("connection was already closed: errno %s", error.errno)


class _Guard:
    """Decides whether a host may be visited and opens the connection to a checked address."""

    def __init__(self, private_hosts: Collection[str], connect_timeout: float) -> None:
        self._private = frozenset(host.lower() for host in private_hosts)
        self._connect_timeout = connect_timeout

    def connect(self, host: str, port: int, deadline: _Deadline) -> socket.socket:
        last: OSError = OSError("no address")
        for family, address in self._checked(host, port):
            try:
                connection = self._open(family, address, deadline)
            except OSError as error:
                last = error
                continue
            if not self._is_private(host, port):
                self._check_peer(host, connection)
            return connection
        raise last

    def _checked(self, host: str, port: int) -> list[tuple[int, Any]]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not self._is_private(host, port):
            for *_, address in found:
                self._check(host, str(address[0]))
        return [(family, address) for family, _, _, _, address in found]

    def _is_private(self, host: str, port: int) -> bool:
        name = host.lower().rstrip(".").strip("[]")
        return name in self._private or f"{name}:{port}" in self._private

    def _check(self, host: str, address: str) -> None:
        if reason := forbidden_reason(address):
            raise FetchRefused(f"Адрес {host} ведёт во внутреннюю сеть ({reason})")

    def _check_peer(self, host: str, connection: socket.socket) -> None:
        try:
            self._check(host, str(connection.getpeername()[0]))
        except (FetchRefused, OSError):
            connection.close()
            raise

    def _open(self, family: int, address: Any, deadline: _Deadline) -> socket.socket:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(min(self._connect_timeout, deadline.left()), 0.001))
            connection.connect(address)
            connection.settimeout(max(deadline.left(), 0.001))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            deadline.watch(connection)
        except OSError:
            connection.close()
            raise
        return connection


class _GuardedAdapter(HTTPAdapter):
    """Adapter of one request: its connections go through the guard, never through a proxy."""

    def __init__(self, guard: _Guard, deadline: _Deadline, certificates: str) -> None:
        self._guard, self._deadline, self._certificates = guard, deadline, certificates
        super().__init__(max_retries=0)

    def init_poolmanager(self, *_: Any, **__: Any) -> None:
        context = trusting(self._certificates)
        manager = PoolManager(num_pools=MAX_REDIRECTS + 1, maxsize=1, ssl_context=context)
        manager.pool_classes_by_scheme = _pool_classes(self._guard, self._deadline)
        self.poolmanager = manager


def _pool_classes(guard: _Guard, deadline: _Deadline) -> dict[str, Any]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return guard.connect(self._dns_host, self.port, deadline)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return guard.connect(self._dns_host, self.port or 443, deadline)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class HttpResponse:
    """An answer whose body is counted and timed while it is read; close it or use `with`."""

    def __init__(
        self, answer: requests.Response, host: str, deadline: _Deadline, max_bytes: int
    ) -> None:
        self._answer, self._host = answer, host
        self._deadline, self._max_bytes = deadline, max_bytes
        self._content: bytes | None = None

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status} {self._host}>"

    @property
    def status(self) -> int:
        """HTTP status."""
        return int(self._answer.status_code)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, names without regard to case."""
        return self._answer.headers

    @property
    def content(self) -> bytes:
        """The whole body. Raises `TooLarge` or `FetchFailed`."""
        if self._content is None:
            self._content = b"".join(self.iter_bytes())
        return self._content

    @property
    def text(self) -> str:
        """Body in its declared charset, else UTF-8; what cannot be read is replaced."""
        header = Message()
        header["Content-Type"] = self.headers.get("Content-Type", "")
        charset = header.get_param("charset")
        try:
            return self.content.decode(charset if isinstance(charset, str) else "utf-8", "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Body as JSON. Raises `FetchFailed`."""
        try:
            return jsonlib.loads(self.content)
        except (ValueError, RecursionError):
            raise FetchFailed(f"{self._host} ответил не в формате JSON") from None

    def iter_bytes(self) -> Iterator[bytes]:
        """Unpacked body in pieces as they come. Raises `TooLarge` or `FetchFailed`."""
        if self._content is not None:
            yield self._content
            return
        self._check_declared()
        total = 0
        try:
            while piece := self._piece():
                total += len(piece)
                if total > self._max_bytes:
                    raise self._too_large()
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection and its clock up."""
        self._deadline.close()
        self.release()

    def release(self) -> None:
        """Give only the connection up: the same clock runs on for the next hop or try."""
        self._answer.close()
        self._answer.connection.close()

    def __enter__(self) -> HttpResponse:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _piece(self) -> bytes:
        try:
            piece: bytes = self._answer.raw.read1(CHUNK, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            if self._deadline.passed:
                raise _out_of_time(self._host) from None
            raise FetchFailed(f"{self._host}: {reason(error)}") from None
        if self._deadline.passed:
            raise _out_of_time(self._host)
        return piece

    def _check_declared(self) -> None:
        declared = self.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            self.close()
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"Ответ {self._host} больше {self._max_bytes // 1024} КБ")


def _out_of_time(host: str) -> FetchFailed:
    return FetchFailed(f"{host} не успел ответить за отведённое время")


class GuardedClient:
    """Fetches from outside: http and https only, never from our own network.

    `allow_private_hosts` are names or addresses, alone or with a port (`10.0.0.5:8080`), that may
    be private. `certificates` (PEM) are trusted besides the usual authorities. Times are seconds;
    `total_timeout` bounds the whole request with its redirects,
    retries and body. Logs carry the method, the host and the status, nothing else.
    """

    def __init__(
        self,
        allow_private_hosts: Collection[str] = (),
        user_agent: str = "Kvartal",
        connect_timeout: float = 5,
        total_timeout: float = 10,
        sleep: Callable[[float], None] = time.sleep,
        certificates: str = "",
    ) -> None:
        self._certificates = certificates
        self._guard = _Guard(allow_private_hosts, connect_timeout)
        self._user_agent = user_agent
        self._connect_timeout, self._total_timeout = connect_timeout, total_timeout
        self._sleep = sleep

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        allow_hosts: Collection[str] | None = None,
        stream: bool = False,
        max_bytes: int | None = None,
        follow_redirects: bool = True,
        retries: int = 0,
    ) -> HttpResponse:
        """Send one request; any status is an answer.

        `allow_hosts` are names or `*.name`; `retries` repeats idempotent methods after a broken
        connection or a 5xx. Raises `FetchRefused`, `TooLarge` (permanent), `FetchFailed`.
        """
        deadline = _Deadline(timeout or self._total_timeout)
        call = _Call(self._guard, deadline, allow_hosts, max_bytes or DEFAULT_MAX_BYTES)
        call.connect_timeout, call.certificates = self._connect_timeout, self._certificates
        sent = {"User-Agent": self._user_agent, "Accept-Encoding": "gzip", **(headers or {})}
        request = requests.Request(method.upper(), url, sent, data=data, params=params, json=json)
        tries = retries + 1 if request.method in IDEMPOTENT else 1
        try:
            answer = self._repeat(call, request, tries, follow_redirects)
            if not stream:
                _ = answer.content
        except IntegrationError:
            deadline.close()
            raise
        return answer

    def _repeat(
        self, call: _Call, request: requests.Request, tries: int, follow: bool
    ) -> HttpResponse:
        for attempt in range(1, tries + 1):
            # Jitter keeps many workers from coming back in the same moment.
            pause = 0.2 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
            last = attempt == tries or call.deadline.left() <= pause
            try:
                answer = call.follow(request) if follow else call.send(request)
            except FetchFailed:
                if last:
                    raise
            else:
                if last or answer.status < 500:
                    return answer
                answer.release()
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")


class _Call:
    """One call with all its hops."""

    connect_timeout: float
    certificates: str = ""

    def __init__(
        self,
        guard: _Guard,
        deadline: _Deadline,
        allow_hosts: Collection[str] | None,
        max_bytes: int,
    ) -> None:
        self._guard, self.deadline = guard, deadline
        self._allow_hosts, self._max_bytes = allow_hosts, max_bytes

    def follow(self, request: requests.Request) -> HttpResponse:
        """Send and follow up to five redirects, each checked anew."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self.send(request)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            answer.release()
            following = _redirected(request, answer.status, location)
            # Where only certain hosts are believed, a name alone proves nothing without TLS.
            if self._allow_hosts is not None and leaves_tls(request.url, following.url):
                raise FetchRefused("Сервер перенаправляет с https на http")
            request = following
        raise FetchRefused(f"Больше {MAX_REDIRECTS} перенаправлений подряд")

    def send(self, request: requests.Request) -> HttpResponse:
        """Send one hop."""
        host = self._check_url(request.url)
        started = time.monotonic()
        answer = self._sent(request, host)
        took = round((time.monotonic() - started) * 1000)
        log.info("%s %s -> %s in %s ms", request.method, host, answer.status_code, took)
        return HttpResponse(answer, host, self.deadline, self._max_bytes)

    def _sent(self, request: requests.Request, host: str) -> requests.Response:
        timeout = (self.connect_timeout, max(self.deadline.left(), 0.001))
        # Without a session: its proxies and passwords from the environment would lead around
        # the guard, and it reads the address of a redirect before we have checked it.
        adapter = _GuardedAdapter(self._guard, self.deadline, self.certificates)
        try:
            return adapter.send(request.prepare(), stream=True, timeout=timeout)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            raise FetchRefused("Адрес написан неправильно") from None
        except requests.exceptions.InvalidHeader:
            raise FetchRefused("Недопустимый заголовок запроса") from None
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
            # The library's own messages carry the whole address, so only the kind is kept.
            if self.deadline.passed:
                raise _out_of_time(host) from None
            raise FetchFailed(f"{host}: {reason(error)}") from None

    def _check_url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise FetchRefused("Адрес написан неправильно") from None
        if parts.scheme not in ("http", "https") or not host:
            raise FetchRefused("Адрес должен начинаться с http:// или https://")
        if self._allow_hosts is not None and not is_listed(host, self._allow_hosts):
            raise FetchRefused(f"Сервер {host} не входит в список разрешённых")
        return host


def _redirected(request: requests.Request, status: int, location: str) -> requests.Request:
    """The next hop: nothing secret follows to another origin."""
    try:
        target = urljoin(request.url, location)
    except ValueError:
        raise FetchRefused("Сервер перенаправляет на неправильный адрес") from None
    same = _origin(target) == _origin(request.url)
    headers = {
        name: value
        for name, value in request.headers.items()
        if same or name.lower() in _HARMLESS_HEADERS
    }
    keeps_body = status in (307, 308) or request.method in ("GET", "HEAD")
    if not keeps_body:
        return requests.Request("GET", target, headers)
    if not same and (request.data or request.json is not None):
        raise FetchRefused("Сервер перенаправляет данные запроса на другой адрес")
    return requests.Request(request.method, target, headers, data=request.data, json=request.json)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise FetchRefused("Сервер перенаправляет на неправильный адрес") from None
