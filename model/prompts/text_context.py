"""Learnt words between the start of a text and its first word (CoOp: Zhou et al., IJCV 2022)."""

from __future__ import annotations

import torch
from torch import nn

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt


class TextContext(Prompt):
    """`count` vectors, the same for all classes, put behind the start token of every text.

    Whether they have positions is decided by the tower (`TextTower.embed_text`, `positions_last`).

    Shapes:
        context_vectors_text: [count, W], N(0, std**2)
    """

    def __init__(self, count: int, width: int, std: float = 0.02):
        super().__init__()
        self.context_vectors_text = nn.Parameter(torch.randn(count, width) * std)

    def start(self, tokens: Tokens) -> Tokens:
        words, context = tokens.frames, self.context_vectors_text
        context = context.to(words.dtype).expand(words.shape[0], -1, -1)
        frames = torch.cat([words[:, :1], context, words[:, 1:]], 1)
        return tokens.replace(frames=frames, end=tokens.end + context.shape[1])
