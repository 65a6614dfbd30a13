"""The contract of a telephony operator: declare what you need, translate what comes.

A leaf class never repeats security: `verify` runs the checks of every class of the chain, and the
secret of the address is always one of them.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from threading import Event
from typing import Any, ClassVar, final
from urllib.parse import SplitResult, urlsplit

from crm.integrations.errors import IntegrationError
from crm.integrations.hosts import is_listed
from crm.integrations.http_protocol import HttpClient, HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.masking import MAX_SHOWN, readable_body, redact
from crm.integrations.telephony.operator_errors import (
    MissingCredentials,
    NotSupported,
    OperatorError,
    RecordingNotReady,
    WebhookRejected,
)
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.shapes import (
    Capability,
    CheckResult,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    Line,
    PlacedCall,
    Recording,
    RecordingRef,
    SetupText,
    Subscription,
)
from crm.integrations.telephony.simulation import CallScenario, SimulatedRequest

__all__ = [
    "CallEvent",
    "CallKind",
    "CallResult",
    "CallScenario",
    "Capability",
    "CheckResult",
    "ClickToCall",
    "CredentialField",
    "Direction",
    "Extension",
    "KnownCaller",
    "Line",
    "MissingCredentials",
    "NotSupported",
    "OperatorError",
    "PlacedCall",
    "Recording",
    "RecordingNotReady",
    "RecordingRef",
    "SetupText",
    "SimulatedRequest",
    "Subscription",
    "TelephonyOperator",
    "WebhookRejected",
    "same_secret",
]

MAX_RECORDING_BYTES = 300 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
# What a sound never is: the page or the refusal of a server.
_NO_SOUND = ("text/", "application/json", "application/xml")
_TRANSIENT_STATUSES = frozenset({408, 425, 429})


def same_secret(left: str, right: str) -> bool:
    """Compare in constant time; an empty secret equals nothing."""
    first, second = (text.encode("utf-8", "surrogatepass") for text in (left, right))
    return hmac.compare_digest(first, second) and bool(first)


class TelephonyOperator(ABC):
    """One configured account at one operator. Holds no state besides its settings.

    What is declared below without `ClassVar` may differ from account to account: ask the object.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    docs_url: str = ""
    capabilities: Capability = Capability.NONE
    credentials: tuple[CredentialField, ...] = ()
    # Russian sentences for the settings page; may hold `{webhook_url}`.
    setup_steps: tuple[str, ...] = ()
    setup_texts: tuple[SetupText, ...] = ()
    # What no document of the operator confirms, in Russian: the settings page says it.
    cautions: tuple[str, ...] = ()
    # Hosts recordings come from; `*.example.ru` means any subdomain.
    recording_hosts: tuple[str, ...] = ()
    # A click-to-call that comes back without our id is matched by number within this time.
    request_window: ClassVar[timedelta] = timedelta(minutes=2)
    # Pause between the end of a call (or the notice) and the first try of its recording.
    recording_delay: timedelta = timedelta(seconds=60)
    # False: a protocol behind the brands, not an operator to choose by itself.
    is_offered: ClassVar[bool] = True
    # No event tells the end of a whole unanswered call: it is over when all telephones are silent.
    ends_by_legs: bool = False
    # Inner hosts that an operator with connections of its own may reach, as the HTTP client may.
    private_hosts: frozenset[str] = frozenset()
    # Credential that holds certificates (PEM) to trust besides the usual ones.
    ca_credential: ClassVar[str] = ""

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        self.connection_id = connection_id
        self.http = http
        self._webhook_token = webhook_token
        self._values = {
            item.name: str(credentials.get(item.name) or item.default).strip()
            for item in self.credentials
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} connection {self.connection_id}>"

    # Settings

    def credential(self, name: str) -> str:
        """Value of a declared credential, "" when it is not filled in."""
        return self._values[name]

    def missing_credentials(self) -> list[CredentialField]:
        """Required fields that are empty."""
        return [item for item in self.credentials if item.required and not self._values[item.name]]

    def secrets(self) -> list[str]:
        """Everything that must never be shown."""
        own = [self._values[item.name] for item in self.credentials if item.secret]
        return [secret for secret in (*own, self._webhook_token) if secret]

    def require_credentials(self) -> None:
        """Raise `MissingCredentials` naming the empty fields."""
        missing = ", ".join(f"«{item.label}»" for item in self.missing_credentials())
        if missing:
            raise MissingCredentials(
                f"В настройках подключения не заполнено: {missing}",
                permanent=True,
                provider=self.title,
            )

    # Inbound

    @final
    def verify(self, request: InboundRequest) -> None:
        """Run `check_request` of every class of the chain. Raises `WebhookRejected`."""
        if not self._webhook_token:
            # A check of a leaf class may prove nothing, as a list of addresses does.
            raise WebhookRejected("У подключения нет секрета в адресе")
        checks = [
            vars(cls)["check_request"] for cls in type(self).__mro__ if "check_request" in vars(cls)
        ]
        try:
            for check in reversed(checks):
                check(self, request)
        except MalformedRequest as error:
            raise WebhookRejected(f"Подлинность не проверить: {error.message}") from error

    def check_request(self, request: InboundRequest) -> None:
        """Check of this class alone, without `super()`. Raises `WebhookRejected`."""
        if not same_secret(request.token, self._webhook_token):
            raise WebhookRejected("Секрет в адресе не совпадает")

    @abstractmethod
    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate a verified request, without network.

        What the operator did not document gives one `UNKNOWN` event, documented noise gives none.
        Raises `MalformedRequest`.
        """

    def delivery_key(self, request: InboundRequest) -> str:
        """Key under which a repeat of the same request is recognised (64 characters)."""
        parts = [request.path_tail.strip("/"), repr(sorted(request.query.items()))]
        head = "\n".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.sha256(head + b"\n" + request.body).hexdigest()

    def caller_question(self, request: InboundRequest) -> str | None:  # noqa: ARG002
        """Digits of the caller, when the operator waits to be told who calls."""
        return None

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:  # noqa: ARG002
        """Answer for a stored request; `caller` is what `caller_question` brought."""
        return Reply()

    def notes(self, request: InboundRequest) -> Mapping[str, Any]:  # noqa: ARG002
        """What to keep of a request beside its masked copy, as JSON values; no secrets."""
        return {}

    def ended_subscription(self, request: InboundRequest) -> str | None:  # noqa: ARG002
        """Id of the subscription that the operator says has ended, "" if not named; else None."""
        return None

    def mask(self, request: InboundRequest) -> str:
        """Body for storage and display with every secret masked; never raises."""
        return self.redacted(readable_body(request))[:MAX_SHOWN]

    def unknown_event(self, request: InboundRequest) -> CallEvent:
        """The event for a request whose meaning is not known."""
        return CallEvent(
            kind=CallKind.UNKNOWN,
            operator=self.slug,
            connection_id=self.connection_id,
            provider_call_id="",
            event_id=self.delivery_key(request),
            occurred_at=request.received_at,
            occurred_at_is_receipt=True,
            raw=self.mask(request),
        )

    # Outbound; each raises `OperatorError`. Arguments are for the classes that can do it.

    def place_call(self, call: ClickToCall) -> PlacedCall:  # noqa: ARG002
        """Ring the employee, then the client."""
        raise self.unsupported("звонки из CRM")

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:  # noqa: ARG002
        """Final events of every call between two aware moments."""
        raise self.unsupported("выгрузка истории звонков")

    def fetch_recording(self, ref: RecordingRef) -> Recording:  # noqa: ARG002
        """Open the stream of a recording; `RecordingNotReady` when it must be asked later."""
        raise self.unsupported("загрузка записей")

    def extensions(self) -> list[Extension]:
        """Internal numbers with their owners."""
        raise self.unsupported("список внутренних номеров")

    def lines(self) -> list[Line]:
        """Numbers that clients dial."""
        raise self.unsupported("список линий")

    def subscribe(self, webhook_url: str, current_id: str | None) -> Subscription:  # noqa: ARG002
        """Make or renew the subscription to events."""
        raise self.unsupported("подписка на события")

    def subscription_lives(self, webhook_url: str, current_id: str) -> bool:  # noqa: ARG002
        """Ask whether a subscription that has not reached its end is still there."""
        return True

    def stream(self, stop: Event) -> Iterator[InboundRequest]:  # noqa: ARG002
        """Events as they come over a connection kept open, until ``stop`` is set.

        Each is a request as `parse` reads it. Raises `OperatorError` when the connection breaks.
        """
        raise self.unsupported("постоянное соединение")

    def check(self) -> CheckResult:
        """Try the settings against the live operator; never raises for an operator's failure."""
        try:
            self.require_credentials()
            return CheckResult(True, self.probe())
        except IntegrationError as error:
            return CheckResult(False, self.redacted(error.message))

    def probe(self) -> str:
        """Cheapest call that proves the settings; returns a Russian message."""
        if Capability.EXTENSIONS not in self.capabilities:
            return "Настройки заполнены. Проверить связь можно только входящим звонком."
        return f"Связь есть. Внутренних номеров: {len(self.extensions())}"

    @abstractmethod
    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """Requests of a whole call, signed as the operator signs them."""

    # For operators

    def redacted(self, text: str) -> str:
        """Text without any secret of this connection."""
        return redact(text, self.secrets())

    def unsupported(self, what: str) -> NotSupported:
        """The error for an absent capability."""
        return NotSupported(f"Не поддерживается: {what}", permanent=True, provider=self.title)

    def failure(
        self,
        message: str,
        *,
        permanent: bool,
        response: HttpResponse | None = None,
        retry_after: timedelta | None = None,
        kind: type[OperatorError] = OperatorError,
    ) -> OperatorError:
        """An error with the provider, status and a shortened body, secrets removed."""
        return kind(
            self.redacted(message),
            permanent,
            provider=self.title,
            status=response.status if response is not None else None,
            body=self.redacted(response.text) if response is not None else "",
            retry_after=retry_after,
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | bytes | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        allow_hosts: Collection[str] | None = None,
        stream: bool = False,
        follow_redirects: bool = False,
    ) -> HttpResponse:
        """One request, by default to the address's own host only. Raises `OperatorError`."""
        self.require_credentials()
        try:
            return self.http.request(
                method,
                url,
                params=params,
                data=data,
                json=json,
                headers=headers,
                allow_hosts=allow_hosts or (urlsplit(url).hostname or "",),
                stream=stream,
                max_bytes=MAX_RECORDING_BYTES if stream else MAX_ANSWER_BYTES,
                follow_redirects=follow_redirects,
            )
        except IntegrationError as error:
            raise self.failure(error.message, permanent=error.permanent) from error

    def ensure_success(self, response: HttpResponse) -> None:
        """Raise `OperatorError` unless the status is 2xx: 429 and 5xx are transient."""
        status = response.status
        if 200 <= status < 300:
            return
        if status in _TRANSIENT_STATUSES or status >= 500:
            busy = (
                "слишком много запросов"
                if status == 429
                else "временная ошибка на стороне оператора"
            )
            raise self.failure(
                busy,
                permanent=False,
                response=response,
                retry_after=_retry_after(response),
            )
        denied = "ключ или адрес не приняты" if status in (401, 403) else "запрос отклонён"
        raise self.failure(denied, permanent=True, response=response)

    def answer(self, response: HttpResponse) -> Any:
        """JSON of a successful answer. Raises `OperatorError`, also for a page instead of JSON."""
        self.ensure_success(response)
        try:
            return load_json(response.text)
        except MalformedRequest as error:
            message = "вместо JSON пришёл другой текст"
            raise self.failure(message, permanent=False, response=response) from error

    def answer_object(self, response: HttpResponse) -> Payload:
        """JSON object of a successful answer. Raises `OperatorError`."""
        try:
            return Payload(self.answer(response))
        except MalformedRequest as error:
            message = "ответ не является объектом"
            raise self.failure(message, permanent=False, response=response) from error

    def download(
        self, link: str, *, own: str, headers: Mapping[str, str] | None = None
    ) -> Recording:
        """Open a recording on `recording_hosts` or the host of the API address `own`, nowhere else.

        Raises `RecordingNotReady` for 404, 425 and 202, `OperatorError` for a page or a refusal.
        """
        api, target = urlsplit(own), _split(link)
        hosts = {*self.recording_hosts, api.hostname or ""} - {""}
        if target.hostname is None or target.scheme not in ("https", api.scheme):
            raise self.failure("ссылка на запись ведёт на чужой адрес", permanent=True)
        if not is_listed(target.hostname, hosts):
            raise self.failure("ссылка на запись ведёт на чужой адрес", permanent=True)
        response = self.send(
            "GET", link, headers=headers, allow_hosts=hosts, stream=True, follow_redirects=True
        )
        content_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if response.status == 200 and not content_type.startswith(_NO_SOUND):
            return Recording(response, content_type or "audio/mpeg")
        with response:
            if response.status in (202, 404, 425):
                raise self.failure("записи ещё нет", permanent=False, kind=RecordingNotReady)
            self.ensure_success(response)
            raise self.failure("вместо записи пришла страница", permanent=False)


def _split(link: str) -> SplitResult:
    try:
        return urlsplit(link)
    except ValueError:
        return urlsplit("")


def _retry_after(response: HttpResponse) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(seconds), 86_400)) if seconds.isdecimal() else None
