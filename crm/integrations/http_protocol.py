"""The HTTP client an integration needs; the guarded client of `crm.integrations.http` fits it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self


class HttpResponse(Protocol):
    """An answer; with `stream=True` the body is read through `iter_bytes` and must be closed."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content(self) -> bytes: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...

    def iter_bytes(self) -> Iterator[bytes]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class HttpClient(Protocol):
    """Sends one request; raises `IntegrationError` (permanent or transient) when no answer came.

    Any HTTP status is an answer, not an error. `allow_hosts` limits the address and every redirect.
    """

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
    ) -> HttpResponse: ...
