"""A small HTTP client with the protocol of the guarded one, and a local server to talk to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests

from crm.integrations.errors import IntegrationError


class RefusedAddress(IntegrationError):
    """The address is not among the allowed hosts."""


class PlainResponse:
    def __init__(self, response: requests.Response, max_bytes: int | None) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self.closed = False

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def content(self) -> bytes:
        return self._response.content

    @property
    def text(self) -> str:
        return self._response.text

    def json(self) -> Any:
        return self._response.json()

    def iter_bytes(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._response.iter_content(8192):
            size += len(chunk)
            if self._max_bytes is not None and size > self._max_bytes:
                raise IntegrationError("Ответ слишком большой", permanent=True)
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self._response.close()


class PlainClient:
    """Follows the protocol over `requests`; refuses hosts outside `allow_hosts`."""

    def __init__(self) -> None:
        self.responses: list[PlainResponse] = []

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
    ) -> PlainResponse:
        if allow_hosts is not None and urlsplit(url).hostname not in allow_hosts:
            raise RefusedAddress("Адрес не разрешён", permanent=True)
        try:
            response = requests.request(
                method,
                url,
                params=params,
                data=data,
                json=json,
                headers={"Connection": "close", **(headers or {})},
                timeout=timeout or 5,
                stream=stream,
                allow_redirects=follow_redirects,
            )
        except requests.RequestException as error:
            raise IntegrationError("Нет связи с сервером", permanent=False) from error
        self.responses.append(PlainResponse(response, max_bytes))
        return self.responses[-1]


class NoNetwork:
    """A client for tests that must not send anything."""

    def request(self, method: str, url: str, **_: Any) -> PlainResponse:
        raise AssertionError(f"unexpected request {method} {url}")


@dataclass(frozen=True)
class Asked:
    """A request as the fake server got it."""

    method: str
    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def serving(respond: Callable[[Asked], Answer]) -> Iterator[str]:
    """Run a server on loopback that answers with `respond`; gives its address without a slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(respond))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(respond: Callable[[Asked], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
            asked = Asked(self.command, self.path, form, dict(self.headers), body)
            answer = respond(asked)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names of the library

        def log_message(self, *args: Any) -> None:
            return

    return Handler
