"""Rostelecom: the ordered report of calls, a CSV that comes inside an archive.

The manual says gzip and commas, the live service sends ZIP and semicolons, with or without a
header (github.com/LLCIBS/saasBW): so the first bytes and the first line decide. Nothing that the
archive says of itself is believed: unpacked bytes are counted as they come.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, Any, Protocol

from crm.integrations.inbound import MalformedRequest

Row = dict[str, str]

COLUMNS = (
    "session_id",
    "call_type",
    "direction",
    "state",
    "orig_number",
    "orig_pin",
    "dest_number",
    "answering_sipuri",
    "answering_pin",
    "start_call_date",
    "duration",
    "is_voicemail",
    "is_record",
    "is_fax",
    "status_code",
    "status_string",
)
MAX_FILE = 16 * 1024 * 1024
MAX_UNPACKED = 128 * 1024 * 1024
# Files in the archive: one is usual, and each entry of its list takes memory.
MAX_MEMBERS = 32
_MAX_LINE = 64 * 1024
_CHUNK = 64 * 1024
_IN_MEMORY = 1024 * 1024
_HEAD = 4096
_GZIP, _ZIP, _ZIP_ENTRY = b"\x1f\x8b", b"PK", b"PK\x01\x02"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = ";,\t|"
_KNOWN_PACKING = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_NOT_THERE = re.compile(r"\bfile\b.{0,300}?\bnot found", re.IGNORECASE | re.DOTALL)
# What the standard unpackers raise for damaged data: a password is a RuntimeError, a member
# without a name an IndexError.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    csv.Error,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
)


def new_file() -> IO[bytes]:
    """A place for a report, on disk when it is large."""
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


def fill(file: IO[bytes], chunks: Iterable[bytes]) -> None:
    """Replace what `file` holds. Raises `MalformedRequest` over `MAX_FILE`."""
    file.seek(0)
    file.truncate()
    for chunk in chunks:
        if file.tell() + len(chunk) > MAX_FILE:
            raise MalformedRequest("Файл истории слишком велик")
        file.write(chunk)


def excuse(file: IO[bytes]) -> str | None:
    """Beginning of the page, JSON or words that came instead of a report; None for a report."""
    text = _head(file).removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").strip()
    return text if text.lower().startswith(("<", "{", "[", "file ")) else None


def is_absence(text: str) -> bool:
    """Whether the words say `File […] not found`: the report is not made yet."""
    return _NOT_THERE.search(text) is not None


def rows(file: IO[bytes], max_unpacked: int = MAX_UNPACKED) -> Iterator[Row]:
    """Rows by the names of their columns, read as they are asked for.

    `file` must be seekable. Raises `MalformedRequest`, possibly after some rows.
    """
    budget = _Budget(max_unpacked)
    try:
        for source in _unpacked(file):
            with io.BufferedReader(_Counted(source, budget)) as counted:
                yield from _table(_lines(counted))
    except _DAMAGED as error:
        raise MalformedRequest("Файл истории повреждён") from error


class _Source(Protocol):
    """Anything bytes are read from: the file, a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


class _Budget:
    """Bytes that may still be unpacked, for all files of an archive together."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise MalformedRequest("Файл истории слишком велик после распаковки")


class _Counted(io.RawIOBase):
    """A stream that pays for every byte."""

    def __init__(self, source: _Source, budget: _Budget) -> None:
        super().__init__()
        self._source, self._budget = source, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), _CHUNK))
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_HEAD)


def _unpacked(file: IO[bytes]) -> Iterator[_Source]:
    head = _head(file)
    if head.startswith(_ZIP):
        yield from _members(file)
        return
    file.seek(0)
    yield gzip.GzipFile(fileobj=file, mode="rb") if head.startswith(_GZIP) else file


def _members(file: IO[bytes]) -> Iterator[_Source]:
    if _entries(file) > MAX_MEMBERS:
        raise MalformedRequest("В архиве истории слишком много файлов")
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            if member.compress_type not in _KNOWN_PACKING:
                raise MalformedRequest("Архив истории упакован неизвестным способом")
            yield archive.open(member)


def _entries(file: IO[bytes]) -> int:
    """Entries by their marks, before the library makes an object of each."""
    file.seek(0)
    return sum(piece.count(_ZIP_ENTRY) for piece in iter(lambda: file.read(_CHUNK), b""))


def _lines(source: io.BufferedReader[Any]) -> Iterator[str]:
    """Text line by line: UTF-8, else Windows-1251; UTF-16 when its mark stands first."""
    if source.peek(2)[:2] in _WIDE:
        yield from _wide_lines(source)
        return
    while line := source.readline(_MAX_LINE):
        yield _checked(_decoded(line), len(line))


def _wide_lines(source: io.BufferedReader[Any]) -> Iterator[str]:
    text = io.TextIOWrapper(source, "utf-16", newline="")
    while line := text.readline(_MAX_LINE):
        yield _checked(line, len(line))


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1251", "replace")


def _checked(line: str, size: int) -> str:
    if size >= _MAX_LINE or "\x00" in line:
        raise MalformedRequest("Файл истории не похож на таблицу")
    return line


def _table(lines: Iterator[str]) -> Iterator[Row]:
    first = next((line for line in lines if line.strip("\ufeff \t\r\n")), "").lstrip("\ufeff")
    names: Sequence[str] = COLUMNS
    separator = max(_SEPARATORS, key=first.count)
    for cells in csv.reader(chain([first], lines), delimiter=separator):
        values = [cell.strip() for cell in cells]
        if "session_id" in (lowered := [value.lower() for value in values]):
            names = lowered
        elif any(values):
            yield dict(zip(names, values, strict=False))
