"""Labelled clips as views for recognisers: cut into squares, augmented, mixed, batched.

Shape letters: B clips, V views (temporal views, in each the squares from left to right), T frames of a view, R edge in
pixels, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.action_pictures import ActionPictures, Pictures, ViewSettings
from dataset.actions import ActionClip
from utility.clip_augmentation import ClipAugmentation
from utility.images import resize_short
from utility.video import VideoError
from utility.video_mix import draw_box, mix, mixed_label
from utility.video_views import spatial_crops

log = logging.getLogger(__name__)


def assemble(pictures: Pictures, views: ViewSettings, augmentation: ClipAugmentation | None = None) -> Tensor:
    """Views [V, T, 3, R, R] uint8 of a clip."""
    frames = pictures.frames if augmentation is None else augmentation.crop(pictures.frames)
    frames = resize_short(frames, views.size, "bilinear")
    if augmentation is not None:
        frames = augmentation(frames)
    crops = spatial_crops(frames, views.size, views.spatial)
    return crops[:, pictures.index].transpose(0, 1).flatten(0, 1)


def view_mask(pictures: Pictures, views: ViewSettings) -> Tensor:
    """Which frames are there: [V, T] bool."""
    return pictures.mask.repeat_interleave(views.spatial, 0)


@dataclass
class ActionBatch:
    """Views [B, V, T, 3, R, R] uint8, mask [B, V, T], labels ([B] numbers, or [B, C] shares of mixtures), names."""

    frames: Tensor
    mask: Tensor
    labels: Tensor
    names: list[str]

    def to(self, device: torch.device | str) -> ActionBatch:
        return ActionBatch(
            *(x.to(device, non_blocking=True) for x in (self.frames, self.mask, self.labels)), self.names
        )

    def pin_memory(self) -> ActionBatch:
        return ActionBatch(*(x.pin_memory() for x in (self.frames, self.mask, self.labels)), self.names)

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def collate(items: Sequence[tuple[Tensor, Tensor, Tensor, str]]) -> ActionBatch:
        frames, masks, labels, names = zip(*items, strict=True)
        return ActionBatch(torch.stack(frames), torch.stack(masks), torch.stack(labels), list(names))


class TrainingClips(Dataset):
    """Training clips. What is random comes from NumPy's generator, which the loader seeds per batch.

    Args:
        mix_type, mix_probability, classes: VideoMix; labels are shares then, else numbers.
        augmentation: of both clips of a mixture.

    Raises:
        VideoError: from `[]`, only when not one clip can be read; another takes the place of a broken one.
    """

    def __init__(
        self, clips: Sequence[ActionClip], pictures: ActionPictures, classes: int,
        augmentation: ClipAugmentation | None = None, mix_type: str = "none", mix_probability: float = 0.5,
    ):  # fmt: skip
        self.clips, self.pictures, self.classes = list(clips), pictures, classes
        self.augmentation, self.mix_type, self.mix_probability = augmentation, mix_type, mix_probability
        self.failed: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, str]:
        frames, mask, clip = self._read(index)
        if self.mix_type == "none":
            return frames, mask, torch.tensor(clip.label), clip.name
        share, other = 1.0, clip
        if np.random.random() < self.mix_probability:
            outside, other_mask, other = self._read(int(np.random.randint(len(self.clips))))
            box = draw_box(self.mix_type, frames.shape[1], *frames.shape[-2:])
            frames, share = mix(frames, outside, box)
            mask = mask | other_mask
        return frames, mask, mixed_label(clip.label, other.label, share, self.classes), clip.name

    def _read(self, index: int) -> tuple[Tensor, Tensor, ActionClip]:
        for step in range(len(self.clips)):
            clip = self.clips[(index + step) % len(self.clips)]
            if clip.name in self.failed:
                continue
            try:
                pictures = self.pictures(clip)
            except VideoError as error:
                log.warning("%s; another clip takes its place", error)
                self.failed[clip.name] = str(error)
                continue
            views = self.pictures.views
            return assemble(pictures, views, self.augmentation), view_mask(pictures, views), clip
        raise VideoError(str(self.clips[index].path), "open", "not one training clip can be read")


class EvaluationClips(Dataset):
    """Clips as they are; `[]` gives the cause, a text, for one that cannot be read."""

    def __init__(self, clips: Sequence[ActionClip], pictures: ActionPictures):
        self.clips, self.pictures = list(clips), pictures

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, str] | str:
        clip = self.clips[index]
        try:
            pictures = self.pictures(clip)
        except VideoError as error:
            return str(error)
        views = self.pictures.views
        return assemble(pictures, views), view_mask(pictures, views), torch.tensor(clip.label), clip.name
