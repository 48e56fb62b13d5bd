"""One vector per clip from the features of its frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.backbone.blocks import Attention
from model.prompts.summary_token import key_bias

POOLINGS = ("mean", "max", "attention")


class TemporalPool(nn.Module):
    """Mean, maximum, or the attention of one learnt query over the frames (no residual, no norm).

    Attention also holds a full linear map of the features, which the other two lack.

    Shapes:
        frames: [..., T, E]; mask: [..., T], frames that are there, None for all; returns [..., E]
        query: [1, 1, E], N(0, 1); attention: as `torch.nn.MultiheadAttention`
        A clip without any frame gives zeros (attention: the mean of what its frames would give).

    Raises:
        ValueError: unknown kind, or heads that do not divide the width.
    """

    def __init__(self, kind: str, width: int, heads: int = 1):
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"unknown temporal pooling {kind!r}; known: {', '.join(POOLINGS)}")
        self.kind = kind
        if kind == "attention":
            self.query = nn.Parameter(torch.randn(1, 1, width))
            self.attention = Attention(width, heads)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.kind == "attention":
            return self._attend(frames, mask)
        if mask is None:
            return frames.mean(-2) if self.kind == "mean" else frames.amax(-2)
        live = mask[..., None].to(frames.dtype)
        if self.kind == "mean":
            return (frames * live).sum(-2) / live.sum(-2).clamp(min=1)
        highest = frames.masked_fill(live == 0, float("-inf")).amax(-2)
        return highest.masked_fill(live.sum(-2) == 0, 0)

    def _attend(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        clips = frames.reshape(-1, *frames.shape[-2:])
        (query,) = self.attention.project(self.query.to(frames.dtype).expand(len(clips), -1, -1), "q")
        keys, values = self.attention.project(clips, "kv")
        bias = None if mask is None else key_bias(mask.reshape(len(clips), -1), frames.dtype)
        pooled = self.attention.mix(query, keys, values, bias)
        return pooled.reshape(*frames.shape[:-2], -1)
