"""Asterisk: the wires, against servers on loopback that behave like AMI and ARI."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.utils import accept_key

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import asterisk_stream
from crm.integrations.telephony.asterisk import Asterisk
from crm.integrations.telephony.asterisk_stream import PacketReader, WireError, login_key
from crm.integrations.telephony.base import (
    CallKind,
    ClickToCall,
    OperatorError,
    RecordingNotReady,
    RecordingRef,
)
from tests.integrations.fake_http import Answer, Asked, NoNetwork, PlainClient, serving
from tests.integrations.telephony.conformance import TOKEN

SECRET = "s3cr3t-crm"
LOCAL = frozenset({"127.0.0.1"})
NEW = {
    "Event": "Newchannel",
    "Channel": "PJSIP/msk-0000001a",
    "ChannelState": "4",
    "CallerIDNum": "79000000001",
    "Exten": "74950000010",
    "Context": "from-trunk",
    "Uniqueid": "1.1",
    "Linkedid": "1.1",
}
HANGUP = {"Event": "Hangup", "Channel": NEW["Channel"], "Uniqueid": "1.1", "Linkedid": "1.1"}
CALL = ClickToCall(extension="101", number="79161112233", request_id="kv-0042")


class QuickAsterisk(Asterisk):
    """Waits less."""

    connect_seconds = 2.0
    poll_seconds = 0.02
    ping_seconds = 0.1
    dead_seconds = 0.5


def asterisk(at: int, http: Any = None, **changed: str) -> QuickAsterisk:
    """Connected to this port of our own machine."""
    values = {
        "host": "127.0.0.1",
        "port": str(at),
        "username": "crm",
        "password": SECRET,
        **changed,
    }
    operator = QuickAsterisk(7, values, http or NoNetwork(), webhook_token=TOKEN)
    operator.private_hosts = LOCAL
    return operator


def packet(values: dict[str, Any]) -> bytes:
    lines = [
        f"{name}: {value}"
        for name, told in values.items()
        for value in (told if isinstance(told, list) else [told])
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# --- a manager interface ----------------------------------------------------------------------


@dataclass
class FakeAmi:
    """Signs in by MD5 and answers actions from a table; ``after`` is played after the sign-in."""

    after: Callable[[socket.socket], None] = lambda _: None
    banner: bytes = b"Asterisk Call Manager/7.0.3\r\n"
    challenge: str = "159132641"
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    originate: dict[str, Any] = field(
        default_factory=lambda: {"Response": "Success", "Message": "Originate successfully queued"}
    )
    asked: list[dict[str, str]] = field(default_factory=list)
    logins: int = 0

    def serve(self, connection: socket.socket) -> None:
        connection.sendall(self.banner)
        reader = PacketReader()
        while data := connection.recv(4096):
            for asked in (told for told in reader.feed(data) if "Action" in told):
                self.asked.append(asked)
                self.answer(connection, asked)

    def answer(self, connection: socket.socket, asked: dict[str, str]) -> None:
        action, mark = asked["Action"], {"ActionID": asked["ActionID"]}
        if action == "Challenge":
            told = {"Response": "Success", "Challenge": self.challenge}
            connection.sendall(
                packet({**told, **mark} if self.challenge else {"Response": "Error", **mark})
            )
        elif action == "Login":
            self.sign_in(connection, asked, mark)
        elif action == "Ping":
            connection.sendall(packet({"Response": "Success", "Ping": "Pong", **mark}))
        elif action == "Originate":
            connection.sendall(packet({**self.originate, **mark}))
        elif action in self.lists:
            connection.sendall(packet({"Response": "Success", "EventList": "start", **mark}))
            for row in self.lists[action]:
                connection.sendall(packet({"Event": "CoreShowChannel", **row, **mark}))
            done = {"Event": "CoreShowChannelsComplete", "EventList": "Complete", **mark}
            connection.sendall(packet(done))
            if action == "CoreShowChannels":
                self.after(connection)
        else:
            connection.sendall(
                packet({"Response": "Error", "Message": "Permission denied", **mark})
            )
            if action == "CoreShowChannels":
                self.after(connection)

    def sign_in(
        self, connection: socket.socket, asked: dict[str, str], mark: dict[str, str]
    ) -> None:
        key = hashlib.md5(f"{self.challenge}{SECRET}".encode()).hexdigest()
        if (asked["Username"] == "crm" and key in (asked.get("Key"), "")) or asked.get(
            "Secret"
        ) == SECRET:
            self.logins += 1
            connection.sendall(packet({"Response": "Success", **mark}))
            connection.sendall(packet({"Event": "FullyBooted", "Status": "Fully Booted"}))
            return
        connection.sendall(
            packet({"Response": "Error", "Message": "Authentication failed", **mark})
        )
        connection.close()


@contextmanager
def listening(
    fake: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    open_ones: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                open_ones.append(connection)
            fake(connection)
            connection.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                open_ones.append(connection)
                threads.append(threading.Thread(target=talk, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in open_ones:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for connection in open_ones:
            connection.close()
        for thread in [acceptor, *threads]:
            thread.join(5)


def heard(operator: Asterisk, count: int) -> list[InboundRequest]:
    """The first requests of a stream, which is then told to stop."""
    stop, found = threading.Event(), []
    for request in operator.stream(stop):
        found.append(request)
        if len(found) == count:
            stop.set()
    return found


def events_of(requests: list[InboundRequest]) -> list[dict[str, Any]]:
    return [json.loads(request.body)["event"] for request in requests]


class TestPackets:
    def read(self, *parts: bytes, wanted: set[str] | None = None) -> list[dict[str, Any]]:
        reader = PacketReader(wanted)
        return [found for part in parts for found in reader.feed(part)]

    def test_packets_are_cut_however_they_arrive(self) -> None:
        data = packet(NEW) + packet(HANGUP)
        for size in (1, 2, 3, 7, 64, len(data)):
            parts = [data[at : at + size] for at in range(0, len(data), size)]
            assert self.read(*parts) == [NEW, HANGUP]

    def test_a_bare_line_feed_ends_a_line_too(self) -> None:
        assert self.read(b"Event: Hangup\nUniqueid: 1\n\n") == [
            {"Event": "Hangup", "Uniqueid": "1"}
        ]

    def test_a_name_that_repeats_is_a_list(self) -> None:
        told = {"Event": "VarSet", "Variable": ["A=1", "B=2", "C=3"]}
        assert self.read(packet(told)) == [told]

    def test_noise_is_dropped_before_it_is_read(self) -> None:
        data = packet({"Event": "Newexten", "A": "b"}) + packet(HANGUP) + packet({"Response": "x"})
        assert self.read(data, wanted={"hangup"}) == [HANGUP, {"Response": "x"}]

    def test_a_huge_line_costs_its_packet_only(self, caplog: pytest.LogCaptureFixture) -> None:
        huge = b"Event: Hangup\r\nUniqueid: " + b"9" * 200_000 + b"\r\nLinkedid: 1\r\n\r\n"
        parts = [huge[at : at + 50_000] for at in range(0, len(huge), 50_000)]
        assert self.read(*parts, packet(HANGUP)) == [HANGUP]
        assert self.read(huge + packet(HANGUP)) == [HANGUP]
        assert "too long" in caplog.text
        assert "9999" not in caplog.text

    def test_a_huge_packet_costs_itself_only(self) -> None:
        many = b"".join(b"Field-%d: %s\r\n" % (number, b"x" * 1000) for number in range(300))
        assert self.read(b"Event: Hangup\r\n" + many + b"\r\n", packet(HANGUP)) == [HANGUP]

    def test_a_message_without_an_end_is_a_broken_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asterisk_stream, "MAX_SKIPPED", 100_000)
        with pytest.raises(WireError, match="бесконечное"):
            self.read(*[b"x" * 20_000] * 100)
        with pytest.raises(WireError, match="бесконечное"):
            self.read(*[b"Name: " + b"x" * 1000 + b"\n"] * 10_000)

    def test_garbage_is_survived(self) -> None:
        data = b"\xff\xfe\r\n:::\r\n\r\n\r\n\r\nno colon\r\n\r\n"
        data += b"A\x00B: c\r\n\x01: d\r\nGood: \xffx\x00\r\n\r\n"
        assert self.read(data) == [{"AB": "c", "Good": "\ufffdx"}]

    def test_the_proof_equals_the_vector(self) -> None:
        assert login_key("159132641", "s3cr3t-crm") == "a2dfd03078686cf40912f60247484d77"


class TestAmi:
    def test_it_signs_in_without_the_secret_and_tells_events(self) -> None:
        def after(connection: socket.socket) -> None:
            data = packet({"Event": "PeerStatus"}) + packet(NEW) + packet(HANGUP)
            for at in range(0, len(data), 11):
                connection.sendall(data[at : at + 11])

        fake = FakeAmi(after, lists={"CoreShowChannels": []})
        with listening(fake.serve) as port:
            operator = asterisk(port)
            requests = heard(operator, 3)
        assert events_of(requests) == [{"Event": "CrmConnected"}, NEW, HANGUP]
        assert {(request.method, request.path_tail) for request in requests} == {("STREAM", "ami")}
        assert {request.remote_addr for request in requests} == {"127.0.0.1"}
        kinds = [event.kind for request in requests for event in operator.parse(request)]
        assert kinds == [CallKind.RINGING, CallKind.MISSED]
        assert SECRET not in str(fake.asked)
        assert TOKEN not in str([request.body for request in requests])
        login = fake.asked[1]
        assert (login["Username"], login["Events"], login["AuthType"]) == ("crm", "on", "MD5")

    def test_the_same_event_twice_is_one_delivery_and_others_are_not(self) -> None:
        fake = FakeAmi(lambda connection: connection.sendall(packet(NEW)))
        with listening(fake.serve) as port:
            first, second = heard(asterisk(port), 2), heard(asterisk(port), 2)
        operator = asterisk(1)
        keys = [operator.delivery_key(request) for request in (*first, *second)]
        assert len(set(keys)) == 2
        assert keys[:2] == keys[2:]

    def test_a_wrong_password_is_for_a_person(self) -> None:
        fake = FakeAmi()
        with (
            listening(fake.serve) as port,
            pytest.raises(OperatorError, match="не приняла имя или пароль") as caught,
        ):
            heard(asterisk(port, password="wrong-secret"), 1)
        assert caught.value.permanent
        assert "wrong-secret" not in str(caught.value)
        assert len(fake.asked) == 2

    @pytest.mark.parametrize(
        ("banner", "words", "permanent"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n", "отвечает не AMI", True),
            (b"SSH-2.0-OpenSSH_9\r\n", "отвечает не AMI", True),
            (b"", "не поздоровалась", False),
            (b"x" * 20_000, "отвечает не AMI", True),
        ],
    )
    def test_somebody_else_answers(self, banner: bytes, words: str, permanent: bool) -> None:
        class Impatient(QuickAsterisk):
            connect_seconds = 0.2

        with listening(FakeAmi(banner=banner).serve) as port:
            operator = Impatient(7, asterisk(port)._values, NoNetwork(), webhook_token=TOKEN)
            operator.private_hosts = LOCAL
            with pytest.raises(OperatorError, match=words) as caught:
                heard(operator, 1)
        assert caught.value.permanent is permanent

    def test_a_pbx_without_challenges_gets_no_password(self) -> None:
        fake = FakeAmi(challenge="")
        with listening(fake.serve) as port, pytest.raises(OperatorError, match="включите TLS"):
            heard(asterisk(port), 1)
        assert [asked["Action"] for asked in fake.asked] == ["Challenge"]

    def test_nobody_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(OperatorError, match="не отвечает") as caught:
            heard(asterisk(port), 1)
        assert not caught.value.permanent

    def test_an_inner_address_must_be_allowed(self) -> None:
        operator = asterisk(5038)
        for host, allowed in (
            ("127.0.0.1", frozenset()),
            ("localhost", frozenset({"127.0.0.1:1"})),
            ("10.0.0.5", frozenset({"10.0.0.6"})),
            ("::1", frozenset({"127.0.0.1"})),
        ):
            operator = asterisk(5038, host=host)
            operator.private_hosts = allowed
            with pytest.raises(OperatorError, match="OUTBOUND_ALLOW_PRIVATE") as caught:
                heard(operator, 1)
            assert caught.value.permanent

    def test_an_address_with_its_port_may_be_allowed(self) -> None:
        with listening(FakeAmi().serve) as port:
            operator = asterisk(port)
            operator.private_hosts = frozenset({f"127.0.0.1:{port}"})
            assert len(heard(operator, 1)) == 1

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"host": "http://pbx.example.ru"}, "без http"),
            ({"host": "pbx example"}, "без http"),
            ({"port": "AMI"}, "порт"),
            ({"port": "70000"}, "порт"),
            ({"port": "0"}, "порт"),
            ({"tls": "yes", "ca_certificates": "not a certificate"}, "Сертификаты"),
            ({"host": "no-such-name.invalid"}, "не найдено"),
            ({"password": ""}, "не заполнено"),
        ],
    )
    def test_impossible_settings_are_named(self, changed: dict[str, str], words: str) -> None:
        with pytest.raises(OperatorError, match=words):
            heard(asterisk(5038, **changed), 1)

    def test_it_pings_and_notices_silence(self) -> None:
        quiet = threading.Event()

        class Silent(FakeAmi):
            def answer(self, connection: socket.socket, asked: dict[str, str]) -> None:
                if asked["Action"] != "Ping" or not quiet.is_set():
                    super().answer(connection, asked)

        fake = Silent()
        with listening(fake.serve) as port:
            stream = asterisk(port).stream(threading.Event())
            next(stream)
            quiet.set()
            with pytest.raises(OperatorError, match="замолчала") as caught:
                next(stream)
        assert not caught.value.permanent
        assert [asked["Action"] for asked in fake.asked].count("Ping") >= 2

    def test_answers_keep_a_quiet_connection_alive(self) -> None:
        stop = threading.Event()
        with listening(FakeAmi().serve) as port:
            threading.Timer(1.2, stop.set).start()
            begun = time.monotonic()
            assert len(list(asterisk(port).stream(stop))) == 1
        assert time.monotonic() - begun > 1

    def test_a_break_is_transient_and_calls_are_remembered(self) -> None:
        def drop(connection: socket.socket) -> None:
            connection.sendall(packet(NEW))
            connection.shutdown(socket.SHUT_RDWR)

        fake = FakeAmi(drop, lists={"CoreShowChannels": []})
        with listening(fake.serve) as port:
            operator = asterisk(port)
            stream = operator.stream(threading.Event())
            assert events_of([next(stream), next(stream)])[1] == NEW
            with pytest.raises(OperatorError, match=r"закрыла соединение|прервалась") as caught:
                next(stream)
            assert not caught.value.permanent
            fake.after = lambda _: None
            _, over = heard(operator, 2)
        assert events_of([over])[0]["Event"] == "Hangup"
        (event,) = operator.parse(over)
        assert (event.kind, event.provider_call_id) == (CallKind.MISSED, "1.1")

    def test_calls_of_before_are_listed(self) -> None:
        rows = [{key: value for key, value in NEW.items() if key != "Event"}]
        fake = FakeAmi(
            lambda connection: connection.sendall(packet(HANGUP)),
            lists={"CoreShowChannels": rows},
        )
        with listening(fake.serve) as port:
            operator = asterisk(port)
            requests = heard(operator, 2)
        (event,) = operator.parse(requests[1])
        assert (event.kind, event.client_number) == (CallKind.MISSED, "79000000001")

    def test_events_between_an_action_and_its_answer_are_not_lost(self) -> None:
        class Busy(FakeAmi):
            def answer(self, connection: socket.socket, asked: dict[str, str]) -> None:
                if asked["Action"] == "CoreShowChannels":
                    mark = {"ActionID": asked["ActionID"]}
                    connection.sendall(
                        packet(NEW)
                        + packet({"Response": "Success", "EventList": "start", **mark})
                        + packet(HANGUP)
                        + packet(
                            {"Event": "CoreShowChannelsComplete", "EventList": "Complete", **mark}
                        )
                    )
                else:
                    super().answer(connection, asked)

        with listening(Busy().serve) as port:
            assert events_of(heard(asterisk(port), 3))[1:] == [NEW, HANGUP]

    def test_garbage_and_huge_lines_do_not_break_it(self) -> None:
        def after(connection: socket.socket) -> None:
            connection.sendall(b"\xff\xfe garbage\r\n\r\n")
            connection.sendall(packet({"Event": "Newchannel"}))
            connection.sendall(packet({**NEW, "Uniqueid": "9" * 500}))
            connection.sendall(packet({**NEW, "CallerIDName": "x" * 100_000}))
            connection.sendall(packet({**NEW, "CallerIDName": "y" * 10_000}))

        with listening(FakeAmi(after).serve) as port:
            (_, request) = heard(asterisk(port), 2)
        assert events_of([request])[0]["CallerIDName"] == "y" * 2000

    def test_over_tls_with_its_own_certificate(self, tmp_path: Path) -> None:
        certificate, key = own_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        fake = FakeAmi()
        pem = certificate.read_text()
        with listening(fake.serve, context) as port:
            assert len(heard(asterisk(port, tls="yes", ca_certificates=pem), 1)) == 1
            with pytest.raises(OperatorError, match="Сертификат АТС не принят") as caught:
                heard(asterisk(port, tls="yes"), 1)
        assert caught.value.permanent
        assert fake.asked[0]["Secret"] == SECRET
        with listening(FakeAmi().serve) as port, pytest.raises(OperatorError, match="TLS"):
            heard(asterisk(port, tls="yes"), 1)

    def test_a_stop_ends_it_soon(self) -> None:
        stop = threading.Event()
        with listening(FakeAmi().serve) as port:
            stream = asterisk(port).stream(stop)
            next(stream)
            stop.set()
            assert list(stream) == []


def own_certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "pbx.crt", folder / "pbx.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class TestAmiOrders:
    def test_click_to_call(self) -> None:
        fake = FakeAmi()
        with listening(fake.serve) as port:
            placed = asterisk(port).place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("kv-0042", None)
        assert fake.asked[-1] == {
            "Action": "Originate",
            "ActionID": "crm:kv-0042",
            "Channel": "Local/101@from-internal",
            "Context": "from-internal",
            "Exten": "79161112233",
            "Priority": "1",
            "CallerID": '"79161112233" <79161112233>',
            "Timeout": "30000",
            "Async": "true",
            "Account": "crm",
            "Variable": "CRM_CALL=kv-0042",
        }
        assert fake.asked[1]["Events"] == "off"

    @pytest.mark.parametrize(
        ("style", "via", "number", "dialled"),
        [
            ("8", "pjsip", "79161112233", "89161112233"),
            ("+7", "sip", "79161112233", "+79161112233"),
            ("10", "local", "79161112233", "9161112233"),
            ("8", "pjsip", "4930123456", "8104930123456"),
            ("7", "pjsip", "4930123456", "4930123456"),
        ],
    )
    def test_numbers_as_this_pbx_dials_them(
        self, style: str, via: str, number: str, dialled: str
    ) -> None:
        fake = FakeAmi()
        call = ClickToCall(extension="101", number=number, request_id="kv-1")
        with listening(fake.serve) as port:
            asterisk(port, dial_format=style, dial_via=via).place_call(call)
        assert fake.asked[-1]["Exten"] == dialled
        assert fake.asked[-1]["Channel"].casefold().startswith(via)

    @pytest.mark.parametrize(
        "call",
        [
            ClickToCall(extension="101\r\nAction: Command", number="79161112233", request_id="kv"),
            ClickToCall(extension="101", number="7916\r\n", request_id="kv"),
            ClickToCall(extension="101", number="12", request_id="kv"),
            ClickToCall(extension="1", number="79161112233", request_id="kv"),
            ClickToCall(extension="101", number="79161112233", request_id="kv\r\nX: 1"),
        ],
    )
    def test_nothing_is_smuggled_into_a_packet(self, call: ClickToCall) -> None:
        with pytest.raises(OperatorError) as caught:
            asterisk(1).place_call(call)
        assert caught.value.permanent

    def test_a_context_with_a_line_break_is_refused(self) -> None:
        with pytest.raises(OperatorError, match="контекст"):
            asterisk(1, dial_context="from\r\ninternal").place_call(CALL)
        with (
            listening(FakeAmi().serve) as port,
            pytest.raises(OperatorError, match="Недопустимые знаки"),
        ):
            asterisk(port, username="crm\r\nAction: Command").place_call(CALL)

    def test_a_refusal_is_told_in_the_words_of_the_pbx(self) -> None:
        fake = FakeAmi(originate={"Response": "Error", "Message": f"Permission denied {SECRET}"})
        with (
            listening(fake.serve) as port,
            pytest.raises(OperatorError, match="Permission denied") as caught,
        ):
            asterisk(port).place_call(CALL)
        assert caught.value.permanent
        assert SECRET not in str(caught.value)

    def test_extensions_by_whichever_list_is_allowed(self) -> None:
        rows = [{"ObjectName": name} for name in ("102", "101", "msk", "101-web", "101")]
        with listening(FakeAmi(lists={"PJSIPShowEndpoints": rows}).serve) as port:
            operator = asterisk(port)
            assert [one.number for one in operator.extensions()] == ["101", "102"]
            assert operator.check().ok
        hints = [{"Exten": "103", "Hint": "PJSIP/103"}]
        with listening(FakeAmi(lists={"ExtensionStateList": hints}).serve) as port:
            assert [one.employee_key for one in asterisk(port).extensions()] == ["103"]
        with listening(FakeAmi().serve) as port:
            assert asterisk(port).extensions() == []

    def test_an_answer_that_does_not_come(self) -> None:
        class Impatient(QuickAsterisk):
            connect_seconds = 0.3

        class Deaf(FakeAmi):
            def answer(self, connection: socket.socket, asked: dict[str, str]) -> None:
                if asked["Action"] in ("Challenge", "Login"):
                    super().answer(connection, asked)

        with listening(Deaf().serve) as port:
            operator = Impatient(7, asterisk(port)._values, NoNetwork(), webhook_token=TOKEN)
            operator.private_hosts = LOCAL
            with pytest.raises(OperatorError, match="не ответила") as caught:
                operator.place_call(CALL)
        assert not caught.value.permanent

    def test_an_inner_address_is_asked_only_where_it_is_allowed(self) -> None:
        with listening(FakeAmi().serve) as port:
            operator = asterisk(port)
            assert operator.place_call(CALL).request_id == "kv-0042"
            operator.private_hosts = frozenset()
            with pytest.raises(OperatorError, match="OUTBOUND_ALLOW_PRIVATE"):
                operator.place_call(CALL)


class TestFilesOfRecordings:
    REF = RecordingRef(recording_ref="2026/03/02/in-101+7.wav")

    def fetched(
        self, answer: Answer, template: str = "", **changed: str
    ) -> tuple[bytes, list[Asked]]:
        asked: list[Asked] = []

        def respond(request: Asked) -> Answer:
            asked.append(request)
            return answer

        with serving(respond) as base:
            link = base + (template or "/monitor/{yyyy}/{mm}/{dd}/{file}")
            operator = asterisk(1, PlainClient(), recordings_url=link, **changed)
            with operator.fetch_recording(self.REF) as recording:
                return b"".join(recording.chunks), asked

    def test_a_file_under_the_address_of_the_settings(self) -> None:
        settings = {"recordings_user": "crm", "recordings_password": "files"}
        sound, (asked,) = self.fetched(Answer(200, b"RIFF", "audio/x-wav"), **settings)
        assert sound == b"RIFF"
        assert asked.path == "/monitor/2026/03/02/in-101%2B7.wav"
        assert asked.headers["Authorization"] == "Basic " + b64encode(b"crm:files").decode()

    def test_a_file_that_became_an_mp3(self) -> None:
        _, (asked,) = self.fetched(Answer(200, b"ID3", "audio/mpeg"), "/{name}.mp3")
        assert asked.path == "/in-101%2B7.mp3"
        assert "Authorization" not in asked.headers

    @pytest.mark.parametrize(
        ("answer", "error", "permanent"),
        [
            (Answer(404), RecordingNotReady, False),
            (Answer(401), OperatorError, True),
            (Answer(403), OperatorError, True),
            (Answer(429, headers={"Retry-After": "3"}), OperatorError, False),
            (Answer(503), OperatorError, False),
            (Answer(200, b"<html>", "text/html"), OperatorError, False),
        ],
    )
    def test_refusals(self, answer: Answer, error: type[OperatorError], permanent: bool) -> None:
        with pytest.raises(error) as caught:
            self.fetched(answer, recordings_user="crm", recordings_password="files-pw")
        assert caught.value.permanent is permanent
        assert "files-pw" not in str(caught.value)

    def test_a_dead_server(self) -> None:
        with serving(lambda _: Answer()) as base:
            pass
        operator = asterisk(1, PlainClient(), recordings_url=base + "/{file}")
        with pytest.raises(OperatorError) as caught:
            operator.fetch_recording(self.REF)
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        "name",
        ["", "a.wav", "2026/03/02/../a.wav", "2026/03/02/a..wav", "https://evil.example/a.wav"],
    )
    def test_a_strange_name_is_refused(self, name: str) -> None:
        operator = asterisk(1, recordings_url="https://pbx.example.ru/{file}")
        with pytest.raises(OperatorError) as caught:
            operator.fetch_recording(RecordingRef(recording_ref=name))
        assert caught.value.permanent


# --- ARI --------------------------------------------------------------------------------------


@dataclass
class FakeAri:
    """Events over a WebSocket and the REST interface, on one port as in Asterisk."""

    messages: list[Any] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=lambda: {"channels": [], "bridges": []})
    asked: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0
    hang_up: bool = False

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked.append((request.path, request.headers.get("Authorization", "")))
        expected = "Basic " + b64encode(f"crm:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return plain(401, b'{"message":"Authentication required"}')
        if self.status:
            return plain(self.status, b"{}")
        name = request.path.removeprefix("/ari/").partition("?")[0]
        if name == "events":
            return None
        if name not in self.answers:
            return plain(404, b'{"message":"not found"}')
        return plain(200, json.dumps(self.answers[name]).encode())

    def talk(self, connection: ServerConnection) -> None:
        for message in self.messages:
            connection.send(message if isinstance(message, str) else json.dumps(message))
        if not self.hang_up:
            with suppress(Exception):
                while True:
                    connection.recv()


def plain(status: int, body: bytes) -> Response:
    headers = Headers(
        {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(status, "Status", headers, body)


@contextmanager
def ari(fake: FakeAri) -> Iterator[int]:
    logger = logging.getLogger("tests.quiet")
    logger.setLevel(logging.CRITICAL)
    with serve(
        fake.talk, "127.0.0.1", 0, process_request=fake.process, logger=logger, close_timeout=1
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join(5)


def by_ari(at: int, **changed: str) -> QuickAsterisk:
    return asterisk(at, PlainClient(), protocol="ari", **changed)


CREATED = {
    "type": "ChannelCreated",
    "timestamp": "2026-03-02T11:20:31.123+0300",
    "channel": {
        "id": "1.1",
        "name": "PJSIP/msk-0000001a",
        "state": "Ring",
        "caller": {"name": "", "number": "79000000001"},
        "dialplan": {"context": "from-trunk", "exten": "74950000010", "priority": 1},
    },
}


class TestAri:
    def test_events_come_over_a_websocket(self) -> None:
        fake = FakeAri([{"type": "StasisStart"}, {"type": "Teleported"}, CREATED])
        with ari(fake) as port:
            operator = by_ari(port)
            requests = heard(operator, 2)
        assert events_of(requests) == [{"type": "CrmConnected"}, CREATED]
        assert {(request.method, request.path_tail) for request in requests} == {("STREAM", "ari")}
        (event,) = operator.parse(requests[1])
        assert (event.kind, event.client_number) == (CallKind.RINGING, "79000000001")
        paths = [path for path, _ in fake.asked]
        assert paths == ["/ari/events?app=crm&subscribeAll=true", "/ari/channels", "/ari/bridges"]

    def test_garbage_is_left_out_and_a_huge_message_breaks_the_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        odd = {
            **CREATED,
            "channel": {**CREATED["channel"], "accountcode": "\ud800\x00" + "x" * 9000},
        }
        fake = FakeAri(["{", "[]", "null", "[" * 50_000, {"type": "Dial"}, odd])
        with ari(fake) as port:
            operator = by_ari(port)
            request = heard(operator, 2)[1]
            assert len(operator.parse(request)) == 1
            assert len(request.body) < 4000
            monkeypatch.setattr(asterisk_stream, "MAX_MESSAGE", 1000)
            fake.messages = ["x" * 5000]
            with pytest.raises(OperatorError, match="закрыла соединение") as caught:
                heard(by_ari(port), 2)
        assert not caught.value.permanent

    @pytest.mark.parametrize(
        ("status", "words", "permanent"),
        [
            (403, "имя или пароль", True),
            (404, "нет ARI", True),
            (500, "HTTP 500", False),
            (302, "HTTP 302", False),
        ],
    )
    def test_refusals(self, status: int, words: str, permanent: bool) -> None:
        with (
            ari(FakeAri(status=status)) as port,
            pytest.raises(OperatorError, match=words) as caught,
        ):
            heard(by_ari(port), 1)
        assert caught.value.permanent is permanent

    def test_a_wrong_password(self) -> None:
        with (
            ari(FakeAri()) as port,
            pytest.raises(OperatorError, match="имя или пароль ARI") as caught,
        ):
            heard(by_ari(port, password="wrong-secret"), 1)
        assert caught.value.permanent
        assert "wrong-secret" not in f"{caught.value} {caught.value.__cause__!r}"

    def test_a_break_and_a_rival(self) -> None:
        with (
            ari(FakeAri(hang_up=True)) as port,
            pytest.raises(OperatorError, match="закрыла соединение"),
        ):
            heard(by_ari(port), 2)
        with (
            ari(FakeAri([{"type": "ApplicationReplaced", "application": "crm"}])) as port,
            pytest.raises(OperatorError, match="другая программа") as caught,
        ):
            heard(by_ari(port), 2)
        assert not caught.value.permanent

    def test_nobody_or_somebody_else_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(OperatorError, match="не отвечает"):
            heard(by_ari(port), 1)
        with (
            listening(FakeAmi().serve) as port,
            pytest.raises(OperatorError, match="отвечает не ARI"),
        ):
            heard(by_ari(port), 1)
        operator = by_ari(port)
        operator.private_hosts = frozenset()
        with pytest.raises(OperatorError, match="OUTBOUND_ALLOW_PRIVATE"):
            heard(operator, 1)

    def test_over_tls(self, tmp_path: Path) -> None:
        certificate, key = own_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with (
            listening(lambda connection: None, context) as port,
            pytest.raises(OperatorError, match="Сертификат АТС не принят"),
        ):
            heard(by_ari(port, tls="yes"), 1)

    def test_a_message_in_pieces_is_one_event(self) -> None:
        text = json.dumps(CREATED)

        class InPieces(FakeAri):
            def talk(self, connection: ServerConnection) -> None:
                connection.send(text[at : at + 50] for at in range(0, len(text), 50))
                connection.ping()
                super().talk(connection)

        with ari(InPieces()) as port:
            assert events_of(heard(by_ari(port), 2))[1] == CREATED

    def test_it_pings_and_notices_silence(self) -> None:
        pinged = threading.Event()

        def deaf(connection: socket.socket) -> None:
            head = connection.recv(4096).decode()
            (key,) = [
                line[19:] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key")
            ]
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
            )
            while connection.recv(4096):
                pinged.set()

        class Listless(QuickAsterisk):
            def ari_list(self, what: str) -> list[Any]:
                return []

        with listening(deaf) as port:
            operator = Listless(7, by_ari(port)._values, PlainClient(), webhook_token=TOKEN)
            operator.private_hosts = LOCAL
            with pytest.raises(OperatorError, match="замолчала") as caught:
                heard(operator, 2)
        assert not caught.value.permanent
        assert pinged.is_set()

    def test_the_password_is_in_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with ari(FakeAri([CREATED])) as port:
            heard(by_ari(port), 2)
        assert SECRET not in caplog.text
        assert b64encode(f"crm:{SECRET}".encode()).decode() not in caplog.text

    def test_a_stop_ends_it_soon(self) -> None:
        stop = threading.Event()
        with ari(FakeAri()) as port:
            stream = by_ari(port).stream(stop)
            next(stream)
            stop.set()
            assert list(stream) == []


class FakeRest:
    """The REST interface of ARI alone."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answer


