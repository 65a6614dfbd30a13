"""Files in the storage (``STORAGE_URL``: a folder or any fsspec address) and their rows."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from flask import current_app
from fsspec.implementations.local import LocalFileSystem

from crm.models import StoredFile, db
from crm.operations.transaction import after_commit, operation
from crm.values.clock import utc_now

_EXTENSIONS = {
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "application/gzip": ".gz",
    "text/csv": ".csv",
}


class FileTooLarge(ValueError):
    """The stream is longer than allowed; nothing was kept."""


@dataclass(frozen=True, slots=True)
class _Written:
    key: str
    size: int
    sha256: str


def store_bytes(
    data: bytes, content_type: str, *, kind: str = "files", public: bool = False
) -> StoredFile:
    """Store ``data``; see `store_stream`."""
    return store_stream([data], content_type, len(data), kind=kind, public=public)


def store_stream(
    chunks: Iterable[bytes],
    content_type: str,
    max_bytes: int,
    *,
    kind: str = "files",
    public: bool = False,
) -> StoredFile:
    """Write a stream whole or not at all, then its row; ``kind`` is the folder.

    A public file gets a token for an address without signing in. Raises FileTooLarge and
    whatever reading the stream raises; then nothing stays in the storage. Call it outside an
    operation when the stream is slow: the row is a short transaction of its own.
    """
    written = _write(chunks, _new_key(kind, content_type), max_bytes)
    token = secrets.token_urlsafe(24) if public else None
    try:
        return _remember(written, content_type, token)
    except BaseException:
        _remove(written.key)
        raise


@contextmanager
def open_file(stored: StoredFile) -> Iterator[IO[bytes]]:
    """The file open for reading, seekable; raises FileNotFoundError."""
    storage, root = _storage()
    with storage.open(f"{root}/{stored.key}", "rb") as stream:
        yield stream


def read_bytes(stored: StoredFile) -> bytes:
    """The whole file; raises FileNotFoundError."""
    with open_file(stored) as stream:
        return stream.read()


@operation
def delete_file(stored: StoredFile) -> None:
    """Forget the file; the storage is cleared once that is committed."""
    key = stored.key
    db.session.delete(stored)
    after_commit(lambda: _remove(key))


def public_path(stored: StoredFile) -> str:
    """Path of a public file on our site; raises ValueError for a private one."""
    if not stored.public_token:
        raise ValueError("this file has no public address")
    return f"/media/{stored.public_token}{Path(stored.key).suffix}"


@operation
def _remember(written: _Written, content_type: str, token: str | None) -> StoredFile:
    stored = StoredFile(
        key=written.key,
        content_type=content_type[:100],
        size=written.size,
        sha256=written.sha256,
        public_token=token,
    )
    db.session.add(stored)
    db.session.flush()
    return stored


def _new_key(kind: str, content_type: str) -> str:
    """Path made by us alone: nothing a user typed comes near the storage."""
    extension = _EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), ".bin")
    return f"{kind}/{utc_now():%Y/%m}/{secrets.token_hex(16)}{extension}"


def _write(chunks: Iterable[bytes], key: str, max_bytes: int) -> _Written:
    """Through a temporary file beside the target (or here, for a remote storage)."""
    storage, root = _storage()
    local = isinstance(storage, LocalFileSystem)
    folder = Path(root) / "tmp" if local else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="kvartal-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            size, sha256 = _copy(chunks, stream, max_bytes)
        _place(storage, name, f"{root}/{key}", local=local)
    finally:
        Path(name).unlink(missing_ok=True)
    return _Written(key, size, sha256)


def _copy(chunks: Iterable[bytes], stream: IO[bytes], max_bytes: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise FileTooLarge(f"the file is longer than {max_bytes} bytes")
        digest.update(chunk)
        stream.write(chunk)
    stream.flush()
    os.fsync(stream.fileno())
    return size, digest.hexdigest()


def _place(storage: Any, source: str, target: str, *, local: bool) -> None:
    if local:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        _sync_folder(Path(target).parent)
        return
    storage.put_file(source, target)


def _sync_folder(folder: Path) -> None:
    """A renamed file survives a power cut only when its folder is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(key: str) -> None:
    storage, root = _storage()
    target = f"{root}/{key}"
    if storage.exists(target):
        storage.rm_file(target)


def _storage() -> tuple[Any, str]:
    storage, root = fsspec.core.url_to_fs(current_app.config["STORAGE_URL"])
    return storage, str(root).rstrip("/")
