"""A device that has no more memory: one message that says what was asked for and which flags need less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from utility.distributed import Distributed
from utility.loader import micro_batch_sizes, split_batch
from utility.train_settings import TrainSettings

# What torch says of a GPU, of its matrix library, and of the processor's memory.
SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")


class OutOfDeviceMemory(RuntimeError):
    """The device has no room for what was asked for; the message says what that was and which flags need less."""


def ran_out(error: BaseException) -> bool:
    """Whether an exception of torch says that a device has no more memory."""
    if not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


@contextmanager
def memory_advice(doing: str, advice: str | Callable[[], str]) -> Iterator[None]:
    """Says what to do where the work inside needs more memory than the device has.

    Args:
        doing: where, and what was asked for, as in "out of memory DOING".
        advice: which flags need less; a function is called only then.

    Raises:
        OutOfDeviceMemory: in place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, OutOfDeviceMemory) or not ran_out(error):
            raise
        first = str(error).splitlines()[0]
        told = advice if isinstance(advice, str) else advice()
        raise OutOfDeviceMemory(f"out of memory {doing} ({first}). {told}") from error


def forward_memory(settings: TrainSettings, group: int, smaller: str, dist: Distributed) -> AbstractContextManager:
    """`memory_advice` for forward and backward pass of a micro-batch: a size that keeps the effective batch.

    Args:
        group: samples of which none is without the others in a micro-batch.
        smaller: what makes the model smaller.
    """
    micro, accumulation = split_batch(settings.batch_size, settings.micro_batch_size, dist.world_size)
    share = micro * accumulation

    def advice() -> str:
        sizes = [size for size in micro_batch_sizes(share, group) if size < micro]
        if not sizes:
            together = "a smaller --captions_per_video, " if group > 1 else ""
            return f"They cannot be smaller: use {together}--precision bf16, fewer frames, or {smaller}"
        return (
            f"--micro_batch_size {max(sizes)} keeps the effective --batch_size {settings.batch_size} "
            f"({share // max(sizes)} forward passes per step and process); --precision bf16 also helps"
        )

    return memory_advice(f"on {dist.device} with micro-batches of {micro} samples", advice)


def update_memory(optimizer: torch.optim.Optimizer, smaller: str, device: torch.device) -> AbstractContextManager:
    """`memory_advice` for an optimiser step, whose memory goes with what learns and not with the batch."""

    def advice() -> str:
        learns = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        # The parameter, its gradient, and the two averages of Adam.
        size = 4 * sum(p.numel() * p.element_size() for p in learns) / 2**30
        return (
            f"The {sum(p.numel() for p in learns):,} numbers that learn take {size:.2f} GiB with gradients and "
            f"averages, whatever the micro-batch: use {smaller}, or a device with more memory"
        )

    return memory_advice(f"on {device} in the optimiser step", advice)


def evaluation_memory(
    what: str, count: int, flag: str, otherwise: str, device: torch.device | str
) -> AbstractContextManager:
    """`memory_advice` for an evaluation that takes `count` samples at a time.

    Args:
        what: the samples, in the plural.
        flag: the one that sets `count`.
        otherwise: what helps where the count is 1.
    """
    fewer = f"{flag} {count // 2} needs about half of it and changes no score; " if count > 1 else ""
    return memory_advice(f"on {device} with {what} taken {count} at a time", f"{fewer}{otherwise}")
