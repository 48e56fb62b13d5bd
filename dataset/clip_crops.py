"""Random squares of training pictures, anywhere or where something moves.

Shape letters: T frames of a clip, n frames that a video has, S edge of a picture and R resolution in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utility.images import resize

MOTION_CELL = 8
"""Edge in pixels of the cells in which motion is measured: noise of single pixels averages out."""


@dataclass(frozen=True)
class Augmentation:
    """What training does to the frames of a clip. The defaults do nothing.

    Attributes:
        random_frames: draw the frames of a clip instead of taking evenly spread ones.
        crop_min, crop_max: range of the edge of a random square, as a share of the picture's.
        whole_share: share of squares that stay whole all the same.
        crop_each_frame: a square per frame instead of one per clip.
        crop_on_motion: squares hold a place where the video moves, drawn by how much it moves there.
        operations: drawn picture operations, the same for all frames of a clip (`dataset.rand_augment`).
    """

    random_frames: bool = False
    crop_min: float = 1.0
    crop_max: float = 1.0
    whole_share: float = 0.0
    crop_each_frame: bool = False
    crop_on_motion: bool = False
    operations: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        if not 0 < self.crop_min <= self.crop_max <= 1:
            raise ValueError(f"crops need 0 < crop_min <= crop_max <= 1, got {self.crop_min} and {self.crop_max}")
        if self.crop_on_motion and self.crop_min == 1:
            raise ValueError("--crop_on_motion places random squares, and there are none: give --crop_min below 1")


def crop(frames: Tensor, resolution: int, how: Augmentation, motion: Tensor | None = None) -> Tensor:
    """Frames [T, 3, S, S], changed by the drawn operations, cut and resized to [T, 3, R, R] uint8.

    Features [T, E] stay as they are.

    Args:
        motion: how much moves where, [T, g, g] from `motion_maps`; squares lie anywhere without it.
    """
    if frames.ndim == 2:  # features of frames: nothing to cut
        return frames
    if how.operations is not None:
        frames = how.operations(frames)
    if how.crop_min >= 1:
        return resize(frames, resolution, resolution)
    if how.crop_each_frame:
        maps = [None] * len(frames) if motion is None else motion
        return torch.cat([_crop_once(frame[None], resolution, how, m) for frame, m in zip(frames, maps, strict=True)])
    return _crop_once(frames, resolution, how, None if motion is None else motion.sum(0))


def _crop_once(frames: Tensor, resolution: int, how: Augmentation, motion: Tensor | None) -> Tensor:
    edge = frames.shape[-1]
    side = edge
    if np.random.random() >= how.whole_share:
        side = max(1, round(edge * np.random.uniform(how.crop_min, how.crop_max)))
    if motion is None:
        top, left = np.random.randint(0, edge - side + 1, 2)
    else:
        top, left = _around(motion, edge, side)
    return resize(frames[..., top : top + side, left : left + side], resolution, resolution, "bilinear")


def motion_maps(frames: Tensor, chosen: np.ndarray) -> Tensor:
    """How much each chosen frame differs from the mean frame, by place.

    Fourth powers of differences of 0..255 values: the places that an object has left, which differ too, hardly count.

    Shapes:
        frames: [n, 3, S, S] uint8; chosen: [T], numbers below n
        returns [T, g, g] float32, g = S // MOTION_CELL
    """
    cells = F.avg_pool2d(frames.float(), min(MOTION_CELL, frames.shape[-1]))
    return (cells[torch.from_numpy(chosen)] - cells.mean(0)).square().sum(1).square()


def _around(motion: Tensor, edge: int, side: int) -> tuple[int, int]:
    """Top and left of a square that holds a drawn place [g, g] in its inner half, where the picture allows it."""
    weight = motion.flatten().double().numpy() + 1e-3  # a still picture is cut anywhere
    cell = np.searchsorted(np.cumsum(weight), np.random.random() * weight.sum())
    grid = motion.shape[-1]
    centre = (np.array(divmod(min(int(cell), grid * grid - 1), grid)) + 0.5) * edge / grid
    corner = centre - side * np.random.uniform(0.25, 0.75, 2)
    top, left = np.clip(corner.round().astype(np.int64), 0, edge - side)
    return int(top), int(left)
