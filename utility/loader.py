"""Micro-batches for training: split over processes, resumable at any step, independent of the number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from utility.distributed import Distributed, ShardedSampler
from utility.processes import ignore_interrupts
from utility.random_state import seed_host, untouched_random_states


class BatchLoader:
    """Iterates over this rank's micro-batches of an epoch, in whole optimiser steps.

    Step s of an epoch consists of positions s * batch_size ... of an order common to all ranks, whatever the number of
    processes and the micro-batch size; samples that do not fill a last step are left out of that epoch, or with
    `keep_rest` make a smaller one (then only what does not divide among the processes is left out). What a data set
    draws at random for a micro-batch depends on seed, epoch, rank and micro-batch alone, so that a resumed run draws
    the same, with any number of workers.

    Args:
        dataset: `dataset[index]` gives a sample; `set_epoch(epoch)`, where it has that, is called before those of an
            epoch, in every process that loads them.
        collate: list of samples -> batch.
        batch_size: samples per optimiser step over all processes.
        micro_batch_size: samples per forward pass and process; must divide batch_size / processes.
        keep_rest: use what does not fill a last step, as corpora of a few shots need.

    Raises:
        ValueError: sizes that do not divide, or fewer samples than one step needs.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Callable[[list[Any]], Any],
        batch_size: int,
        micro_batch_size: int | None = None,
        dist: Distributed | None = None,
        seed: int = 0,
        shuffle: bool = True,
        num_workers: int = 0,
        keep_rest: bool = False,
    ):
        dist = dist or Distributed()
        self.micro_batch_size, self.accumulation = split_batch(batch_size, micro_batch_size, dist.world_size)
        length = len(dataset)  # type: ignore[arg-type]
        if length < (dist.world_size if keep_rest else batch_size):
            raise ValueError(f"--batch_size {batch_size} is larger than the training data: {length} samples")
        own = length // dist.world_size
        count = -(-own // self.micro_batch_size) if keep_rest else length // batch_size * self.accumulation
        self.steps_per_epoch = -(-count // self.accumulation)
        self._sampler = ShardedSampler(length, dist, seed, shuffle, drop_last=True)
        self._order = _MicroBatchOrder(self._sampler, self.micro_batch_size, count)
        self._loader = DataLoader(
            _MicroBatches(dataset, collate, seed, dist.rank),
            batch_size=None,
            sampler=self._order,
            num_workers=num_workers,
            pin_memory=dist.device.type == "cuda",
            persistent_workers=num_workers > 0,
            # An interrupted training finishes its step, for which it needs them.
            worker_init_fn=ignore_interrupts,
        )

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Chooses the epoch's order; `skip` leaves out that many micro-batches from its start without loading them."""
        self._sampler.set_epoch(epoch)
        self._order.skip = skip

    def __len__(self) -> int:
        """Micro-batches of a whole epoch on this rank."""
        return self._order.count

    def __iter__(self) -> Iterator[Any]:
        # A DataLoader draws a base seed from torch's generator; the model's dropout must not notice.
        with untouched_random_states():
            iterator = iter(self._loader)
        return _named_deaths(iterator)


class WorkerDied(OSError):
    """A process that prepares batches was killed, for instance by a system without memory."""


def _named_deaths(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerDied(
            f"{str(error).splitlines()[0]} It was preparing batches; if memory ran out, use fewer processes "
            "(--num_workers) or a smaller --micro_batch_size; --resume continues from the last checkpoint"
        ) from error


def split_batch(batch_size: int, micro_batch_size: int | None, world_size: int, group: int = 1) -> tuple[int, int]:
    """(micro-batch size, accumulation) for a batch size that counts the samples of a step over all processes.

    Args:
        group: samples that stay together, as the captions of a video do (`--captions_per_video`).

    Raises:
        ValueError: what does not divide.
    """
    if batch_size < 1 or batch_size % (world_size * group):
        together = f" times --captions_per_video {group}" if group > 1 else ""
        raise ValueError(
            f"--batch_size {batch_size} must be a positive multiple of the number of processes{together}, "
            f"{world_size * group}"
        )
    share = batch_size // world_size
    micro = share if micro_batch_size in (None, 0) else micro_batch_size
    if micro not in (possible := micro_batch_sizes(share, group)):
        raise ValueError(
            f"--micro_batch_size {micro} does not divide the {share} {'captions' if group > 1 else 'samples'} per "
            f"process and step (--batch_size {batch_size} over {world_size} processes). Possible: {_listed(possible)}"
        )
    return micro, share // micro


def micro_batch_sizes(share: int, group: int = 1) -> list[int]:
    """Sizes into which a process can cut its share of a step without parting samples that stay together."""
    return [size for size in range(group, share + 1, group) if share % size == 0]


def piece_size(batch_size: int, micro_batch_size: int | None, pieces: int, world_size: int) -> tuple[int, int]:
    """(samples, pieces) of a step of one process, from a micro-batch or from the number of pieces.

    Raises:
        ValueError: what does not divide.
    """
    share = split_batch(batch_size, None, world_size)[0]
    if share % pieces:
        raise ValueError(
            f"--gradient_accumulation_steps {pieces} does not divide the {share} pairs of a process and step "
            f"(--batch_size {batch_size} over {world_size} processes). Possible: {_listed(micro_batch_sizes(share))}"
        )
    return split_batch(batch_size, share // pieces if pieces > 1 else micro_batch_size, world_size)


def batch_within(count: int, batch_size: int, micro_batch_size: int | None, pieces: int, world_size: int) -> int:
    """The largest batch size that so many samples and the given pieces allow, at most `batch_size`."""
    step = world_size * max(pieces, micro_batch_size or 1)
    return batch_size if count >= batch_size else max(count // step * step, min(count, step))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


class _MicroBatchOrder(Sampler):
    """Yields (epoch, number, indices) of each micro-batch."""

    def __init__(self, sampler: ShardedSampler, size: int, count: int):
        self.sampler, self.size, self.count, self.skip = sampler, size, count, 0

    def __len__(self) -> int:
        return self.count - self.skip

    def __iter__(self) -> Iterator[tuple[int, int, list[int]]]:
        indices = list(self.sampler)
        for number in range(self.skip, self.count):
            yield self.sampler.epoch, number, indices[number * self.size : (number + 1) * self.size]


class _MicroBatches(Dataset):
    """Loads a micro-batch at once, its random draws keyed by place instead of by what was drawn before."""

    def __init__(self, dataset: Dataset, collate: Callable[[list[Any]], Any], seed: int, rank: int):
        self.dataset, self.collate, self.seed, self.rank = dataset, collate, seed, rank
        self.epoch: int | None = None

    def __getitem__(self, place: tuple[int, int, Sequence[int]]) -> Any:
        epoch, number, indices = place
        if epoch != self.epoch and hasattr(self.dataset, "set_epoch"):
            # Here, because a process that loads keeps its own data set for as long as the training lasts.
            self.dataset.set_epoch(epoch)
        self.epoch = epoch
        with untouched_random_states():
            # A GPU draws for the model, not for data: it is neither seeded here nor put back afterwards.
            seed_host(self.seed, epoch, self.rank, number)
            return self.collate([self.dataset[index] for index in indices])


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it (dicts, lists, tuples, objects with `.to`) on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch
