"""One token per frame and layer that sums the frame up, or all of the video's frames (Vita-CLIP: Wasim et al., 2023).

Shape letters: N videos or views, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.backbone.blocks import Attention, LayerNorm, Tokens
from model.prompts.base import Prompt
from model.prompts.placing import insert, remove

FRAME_MASK = "frame_mask"
"""Where `Tokens.shared` keeps which frames are there, [N, T]."""
SUMMARY_INPUT = "summary_input"
"""Where it keeps the normed projections [N * T, D] of the last layer that had a summary."""


def summary_name(layer: int) -> str:
    """Where it keeps a layer's summary tokens [N, T, D]."""
    return f"summary.{layer}"


class SummaryToken(Prompt):
    """s = u + attention(u) with u = norm(projection(class token)), in every layer; it leaves after the attention.

    Args:
        across_frames: the attention runs over the frames of a video (frames that the mask leaves out are not looked
            at), so that every frame learns of the others. Without, as the published system computes it, each frame is
            alone, attention weights are always one, and nothing passes between frames.

    Shapes:
        summary_projection.l, layer_norms_pre_summary.l, summary_attention_layers.l of width D for every layer l
    """

    def __init__(self, layers: int, width: int, heads: int, across_frames: bool = True):
        super().__init__()
        self.across_frames = across_frames
        self.summary_projection = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.layer_norms_pre_summary = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.summary_attention_layers = nn.ModuleList(Attention(width, heads) for _ in range(layers))

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        u = self.layer_norms_pre_summary[layer](self.summary_projection[layer](tokens.frames[:, 0]))
        mask = tokens.shared.get(FRAME_MASK)
        rows, bias = u[:, None], None
        if self.across_frames:
            rows = u.unflatten(0, (tokens.videos, -1))
            bias = None if mask is None else key_bias(mask, u.dtype)
        attention = self.summary_attention_layers[layer]
        summary = rows + attention.mix(*attention.project(rows), bias)
        shared = {SUMMARY_INPUT: u, summary_name(layer): summary.reshape(tokens.videos, -1, u.shape[-1])}
        tokens = tokens.replace(shared=tokens.shared | shared)
        return insert(tokens, summary.reshape(-1, 1, u.shape[-1]))

    def merge(self, layer: int, tokens: Tokens, keys: Tensor) -> Tokens:
        return remove(tokens, 1)


def key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Addition to attention scores, [N, 1, 1, T], that hides masked keys; a row without any key sees all."""
    live = mask.bool()
    live = live | ~live.any(-1, keepdim=True)
    return torch.zeros(live.shape, dtype=dtype, device=mask.device).masked_fill(~live, float("-inf"))[:, None, None]
