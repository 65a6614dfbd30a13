"""Asterisk: the two wires that events come over, AMI by hand and ARI by a WebSocket.

AMI: lines `Name: value` ended by CRLF, an empty line ends a packet, a banner comes first
(https://docs.asterisk.org/ -> Asterisk Manager Interface). Nothing here keeps or shows a secret.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from crm.integrations.addresses import forbidden_reason
from crm.integrations.errors import IntegrationError

Packet = dict[str, Any]

MAX_LINE = 16 * 1024
MAX_PACKET = 128 * 1024
# A packet that does not end within that is no packet.
MAX_SKIPPED = 8 * 1024 * 1024
MAX_MESSAGE = 512 * 1024
_CHUNK = 64 * 1024
_MOST_ROWS = 10_000
_SWITCHING = 101
_NAME = re.compile(r"[\w()./ -]{1,80}")
_BANNER = b"Asterisk Call Manager"

log = logging.getLogger(__name__)
# At DEBUG the library writes the headers of its requests, and the password is in one of them.
_quiet = logging.getLogger("crm.integrations.websockets")
_quiet.setLevel(logging.WARNING)


class WireError(IntegrationError):
    """There is no connection; `permanent` True until the settings change."""


@dataclass(frozen=True)
class Wire:
    """Where the PBX is and how it may be reached; times are seconds."""

    host: str
    port: int
    private_hosts: Collection[str] = ()
    tls: ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    # How often the request to stop is looked at.
    poll: float = 0.5
    ping_every: float = 30.0
    dead_after: float = 90.0

    def open(self) -> socket.socket:
        """A connection to a checked address, without TLS yet. Raises `WireError`."""
        last: OSError = OSError("no address")
        for family, address in self._addresses():
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(self.connect_timeout)
                connection.connect(address)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            except OSError as error:
                connection.close()
                last = error
                continue
            return connection
        raise WireError(f"АТС не отвечает ({type(last).__name__})", permanent=False) from None

    def secured(self, connection: socket.socket) -> socket.socket:
        """The connection under TLS when the settings want it. Raises `WireError`."""
        if self.tls is None:
            return connection
        try:
            return self.tls.wrap_socket(connection, server_hostname=self.host)
        except ssl.SSLCertVerificationError:
            connection.close()
            message = "Сертификат АТС не принят: вставьте его в поле «Сертификат АТС»"
            raise WireError(message, permanent=True) from None
        except (OSError, ValueError) as error:
            connection.close()
            message = f"АТС не отвечает по TLS ({type(error).__name__})"
            raise WireError(message, permanent=False) from None

    def _addresses(self) -> list[tuple[int, Any]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise WireError("Имя АТС не найдено", permanent=False) from None
        if not self._is_allowed():
            for *_, address in found:
                if reason := forbidden_reason(str(address[0])):
                    raise WireError(
                        f"Адрес во внутренней сети ({reason}): добавьте его в "
                        f"OUTBOUND_ALLOW_PRIVATE, например {self.host}:{self.port}",
                        permanent=True,
                    )
        return [(family, address) for family, _, _, _, address in found]

    def _is_allowed(self) -> bool:
        name = self.host.lower().rstrip(".").strip("[]")
        allowed = {host.lower() for host in self.private_hosts}
        return name in allowed or f"{name}:{self.port}" in allowed


# --- AMI --------------------------------------------------------------------------------------


class PacketReader:
    """Cuts bytes into packets, however they were split on their way; never raises for garbage.

    Too long lines and packets are dropped whole. ``wanted`` are lower-case names of events to read;
    answers are always read.
    """

    def __init__(self, wanted: Collection[str] | None = None) -> None:
        self._wanted = wanted
        self._rest = b""
        self._lines: list[bytes] = []
        self._size = 0
        self._is_bad = False

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Whole packets in what has come. Raises `WireError` when a packet does not end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            packet = self._take(line.rstrip(b"\r"))
            if packet is not None:
                yield packet
        if len(self._rest) > MAX_LINE:
            self._spoil(len(self._rest))
            # Only its end matters now.
            self._rest = b"\0"

    def _take(self, line: bytes) -> Packet | None:
        if line:
            self._spoil(len(line)) if len(line) > MAX_LINE else self._keep(line)
            return None
        lines, is_bad = self._lines, self._is_bad
        self._lines, self._size, self._is_bad = [], 0, False
        if is_bad:
            log.warning("AMI: a packet was too long and was left out")
        return None if is_bad or not lines or not self._is_wanted(lines[0]) else _packet(lines)

    def _keep(self, line: bytes) -> None:
        self._size += len(line)
        if self._is_bad or self._size > MAX_PACKET:
            self._spoil(0)
        else:
            self._lines.append(line)

    def _spoil(self, size: int) -> None:
        self._is_bad, self._lines = True, []
        self._size += size
        if self._size > MAX_SKIPPED:
            raise WireError("АТС прислала бесконечное сообщение", permanent=False)

    def _is_wanted(self, first: bytes) -> bool:
        """Most events are noise, and their first line says so."""
        name, _, value = first.partition(b":")
        if self._wanted is None or name.strip().lower() != b"event":
            return True
        return value.strip().lower().decode("ascii", "replace") in self._wanted


def _packet(lines: list[bytes]) -> Packet | None:
    """Names with their values, a list for a name that repeats."""
    packet: Packet = {}
    for line in lines:
        name, colon, value = line.decode("utf-8", "replace").replace("\0", "").partition(":")
        if not colon or not _NAME.fullmatch(name):
            continue
        value = value.strip()
        if name in packet:
            before = packet[name] if isinstance(packet[name], list) else [packet[name]]
            packet[name] = [*before, value]
        else:
            packet[name] = value
    return packet or None


class Ami:
    """A signed-in connection of the manager interface; close it or use `with`."""

    def __init__(self, wire: Wire, wanted: Collection[str] | None = None) -> None:
        self._wire = wire
        self._ids = itertools.count(1)
        self._reader = PacketReader(wanted)
        self._inbox: deque[Packet] = deque()
        self._heard = time.monotonic()
        self._socket = wire.secured(wire.open())
        try:
            self._read_banner()
        except WireError:
            self.close()
            raise

    def __enter__(self) -> Ami:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._socket.close()

    def login(self, user: str, secret: str, *, events: bool) -> None:
        """Sign in; without TLS only a proof of the secret is sent. Raises `WireError`."""
        fields = {"Username": user, "Events": "on" if events else "off"}
        if self._wire.tls is not None:
            answer = self.ask("Login", {**fields, "Secret": secret})
        else:
            challenge = _first(self.ask("Challenge", {"AuthType": "MD5"}).get("Challenge"))
            if not challenge:
                message = "АТС не умеет проверять пароль по MD5: включите TLS"
                raise WireError(message, permanent=True)
            key = login_key(challenge, secret)
            answer = self.ask("Login", {**fields, "AuthType": "MD5", "Key": key})
        if _first(answer.get("Response")).lower() != "success":
            message = "АТС не приняла имя или пароль AMI, либо адрес CRM не разрешён в permit"
            raise WireError(message, permanent=True)

    def ask(self, action: str, fields: Mapping[str, str], action_id: str = "") -> Packet:
        """The answer to an action. Raises `WireError`."""
        sent = action_id or f"kvartal-{next(self._ids)}"
        self._send(action, {"ActionID": sent, **fields})
        return self._pick(sent, lambda packet: "Response" in packet and "Event" not in packet)

    def rows(self, action: str) -> list[Packet] | None:
        """Events that answer an action which lists something; None when it is refused."""
        sent = f"kvartal-{next(self._ids)}"
        answer = self.ask(action, {}, sent)
        if _first(answer.get("Response")).lower() != "success":
            return None
        found: list[Packet] = []
        while len(found) < _MOST_ROWS:
            packet = self._pick(sent, lambda _packet: True)
            if _first(packet.get("EventList")).lower() in ("complete", "cancelled"):
                return found
            found.append(packet)
        raise WireError("АТС прислала слишком длинный список", permanent=False)

    def events(self, stop: Event) -> Iterator[Packet]:
        """Events until ``stop``. Raises `WireError` when the connection breaks."""
        pinged = time.monotonic()
        while not stop.is_set():
            while self._inbox:
                packet = self._inbox.popleft()
                if "Event" in packet:
                    yield packet
            self._receive()
            now = time.monotonic()
            if now - self._heard > self._wire.dead_after:
                raise WireError("АТС замолчала: соединение потеряно", permanent=False)
            if now - pinged >= self._wire.ping_every:
                pinged = now
                self._send("Ping", {"ActionID": f"kvartal-{next(self._ids)}"})

    def _pick(self, action_id: str, wanted: Callable[[Packet], bool]) -> Packet:
        """The next packet about an action; what comes before it keeps its place and waits."""
        deadline, aside = time.monotonic() + self._wire.connect_timeout, list[Packet]()
        while self._inbox or time.monotonic() < deadline:
            if not self._inbox:
                self._receive()
                continue
            packet = self._inbox.popleft()
            if _first(packet.get("ActionID")) == action_id and wanted(packet):
                self._inbox.extendleft(reversed(aside))
                return packet
            aside.append(packet)
        raise WireError("АТС не ответила за отведённое время", permanent=False)

    def _receive(self) -> None:
        """Put packets in what comes next into the inbox; none when nothing comes for a while."""
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            return
        except OSError as error:
            raise _broken(error) from None
        if not data:
            raise WireError("АТС закрыла соединение", permanent=False)
        self._heard = time.monotonic()
        self._inbox.extend(self._reader.feed(data))

    def _read_banner(self) -> None:
        """The first line says who answers; what follows it belongs to packets."""
        banner, deadline = b"", time.monotonic() + self._wire.connect_timeout
        try:
            while b"\n" not in banner and len(banner) < MAX_LINE and time.monotonic() < deadline:
                data = self._socket.recv(1)
                if not data:
                    break
                banner += data
        except TimeoutError:
            raise WireError("АТС не поздоровалась за отведённое время", permanent=False) from None
        except OSError as error:
            raise _broken(error) from None
        if not banner.startswith(_BANNER):
            message = "На этом порту отвечает не AMI: проверьте адрес, порт и шифрование"
            raise WireError(message, permanent=bool(banner))

    def _send(self, action: str, fields: Mapping[str, str]) -> None:
        lines = [f"Action: {action}", *(f"{name}: {value}" for name, value in fields.items())]
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise WireError("Недопустимые знаки в команде для АТС", permanent=True)
        try:
            self._socket.settimeout(self._wire.connect_timeout)
            self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace"))
            self._socket.settimeout(self._wire.poll)
        except OSError as error:
            raise _broken(error) from None


def login_key(challenge: str, secret: str) -> str:
    """Proof of the secret for `AuthType: MD5`: lower-case hex."""
    text = f"{challenge}{secret}".encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _first(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def _broken(error: OSError) -> WireError:
    return WireError(f"Связь с АТС прервалась ({type(error).__name__})", permanent=False)


# --- ARI --------------------------------------------------------------------------------------


class Ari:
    """A WebSocket of ARI; close it or use `with`. The password goes in a header only.

    The library cuts and checks frames; the socket is ours, as of AMI: no threads, no redirects.
    """

    def __init__(self, wire: Wire, target: str, authorization: str) -> None:
        # Memory that only the listener of such a PBX needs.
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri

        host = f"[{wire.host}]" if ":" in wire.host else wire.host
        scheme = "ws" if wire.tls is None else "wss"
        uri = parse_uri(f"{scheme}://{host}:{wire.port}{target}")
        self._wire = wire
        self._protocol = ClientProtocol(uri, max_size=MAX_MESSAGE, logger=_quiet)
        self._inbox: deque[Any] = deque()
        self._heard = time.monotonic()
        self._message = bytearray()
        self._is_over = False
        self._socket = wire.secured(wire.open())
        try:
            self._shake_hands(authorization)
        except WireError:
            self.close()
            raise

    def __enter__(self) -> Ari:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._socket.close()

    def events(self, stop: Event) -> Iterator[Mapping[str, Any]]:
        """Events until ``stop``. Raises `WireError` when the connection breaks."""
        pinged = time.monotonic()
        while not stop.is_set():
            for message in self._messages():
                event = _event(message)
                if event is not None:
                    yield event
            if self._is_over:
                raise WireError("АТС закрыла соединение", permanent=False)
            self._receive()
            now = time.monotonic()
            if now - self._heard > self._wire.dead_after:
                raise WireError("АТС замолчала: соединение потеряно", permanent=False)
            if now - pinged >= self._wire.ping_every and not self._is_over:
                pinged = now
                self._protocol.send_ping(b"kvartal")
                self._flush()

    def _shake_hands(self, authorization: str) -> None:
        request = self._protocol.connect()
        request.headers["Authorization"] = authorization
        self._protocol.send_request(request)
        self._flush()
        deadline = time.monotonic() + self._wire.connect_timeout
        while not (self._inbox or self._is_over) and time.monotonic() < deadline:
            self._receive()
        status = getattr(self._inbox.popleft(), "status_code", 0) if self._inbox else 0
        if status and status != _SWITCHING:
            raise _refused(status)
        if not status or self._protocol.handshake_exc is not None:
            raise WireError("На этом порту отвечает не ARI", permanent=False)

    def _messages(self) -> Iterator[bytes]:
        """Whole messages of the frames that have come."""
        from websockets.frames import DATA_OPCODES, Opcode

        while self._inbox:
            frame = self._inbox.popleft()
            if getattr(frame, "opcode", None) not in DATA_OPCODES:
                continue
            if frame.opcode is not Opcode.CONT:
                self._message = bytearray()
            self._message += frame.data
            if frame.fin:
                yield bytes(self._message)

    def _receive(self) -> None:
        """Feed what comes next to the library; nothing when nothing comes for a while."""
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            return
        except OSError as error:
            raise _broken(error) from None
        if data:
            self._heard = time.monotonic()
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()
        self._inbox.extend(self._protocol.events_received())
        failed = self._protocol.handshake_exc is not None or self._protocol.close_expected()
        self._is_over = not data or failed

    def _flush(self) -> None:
        try:
            self._socket.settimeout(self._wire.connect_timeout)
            for data in self._protocol.data_to_send():
                if data:
                    self._socket.sendall(data)
            self._socket.settimeout(self._wire.poll)
        except OSError as error:
            # What came before the end is still to be read.
            log.info("ARI: nothing can be sent any more (%s)", type(error).__name__)
            self._is_over = True


def _event(text: bytes) -> Mapping[str, Any] | None:
    """An event; None for what cannot be read."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, Mapping):
        return value
    log.warning("ARI: a message that is no event was left out")
    return None


def _refused(status: int) -> WireError:
    if status in (401, 403):
        return WireError("АТС не приняла имя или пароль ARI", permanent=True)
    if status == 404:
        return WireError("На этом адресе нет ARI: включите его в ari.conf", permanent=True)
    return WireError(f"АТС отказала в соединении (HTTP {status})", permanent=False)
