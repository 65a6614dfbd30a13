"""The guarded client: what it refuses, what it survives, what it never writes down."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from crm.integrations import http
from crm.integrations.addresses import forbidden_reason
from crm.integrations.http import FetchFailed, FetchRefused, GuardedClient, TooLarge
from crm.integrations.http_protocol import HttpClient

Respond = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A local server whose pages are functions; it remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Respond] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                site.seen.append((self.command, self.path, dict(self.headers), body))
                site.pages[self.path.partition("?")[0]](self)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815 (names of the library)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, body: bytes = b"ok", status: int = 200, **headers: str) -> str:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in ({"Content_Length": str(len(body))} | headers).items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.pages[path] = respond
        return self.url(path)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


@pytest.fixture
def client() -> GuardedClient:
    return GuardedClient(["127.0.0.1"], sleep=lambda _: None)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: str | list[str]) -> list[str]:
    """Make every name resolve to the answers in turn; the last one stays. Returns the asked."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        addresses = [answer] if isinstance(answer, str) else answer
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_it_fits_the_protocol_of_integrations(client: GuardedClient) -> None:
    fitting: HttpClient = client
    assert fitting is client


def test_it_answers_with_body_text_and_json(site: Site, client: GuardedClient) -> None:
    page = site.page("/a", '{"имя": 1}'.encode(), Content_Type="application/json")
    with client.request("GET", page) as answer:
        assert (answer.status, answer.json()) == (200, {"имя": 1})
        assert answer.headers["content-type"] == "application/json"
    page = site.page("/b", "дом".encode("cp1251"), Content_Type="text/html; charset=windows-1251")
    assert client.request("GET", page).text == "дом"


def test_any_status_is_an_answer(site: Site, client: GuardedClient) -> None:
    assert client.request("GET", site.page("/a", status=404)).status == 404
    assert client.request("POST", site.page("/b", status=500), retries=3).status == 500
    assert len(site.seen) == 2


def test_it_sends_forms_json_and_parameters(site: Site, client: GuardedClient) -> None:
    page = site.page("/a")
    client.request("POST", page, data={"a": "б"}, params={"k": "v"})
    client.request("POST", page, json={"a": 1}, headers={"X-Key": "s"})
    (_, path, _, form), (_, _, headers, body) = site.seen
    assert (path, form) == ("/a?k=v", b"a=%D0%B1")
    assert (body, headers["X-Key"]) == (b'{"a": 1}', "s")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:0001::",
        "2001:0:53aa:64c:0:0:80ff:fffe",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "not an address",
    ],
)
def test_inner_addresses_are_forbidden(address: str) -> None:
    assert forbidden_reason(address)


@pytest.mark.parametrize(
    "address", ["77.88.55.242", "8.8.8.8", "2a02:6b8::2:242", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert forbidden_reason(address) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/a",
        "http://localhost:{port}/a",
        "http://2130706433:{port}/a",
        "http://0x7f.1:{port}/a",
        "http://[::1]:{port}/a",
        "http://[::ffff:127.0.0.1]:{port}/a",
    ],
)
def test_our_own_machine_is_refused_however_it_is_written(site: Site, url: str) -> None:
    site.page("/a")
    with pytest.raises(FetchRefused) as caught:
        GuardedClient().request("GET", url.format(port=site.port))
    assert caught.value.permanent
    assert site.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.ru/a",
        "gopher://x",
        "//a",
        "",
        "http://",
        "http://[::1",
        "http://a:99999/",
    ],
)
def test_other_schemes_and_nonsense_are_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        GuardedClient().request("GET", url)


def test_a_name_with_a_private_answer_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "10.0.0.7")
    with pytest.raises(FetchRefused, match="внутреннюю сеть"):
        GuardedClient().request("GET", "http://feed.example.ru/a")


def test_one_private_answer_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["77.88.55.242", "127.0.0.1"])
    with pytest.raises(FetchRefused):
        GuardedClient().request("GET", "http://feed.example.ru/a")


