"""What a recogniser is given of a batch: its pixels, or what its frozen part has once made of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dataset.action_videos import ActionBatch
from model.recognition import Recogniser
from utility.images import to_clip


class Inputs:
    """Turns batches into what the recogniser reads.

    Prompts leave a part of the vision tower as it is: all of it where none enters, else what lies before the first
    block. That part's results are kept per clip, so a clip passes through it once in a training.

    Args:
        normal: mean and standard deviation of the backbone's pictures.
        keep_bytes: of results; 0, for clips that are never the same again: nothing is kept, pixels are passed on.
    """

    def __init__(self, model: Recogniser, normal: tuple[Sequence[float], Sequence[float]], keep_bytes: int = 0):
        self.model, self.normal = model, normal
        self.keep_bytes = keep_bytes if model.keeps_frames else 0
        self.bytes = 0
        self._kept: dict[str, Tensor] = {}

    def __call__(self, batch: ActionBatch) -> Tensor:
        if not self.keep_bytes:
            return to_clip(batch.frames, *self.normal)
        return torch.stack([self._part(name, frames) for name, frames in zip(batch.names, batch.frames, strict=True)])

    def _part(self, name: str, frames: Tensor) -> Tensor:
        if name in self._kept:
            return self._kept[name]
        # A clip by itself and in float32, so that what is kept does not depend on the batch that it came with.
        with torch.autocast(frames.device.type, enabled=False):
            part = self.model.frozen_part(to_clip(frames[None], *self.normal))[0]
        if self.bytes + part.nbytes <= self.keep_bytes:
            self._kept[name] = part
            self.bytes += part.nbytes
        return part
