"""Recordings as answers of the server: in pieces, whole or the part that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from flask import Response, abort, request

from crm.models import StoredFile
from crm.operations import files

_CHUNK = 64 * 1024


def stream(stored: StoredFile, name: str, *, as_file: bool) -> Response:
    """The file, or what ``Range`` asks for; what is no sound is only given to be saved."""
    safe = stored.content_type.startswith("audio/")
    part = _range(stored.size)
    start, stop = part or (0, stored.size)
    try:
        pieces = _pieces(stored, start, stop)
    except FileNotFoundError:
        abort(404)
    response = Response(
        pieces,
        status=206 if part else 200,
        mimetype=stored.content_type if safe else "application/octet-stream",
    )
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    extension = stored.key.rpartition(".")[2] if "." in stored.key else "bin"
    kind = "attachment" if as_file or not safe else "inline"
    response.headers["Content-Disposition"] = f'{kind}; filename="{name}.{extension}"'
    response.headers["Content-Length"] = str(stop - start)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def _range(size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a single wanted range; 416 when impossible."""
    wanted = request.range
    if wanted is None or len(wanted.ranges) != 1:
        return None
    found = wanted.range_for_length(size)
    if found is None:
        abort(Response(status=416, headers={"Content-Range": f"bytes */{size}"}))
    return found


def _pieces(stored: StoredFile, start: int, stop: int) -> Iterator[bytes]:
    """Open at once, so that a lost file is a refusal and not a broken answer; read lazily."""
    opened = files.open_file(stored)
    source = opened.__enter__()
    source.seek(start)

    def read(source: IO[bytes]) -> Iterator[bytes]:
        left = stop - start
        try:
            while left > 0 and (piece := source.read(min(_CHUNK, left))):
                left -= len(piece)
                yield piece
        finally:
            opened.__exit__(None, None, None)

    return read(source)