def test_a_name_is_resolved_once_so_it_cannot_change_its_mind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.page("/a")
    asked = resolve_to(monkeypatch, "127.0.0.1", "10.0.0.1")
    client = GuardedClient(["feed.example.ru"])
    assert client.request("GET", site.url("/a", "feed.example.ru")).status == 200
    assert asked == ["feed.example.ru"]


def test_private_hosts_may_be_allowed_with_a_port(site: Site) -> None:
    page = site.page("/a")
    assert GuardedClient([f"127.0.0.1:{site.port}"]).request("GET", page).status == 200
    with pytest.raises(FetchRefused):
        GuardedClient(["127.0.0.1:1"]).request("GET", page)


def test_a_redirect_into_our_network_is_refused(site: Site, client: GuardedClient) -> None:
    inner = f"http://localhost:{site.port}/secret"
    site.page("/secret")
    page = site.page("/a", status=302, Location=inner)
    with pytest.raises(FetchRefused):
        client.request("GET", page)
    assert [path for _, path, _, _ in site.seen] == ["/a"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[bad", "gopher://a/"])
def test_a_redirect_to_nonsense_is_refused(
    site: Site, client: GuardedClient, location: str
) -> None:
    with pytest.raises(FetchRefused):
        client.request("GET", site.page("/a", status=301, Location=location))


def test_redirects_are_followed_counted_and_may_be_left_alone(
    site: Site, client: GuardedClient
) -> None:
    for number in range(5):
        site.page(f"/{number}", status=302, Location=f"/{number + 1}")
    site.page("/5", b"end")
    assert client.request("GET", site.url("/0")).content == b"end"
    assert client.request("GET", site.url("/0"), follow_redirects=False).status == 302
    loop = site.page("/loop", status=302, Location="/loop")
    with pytest.raises(FetchRefused, match="5 перенаправлений"):
        client.request("GET", loop)


def test_secrets_do_not_follow_to_another_origin(site: Site) -> None:
    client = GuardedClient(["127.0.0.1", "localhost"])
    site.page("/b")
    other = f"http://localhost:{site.port}/b"
    page = site.page("/a", status=302, Location=other)
    secrets = {"Authorization": "Bearer s", "X-Api-Key": "s", "Accept": "text/xml"}
    client.request("GET", page, headers=secrets)
    headers = site.seen[-1][2]
    assert "s" not in (headers.get("Authorization"), headers.get("X-Api-Key"))
    assert headers["Accept"] == "text/xml"
    moved = site.page("/c", status=307, Location=other)
    with pytest.raises(FetchRefused, match="данные запроса"):
        client.request("POST", moved, data={"key": "s"})


def test_a_post_redirected_with_303_becomes_a_get(site: Site, client: GuardedClient) -> None:
    site.page("/b", b"done")
    page = site.page("/a", status=303, Location="/b")
    assert client.request("POST", page, data=b"body").content == b"done"
    assert site.seen[-1][0::3] == ("GET", b"")


def test_only_listed_hosts_at_every_hop(site: Site) -> None:
    client = GuardedClient(["127.0.0.1", "localhost"])
    site.page("/b")
    page = site.page("/a", status=302, Location=f"http://localhost:{site.port}/b")
    with pytest.raises(FetchRefused, match="разрешённых"):
        client.request("GET", page, allow_hosts=["127.0.0.1"])
    with pytest.raises(FetchRefused, match="разрешённых"):
        client.request("GET", "http://evil.ru/", allow_hosts=["*.example.ru", "example.ru"])
    assert client.request("GET", page, allow_hosts=["127.0.0.1", "LOCALHOST"]).status == 200


def test_the_proxy_of_the_environment_is_not_used(
    site: Site, client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert client.request("GET", site.page("/a")).status == 200


def test_size_is_limited_by_header_and_by_count(site: Site, client: GuardedClient) -> None:
    page = site.page("/a", b"x" * 5000)
    with pytest.raises(TooLarge) as caught:
        client.request("GET", page, max_bytes=4999)
    assert caught.value.permanent
    assert len(client.request("GET", page, max_bytes=5000).content) == 5000
    undeclared = site.page("/b", b"x" * 500_000, Content_Length="", Connection="close")
    site.pages["/b"] = _without_length(b"x" * 500_000)
    with pytest.raises(TooLarge):
        client.request("GET", undeclared, max_bytes=100_000)


def _without_length(body: bytes, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    return respond


def test_a_packed_bomb_is_counted_unpacked(site: Site, client: GuardedClient) -> None:
    page = site.url("/a")
    site.pages["/a"] = _without_length(gzip.compress(b"x" * 9_000_000), Content_Encoding="gzip")
    with pytest.raises(TooLarge):
        client.request("GET", page, max_bytes=1_000_000)


def test_a_stream_is_read_in_pieces(site: Site, client: GuardedClient) -> None:
    page = site.page("/a", b"x" * 300_000)
    with client.request("GET", page, stream=True) as answer:
        pieces = list(answer.iter_bytes())
    assert (sum(map(len, pieces)), max(map(len, pieces)) <= http.CHUNK) == (300_000, True)


def _drip(part: bytes, head: bool) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        if not head:
            handler.send_response(200)
            handler.end_headers()
        handler.close_connection = True
        try:
            if head and part:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(100):
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    return respond


@pytest.mark.parametrize(("part", "head"), [(b"x", False), (b"X-A: b\r\n", True), (b"", True)])
def test_a_slow_drip_ends_with_the_total_time(
    site: Site, client: GuardedClient, part: bytes, head: bool
) -> None:
    site.pages["/a"] = _drip(part, head)
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="отведённое время") as caught:
        client.request("GET", site.url("/a"), timeout=0.4)
    assert not caught.value.permanent
    assert time.monotonic() - started < 1.5


def test_a_cut_body_is_a_failure_not_a_short_answer(site: Site, client: GuardedClient) -> None:
    page = site.page("/a", b"half", Content_Length="100")
    with pytest.raises(FetchFailed):
        client.request("GET", page)


def test_a_closed_port_and_an_unknown_name_fail_transiently(
    client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchFailed, match="соединиться не удалось"):
        client.request("GET", f"http://127.0.0.1:{port}/")

    def unknown(*args: Any, **more: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchFailed):
        client.request("GET", "http://nowhere.example.ru/")


def test_idempotent_methods_are_repeated_when_asked(site: Site, client: GuardedClient) -> None:
    answers = iter([503, 500, 200])

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(next(answers))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.pages["/a"] = respond
    assert client.request("GET", site.url("/a"), retries=3, timeout=30).status == 200
    assert len(site.seen) == 3


def test_retries_pause_with_jitter(site: Site) -> None:
    pauses: list[float] = []
    client = GuardedClient(["127.0.0.1"], sleep=pauses.append)
    page = site.page("/a", status=500)
    assert client.request("GET", page, retries=2, timeout=30).status == 500
    assert len(pauses) == 2
    assert 0.2 <= pauses[0] <= 0.6
    assert 0.4 <= pauses[1] <= 1.2


def test_a_page_that_is_not_json_says_so(site: Site, client: GuardedClient) -> None:
    with pytest.raises(FetchFailed, match="JSON"):
        client.request("GET", site.page("/a", b"<html>")).json()


def test_nothing_secret_is_logged_or_said(
    site: Site, client: GuardedClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site.page("/tok123")
    client.request("POST", site.url("/tok123"), params={"k": "qwe123"}, data={"b": "asd123"})
    site.pages["/cut123"] = _drip(b"", True)
    with pytest.raises(FetchFailed) as caught:
        client.request("GET", site.url("/cut123?k=qwe123"), timeout=0.2)
    assert caught.value.__cause__ is None
    text = caplog.text + str(caught.value)
    assert "127.0.0.1" in text
    assert "123" not in text.replace(str(site.port), "")


def test_a_key_with_russian_letters_is_no_fault_of_the_server(
    site: Site, client: GuardedClient
) -> None:
    """Somebody has typed «С» for «C»: the message must lead to the key, and not repeat it."""
    with pytest.raises(FetchFailed, match="русские буквы") as refusal:
        client.request("GET", site.page("/"), headers={"X-Key": "АВС12"})
    assert "АВС12" not in str(refusal.value)
    assert site.seen == []
