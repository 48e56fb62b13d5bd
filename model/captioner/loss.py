"""Label-smoothed caption loss, as sums and counts that add up over micro-batches and processes."""

import math

from torch import Tensor

PAD = 0


def label_smoothed(
    logprobs: Tensor, targets: Tensor, eps: float = 0.15, count_padding: bool = False
) -> tuple[Tensor, Tensor]:
    """Summed KL divergence from the smoothed target distribution, and the number of positions it is over.

    The target distribution gives 1 - eps to the right word, eps / (V - 2) to every other word and nothing to the
    padding token; positions whose target is padding add nothing to the sum.

    Args:
        count_padding: count padding positions too (as published) rather than words only.

    Shapes:
        logprobs [..., V], targets [...] int64 -> two scalars; the loss is their quotient
    """
    V = logprobs.shape[-1]
    logprobs, targets = logprobs.reshape(-1, V), targets.reshape(-1)
    rest = eps / (V - 2)
    entropy = sum(weight * math.log(weight) * times for weight, times in ((1 - eps, 1), (rest, V - 2)) if weight > 0)
    right = logprobs.gather(1, targets[:, None])[:, 0]
    others = logprobs.sum(dim=1) - right - logprobs[:, PAD]
    words = targets != PAD
    rows = entropy - (1 - eps) * right - rest * others
    count = words.sum() if not count_padding else words.new_tensor(len(targets), dtype=targets.dtype)
    return rows.masked_fill(~words, 0).sum(), count


def caption_loss(
    r2l_logprobs: Tensor,
    l2r_logprobs: Tensor,
    r2l: Tensor,
    l2r: Tensor,
    eps: float = 0.15,
    l2r_weight: float = 0.6,
    count_padding: bool = False,
) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Weighted loss of both directions: its sum, the weighted word count that it is over, and (sum, count) of each.

    Shapes:
        logprobs [C, L-1, V] of captions [C, L]; targets are captions[:, 1:]
    """
    r2l_sum, r2l_count = label_smoothed(r2l_logprobs, r2l[:, 1:], eps, count_padding)
    l2r_sum, l2r_count = label_smoothed(l2r_logprobs, l2r[:, 1:], eps, count_padding)
    total = l2r_weight * l2r_sum + (1 - l2r_weight) * r2l_sum
    weight = l2r_weight * l2r_count + (1 - l2r_weight) * r2l_count
    return total, weight, {"r2l": (r2l_sum.detach(), r2l_count), "l2r": (l2r_sum.detach(), l2r_count)}
