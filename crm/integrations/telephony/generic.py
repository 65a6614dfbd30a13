"""The general protocol: any PBX, integrator or script may send calls here by our own contract.

No operator stands behind it. Everything beyond the inbound notices works by templates of
addresses that the administrator writes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from crm.integrations.http_protocol import HttpClient, HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import (
    generic_declared,
    generic_events,
    generic_simulation,
    generic_templates,
)
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Direction,
    KnownCaller,
    OperatorError,
    PlacedCall,
    Recording,
    RecordingRef,
    SimulatedRequest,
    TelephonyOperator,
    WebhookRejected,
    same_secret,
)
from crm.integrations.telephony.generic_events import BadField, Notice, Origin
from crm.integrations.telephony.generic_templates import BadTemplate
from crm.integrations.telephony.payload import MAX_ID

_CALL_NAMES = ("extension", "phone", "line", "token")
_HISTORY_NAMES = ("from", "to", "page", "token")
_CSV_REQUIRED = ("direction", "client", "time", "answered")
_INVENTED_HOST = "records.example.ru"


class Generic(TelephonyOperator):
    """Any PBX that speaks our contract; `capabilities` are what the settings make possible."""

    slug = "generic"
    title = "Другая АТС (общий протокол)"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.SYNCHRONOUS_REPLY
    )
    credentials = generic_declared.CREDENTIALS
    setup_steps = generic_declared.SETUP_STEPS
    setup_texts = generic_declared.SETUP_TEXTS
    cautions = generic_declared.CAUTIONS
    recording_delay = timedelta(seconds=10)

    # A server that never gives an empty page must not be asked for ever.
    max_pages: ClassVar[int] = 1000

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        known, self._wrong_hosts = generic_templates.hosts(self.credential("recording_hosts"))
        self._plain_hosts = frozenset(host for host, scheme in known.items() if scheme == "http")
        self.recording_hosts = tuple(known)
        self.capabilities = self._possible()

    def missing_credentials(self) -> list[CredentialField]:
        """Keys are needed only where the other settings use them."""
        templates = [self.credential(name) for name in ("call_url", "call_body", "history_url")]
        needed = {
            "signing_key": self._is_signed(),
            "api_token": any("{token}" in template for template in templates),
        }
        return [
            item
            for item in self.credentials
            if needed.get(item.name) and not self.credential(item.name)
        ]

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """`X-Signature: sha256=<hex HMAC-SHA256 of the raw body>`, when it is switched on."""
        if not self._is_signed():
            return
        if not self.credential("signing_key"):
            raise WebhookRejected("Ключ подписи не заполнен, подпись не проверить")
        given = request.headers.get("X-Signature", "").strip().lower()
        if not same_secret(given, self._signature(request.body)):
            raise WebhookRejected("Подпись не сходится")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """One notice, one event. Raises `BadField`, of which `reply` tells the sender."""
        origin = Origin(
            connection_id=self.connection_id,
            received_at=request.received_at,
            raw=self.mask(request),
        )
        return [generic_events.to_event(self._notice(request), origin)]

    def delivery_key(self, request: InboundRequest) -> str:
        """By call, event and employee; what cannot be read must not stand in for its correction."""
        try:
            return generic_events.key_of(self._notice(request))
        except MalformedRequest:
            return super().delivery_key(request)

    def caller_question(self, request: InboundRequest) -> str | None:
        """The PBX may show the caller's name or lead the call to the responsible employee."""
        try:
            notice = self._notice(request)
        except MalformedRequest:
            return None  # `reply` says what is wrong
        asks = notice.event == generic_events.RINGING
        return notice.client if asks and notice.direction is not Direction.INTERNAL else None

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """What the contract promises: 200, or 422 with the field that is wrong."""
        try:
            notice = self._notice(request)
        except BadField as error:
            return _json_reply(422, {"error": error.message, "field": error.field})
        except MalformedRequest as error:
            return _json_reply(422, {"error": error.message, "field": None})
        answer: dict[str, Any] = {"ok": True}
        if caller is not None and notice.event == generic_events.RINGING:
            known = {
                "contact": caller.name,
                "deal": caller.deal_id,
                "responsible": caller.responsible_extension,
            }
            answer |= {name: value for name, value in known.items() if value}
        return _json_reply(200, answer)

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as ringing, answer, end and recording."""
        host = next(iter(self.recording_hosts), _INVENTED_HOST).replace("*", "records")
        return [
            self._simulated(step.value, step.delay)
            for step in generic_simulation.steps(scenario, host)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """By the template of the settings; any 2xx is a success."""
        if not self.credential("call_url"):
            raise self.unsupported("звонки из CRM, пока не вписан адрес для звонка")
        values = {
            "extension": call.extension,
            "phone": call.number,
            "line": call.line_number or "",
            "token": self.credential("api_token"),
        }
        url, host = self._address("call_url", _CALL_NAMES, values)
        body = self._call_body(values)
        response = self.send(
            self._call_method(),
            url,
            data=body,
            headers={"Content-Type": "application/json"} if body is not None else None,
            allow_hosts=(host,),
        )
        self.ensure_success(response)
        return PlacedCall(request_id=call.request_id, provider_call_id=self._placed_id(response))

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """Pages of the template until an empty one; without `{page}` there is only one."""
        if not self.credential("history_url"):
            raise self.unsupported("выгрузка истории звонков, пока не вписан её адрес")
        before = ""
        for page in range(1, self.max_pages + 1):
            response = self._history_page(since, until, page)
            rows = self._rows(response)
            if rows and response.text == before:
                raise self.failure("история повторяет одну и ту же страницу", permanent=True)
            yield from (self._history_event(row) for row in rows)
            if not rows or "{page}" not in self.credential("history_url"):
                return
            before = response.text
        raise self.failure(f"история длиннее {self.max_pages} страниц", permanent=False)

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """From the servers of the settings only."""
        if not self.recording_hosts:
            raise self.unsupported("загрузка записей, пока не указаны их серверы")
        if not ref.recording_url:
            raise self.failure("у записи нет адреса", permanent=True)
        plain = [host for host in self._plain_hosts if _host(ref.recording_url) == host]
        return self.download(ref.recording_url, own=f"http://{plain[0]}" if plain else "https://")

    def probe(self) -> str:
        """Nothing can be asked without ringing somebody, but what is written can be checked."""
        for name, names in (("call_url", _CALL_NAMES), ("history_url", _HISTORY_NAMES)):
            if self.credential(name):
                self._address(name, names, dict.fromkeys(names, "1"))
        self._call_body(dict.fromkeys(_CALL_NAMES, "1"))
        self._columns()
        if self._wrong_hosts:
            raise self._wrong("recording_hosts", f"не похоже на сервер: {self._wrong_hosts[0]}")
        return super().probe()

    # Details

    def _is_signed(self) -> bool:
        return self.credential("signing") == "on"

    def _signature(self, body: bytes) -> str:
        key = self.credential("signing_key").encode("utf-8", "surrogatepass")
        return "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()

    def _possible(self) -> Capability:
        able = Capability.SYNCHRONOUS_REPLY
        if self.credential("call_url"):
            able |= Capability.CLICK_TO_CALL
        if self.credential("history_url"):
            able |= Capability.HISTORY
        return able | Capability.RECORDINGS if self.recording_hosts else able

    def _notice(self, request: InboundRequest) -> Notice:
        return generic_events.read(generic_events.fields_of(request), self._plain_hosts)

    def _simulated(self, value: Mapping[str, Any], delay: timedelta) -> SimulatedRequest:
        body = json.dumps(value, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        if self._is_signed():
            headers["X-Signature"] = self._signature(body)
        return SimulatedRequest(path_tail="", body=body, headers=headers, delay=delay)

    def _wrong(self, setting: str, problem: str) -> OperatorError:
        label = next(item.label for item in self.credentials if item.name == setting)
        return self.failure(f"«{label}»: {problem}", permanent=True)

    def _address(
        self, setting: str, names: tuple[str, ...], values: Mapping[str, str]
    ) -> tuple[str, str]:
        """The filled template and the only host that may be asked."""
        template = self.credential(setting)
        try:
            host = generic_templates.host_of(template, names)
        except BadTemplate as error:
            raise self._wrong(setting, error.message) from error
        return generic_templates.filled_address(template, values), host

    def _call_method(self) -> str:
        return "GET" if self.credential("call_method") == "GET" else "POST"

    def _call_body(self, values: Mapping[str, str]) -> bytes | None:
        template = self.credential("call_body")
        if not template or self._call_method() == "GET":
            return None
        try:
            return generic_templates.filled_json(template, values)
        except BadTemplate as error:
            raise self._wrong("call_body", error.message) from error

    def _placed_id(self, response: HttpResponse) -> str | None:
        """The call is already on its way: an answer without an id is no failure."""
        path = self.credential("call_id_path")
        if not path:
            return None
        try:
            found = generic_templates.at(load_json(response.text), path)
        except MalformedRequest:
            return None
        is_id = isinstance(found, str | int) and not isinstance(found, bool)
        text = str(found).strip() if is_id else ""
        return text if 0 < len(text) <= MAX_ID else None

    def _history_page(self, since: datetime, until: datetime, page: int) -> HttpResponse:
        values = {
            "from": self._history_moment(since),
            "to": self._history_moment(until),
            "page": str(page),
            "token": self.credential("api_token"),
        }
        url, host = self._address("history_url", _HISTORY_NAMES, values)
        response = self.send("GET", url, allow_hosts=(host,))
        self.ensure_success(response)
        return response

    def _history_moment(self, moment: datetime) -> str:
        if self.credential("history_time") == "unix":
            return str(int(moment.timestamp()))
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _columns(self) -> dict[str, str]:
        try:
            return generic_templates.columns(
                self.credential("history_fields"), generic_events.ROW_FIELDS
            )
        except BadTemplate as error:
            raise self._wrong("history_fields", error.message) from error

    def _rows(self, response: HttpResponse) -> list[dict[str, Any]]:
        """Rows by our names of the fields. Raises `OperatorError`."""
        columns = self._columns()
        if self.credential("history_format") == "csv":
            required = [columns[name] for name in _CSV_REQUIRED]
            try:
                table = generic_templates.csv_rows(response.text, required)
            except BadTemplate as error:
                raise self.failure(error.message, permanent=False, response=response) from error
            return [{ours: row.get(columns[ours]) for ours in columns} for row in table]
        rows = generic_templates.at(self.answer(response), self.credential("history_path"))
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            message = "в ответе нет списка звонков"
            raise self.failure(message, permanent=False, response=response)
        return [
            {ours: generic_templates.at(row, theirs) for ours, theirs in columns.items()}
            for row in rows
        ]

    def _history_event(self, row: Mapping[str, Any]) -> CallEvent:
        origin = Origin(
            connection_id=self.connection_id,
            received_at=datetime.now(UTC),
            raw=self.redacted(json.dumps(row, ensure_ascii=False)),
        )
        try:
            return generic_events.from_history(row, origin, self._plain_hosts)
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error


def _host(link: str) -> str | None:
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def _json_reply(status: int, value: Mapping[str, Any]) -> Reply:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return Reply(status, body, "application/json; charset=utf-8")
