"""Lets the text tower see what the vision tower sums up, so that class names are read in the light of a video.

Shape letters: N views, T frames, C classes, D vision width, W text width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt
from model.prompts.placing import insert, remove
from model.prompts.summary_token import FRAME_MASK, summary_name


class SummaryToText(Prompt):
    """In some layers the summary tokens of a view's frames, side by side, become one more token of every class's text.

    Rows are the C classes until the first such layer, and [N * C], a view's classes together, from there on: layers
    that no view has touched are computed once. The token leaves after the block.

    Shapes:
        reads summary tokens [N, T, D] of the same layer; frames that the mask leaves out, or that are missing up to
            `frames`, count as zeros
        summary_to_text_projections.l: weight [W, frames * D], bias [W]
    """

    def __init__(self, layers: Sequence[int], frames: int, vision_width: int, text_width: int):
        super().__init__()
        self.frames = frames
        self.summary_to_text_projections = nn.ModuleDict(
            {str(layer): nn.Linear(frames * vision_width, text_width) for layer in layers}
        )

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        if str(layer) not in self.summary_to_text_projections:
            return tokens
        summary, mask = tokens.shared[summary_name(layer)], tokens.shared.get(FRAME_MASK)
        if mask is not None:
            summary = summary * mask[..., None].to(summary.dtype)
        summary = pad(summary, (0, 0, 0, self.frames - summary.shape[1])).flatten(1)
        token = self.summary_to_text_projections[str(layer)](summary)
        tokens = per_view(tokens, len(token))
        return insert(tokens, token.repeat_interleave(tokens.rows, 0)[:, None])

    def after(self, layer: int, tokens: Tokens) -> Tokens:
        return remove(tokens, 1) if str(layer) in self.summary_to_text_projections else tokens


def per_view(tokens: Tokens, views: int) -> Tokens:
    """A copy of the texts [C, n, W] for every view, [views * C, n, W], unless each has its own already."""
    if tokens.videos == views:
        return tokens

    def copies(x: Tensor | None) -> Tensor | None:
        return x if x is None or x.shape[0] == 1 else x.repeat(views, *[1] * (x.ndim - 1))

    frames = tokens.frames.repeat(views, 1, 1)
    return tokens.replace(frames=frames, videos=views, end=tokens.end.repeat(views), bias=copies(tokens.bias))
