"""Starts scripts as the programs are started: a plain process, or several, with or without torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
SECONDS = 240


def torchrun(script: Path, *arguments: object, processes: int = 2, check: bool = True) -> subprocess.CompletedProcess:
    """Runs a script under torchrun to its end; its output is shown where success was expected."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launcher, str(script), *map(str, arguments)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS)
    if check and result.returncode:
        raise AssertionError(f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def launch(script: Path, *arguments: object, processes: int = 1) -> list[str]:
    """Runs a script to its end in processes that find one another as torchrun's would, which starts in half the time.

    Returns: what each process printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, str(script), *map(str, arguments)]
    running = [
        subprocess.Popen(
            command,
            env={**ENVIRONMENT, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (printed, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            raise AssertionError(f"exit status {process.returncode}\n{printed}\n{errors}")
    return [printed for printed, _ in outputs]
