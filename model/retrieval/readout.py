"""From the tokens of a video after the last block to one vector.

Shape letters: B videos, T frames, g global prompts, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from model.backbone.blocks import Tokens, at_least_float32
from model.backbone.clip import VisionTower


def project_tokens(tower: VisionTower, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
    """Projected class tokens [B, T, E] in the order of frames, and global prompts [B, g, E] if there are any."""
    classes = tokens.frames[:, : tokens.classes].reshape(tokens.videos, -1, tokens.frames.shape[-1])
    return tower.project(classes), None if tokens.video is None else tower.project(tokens.video)


def _mean(frames: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return frames.mean(1)
    weight = mask[..., None].to(frames.dtype)
    return (frames * weight).sum(1) / weight.sum(1).clamp(min=1)


def _frame_cls_mean(frames: Tensor, video: Tensor | None, mask: Tensor | None) -> Tensor:
    return _mean(normalize(at_least_float32(frames), dim=-1), mask)


def _both(frames: Tensor, video: Tensor, mask: Tensor | None) -> Tensor:
    first = normalize(at_least_float32(video[:, 0]), dim=-1)
    return normalize(first + normalize(_frame_cls_mean(frames, video, mask), dim=-1), dim=-1)


def _all_mean(frames: Tensor, video: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        mask = torch.cat([mask.new_ones(video.shape[:2]), mask], 1)
    return _mean(torch.cat([video, frames], 1), mask)


READ: dict[str, Callable[[Tensor, Tensor | None, Tensor | None], Tensor]] = {
    "global_prompt0": lambda frames, video, mask: video[:, 0],
    "average_global_prompt": lambda frames, video, mask: video.mean(1),
    "average_frame_cls_token": lambda frames, video, mask: _mean(frames, mask),
    "average_global_prompt_and_frame_cls_token": _all_mean,
    "frame_cls_mean": _frame_cls_mean,
    "both": _both,
}
"""{name: (class tokens [B, T, E], global prompts [B, g, E] or None, mask [B, T] or None) -> [B, E]}.

`frame_cls_mean` (TempMe) and `both` make each frame a unit vector before the mean, the others (STOP) do not.
"""
WITHOUT_PROMPTS = ("frame_cls_mean", "average_frame_cls_token")
