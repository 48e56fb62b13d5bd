"""Contrastive losses over the batch of all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""Rows of every process in rank order, differentiable: the gradient of a row is summed over the processes."""


def alone(tensor: Tensor) -> Tensor:
    """The gather of a single process."""
    return tensor


def symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """Mean of the cross entropies of rows and of columns, the diagonal being right.

    Shapes:
        logits: [n, n], texts x videos; returns a scalar
    """
    target = torch.arange(logits.shape[0], device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def symmetric_cross_entropy_sum(rows: Tensor, columns: Tensor, offset: int = 0) -> Tensor:
    """This process's share of the loss: the sum over its own texts and videos.

    Summed over processes and divided by the number of all pairs it is `symmetric_cross_entropy` of the whole matrix,
    in value and, when features were gathered by a `Gather`, in gradient.

    Shapes:
        rows: [b, n], own texts x all videos; columns: [b, n], own videos x all texts
        offset: position of the first own pair among all
    """
    target = torch.arange(offset, offset + rows.shape[0], device=rows.device)
    return (F.cross_entropy(rows, target, reduction="sum") + F.cross_entropy(columns, target, reduction="sum")) / 2
