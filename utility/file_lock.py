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


def lock(file: IO) -> bool:
    """Locks an open file until it is closed; False if another process has locked it.

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
            while self._file is None:
                file = open(self.path, "ab")  # noqa: SIM115 - stays open while the lock is held
                if not lock(file):
                    file.close()
                    return False
                if self._is_in_place(file):
                    self._file = file
                else:  # the run before removed the file between our opening and our locking it
                    file.close()
        return True

    def _is_in_place(self, file: IO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def leave(self) -> None:
        """Let others write there."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
