"""What a program may meet: a disk that takes no more, a folder that may not be written to, a kill at any moment."""

import ctypes
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

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
def read_only(folder: Path):
    """A folder in which nothing can be made or removed."""
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


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
