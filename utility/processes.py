"""A plain start becomes one process per GPU, with the environment that torchrun would give them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

GRACE_SECONDS = 20


def under_launcher() -> bool:
    """Whether torchrun (or we) started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def visible_gpus() -> list[int]:
    import torch  # seconds; a process that only starts others still has to ask

    return list(range(torch.cuda.device_count()))


def environments(
    gpus: Sequence[int], machines: int = 1, machine: int = 0, address: str = "tcp://127.0.0.1:6101"
) -> list[dict[str, str]]:
    """The variables of every process of this machine: one per GPU, or a single one without any.

    Args:
        address: `tcp://HOST:PORT` of the first machine. On one machine a free port is taken instead.

    Raises:
        ValueError: an address without host and port.
    """
    url = urlparse(address)
    if url.scheme != "tcp" or not url.hostname or not url.port:
        raise ValueError(f"--init_method {address}: must be tcp://HOST:PORT, reachable from every machine")
    host, port = (url.hostname, url.port) if machines > 1 else ("127.0.0.1", _free_port())
    count = max(1, len(gpus))
    common = {
        "WORLD_SIZE": count * machines,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
    }
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(_device_name, gpus))} if gpus else {}
    return [
        {**{k: str(v) for k, v in common.items()}, **visible, "RANK": str(machine * count + i), "LOCAL_RANK": str(i)}
        for i in range(count)
    ]


def run_processes(command: Sequence[str], variables: Sequence[Mapping[str, str]]) -> int:
    """Runs a command once per set of variables; when one fails, or this process is ended, the others are ended too.

    Returns: exit status of the first process that failed, 0 if none did
    """
    listens = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if listens else None
    running: list[subprocess.Popen] = []
    try:
        running += [subprocess.Popen(list(command), env={**os.environ, **more}) for more in variables]
        while True:
            codes = [process.poll() for process in running]
            failed = next((code for code in codes if code), None)
            if failed is not None or all(code == 0 for code in codes):
                return failed or 0
            time.sleep(0.2)
    except KeyboardInterrupt:
        # Ctrl-C has reached them too; they save and end by themselves.
        codes = [_wait(process) for process in running]
        return next((code for code in codes if code), 130)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            _wait(process)
        if listens:
            signal.signal(signal.SIGTERM, before)


def ignore_interrupts(_: object = None) -> None:
    """For processes that work for another one: Ctrl-C reaches all, and what follows is for the other one to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def own_command(argv: Sequence[str], program: str) -> list[str]:
    """What starts this program again with the same words."""
    return [sys.executable, program, *argv]


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _wait(process: subprocess.Popen) -> int:
    try:
        return process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _device_name(gpu: int) -> str:
    """The GPU's name among all, where CUDA_VISIBLE_DEVICES already shows only some."""
    shown = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not shown:
        return str(gpu)
    if gpu >= len(shown):
        raise ValueError(f"GPU {gpu} was asked for, CUDA_VISIBLE_DEVICES shows {len(shown)}: {','.join(shown)}")
    return shown[gpu]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def processes_for(launch: Any, device: str) -> tuple[str, list[dict[str, str]]]:
    """(device of this process, variables of the processes to start in its place, empty for none).

    Args:
        launch: has gpu, multigpu, dp, world_size, node_rank and init_method, see the flags of the same names.
        device: `--device`.

    Raises:
        ValueError: an address without host and port.
    """
    if under_launcher():
        return device, []
    if launch.gpu is not None:
        gpus = [launch.gpu]
    elif device not in ("auto", "cuda"):
        gpus = []
    else:
        gpus = [int(number) for number in launch.multigpu.split(",")] if launch.multigpu else visible_gpus()
    if max(1, len(gpus)) * launch.world_size > 1:
        return device, environments(gpus, launch.world_size, launch.node_rank, launch.init_method)
    named = launch.gpu is not None or (gpus and launch.multigpu)
    return (f"cuda:{gpus[0]}" if named else device), []
