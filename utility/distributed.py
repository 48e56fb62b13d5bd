"""One process or several: start-up, collectives and sharded sampling over torch.distributed.

The same program runs as a plain process (`python main.py`) and under `torchrun --nproc_per_node N main.py`; on CPU the
processes talk through gloo, on GPUs through NCCL (and gloo for Python objects).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as torch_distributed

T = TypeVar("T")

PROCESSES = Path("/proc")
# Ranks of an extraction may finish hours apart; torchrun ends the others when one dies, so waiting long is safe.
TIMEOUT = timedelta(hours=24)
# What gloo and NCCL say, at the next exchange, where a process has ended.
PEER_ENDED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


@dataclass
class Distributed:
    """Place of this process among its siblings. The default is a plain process.

    Attributes:
        machines: on which the processes are; those of one share files and page cache.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    machines: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and log lines."""
        return self.rank == 0

    def barrier(self) -> None:
        """Returns when every process has arrived."""
        if self.world_size > 1:
            torch_distributed.all_reduce(torch.zeros(1))

    def all_sum(self, value: T) -> T:
        """Sum of `value` (a tensor of one shape everywhere, or a number) over all processes; the argument is kept."""
        if self.world_size == 1:
            return value
        if isinstance(value, torch.Tensor):
            total = value.detach().clone()
            torch_distributed.all_reduce(total)
            return total
        total = torch.tensor(value, dtype=torch.float64)
        torch_distributed.all_reduce(total)
        return type(value)(total.item())

    def gather_objects(self, value: T) -> list[T]:
        """Every process's `value`, ordered by rank, on every process. For small Python objects."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch_distributed.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrites the tensors (on `device`, of the same shapes everywhere) with those of the first process."""
        if self.world_size > 1:
            for tensor in tensors:
                torch_distributed.broadcast(tensor.detach(), 0)

    def shard(self, items: Sequence[T]) -> list[T]:
        """This rank's part of a list: items rank, rank + world_size, ... No item is lost or repeated."""
        return list(items[self.rank :: self.world_size])

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """`all_gather_with_gradient(tensor, self)`, in the form that losses take as their `gather` argument."""
        return all_gather_with_gradient(tensor, self)

    def stop(self) -> None:
        """Leaves the process group; the last call of a program."""
        if self.world_size > 1 and torch_distributed.is_initialized():
            # A DDP module is part of a reference cycle; collected only when the interpreter ends, it would find the
            # group's threads gone and abort the process.
            gc.collect()
            torch_distributed.destroy_process_group()


def start(device: str = "auto") -> Distributed:
    """Joins the process group that torchrun announces, or stays a plain process; chooses device and thread count.

    Args:
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N` (plain process only).

    Raises:
        ValueError: unknown device, no such GPU, or a numbered GPU for several processes.
    """
    rank = int(os.environ.get("RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    chosen = choose_device(device, local_rank, world_size)
    siblings = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    torch.set_num_threads(threads_asked_for() or max(1, available_cores() // siblings))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size > 1 and not torch_distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
        torch_distributed.init_process_group(backend, timeout=TIMEOUT)
    return Distributed(rank, world_size, local_rank, chosen, max(1, world_size // siblings))


def peer_ended(error: RuntimeError) -> bool:
    """Whether a process could not go on because another one of the run was gone."""
    return any(words in str(error) for words in PEER_ENDED)


def threads_asked_for() -> int:
    """What the user set OMP_NUM_THREADS to, 0 if nothing.

    torchrun gives several processes `OMP_NUM_THREADS=1` where the user gave none. Its own environment as it was when it
    started, which Linux keeps, tells the two apart; where that cannot be read a 1 counts as torchrun's.
    """
    value = os.environ.get("OMP_NUM_THREADS", "")
    if value == "1" and "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        try:
            given = (PROCESSES / str(os.getppid()) / "environ").read_bytes().split(b"\0")
        except OSError:
            return 0
        return int(b"OMP_NUM_THREADS=1" in given)
    return int(value or 0)


def available_cores() -> int:
    """Processor cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(device: str = "auto", local_rank: int = 0, world_size: int = 1) -> torch.device:
    """The torch device that a `--device` value means for the process with this local rank."""
    name = device.strip().lower()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind != "cuda" or (number and not number.isdigit()):
        raise ValueError(f"unknown device {device!r}. Known: auto, cpu, cuda, cuda:N")
    if not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch sees no GPU here. Use --device cpu, or auto")
    if number and world_size > 1:
        raise ValueError(f"--device {device}: {world_size} processes take one GPU each. Use --device cuda")
    index = int(number) if number else local_rank
    if index >= torch.cuda.device_count():
        raise ValueError(f"GPU {index} was asked for, torch sees {torch.cuda.device_count()}: start fewer processes")
    return torch.device("cuda", index)


class ShardedSampler(torch.utils.data.Sampler[int]):
    """This rank's indices of a data set: positions rank, rank + world_size, ... of one order common to all ranks.

    A global batch of B consecutive positions therefore holds the same samples whatever the number of processes, as long
    as that divides B. Nothing is repeated: without `drop_last` some ranks get one index more than others (right for
    evaluation), with it all get the same number (needed for training).
    """

    def __init__(
        self, length: int, dist: Distributed | None = None, seed: int = 0, shuffle: bool = True, drop_last: bool = False
    ):
        self.length = length
        self.dist = dist or Distributed()
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0
        self.position = 0

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Order of this epoch; `position` is how many of this rank's indices were already consumed."""
        self.epoch = epoch
        self.position = position

    def state_dict(self) -> dict[str, int]:
        """Epoch and position."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Inverse of `state_dict`."""
        self.set_epoch(state["epoch"], state["position"])

    def __len__(self) -> int:
        mine = len(range(self.dist.rank, self.length, self.dist.world_size))
        return max(0, (self.length // self.dist.world_size if self.drop_last else mine) - self.position)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        mine = order[self.dist.rank :: self.dist.world_size].tolist()
        return iter(mine[self.position : self.position + len(self)])


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dist: Distributed) -> torch.Tensor:
        ctx.dist, ctx.rows = dist, tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(dist.world_size)]
        torch_distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradient.contiguous().clone()
        torch_distributed.all_reduce(gradient)
        first = ctx.dist.rank * ctx.rows
        return gradient[first : first + ctx.rows], None


def all_gather_with_gradient(tensor: torch.Tensor, dist: Distributed) -> torch.Tensor:
    """Rows of all ranks, in rank order; the gradient of a row is summed over the ranks that used it.

    Shapes:
        tensor: [n, ...], the same n on every rank -> [world_size * n, ...]
    """
    return tensor if dist.world_size == 1 else _GatherWithGradient.apply(tensor, dist)
