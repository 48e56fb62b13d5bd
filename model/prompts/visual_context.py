"""Learnt tokens beside the patches of every frame (visual prompt tuning: Jia et al., ECCV 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt
from model.prompts.placing import insert, remove

SPANS = ("first", "all", "every")


class VisualContext(Prompt):
    """`count` tokens, the same for all frames and views.

    Args:
        span: `first`: they enter before the first norm and leave after block `last`; `all`: they travel through all
            blocks; `every`: the same ones enter every block anew and leave after its attention (video tokens of
            Vita-CLIP: Wasim et al., CVPR 2023).

    Shapes:
        context_vectors_vision: [count, D], N(0, std**2)

    Raises:
        ValueError: unknown span.
    """

    def __init__(self, count: int, width: int, span: str = "first", std: float = 0.02, last: int = 0):
        super().__init__()
        if span not in SPANS:
            raise ValueError(f"unknown span {span!r} of visual context; known: {', '.join(SPANS)}")
        self.span = span
        self.last = last
        self.context_vectors_vision = nn.Parameter(torch.randn(count, width) * std)

    def start(self, tokens: Tokens) -> Tokens:
        return tokens if self.span == "every" else insert(tokens, self.context_vectors_vision)

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        return insert(tokens, self.context_vectors_vision) if self.span == "every" else tokens

    def merge(self, layer: int, tokens: Tokens, keys: Tensor) -> Tokens:
        return remove(tokens, len(self.context_vectors_vision)) if self.span == "every" else tokens

    def after(self, layer: int, tokens: Tokens) -> Tokens:
        leaves = self.span == "first" and layer == self.last
        return remove(tokens, len(self.context_vectors_vision)) if leaves else tokens
