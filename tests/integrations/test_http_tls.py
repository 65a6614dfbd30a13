"""The guarded client over TLS: names are verified though the connection goes to an address."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests.adapters
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crm.integrations.errors import IntegrationError
from crm.integrations.http import FetchFailed, FetchRefused, GuardedClient

NAME = "feed.example.ru"


def self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/plain":
            self.send_response(302)
            self.send_header("Location", f"http://{NAME}:1/sound.mp3")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses our certificate is what the tests are about."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture
def port(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Server(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **more: real("127.0.0.1", *a, **more)
    )
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_a_trusted_name_is_served(port: int) -> None:
    answer = GuardedClient([NAME]).request("GET", f"https://{NAME}:{port}/")
    assert (answer.status, answer.content) == (200, b"ok")


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_another_name_is_refused(port: int) -> None:
    client = GuardedClient(["other.example.ru"])
    with pytest.raises(FetchFailed, match="сертификат"):
        client.request("GET", f"https://other.example.ru:{port}/")


def test_an_unknown_issuer_is_refused(port: int) -> None:
    with pytest.raises(FetchFailed, match="сертификат"):
        GuardedClient([NAME]).request("GET", f"https://{NAME}:{port}/")


def test_certificates_of_the_settings_are_trusted_besides(port: int, certificate: Path) -> None:
    text = certificate.read_text()
    pem = text[text.index("-----BEGIN CERTIFICATE") :]
    answer = GuardedClient([NAME], certificates=pem).request("GET", f"https://{NAME}:{port}/")
    assert (answer.status, answer.content) == (200, b"ok")


def test_unreadable_certificates_are_told_in_words(port: int) -> None:
    client = GuardedClient([NAME], certificates="нечто")
    with pytest.raises(IntegrationError, match="PEM") as caught:
        client.request("GET", f"https://{NAME}:{port}/")
    assert caught.value.permanent


@pytest.mark.usefixtures("trusted")
def test_tls_does_not_open_our_network(port: int) -> None:
    with pytest.raises(FetchRefused):
        GuardedClient().request("GET", f"https://{NAME}:{port}/")


@pytest.mark.usefixtures("trusted")
def test_a_listed_host_is_not_followed_out_of_tls(port: int) -> None:
    url, client = f"https://{NAME}:{port}/plain", GuardedClient([NAME])
    with pytest.raises(FetchRefused, match="с https на http"):
        client.request("GET", url, allow_hosts=[NAME])
    with pytest.raises(FetchFailed):
        client.request("GET", url)


def test_a_handshake_that_never_ends_is_cut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(FetchFailed, match="отведённое время"):
            GuardedClient(["127.0.0.1"]).request("GET", f"https://127.0.0.1:{port}/", timeout=0.3)
    assert time.monotonic() - started < 1.5
