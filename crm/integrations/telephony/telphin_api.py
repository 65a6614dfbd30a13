"""Телфин: the HTTP side, token and pages.

Source: the interface «ver1.0» of the RingMe platform (ringme-confluence.atlassian.net); behaviour
marked [G] was seen by github.com/xdimedrolx/telphin-go-sdk and its recorded replies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.base import OperatorError, Recording, TelephonyOperator
from crm.integrations.telephony.payload import Payload

# What `expires_in` is when the reply lacks it [G].
_TOKEN_SECONDS = 3600
_RENEW_BEFORE_SECONDS = 60
# No greatest `per_page` is documented.
_HISTORY_PAGE = 100


class TelphinApi(TelephonyOperator):
    """Requests with a token: taken when needed, kept while it lives, renewed once on a 401."""

    # One history request at a time is allowed for an account; another one gets 429 [G].
    busy_pause: ClassVar[timedelta] = timedelta(seconds=10)
    busy_attempts: ClassVar[int] = 3

    _token: str = ""
    _token_ends: float = 0.0

    def secrets(self) -> list[str]:
        """The token of the moment is a secret too."""
        return [*super().secrets(), *([self._token] if self._token else [])]

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpResponse:
        """One request of the interface, any status. Raises `OperatorError`."""
        response = self.send(
            method, self.url(path), params=params, json=json, headers=self._authorised()
        )
        if response.status != 401:
            return response
        self._token = ""
        return self.send(
            method, self.url(path), params=params, json=json, headers=self._authorised()
        )

    def sound(self, path: str) -> Recording:
        """Stream of a file. Raises `OperatorError`, `RecordingNotReady`."""
        try:
            return self._download(path)
        except OperatorError as error:
            if error.status != 401:
                raise
        self._token = ""
        return self._download(path)

    def url(self, path: str) -> str:
        """Whole address of a resource."""
        return f"{self._host()}/api/ver1.0/{path}"

    def rows(self, response: HttpResponse) -> list[Payload]:
        """A JSON array of objects. Raises `OperatorError`."""
        value = self.answer(response)
        if not isinstance(value, list):
            raise self.failure("вместо списка пришёл другой ответ", permanent=False)
        try:
            return [Payload(item) for item in value]
        except MalformedRequest as error:
            raise self.failure("в списке не объекты", permanent=False) from error

    def client_path(self, resource: str) -> str:
        """Path of a resource of this client; `@me` stands for its number [G]."""
        return f"client/{self.credential('client')}/{resource}"

    def extension_rows(self, kind: str) -> Iterator[Payload]:
        """Active extensions of one type; the size of a page is not documented."""
        seen: set[str] = set()
        page = 1
        while True:
            params = {"type": kind, "page": str(page)}
            response = self.ask("GET", self.client_path("extension/"), params=params)
            if page > 1 and response.status == 404:
                return
            fresh = {row.text("id") or "": row for row in self.rows(response)}
            fresh = {key: row for key, row in fresh.items() if key and key not in seen}
            if not fresh:
                return
            yield from (row for row in fresh.values() if row.text("status") != "blocked")
            seen |= fresh.keys()
            page += 1

    def history_rows(self, since: datetime, until: datetime) -> Iterator[Any]:
        """Rows of `call_history`, page by page. Raises `OperatorError`."""
        page = 1
        previous: list[Any] = []
        while True:
            rows, size = self._history_page(since, until, page)
            if rows and rows == previous:
                raise self.failure("оператор повторяет страницу истории", permanent=False)
            yield from rows
            if len(rows) < size:
                return
            previous = rows
            page += 1

    def _history_page(self, since: datetime, until: datetime, page: int) -> tuple[list[Any], int]:
        response = self._history_turn(
            {
                "start_datetime": _gmt(since),
                "end_datetime": _gmt(until),
                "order": "asc",
                "page": str(page),
                "per_page": str(_HISTORY_PAGE),
            }
        )
        value = self.answer(response)
        rows = value.get("call_history") if isinstance(value, dict) else None
        if not isinstance(rows, list):
            raise self.failure("в ответе нет истории звонков", permanent=False, response=response)
        told = Payload(value)
        if told.integer("page") not in (None, page):
            raise self.failure("оператор отдал не ту страницу истории", permanent=False)
        # The operator may give less a page than it was asked for, and says how much.
        return rows, max(1, told.integer("per_page") or _HISTORY_PAGE)

    def _history_turn(self, params: Mapping[str, str]) -> HttpResponse:
        """Wait while another request for the history runs."""
        for attempt in range(self.busy_attempts):
            if attempt:
                time.sleep(self.busy_pause.total_seconds())
            response = self.ask("GET", self.client_path("call_history/"), params=params)
            if response.status != 429 or "Retry-After" in response.headers:
                return response
        raise self.failure(
            "слишком много запросов: история уже выгружается",
            permanent=False,
            response=response,
            retry_after=self.busy_pause,
        )

    def _host(self) -> str:
        return self.credential("api_base").rstrip("/")

    def _download(self, path: str) -> Recording:
        return self.download(
            self.url(path), own=self.credential("api_base"), headers=self._authorised()
        )

    def _authorised(self) -> dict[str, str]:
        if not self._token or time.monotonic() >= self._token_ends:
            self._take_token()
        return {"Authorization": f"Bearer {self._token}"}

    def _take_token(self) -> None:
        """`POST /oauth/token`, grant `client_credentials`."""
        order = {
            "grant_type": "client_credentials",
            "client_id": self.credential("app_id"),
            "client_secret": self.credential("app_secret"),
        }
        response = self.send("POST", f"{self._host()}/oauth/token", data=order)
        if response.status in (400, 401, 403):
            message = "App ID или App Secret не приняты"
            raise self.failure(message, permanent=True, response=response)
        answer = self.answer_object(response)
        token = answer.text("access_token")
        if token is None:
            raise self.failure("ключ доступа не пришёл", permanent=False)
        seconds = answer.integer("expires_in") or _TOKEN_SECONDS
        self._token = token
        self._token_ends = time.monotonic() + max(0, seconds - _RENEW_BEFORE_SECONDS)


def _gmt(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
