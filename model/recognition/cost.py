"""What a recogniser costs: parameters, and multiply-adds for one video.

The forward pass itself is counted, on tensors without data, so the numbers follow every setting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.recognition.recogniser import Recogniser
from model.recognition.towers import ClassTexts


@dataclass(frozen=True)
class Cost:
    """Counts of a recogniser.

    Attributes:
        parameters: of backbone and learner.
        trainable: that a training changes.
        multiply_adds: of products and convolutions for one video, class texts included.
        text_multiply_adds: of the text tower's blocks. Saved by `Recogniser.cached`, unless views have texts of
            their own.
    """

    parameters: int
    trainable: int
    multiply_adds: int
    text_multiply_adds: int


def parameter_counts(model: Recogniser) -> tuple[int, int]:
    """(all, trainable) parameters."""
    counts = [(x.numel(), x.requires_grad) for x in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, learns in counts if learns)


@torch.no_grad()
def cost(model: Recogniser, views: int = 12, frames: int = 8, classes: int = 101, words: int = 5) -> Cost:
    """Cost of one video of `views` x `frames` frames; class names have `words` tokens, start and end included."""
    config = model.clip.config
    sizes = {name: (x.shape, x.dtype) for name, x in (*model.named_parameters(), *model.named_buffers())}
    # The plain form of attention, because it is made of products, which the counter knows on every device.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in sizes.items()}
        pixels = torch.empty(1, views, frames, 3, config.resolution, config.resolution)
        ids = torch.empty(classes, words, dtype=torch.int64)
        hand = torch.empty(classes, config.embed_dim) if model.needs_handcrafted else None
        functional_call(model, tensors, (pixels, ClassTexts(ids, hand)))
    text = counter.get_flop_counts().get("Recogniser.clip.transformer", {})
    # The counter calls a multiplication and an addition two operations.
    return Cost(*parameter_counts(model), counter.get_total_flops() // 2, sum(text.values()) // 2)
