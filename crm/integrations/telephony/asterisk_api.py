"""Asterisk: how to reach the PBX, and what can be asked of it."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, ClassVar
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crm.integrations.errors import IntegrationError
from crm.integrations.http_protocol import HttpClient
from crm.integrations.telephony import asterisk_cdr, asterisk_declared
from crm.integrations.telephony.asterisk_events import is_stored_name
from crm.integrations.telephony.asterisk_steps import (
    ACTION_PREFIX,
    AMI,
    ARI,
    ARI_FILE,
    REQUEST_VARIABLE,
    request_id,
)
from crm.integrations.telephony.asterisk_stream import Ami, Packet, Wire, WireError
from crm.integrations.telephony.base import (
    Capability,
    ClickToCall,
    Extension,
    PlacedCall,
    Recording,
    RecordingRef,
    TelephonyOperator,
)
from crm.integrations.telephony.payload import Payload
from crm.integrations.tls import trusting

_PORTS = {(AMI, False): 5038, (AMI, True): 5039, (ARI, False): 8088, (ARI, True): 8089}
_RINGS_SECONDS = 30
# Some ten thousand calls: more than any agency makes between two looks into the journal.
_JOURNAL_END = 4 * 1024 * 1024
# Action that lists telephones, the field with the number in its rows. Each needs other rights.
_LISTS = (
    ("PJSIPShowEndpoints", "ObjectName"),
    ("SIPpeers", "ObjectName"),
    ("ExtensionStateList", "Exten"),
)
_DIALS = {"local": "Local/{0}@{1}", "pjsip": "PJSIP/{0}", "sip": "SIP/{0}"}
_NUMBER = re.compile(r"\+?[0-9]{3,15}")
_EXTENSION = re.compile(r"[0-9]{2,6}")
_CONTEXT = re.compile(r"[A-Za-z0-9_.-]{1,79}")
_HOST = re.compile(r"[\w.:-]{1,253}")
_PATH = re.compile(r"(?:/[\w.-]{1,64}){1,4}")
_FILE = re.compile(r"(\d{4})/(\d{2})/(\d{2})/([A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199})")
_MOSCOW = "Europe/Moscow"


class AsteriskApi(TelephonyOperator):
    """Settings of the connection, orders and questions."""

    docs_url = "https://docs.asterisk.org/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.SYNCHRONOUS_REPLY
        | Capability.STREAM
    )
    credentials = asterisk_declared.CREDENTIALS
    ca_credential = "ca_certificates"
    setup_steps = asterisk_declared.SETUP_STEPS
    setup_texts = asterisk_declared.SETUP_TEXTS
    cautions = asterisk_declared.CAUTIONS
    recording_delay = timedelta(seconds=10)

    # Hosts, alone or with a port, that may be in an inner network; whoever listens says it.

    connect_seconds: ClassVar[float] = 10.0
    poll_seconds: ClassVar[float] = 0.5
    ping_seconds: ClassVar[float] = 30.0
    dead_seconds: ClassVar[float] = 90.0

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        if self.protocol == AMI and not self.credential("recordings_url"):
            self.capabilities &= ~Capability.RECORDINGS
        if not self.credential("cdr_url"):
            self.capabilities &= ~Capability.HISTORY

    # Settings

    @property
    def protocol(self) -> str:
        """AMI unless the settings say ARI."""
        return ARI if self.credential("protocol") == ARI else AMI

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the folders of recordings; Moscow's when it is misspelt."""
        try:
            return ZoneInfo(self.credential("time_zone"))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo(_MOSCOW)

    @property
    def ari_path(self) -> str:
        """Path of ARI. Raises `OperatorError` for an impossible one."""
        path = "/" + self.credential("ari_path").strip("/")
        if not _PATH.fullmatch(path):
            raise self.failure("путь ARI написан неправильно", permanent=True)
        return path

    def wire(self) -> Wire:
        """Where to connect to. Raises `OperatorError` for an impossible address."""
        host, port = self._address()
        return Wire(
            host=host,
            port=port,
            private_hosts=self.private_hosts,
            tls=self._tls(),
            connect_timeout=self.connect_seconds,
            poll=self.poll_seconds,
            ping_every=self.ping_seconds,
            dead_after=self.dead_seconds,
        )

    def basic(self) -> str:
        """Value of the header `Authorization` for ARI."""
        return _basic(self.credential("username"), self.credential("password"))

    @contextmanager
    def wire_errors(self) -> Iterator[None]:
        """Errors of the wire as errors of the operator, secrets removed."""
        try:
            yield
        except WireError as error:
            raise self.failure(error.message, permanent=error.permanent) from error

    def ari_list(self, what: str) -> list[Any]:
        """A list of ARI (`channels`, `endpoints`). Raises `OperatorError`."""
        answer = self.answer(self.send("GET", self._ari_url(what), headers=self._ari_headers()))
        if not isinstance(answer, list):
            raise self.failure("ARI ответил не списком", permanent=False)
        return answer

    # Orders and questions

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`Originate` or `POST /channels`: rings the employee, then dials the client for him."""
        self.require_credentials()
        number, context = self._dialled(call.number), self.credential("dial_context")
        if not (_EXTENSION.fullmatch(call.extension) and _NUMBER.fullmatch(number)):
            raise self.failure("такой номер передать АТС нельзя", permanent=True)
        if not _CONTEXT.fullmatch(context) or not request_id(call.request_id):
            raise self.failure("контекст исходящих звонков написан неправильно", permanent=True)
        dial = _DIALS.get(self.credential("dial_via"), _DIALS["local"])
        channel = dial.format(call.extension, context)
        place = self._place_by_ari if self.protocol == ARI else self._place_by_ami
        return place(call.request_id, channel, number, context)

    def extensions(self) -> list[Extension]:
        """Telephones with a number for a name; the PBX tells no names of people."""
        self.require_credentials()
        names = self._ari_telephones() if self.protocol == ARI else self._ami_telephones()
        numbers = sorted({name for name in names if _EXTENSION.fullmatch(name)})
        return [Extension(number=one, name=one, employee_key=one) for one in numbers]

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """A stored recording of ARI, or a file under the address that the settings name."""
        name = ref.recording_ref or ""
        if Capability.RECORDINGS not in self.capabilities:
            raise self.unsupported("загрузка записей")
        if name.startswith(ARI_FILE):
            return self._ari_recording(name.removeprefix(ARI_FILE))
        file = _FILE.fullmatch(name)
        template = self.credential("recordings_url")
        if file is None or ".." in name or not template:
            raise self.failure("имя файла записи или адрес файлов не подходит", permanent=True)
        link = _filled(template, *file.groups())
        return self.download(link, own=template, headers=self._file_headers())

    def journal(self, since: datetime) -> str:
        """The end of the journal of calls that reaches back to ``since``, else all of it.

        Raises `OperatorError`.
        """
        text, is_whole = self._journal({"Range": f"bytes=-{_JOURNAL_END}"})
        if is_whole or asterisk_cdr.begins_before(text, since, self.zone):
            return text
        return self._journal({})[0]

    # Details

    def _journal(self, wanted: Mapping[str, str]) -> tuple[str, bool]:
        """Text of the file and whether it is all of it; a line cut at its beginning is left out."""
        response = self.send(
            "GET", self.credential("cdr_url"), headers={**self._file_headers(), **wanted}
        )
        if response.status == 416:
            return "", True  # nothing was written into the file yet
        if response.status == 404:
            raise self.failure("журнала звонков нет по его адресу", permanent=True)
        self.ensure_success(response)
        part = response.headers.get("Content-Range", "")
        if response.status != 206 or part.startswith("bytes 0-"):
            return response.text, True
        return response.text.partition("\n")[2], False

    def _file_headers(self) -> dict[str, str]:
        user, password = (self.credential(f"recordings_{of}") for of in ("user", "password"))
        return {"Authorization": _basic(user, password)} if user else {}

    def _address(self) -> tuple[str, int]:
        host = self.credential("host").strip("[]")
        port = self.credential("port") or str(_PORTS[self.protocol, self._is_secure])
        if not _HOST.fullmatch(host):
            message = "адрес АТС — это имя или IP, без http:// и без порта"
            raise self.failure(message, permanent=True)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
            raise self.failure("порт АТС — число от 1 до 65535", permanent=True)
        return host, int(port)

    @property
    def _is_secure(self) -> bool:
        return self.credential("tls") == "yes"

    def _tls(self) -> ssl.SSLContext | None:
        if not self._is_secure:
            return None
        try:
            trusted = trusting(self.credential("ca_certificates"))
        except IntegrationError as error:
            raise self.failure(error.message, permanent=True) from error
        return trusted or ssl.create_default_context()

    @contextmanager
    def _signed_in(self) -> Iterator[Ami]:
        with self.wire_errors(), Ami(self.wire()) as ami:
            ami.login(self.credential("username"), self.credential("password"), events=False)
            yield ami

    def _dialled(self, number: str) -> str:
        """The number as this PBX dials it; foreign ones only get their way out of the country."""
        style = self.credential("dial_format")
        if len(number) != 11 or not number.startswith("7"):
            return {"8": f"810{number}", "+7": f"+{number}"}.get(style, number)
        return {"8": f"8{number[1:]}", "+7": f"+{number}", "10": number[1:]}.get(style, number)

    def _place_by_ami(self, request: str, channel: str, number: str, context: str) -> PlacedCall:
        fields = {
            "Channel": channel,
            "Context": context,
            "Exten": number,
            "Priority": "1",
            "CallerID": f'"{number}" <{number}>',
            "Timeout": str(_RINGS_SECONDS * 1000),
            "Async": "true",
            "Account": "crm",
            "Variable": f"{REQUEST_VARIABLE}={request}",
        }
        with self._signed_in() as ami:
            answer = ami.ask("Originate", fields, f"{ACTION_PREFIX}{request}")
        if answer.get("Response") != "Success":
            message = f"звонок не начат ({str(answer.get('Message', ''))[:200]})"
            raise self.failure(message, permanent=True)
        return PlacedCall(request_id=request)

    def _place_by_ari(self, request: str, channel: str, number: str, context: str) -> PlacedCall:
        response = self.send(
            "POST",
            self._ari_url("channels"),
            params={
                "endpoint": channel,
                "extension": number,
                "context": context,
                "priority": "1",
                "callerId": f'"{number}" <{number}>',
                "timeout": str(_RINGS_SECONDS),
            },
            json={"variables": {REQUEST_VARIABLE: request}},
            headers=self._ari_headers(),
        )
        answer = self.answer_object(response)
        return PlacedCall(request_id=request, provider_call_id=answer.text("id"))

    def _ami_telephones(self) -> list[str]:
        with self._signed_in() as ami:
            for action, field in _LISTS:
                names = [_text(row, field) for row in ami.rows(action) or ()]
                if any(_EXTENSION.fullmatch(name) for name in names):
                    return names
        return []

    def _ari_telephones(self) -> list[str]:
        rows = [Payload(row) for row in self.ari_list("endpoints") if isinstance(row, Mapping)]
        return [row.text("resource") or "" for row in rows]

    def _ari_recording(self, name: str) -> Recording:
        if self.protocol != ARI or not is_stored_name(name):
            raise self.failure("такой записи в ARI быть не может", permanent=True)
        link = self._ari_url(f"recordings/stored/{quote(name, safe='')}/file")
        return self.download(link, own=link, headers=self._ari_headers())

    def _ari_url(self, path: str) -> str:
        host, port = self._address()
        scheme = "https" if self._is_secure else "http"
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{port}{self.ari_path}/{path}"

    def _ari_headers(self) -> dict[str, str]:
        return {"Authorization": self.basic()}


def listed_names(text: str) -> list[str]:
    """Names of a comma list."""
    return [name for part in re.split(r"[,;\s]+", text) if (name := part.strip())]


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _text(row: Packet, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _filled(template: str, year: str, month: str, day: str, file: str) -> str:
    """The address of a file; its parts were checked, so they need no escaping but `+`."""
    values = {
        "{yyyy}": year,
        "{mm}": month,
        "{dd}": day,
        "{file}": quote(file),
        "{name}": quote(PurePosixPath(file).stem),
    }
    for mark, value in values.items():
        template = template.replace(mark, value)
    return template
