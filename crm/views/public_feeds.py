"""What portals fetch without signing in: feeds at their secret addresses, photos of listings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from flask import Response, abort, request

from crm.models import Feed, StoredFile
from crm.operations import files, publishing
from crm.views.access import public
from crm.views.base import CrmView, expose

_CHUNK = 64 * 1024
_YEAR = 365 * 24 * 3600
_TOKEN_LENGTH = 64
_NOT_BUILT = {"Retry-After": "600"}


class FeedEndpoint(CrmView):
    """``/feeds/<token>.xml`` and ``/media/<token>.jpg``."""

    route_base = ""
    class_permission_name = "FeedEndpoint"
    machine_endpoint = True

    @expose("/feeds/<string:token>.xml", methods=["GET"])
    @public
    def feed(self, token: str) -> Response:
        """The last good file: 304 when it has not changed, packed when the portal can read it."""
        for _attempt in range(2):
            found = _feed(token)
            stored, packed = _variant(found)
            etag = f"{found.etag}-gzip" if packed else found.etag or ""
            response = _unchanged({found.etag or "", f"{found.etag}-gzip"}, stored)
            response = response or _streamed(stored, "application/xml")
            if response is not None:
                publishing.note_fetch(found.id)
                response.set_etag(etag)
                response.last_modified = _seconds(stored.created_at)
                response.headers["Cache-Control"] = "public, no-cache"
                response.vary.add("Accept-Encoding")
                if packed and response.status_code != 304:  # noqa: PLR2004
                    response.headers["Content-Encoding"] = "gzip"
                return response
        # Twice swapped while we opened it: the portal comes again.
        return Response(status=503, headers=_NOT_BUILT)

    @expose("/media/<string:token>.<string:extension>", methods=["GET"])
    @public
    def media(self, token: str, extension: str) -> Response:
        """A public photo; its address never shows another picture, so it is kept for a year."""
        stored = publishing.public_file(token) if len(token) <= _TOKEN_LENGTH else None
        if stored is None or stored.key.rpartition(".")[2] != extension:
            abort(404)
        response = _unchanged({stored.sha256}, stored) or _streamed(stored, stored.content_type)
        if response is None:
            abort(404)
        response.set_etag(stored.sha256)
        response.last_modified = _seconds(stored.created_at)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response


def _feed(token: str) -> Feed:
    feed = publishing.by_token(token) if len(token) <= _TOKEN_LENGTH else None
    if feed is None:
        abort(404)
    if feed.file is None or feed.gzip_file is None:
        abort(Response("Фид ещё не собран\n", 503, _NOT_BUILT, mimetype="text/plain"))
    return feed


def _variant(feed: Feed) -> tuple[StoredFile, bool]:
    assert feed.file is not None
    assert feed.gzip_file is not None
    accepted = request.accept_encodings
    packed = "gzip" in request.headers.get("Accept-Encoding", "") and accepted["gzip"] > 0
    return (feed.gzip_file, True) if packed else (feed.file, False)


def _unchanged(etags: set[str], stored: StoredFile) -> Response | None:
    """304 when the asker has this very content; a tag counts more than a date."""
    if request.if_none_match:
        known = any(request.if_none_match.contains_weak(etag) for etag in etags)
        return Response(status=304) if known else None
    since = request.if_modified_since
    if since is not None and _seconds(stored.created_at) <= since:
        return Response(status=304)
    return None


def _streamed(stored: StoredFile, mimetype: str) -> Response | None:
    """The file in pieces; None when it is not there. HEAD gets the headers alone."""
    try:
        pieces = _Pieces(stored)
    except FileNotFoundError:
        return None
    response = Response(pieces, mimetype=mimetype, direct_passthrough=True)
    response.headers["Content-Length"] = str(stored.size)
    return response


class _Pieces:
    """Pieces of a file: opened at once, so that a lost one is no broken answer, read lazily.

    The server closes it in any case, also when nobody reads (HEAD).
    """

    def __init__(self, stored: StoredFile) -> None:
        self._opened = files.open_file(stored)
        self._stream = self._opened.__enter__()

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._stream.read(_CHUNK), b"")

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if not self._stream.closed:
            self._opened.__exit__(None, None, None)


def _seconds(moment: dt.datetime) -> dt.datetime:
    """HTTP dates have no parts of a second."""
    return moment.replace(microsecond=0)
