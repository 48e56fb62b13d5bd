"""Loss and further numbers of one optimiser step, over its micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from utility.distributed import Distributed

Number = Tensor | float
# A mean, averaged with the weight of the loss, or a sum with a weight of its own.
Metric = Number | tuple[Number, Number]


@dataclass
class StepTotals:
    """Means over the micro-batches and ranks of one step, and what they are over.

    Attributes:
        loss, weight: of the loss.
        metrics, weights: of the further numbers.
        interrupted: whether any rank was asked to stop.
        own_losses: loss sums of this rank's micro-batches.
    """

    loss: float
    weight: float
    metrics: dict[str, float]
    weights: dict[str, float]
    interrupted: bool
    own_losses: list[Tensor]


def step_totals(
    losses: Sequence[Tensor],
    weights: Sequence[Number],
    metrics: Sequence[Mapping[str, Metric]],
    stop: bool,
    dist: Distributed,
) -> StepTotals:
    """Adds up what the micro-batches of every rank gave, one of each per micro-batch, in one exchange."""
    counts = [_number(weight, dist) for weight in weights]
    pairs = [
        {name: _sum_and_weight(value, count, dist) for name, value in numbers.items()}
        for numbers, count in zip(metrics, counts, strict=True)
    ]
    names = sorted(pairs[0])
    parts = [sum(each[name][part] for each in pairs) for name in names for part in (0, 1)]
    sums = dist.all_sum(torch.stack([sum(losses), sum(counts), _number(stop, dist), *parts]))
    total, weight, stops, *parts = sums.tolist()
    own = dict(zip(names, parts[1::2], strict=True))
    means = {name: _quotient(part, own[name]) for name, part in zip(names, parts[::2], strict=True)}
    return StepTotals(_quotient(total, weight), weight, means, own, stops > 0, list(losses))


def _number(value: Number, dist: Distributed) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=dist.device).detach()


def _sum_and_weight(value: Metric, weight: Tensor, dist: Distributed) -> tuple[Tensor, Tensor]:
    if isinstance(value, tuple):
        return _number(value[0], dist), _number(value[1], dist)
    return _number(value, dist) * weight, weight


def _quotient(total: float, weight: float) -> float:
    return total / weight if weight else math.nan
