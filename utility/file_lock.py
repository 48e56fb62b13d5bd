"""Advisory locks: one writer at a time. A lock ends with its process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no such locks: two writers are then the user's care
    fcntl = None


class InUse(OSError):
    """Another process is writing there; an OSError, for the user to change, as a full disk is."""


def lock(file: IO | int) -> bool:
    """Locks an open file (or folder, by its number) until it is closed; False if another process has locked it.

    Where the system has no locks (Windows, some network file systems), True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def open_locked(path: Path) -> IO | None:
    """The file, opened for appending without a buffer and locked until it is closed; None if another process has it."""
    while True:
        # Unbuffered: what a full disk refused must not be tried again when the file is closed.
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - stays open while the lock is held
        try:
            if not lock(file):
                file.close()
                return None
            if _is_in_place(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the run before removed the file between our opening and our locking it


def _is_in_place(file: IO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class FolderLock:
    """Keeps a second run out of a folder while the first one writes there.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / ".lock"
        self._file: IO | None = None

    def take(self) -> bool:
        """Whether the folder is ours now; it may have been before."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open_locked(self.path)
        return self._file is not None

    def leave(self) -> None:
        """Let others write there."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
