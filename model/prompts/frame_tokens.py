"""Learnt tokens that belong to one position in time (Vita-CLIP: Wasim et al., CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt
from model.prompts.placing import insert, remove
from model.prompts.summary_token import SUMMARY_INPUT


class FrameTokens(Prompt):
    """`count` tokens for each of `frames` positions, the same in all layers; they leave after the attention.

    Args:
        conditioned: add what the previous layer's `SummaryToken` saw of the same frame (nothing in layer 0). This
            module then stands before that one in the list of prompts.

    Shapes:
        frame_level_tokens: [frames, count, D], N(0, std**2)

    Raises:
        ValueError: a video with more frames than there are positions. Fewer use the first ones.
    """

    def __init__(self, frames: int, count: int, width: int, conditioned: bool = True, std: float = 0.02):
        super().__init__()
        self.conditioned = conditioned
        self.frame_level_tokens = nn.Parameter(torch.randn(frames, count, width) * std)

    def start(self, tokens: Tokens) -> Tokens:
        if tokens.rows > len(self.frame_level_tokens):
            raise ValueError(
                f"{tokens.rows} frames per view, but there are frame tokens for {len(self.frame_level_tokens)}: take "
                "fewer frames, or train with that many (num_frames)"
            )
        return tokens

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        own = self.frame_level_tokens[: tokens.rows].repeat(tokens.videos, 1, 1)
        if self.conditioned and SUMMARY_INPUT in tokens.shared:
            own = own + tokens.shared[SUMMARY_INPUT][:, None]
        return insert(tokens, own)

    def merge(self, layer: int, tokens: Tokens, keys: Tensor) -> Tokens:
        return remove(tokens, self.frame_level_tokens.shape[1])
