"""An append-only file of checksummed records: what a process killed in the middle of a write leaves stays readable.

An HDF5 file whose writer was killed may be lost as a whole; of this log only the record that was being written is.

Layout: 8 bytes `STGLOG02`, then records of [4-byte length of key][8-byte length of body][4-byte CRC-32 of both][key]
[body], little-endian. The first record has the key `b""` and holds the header.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utility.file_lock import InUse, open_locked

MAGIC = b"STGLOG02"
_HEAD = struct.Struct("<IQI")


class DamagedLog(Exception):
    """The file does not start as a log does: nothing in it can be used."""


class LogInUse(InUse):
    """Another process is appending to this file."""


def read_records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """(key, body, position after the record) of every whole record, header first; stops at the first damaged one.

    Raises:
        DamagedLog: no valid start or header.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DamagedLog(f"{path} is not a record log")
        size = path.stat().st_size
        first = True
        while True:
            record = _read_record(file, size)
            if record is None or (first and record[0] != b""):
                if first:
                    raise DamagedLog(f"{path} has no readable header")
                return
            first = False
            yield *record, file.tell()


def read_header(path: Path) -> bytes:
    """Body of the header record.

    Raises:
        DamagedLog: no valid start or header.
    """
    for _, body, _ in read_records(path):
        return body
    raise DamagedLog(f"{path} has no readable header")


class RecordLog:
    """Appends records to a log; opening one that exists first cuts off a half-written tail. One writer at a time."""

    def __init__(self, path: Path, header: bytes):
        """
        Raises:
            DamagedLog: the file exists and is no log.
            LogInUse: another process has it open for appending.
        """
        self._path = path
        self._file = self._opened(path)
        try:
            if path.stat().st_size == 0:
                self._write(MAGIC)
                self.append(b"", header)
            else:
                end = len(MAGIC)
                for _, _, end in read_records(path):  # noqa: B007 - only the last position counts
                    pass
                self._file.truncate(end)
        except BaseException:
            self._file.close()
            raise

    def append(self, key: bytes, body: bytes) -> None:
        """Writes one record and hands it to the operating system (safe against the death of this process).

        Raises:
            OSError: no space; the records before are whole.
        """
        check = zlib.crc32(body, zlib.crc32(key))
        self._write(_HEAD.pack(len(key), len(body), check) + key + body)

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror} while writing {self._path}; everything before is stored: free space and run "
                "the same command again",
            ) from error

    @staticmethod
    def _opened(path: Path) -> IO:
        file = open_locked(path)
        if file is None:
            raise LogInUse(
                f"{path} is being written by another process. Wait for it or stop it; "
                "to use several processes start them together with torchrun"
            )
        return file


def _read_record(file, size: int) -> tuple[bytes, bytes] | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    key_length, body_length, check = _HEAD.unpack(head)
    if file.tell() + key_length + body_length > size:
        return None
    key, body = file.read(key_length), file.read(body_length)
    if len(key) < key_length or len(body) < body_length or zlib.crc32(body, zlib.crc32(key)) != check:
        return None
    return key, body
