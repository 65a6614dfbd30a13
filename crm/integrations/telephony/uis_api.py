"""UIS / CoMagic: JSON-RPC 2.0 of the Data API and of the Call API.

Source: github.com/comagic/comagic.github.io (`data_api`, `call_api`). Every call costs points, a
minute and a day have so many of them; refusals come with HTTP 200 and are told by a mnemonic.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import MalformedRequest, load_json
from crm.integrations.telephony.base import OperatorError, TelephonyOperator
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.uis_templates import opened

PAGE = 1000
# A greater `offset` is refused by the operator.
MAX_OFFSET = 100_000
_JSON = {"Content-Type": "application/json; charset=UTF-8"}
_INTERNAL, _LIMITS = -32603, -32029
_MINUTE, _LONGEST_RETRY = 60, 86_400
_MEANINGS = {
    "access_token_invalid": "ключ доступа не найден: проверьте ключ и площадку (UIS или CoMagic)",
    "access_token_expired": "срок действия ключа доступа истёк, выпустите новый",
    "access_token_blocked": "ключ доступа заблокирован, выпустите новый",
    "auth_error": "логин или пароль не приняты",
    "ip_not_whitelisted": "адрес сервера CRM не внесён в список разрешённых, вкладка «API»",
    "forbidden": "у пользователя ключа нет доступа к этому методу",
    "virtual_phone_number_not_found": "такого виртуального номера в аккаунте нет",
    "component_disabled": "нужная опция не подключена",
    "method_component_disabled": "опция, которой нужен этот метод, не подключена",
    "account_inactive": "аккаунт отключён, обратитесь к оператору",
    "limit_exceeded": "баллы запросов закончились",
    "contact_in_blacklist": "номер клиента в чёрном списке",
    "employee_not_found": "сотрудника с таким ID в аккаунте нет",
    "no_active_phone_number": "у сотрудника нет активного номера",
    "own_virtual_phone_number_not_allowed": "на собственный виртуальный номер звонить нельзя",
    "call_session_not_found": "такого звонка нет",
    "date_interval_limit_reached": "запрошен слишком длинный период",
    "unexpected_parameters": "оператор не знает одного из параметров",
    "internal_error": "ошибка на стороне оператора",
}


@dataclass(frozen=True)
class JsonRpc:
    """Questions of one account; `longest_pause` is how long a list may wait for fresh points."""

    operator: TelephonyOperator
    token: str = field(repr=False)
    longest_pause: timedelta

    def ask(
        self, url: str, method: str, params: Mapping[str, Any], request_id: str = "1"
    ) -> Mapping[str, Any]:
        """One call; the `result` of its answer. Raises `OperatorError`."""
        envelope = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": method,
            "params": {"access_token": self.token, **params},
        }
        response = self.operator.send("POST", url, json=envelope, headers=_JSON)
        value = _json_of(response)
        # An overloaded server is judged by its status, whatever it writes.
        if isinstance(value.get("error"), Mapping) and not _is_overload(response):
            raise self._refusal(Payload(opened(value["error"])), response)
        if not value:
            self.operator.answer_object(response)  # raises and says what came instead
        self.operator.ensure_success(response)
        result = value.get("result")
        if not isinstance(result, Mapping):
            message = "в ответе нет результата"
            raise self.operator.failure(message, permanent=False, response=response)
        return result

    def rows(self, url: str, method: str, params: Mapping[str, Any]) -> Iterator[Payload]:
        """Rows of a list, page by page. Raises `OperatorError`, also for a list cut short."""
        offset, is_over = 0, False
        while not is_over:
            if offset > MAX_OFFSET:
                message = f"в списке больше {MAX_OFFSET} строк, дальше оператор не отдаёт"
                raise self.operator.failure(message, permanent=True)
            result = self.ask(url, method, {**params, "limit": PAGE, "offset": offset})
            page, told = self._page(result), Payload(result)
            yield from page
            offset += len(page)
            total = told.integer("metadata.total_items")
            is_over = len(page) < PAGE if total is None else offset >= total
            if not is_over and not page:
                raise self.operator.failure("список оборвался на полпути", permanent=False)
            if not is_over:
                self._spare_points(told)

    def _page(self, result: Mapping[str, Any]) -> list[Payload]:
        """Rows with nested objects opened."""
        rows = result.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise self.operator.failure("в ответе нет списка", permanent=False)
        return [Payload(opened(row)) for row in rows]

    def _spare_points(self, told: Payload) -> None:
        """Wait until the next call may be made. Raises `OperatorError` when that is too long."""
        limits = "metadata.limits"
        if told.integer(f"{limits}.day_remaining") == 0:
            raise self._out_of_points(told.integer(f"{limits}.day_reset"))
        if told.integer(f"{limits}.minute_remaining") != 0:
            return
        pause = told.integer(f"{limits}.minute_reset")
        seconds = _MINUTE if pause is None else max(0, pause)
        if seconds > self.longest_pause.total_seconds():
            raise self._out_of_points(seconds)
        time.sleep(seconds)

    def _out_of_points(self, seconds: int | None) -> OperatorError:
        return self.operator.failure(
            _MEANINGS["limit_exceeded"], permanent=False, retry_after=_pause(seconds)
        )

    def _refusal(self, refused: Payload, response: HttpResponse) -> OperatorError:
        code, mnemonic = refused.integer("code"), refused.text("mnemonic") or ""
        limited = mnemonic == "limit_exceeded" or code == _LIMITS
        meaning = _MEANINGS.get(mnemonic) or refused.text("message") or "причина не описана"
        return self.operator.failure(
            f"отказ {mnemonic or code}: {meaning[:200]}",
            permanent=not limited and code != _INTERNAL and mnemonic != "internal_error",
            response=response,
            retry_after=_pause(_seconds_to_wait(refused)) if limited else None,
        )


def _json_of(response: HttpResponse) -> Mapping[str, Any]:
    """The envelope, empty when the answer is none."""
    try:
        value = load_json(response.text)
    except MalformedRequest:
        return {}
    return value if isinstance(value, Mapping) else {}


def _is_overload(response: HttpResponse) -> bool:
    return response.status == 429 or response.status >= 500


def _seconds_to_wait(refused: Payload) -> int | None:
    """Whose points are over: the parameters of the message say, else the counters."""
    kind = refused.text("limit_type") or ""
    by_day = "day" in kind or (not kind and refused.integer("day_remaining") == 0)
    return refused.integer("day_reset" if by_day else "minute_reset")


def _pause(seconds: int | None) -> timedelta:
    known = _MINUTE if seconds is None else seconds
    return timedelta(seconds=min(max(known, 1), _LONGEST_RETRY))
