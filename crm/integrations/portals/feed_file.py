"""Opens a feed file that somebody else made: plain, gzip or zip, with limits, without DTD."""

from __future__ import annotations

import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Protocol

from crm.integrations.errors import IntegrationError

MAX_PLAIN_BYTES = 1024 * 1024 * 1024
MAX_PROLOG_BYTES = 256 * 1024
# The parser keeps what is between two offers in memory, thirty times its size.
MAX_UNMARKED_BYTES = 4 * 1024 * 1024
_CHUNK = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<", b"\x00\x00")


class UnreadableFeed(IntegrationError):
    """The file is not a feed that may be read; repeating with the same bytes changes nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class FeedText:
    """Bytes of the unpacked XML: counts them against a limit and hands out the head first."""

    def __init__(self, source: _Readable, limit: int) -> None:
        self._source, self._left = source, limit
        self._head = b""
        self._since_mark = 0

    def mark(self) -> None:
        """Everything handed out so far is read and forgotten."""
        self._since_mark = 0

    def read(self, size: int = -1) -> bytes:
        """Next bytes; raises `UnreadableFeed` over the limit and on a damaged archive."""
        if self._head:
            wanted = len(self._head) if size < 0 else size
            part, self._head = self._head[:wanted], self._head[wanted:]
            return part
        return self._pull(size)

    def root_name(self) -> str:
        """Local name of the root element, "" when there is none; nothing is consumed.

        Raises `UnreadableFeed` on a document type declaration, the door of entity bombs.
        """
        self._head = self._pull(_CHUNK).removeprefix(_BOM)
        # A declaration after a blank line is an error to the parser, yet feeds have it.
        while not (text := self._head.lstrip()) and self._more():
            continue
        self._head = text
        if self._head.startswith(_WIDE):
            raise UnreadableFeed("Файл не в UTF-8")
        at = self._skip_prolog()
        if self._head.startswith(b"<!", at):
            raise UnreadableFeed("Файл с объявлением DTD не принимается")
        if not self._head.startswith(b"<", at):
            return ""
        end = self._find_any(b" \t\r\n/>", at + 1)
        name = self._head[at + 1 : end].decode("utf-8", "replace")
        return name.rpartition(":")[2]

    def _pull(self, size: int) -> bytes:
        try:
            part = self._source.read(_CHUNK if size < 0 else size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise UnreadableFeed("Архив повреждён или обрывается") from error
        self._left -= len(part)
        self._since_mark += len(part)
        if self._left < 0:
            raise UnreadableFeed("Файл слишком большой")
        if self._since_mark > MAX_UNMARKED_BYTES:
            raise UnreadableFeed("Слишком много данных подряд без единого целого предложения")
        return part

    def _more(self) -> bool:
        part = b"" if len(self._head) > MAX_PROLOG_BYTES else self._pull(_CHUNK)
        self._head += part
        return bool(part)

    def _skip_prolog(self) -> int:
        """Offset of the first markup that is neither a processing instruction nor a comment."""
        at = 0
        while True:
            while self._head[at : at + 1].isspace():
                at += 1
            if len(self._head) - at < 4 and self._more():
                continue
            if self._head.startswith(b"<?", at):
                at = self._after(b"?>", at + 2)
            elif self._head.startswith(b"<!--", at):
                at = self._after(b"-->", at + 4)
            else:
                return at

    def _after(self, mark: bytes, at: int) -> int:
        while (found := self._head.find(mark, at)) < 0:
            if not self._more():
                return len(self._head)
        return found + len(mark)

    def _find_any(self, marks: bytes, at: int) -> int:
        while True:
            ends = [found for mark in marks if (found := self._head.find(mark, at)) >= 0]
            if ends or not self._more():
                return min(ends, default=len(self._head))


@contextmanager
def open_feed(stream: BinaryIO, limit: int = MAX_PLAIN_BYTES) -> Iterator[FeedText]:
    """Unpacked text of a feed; `limit` bounds the unpacked bytes. Raises `UnreadableFeed`."""
    magic = stream.read(4)
    source: IO[bytes] | _Readable = _Joined(magic, stream)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.open(_Joined(magic, stream)) as unpacked:
            yield FeedText(unpacked, limit)
    elif magic == b"PK\x03\x04":
        with _zip_member(_Joined(magic, stream), limit) as unpacked:
            yield FeedText(unpacked, limit)
    else:
        yield FeedText(source, limit)


@contextmanager
def _zip_member(source: _Readable, limit: int) -> Iterator[IO[bytes]]:
    with _spooled(source, limit) as archive_file:
        try:
            archive = zipfile.ZipFile(archive_file)
            names = [name for name in archive.namelist() if name.lower().endswith(".xml")]
            if len(names) != 1:
                raise UnreadableFeed("В архиве должен быть ровно один файл XML")
            member = archive.open(names[0])
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnreadableFeed("Архив повреждён или защищён паролем") from error
        with archive, member:
            yield member


@contextmanager
def _spooled(source: _Readable, limit: int) -> Iterator[IO[bytes]]:
    """The archive as a seekable file: its directory stands at the end."""
    with tempfile.SpooledTemporaryFile(max_size=8 * 1024 * 1024) as spool:
        left = limit
        while part := source.read(_CHUNK):
            left -= len(part)
            if left < 0:
                raise UnreadableFeed("Файл слишком большой")
            spool.write(part)
        spool.seek(0)
        yield spool


class _Joined(io.RawIOBase):
    """Bytes already taken from a stream, and then the rest of it."""

    def __init__(self, head: bytes, rest: _Readable) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            wanted = len(self._head) if size < 0 else size
            part, self._head = self._head[:wanted], self._head[wanted:]
            return part
        return self._rest.read(_CHUNK if size < 0 else size)
