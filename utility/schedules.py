"""Learning-rate schedules, one factor per optimiser step, as torch LambdaLR objects.

Every function takes an optimiser whose groups already hold their own full rate; the factor multiplies all of them. Call
`.step()` after each optimiser step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(optimizer: Optimizer) -> LambdaLR:
    """The full rate at every step."""
    return LambdaLR(optimizer, lambda step: 1.0)


def linear(optimizer: Optimizer, total_steps: int, warmup: float = 0.1) -> LambdaLR:
    """Linear from 0 over the first `warmup` share of the steps, then linear to 0 (the captioner's)."""
    first = int(_share(warmup) * _steps(total_steps))

    def factor(step: int) -> float:
        if step < first:
            return step / first
        return max(0.0, (total_steps - step) / max(1, total_steps - first))

    return LambdaLR(optimizer, factor)


def clip4clip_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.1) -> LambdaLR:
    """CLIP4Clip's: linear from 0 while step/total < warmup, then 0.5 (1 + cos(pi step/total)) of the SAME step/total.

    The rate drops at the joint; this is how the published models were trained.
    """
    _steps(total_steps)
    _share(warmup)

    def factor(step: int) -> float:
        done = step / total_steps
        if done < warmup:
            return done / warmup
        return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))

    return LambdaLR(optimizer, factor)


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, base_lr: float, warmup: float = 0.1, start_lr: float = 1e-8
) -> LambdaLR:
    """STOP's and TempMe's: linear from `start_lr` to `base_lr`, then half a cosine over the remaining steps to 0.

    Args:
        base_lr: rate of a group with multiplier 1, to which `start_lr` (also the floor at the end) relates.
    """
    first = int(_share(warmup) * _steps(total_steps))
    floor = start_lr / base_lr

    def factor(step: int) -> float:
        if step < first:
            return floor + (1.0 - floor) * step / first
        done = min(1.0, (step - first) / max(1, total_steps - first))
        return max(floor, 0.5 * (1.0 + math.cos(math.pi * done)))

    return LambdaLR(optimizer, factor)


def epoch_cosine(
    optimizer: Optimizer, epochs: int, steps_per_epoch: int, base_lr: float, end_lr: float = 1e-6
) -> LambdaLR:
    """The recognisers': one rate per epoch e, end_lr + (base_lr - end_lr) (1 + cos(pi e / epochs)) / 2."""
    _steps(epochs * steps_per_epoch)

    def factor(step: int) -> float:
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(step // steps_per_epoch, epochs) / epochs))
        return (end_lr + (base_lr - end_lr) * cosine) / base_lr

    return LambdaLR(optimizer, factor)


def advance(schedule: LambdaLR, steps: int) -> None:
    """Brings a new schedule to where it would be after so many steps."""
    schedule.last_epoch = steps
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(steps)


SCHEDULES: dict[str, Callable[..., LambdaLR]] = {
    "constant": constant,
    "linear": linear,
    "clip4clip_cosine": clip4clip_cosine,
    "warmup_cosine": warmup_cosine,
    "epoch_cosine": epoch_cosine,
}


def _steps(total: int) -> int:
    if total < 1:
        raise ValueError(f"a schedule needs at least one optimiser step, got {total}: fewer samples than --batch_size?")
    return total


def _share(warmup: float) -> float:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"the warm-up is a share of all steps, at least 0 and below 1, got {warmup}")
    return warmup
