"""Files and folders that appear under their name only when they are complete; older ones stay until then."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utility.file_lock import lock


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A path to write to, which takes the given name at the end of the block, when all of it is on disk.

    After an exception the file of that name is what it was.

    Raises:
        OSError: it could not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing.{os.getpid()}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say where
            raise OSError(error.errno, f"{error.strerror or error} while writing {path}") from error
        raise


@contextmanager
def whole_folder(folder: Path | str) -> Iterator[Path]:
    """An empty folder to write files into. It takes the name at the end of the block, when all of it is on disk.

    After an exception, or a kill, the folder of that name is what it was; what a killed run left beside it is removed
    by the next one.

    Raises:
        OSError: it could not be written.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    for other in folder.parent.glob(f".{glob.escape(folder.name)}.writing.*"):
        if _left_by_a_kill(other):
            shutil.rmtree(other, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.writing.", dir=folder.parent))
    handle = os.open(temporary, os.O_RDONLY)
    lock(handle)  # for as long as it is open, and no longer than this process lives
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        _replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(handle)


def _left_by_a_kill(temporary: Path) -> bool:
    try:
        handle = os.open(temporary, os.O_RDONLY)
    except FileNotFoundError:  # finished meanwhile
        return False
    try:
        return lock(handle)
    finally:
        os.close(handle)


def recover(folder: Path | str) -> None:
    """Undoes a replacement that a kill cut between its two renames."""
    folder = Path(folder)
    previous = _previous(folder)
    if previous.is_dir():
        if folder.exists():
            shutil.rmtree(previous)
        else:
            os.rename(previous, folder)


def sync(path: Path) -> None:
    """Waits until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _replace(temporary: Path, folder: Path) -> None:
    previous = _previous(folder)
    if folder.exists():
        os.rename(folder, previous)
    os.rename(temporary, folder)
    sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)
