"""Which hosts are believed: lists of names, and what a redirect may not give up."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit


def is_listed(host: str, patterns: Collection[str]) -> bool:
    """Whether a host is among names; `*.example.ru` means any subdomain."""
    name = host.lower().rstrip(".")
    known = [pattern.lower() for pattern in patterns]
    return any(
        name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in known
    )


def leaves_tls(here: str, there: str) -> bool:
    """Whether the way between two well-formed addresses goes from https to http."""
    return urlsplit(here).scheme == "https" and urlsplit(there).scheme == "http"
