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


@torch.no_grad()
def both_directions(rows: Tensor, gather: Gather = alone, rank: int = 0) -> dict[str, Tensor]:
    """Numbers to watch: mean cross entropies of this process's pairs, text to video and video to text, and R@1.

    Shapes:
        rows: [b, n], logits of own texts with the videos of all processes
    """
    with torch.autocast(rows.device.type, enabled=False):
        own = torch.arange(len(rows), device=rows.device) + rank * len(rows)
        every = gather(rows.detach().float())
        t2v, v2t = F.cross_entropy(every[own], own), F.cross_entropy(every.T[own], own)
    found = 100 * (every[own].argmax(1) == own).float().mean()
    return {"sim_loss": (t2v + v2t) / 2, "loss_t2v": t2v, "loss_v2t": v2t, "batch_R1": found}
