"""What a program may meet: a full disk, a folder that may not be written to, Ctrl-C, a kill at any moment."""

import ctypes
import itertools
import os
import pkgutil
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from launch import ENVIRONMENT

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def run(command: Sequence[object], file_bytes: int | None = None) -> subprocess.CompletedProcess:
    """Runs a program to its end, as a user to whom permissions apply even where the tests run as root.

    Args:
        file_bytes: no file may become larger; more fails as on a full disk (with "File too large").
    """

    def restrict() -> None:
        if os.geteuid() == 0:
            ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    words = list(map(str, command))
    return subprocess.run(
        words, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, preexec_fn=restrict, errors="replace"
    )


@contextmanager
def full_disk(file_bytes: int):
    """In this process no file may become larger; more fails as on a full disk (with "File too large")."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def on_a_small_disk(folder: Path, kilobytes: int, command: Sequence[object]) -> list[object]:
    """The command in a mount namespace of its own, in which `folder` is a disk of that size; then its files are kept
    in the folder `kept` beside it.

    Skips the test where this machine lets nobody mount such a disk.
    """
    if run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    kept = folder.with_name("kept")
    for place in (folder, kept):
        place.mkdir()
    script = (
        f'mount -t tmpfs -o size={kilobytes}k none {folder} && shift && "$@"; status=$?; '
        f"cp -r {folder}/. {kept}; exit $status"
    )
    return ["unshare", "-rm", "sh", "-c", script, "sh", "--", *command]


@contextmanager
def read_only(folder: Path):
    """A folder in which nothing can be made or removed."""
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


@contextmanager
def ctrl_c_in(function: str, call: int = 1):
    """Ctrl-C (the signal, in this process) when a function is called for the `call`-th time.

    Args:
        function: its module, class and name, with dots, as `monkeypatch.setattr` takes it.
    """
    original, calls = pkgutil.resolve_name(function), itertools.count(1)

    def pressed(*args, **options):
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    # Jobs in the background of a shell are started deaf to Ctrl-C, and tests may run in one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(function, pressed)
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    assert next(calls) > call, f"{function} was not called {call} times"


def press_ctrl_c(command: Sequence[object], begun: Callable[[], bool]) -> subprocess.CompletedProcess:
    """Starts a program and presses Ctrl-C once it has begun: as in a terminal, all of its processes get the signal."""

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    words = list(map(str, command))
    process = subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True, preexec_fn=hear,
    )  # fmt: skip
    while process.poll() is None and not begun():
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(words, process.returncode, printed, errors)


def kill_at_random(command: Sequence[object], begun: Callable[[], bool], seconds: float) -> float | None:
    """Starts a program and kills it (signal 9) at a random moment within some seconds after it has begun its work.

    Returns: the moment, None if the program had ended by then.
    """
    process = subprocess.Popen(
        list(map(str, command)), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not begun():
        time.sleep(0.002)
    moment = random.SystemRandom().uniform(0, seconds)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return moment
    return None
