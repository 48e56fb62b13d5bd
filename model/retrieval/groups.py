"""Encoding a batch group by group: memory of one group, numbers and gradients of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def in_groups(module: nn.Module, encode: Callable[..., Tensor], size: int, *inputs: Tensor) -> Tensor:
    """Rows of `encode(*inputs)`, so many at a time; where gradients are wanted each group is computed again for them.

    The second time random numbers are those of the first, and batch norms of `module` do not count the group twice.

    Args:
        size: rows of a group; 0 encodes all at once.
    """
    if not size or size >= inputs[0].shape[0]:
        return encode(*inputs)
    groups = zip(*(tensor.split(size) for tensor in inputs), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([encode(*group) for group in groups])

    def contexts():
        return nullcontext(), _statistics_at_rest(module)

    return torch.cat([checkpoint(encode, *group, use_reentrant=False, context_fn=contexts) for group in groups])


def rest_frozen_norms(module: nn.Module) -> None:
    """Puts batch norms whose weights do not train into eval mode: they stay as they are, statistics included."""
    for norm in _norms(module):
        if norm.weight is not None and not norm.weight.requires_grad:
            norm.eval()


@contextmanager
def _statistics_at_rest(module: nn.Module) -> Iterator[None]:
    counting = [norm for norm in _norms(module) if norm.training and norm.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in counting]
    for norm in counting:
        norm.momentum = 0.0  # not `track_running_stats`, without which it would save other tensors than at first
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(counting, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]
