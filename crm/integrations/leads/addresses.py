"""Web addresses as leads carry them: host in punycode, UTM marks and click ids of a query.

Nothing here opens a connection; wrong addresses give an empty answer, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlsplit

_UNSAFE = re.compile(r"[\s\\\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def split(url: str) -> SplitResult | None:
    """Return the parts of an absolute http(s) address, or None when it is not one.

    An address without a scheme (`example.ru/flats`) is read as https.
    """
    text = url.strip()
    if text.startswith("//"):
        text = "https:" + text
    if not _SCHEME.match(text):
        text = "https://" + text
    try:
        parts = urlsplit(text)
        hostname = parts.hostname
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and hostname else None


def punycode(host: str) -> str:
    """Return a host name in lower-case ASCII (`пример.рф` -> `xn--e1afmkfd.xn--p1ai`).

    The answer is '' for what cannot be a host name.
    """
    text = host.strip().rstrip(".").lower()
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""


def host(url: str) -> str:
    """Return the host of an address or of a bare domain in punycode, without port, or ''."""
    parts = split(url)
    return punycode(parts.hostname or "") if parts else ""


def site(url: str) -> str:
    """Return the host as sources compare it: punycode without the leading `www.`."""
    return host(url).removeprefix("www.")


def parent_domains(name: str) -> list[str]:
    """Return the host and all domains above it, longest first: a.b.ru -> [a.b.ru, b.ru, ru]."""
    labels = name.split(".") if name else []
    return [".".join(labels[start:]) for start in range(len(labels))]


def host_allowed(name: str, allowed: Collection[str]) -> bool:
    """Tell whether a punycode host is in a list of exact hosts and `*.example.ru` patterns.

    A pattern covers the subdomains only: whoever wants the domain itself lists it too.
    """
    return bool(name) and any(_covers(entry.strip(), name) for entry in allowed)


def _covers(entry: str, name: str) -> bool:
    if entry.startswith("*."):
        domain = host(entry[2:])
        return bool(domain) and name.endswith("." + domain)
    return host(entry) == name


def safe_redirect(url: str, allowed: Collection[str]) -> str | None:
    """Return the address if a browser may be sent there, else None.

    Browsers read a backslash as a slash and Python does not, so such addresses, and those with
    a user part, are refused whole: both are used to hide the real host.
    """
    if _UNSAFE.search(url) or not url.lower().startswith(("https://", "http://")):
        return None
    parts = split(url)
    if parts is None or "@" in parts.netloc:
        return None
    return url if host_allowed(host(url), allowed) else None


def query_values(url: str, names: Collection[str]) -> dict[str, str]:
    """Return the first non-empty value of each named parameter in the query of an address."""
    parts = split(url) if url else None
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, errors="replace") if parts else ():
        if name in names and value.strip():
            found.setdefault(name, value.strip())
    return found
