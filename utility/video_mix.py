"""VideoMix: two clips and their labels become one.

Source: Yun et al., VideoMix: Rethinking Data Augmentation for Video Classification, 2020.
Shape letters: V views, T frames of a view, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

KINDS = ("spatial", "temporal", "spatiotemporal")


@dataclass(frozen=True)
class Box:
    """A cuboid of frames, rows and columns; ends exclusive."""

    t: tuple[int, int]
    y: tuple[int, int]
    x: tuple[int, int]

    def volume(self) -> int:
        return math.prod(end - start for start, end in (self.t, self.y, self.x))


def spatial_box(area: float, centre_x: float, centre_y: float, frames: int, height: int, width: int) -> Box:
    """The box of this share of the picture around a centre, in all frames, cut at the border and then to integers."""
    half_x, half_y = width * math.sqrt(area) / 2, height * math.sqrt(area) / 2
    return Box(
        (0, frames),
        (int(max(centre_y - half_y, 0)), int(min(centre_y + half_y, height))),
        (int(max(centre_x - half_x, 0)), int(min(centre_x + half_x, width))),
    )


def draw_box(kind: str, frames: int, height: int, width: int) -> Box:
    """A box from NumPy's generator: `spatial`, `temporal` (a run of frames, perhaps empty), or `spatiotemporal`.

    Raises:
        ValueError: another kind.
    """
    if kind == "spatial":
        area = np.random.random()
        return spatial_box(area, width * np.random.random(), height * np.random.random(), frames, height, width)
    if kind not in KINDS:
        raise ValueError(f"videomix-type is {kind!r}; allowed: {', '.join(KINDS)}, or none")
    t = _two(frames)
    return Box(t, (0, height), (0, width)) if kind == "temporal" else Box(t, _two(height), _two(width))


def mix(inside: Tensor, outside: Tensor, box: Box) -> tuple[Tensor, float]:
    """Clips of the same shape [V, T, 3, H, W]: the first within the box, the second around it, in every view.

    Returns: the mixture and the first clip's share of it, by volume.
    """
    if inside.shape != outside.shape:
        raise ValueError(f"clips of {list(inside.shape)} and {list(outside.shape)} do not mix; they need one shape")
    frames, height, width = inside.shape[1], *inside.shape[-2:]
    place = (slice(None), slice(*box.t), slice(None), slice(*box.y), slice(*box.x))
    mixed = outside.clone()
    mixed[place] = inside[place]
    return mixed, box.volume() / (frames * height * width)


def mixed_label(inside: int, outside: int, share: float, classes: int) -> Tensor:
    """Soft label [C] of a mixture."""
    label = torch.zeros(classes)
    label[inside] += share
    label[outside] += 1 - share
    return label


def _two(size: int) -> tuple[int, int]:
    first, second = np.random.randint(0, size, 2).tolist()
    return min(first, second), max(first, second)
