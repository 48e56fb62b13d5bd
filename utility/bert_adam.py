"""BertAdam: the optimiser of CLIP4Clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class BertAdam(Optimizer):
    """Adam without bias correction, gradients clipped tensor by tensor, weight decay added to the step.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, p <- p - lr (m / (sqrt v + eps) + decay p)

    The rate of a step comes from the group, so that any schedule of `utility.schedules` drives it.

    Args:
        tensor_norm: largest gradient norm of one tensor; 0: no such clipping.

    Source: Devlin et al., BERT, 2019; the values are CLIP4Clip's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        tensor_norm: float = 1.0,
    ):
        if lr < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr must be 0 or more and betas in [0, 1), got {lr} and {betas}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "tensor_norm": tensor_norm}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update; the loss of `closure`, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (first, second), limit = group["betas"], group["tensor_norm"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                if limit:
                    torch.nn.utils.clip_grad_norm_(parameter, limit)
                gradient, mean, square = parameter.grad, state["mean"], state["square"]
                mean.lerp_(gradient, 1 - first)
                square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
                update = mean / square.sqrt().add_(group["eps"])
                parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=group["lr"])
        return loss