@contextmanager
def rest(answer: Answer) -> Iterator[tuple[QuickAsterisk, FakeRest]]:
    fake = FakeRest(answer)
    with serving(fake) as base:
        yield by_ari(int(base.rpartition(":")[2])), fake


class TestAriOrders:
    def test_click_to_call(self) -> None:
        with rest(Answer(200, b'{"id":"1772439631.30","name":"Local/101@from-internal-1;1"}')) as (
            operator,
            fake,
        ):
            placed = operator.place_call(CALL)
        assert (placed.request_id, placed.provider_call_id) == ("kv-0042", "1772439631.30")
        (asked,) = fake.asked
        assert asked.path.startswith("/ari/channels?endpoint=Local%2F101%40from-internal&")
        assert "extension=79161112233&context=from-internal&priority=1" in asked.path
        assert json.loads(asked.body) == {"variables": {"CRM_CALL": "kv-0042"}}
        assert (
            asked.headers["Authorization"]
            == "Basic " + b64encode(f"crm:{SECRET}".encode()).decode()
        )

    @pytest.mark.parametrize(
        ("answer", "permanent"),
        [
            (Answer(400, b'{"message":"Endpoint not found"}'), True),
            (Answer(401, b"{}"), True),
            (Answer(403, b"{}"), True),
            (Answer(409, b"{}"), True),
            (Answer(429, b"{}", headers={"Retry-After": "3"}), False),
            (Answer(500, b'{"message":"Allocation failed"}'), False),
            (Answer(200, b"<html>", "text/html"), False),
            (Answer(200, b"[]"), False),
        ],
    )
    def test_refusals(self, answer: Answer, permanent: bool) -> None:
        with rest(answer) as (operator, _), pytest.raises(OperatorError) as caught:
            operator.place_call(CALL)
        assert caught.value.permanent is permanent
        assert SECRET not in str(caught.value)

    def test_extensions_are_endpoints_named_by_numbers(self) -> None:
        rows = [
            {"technology": "PJSIP", "resource": name, "state": "online"}
            for name in ("102", "101", "msk", "74950000010")
        ]
        with rest(Answer(200, json.dumps([*rows, 1]).encode())) as (operator, _):
            assert [one.number for one in operator.extensions()] == ["101", "102"]
        with (
            rest(Answer(200, b"{}")) as (operator, _),
            pytest.raises(OperatorError, match="не списком"),
        ):
            operator.extensions()

    def test_a_stored_recording(self) -> None:
        with rest(Answer(200, b"RIFF", "audio/wav")) as (operator, fake):
            ref = RecordingRef(recording_ref="ari:calls/1.1")
            with operator.fetch_recording(ref) as recording:
                assert b"".join(recording.chunks) == b"RIFF"
        assert fake.asked[0].path == "/ari/recordings/stored/calls%2F1.1/file"
        with rest(Answer(404, b"{}")) as (operator, _):
            with pytest.raises(RecordingNotReady):
                operator.fetch_recording(ref)
            for name in ("ari:../a", "ari:", "ari:a b"):
                with pytest.raises(OperatorError, match="быть не может"):
                    operator.fetch_recording(RecordingRef(recording_ref=name))

    def test_another_path_of_ari(self) -> None:
        with rest(Answer(200, b"[]")) as (operator, fake):
            operator._values["ari_path"] = "/asterisk/ari/"
            assert operator.extensions() == []
            operator._values["ari_path"] = "/../x?y"
            with pytest.raises(OperatorError, match="путь ARI"):
                operator.extensions()
        assert fake.asked[0].path == "/asterisk/ari/endpoints"
