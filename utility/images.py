"""Pictures for CLIP, I3D and detectors: squares, grid tiles, resizing, normalisation.

Everything works on uint8 RGB tensors [..., 3, H, W], many frames at a time, and becomes float last: an antialiased
resize of 8-bit values agrees with Pillow's, which the published features were made with, to one level; one of floats
does not.

Source: the transforms of OpenAI's CLIP and of the I3D extractor of the published captioning pipeline.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
INTERPOLATIONS = ("bicubic", "bilinear")


def _square_origin(height: int, width: int) -> tuple[int, int, int]:
    """(top, left, side) of the centred square of the shorter edge; half pixels go to the even neighbour."""
    side = min(height, width)
    return round((height - side) / 2), round((width - side) / 2), side


def centre_square(frames: Tensor) -> Tensor:
    """The centred square of the shorter edge: [..., H, W] -> a view [..., side, side]."""
    top, left, side = _square_origin(*frames.shape[-2:])
    return frames[..., top : top + side, left : left + side]


def grid_boxes(height: int, width: int, patch: int = 3, overlap: float = 0.5) -> Tensor:
    """Boxes of the overlapping patch x patch tiles of the centred square, row by row.

    With side s, step b = floor(s / patch) and o = floor(s / patch * overlap), tile k covers [k b - o, (k + 1) b + o),
    cut at the square's borders; the last one ends at s. These are the published numbers, not an exact half overlap.

    Shapes:
        returns [patch * patch, 4] int64: top, left, bottom, right in pixels of the whole frame, ends exclusive

    Raises:
        ValueError: for a grid finer than the pixels, or an overlap outside 0..1.
    """
    top, left, side = _square_origin(height, width)
    if not 1 <= patch <= side:
        raise ValueError(f"a {patch} x {patch} grid does not fit frames of {width}x{height}; use 1 to {side} a side")
    if not 0 <= overlap <= 1:
        raise ValueError(f"the overlap of tiles must be between 0 and 1, got {overlap}")
    step, margin = side // patch, int(side / patch * overlap)
    start = (torch.arange(patch) * step - margin).clamp(min=0)
    stop = ((torch.arange(patch) + 1) * step + margin).clamp(max=side)
    stop[-1] = side
    rows, columns = torch.meshgrid(torch.arange(patch), torch.arange(patch), indexing="ij")
    boxes = torch.stack([top + start[rows], left + start[columns], top + stop[rows], left + stop[columns]], dim=-1)
    return boxes.reshape(patch * patch, 4)


@lru_cache(maxsize=64)
def _box_list(height: int, width: int, patch: int, overlap: float) -> list[list[int]]:
    """`grid_boxes` as numbers: the frames of a corpus have few sizes."""
    return grid_boxes(height, width, patch, overlap).tolist()


def resize(frames: Tensor, height: int, width: int, interpolation: str = "bicubic") -> Tensor:
    """Antialiased resize of uint8 frames [..., C, H, W] to [..., C, height, width].

    Raises:
        ValueError: for frames that are not uint8, or an unknown interpolation.
    """
    if frames.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8 (0..255) while they are resized, got {frames.dtype}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}; use one of {', '.join(INTERPOLATIONS)}")
    if frames.shape[-2:] == (height, width):
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:]) if frames.ndim != 4 else frames
    # only the CPU kernels take bytes
    pixels = flat if flat.device.type == "cpu" else flat.float()
    pixels = F.interpolate(pixels, size=(height, width), mode=interpolation, antialias=True)
    if pixels.dtype != torch.uint8:
        pixels = pixels.round_().clamp_(0, 255).to(torch.uint8)
    return pixels.reshape(*frames.shape[:-2], height, width)


def resize_short(frames: Tensor, size: int, interpolation: str = "bicubic") -> Tensor:
    """Resizes the shorter edge to `size` and the other one to floor(size * long / short)."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    return resize(frames, int(size * height / short), int(size * width / short), interpolation)


def centre_crop(frames: Tensor, size: int) -> Tensor:
    """The centred size x size view of frames that are at least that large.

    Raises:
        ValueError: for smaller frames.
    """
    height, width = frames.shape[-2:]
    if min(height, width) < size:
        raise ValueError(f"cannot cut {size}x{size} out of frames of {width}x{height}; resize them first")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return frames[..., top : top + size, left : left + size]


def grid_tiles(frames: Tensor, size: int, patch: int = 3, overlap: float = 0.5) -> Tensor:
    """The tiles of `grid_boxes`, each through CLIP's resize and centre crop.

    Shapes:
        frames:  [n, 3, H, W] uint8
        returns  [n, patch * patch, 3, size, size] uint8
    """
    boxes = _box_list(*frames.shape[-2:], patch, overlap)
    tiles = frames.new_empty(frames.shape[0], len(boxes), frames.shape[1], size, size)
    for node, (top, left, bottom, right) in enumerate(boxes):
        tiles[:, node] = centre_crop(resize_short(frames[..., top:bottom, left:right], size), size)
    return tiles


def clip_frames(frames: Tensor, size: int) -> Tensor:
    """Whole frames for CLIP: centred square, bicubic resize. [..., 3, H, W] -> [..., 3, size, size] uint8."""
    return resize_short(centre_square(frames), size)


def letterbox(frame: Tensor, size: int) -> Tensor:
    """A frame whose longer edge fills a square, in its upper left part, and a fourth plane that says where it is.

    Shapes: [3, H, W] uint8 -> [4, size, size] uint8; the fourth plane is 255 on the picture, 0 beside it
    """
    longer = max(frame.shape[-2:])
    height, width = (max(1, round(size * edge / longer)) for edge in frame.shape[-2:])
    square = frame.new_zeros(4, size, size)
    square[:3, :height, :width] = resize(frame, height, width, "bilinear")
    square[3, :height, :width] = 255
    return square


def i3d_frames(frames: Tensor, resize: int = 256, size: int = 224) -> Tensor:
    """Whole frames for I3D: shorter edge to `resize` (bilinear), then the centre: [..., 3, size, size]."""
    return centre_crop(resize_short(frames, resize, "bilinear"), size)


def to_clip(frames: Tensor, mean=CLIP_MEAN, std=CLIP_STD) -> Tensor:
    """uint8 [..., 3, H, W] -> float32, scaled to 0..1, then (x - mean) / std per channel."""
    mean, std = (torch.tensor(value, device=frames.device).view(-1, 1, 1) for value in (mean, std))
    return frames.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)


def to_i3d(frames: Tensor) -> Tensor:
    """uint8 [...] -> float32 in [-1, 1]."""
    return frames.to(torch.float32).div_(127.5).sub_(1)
