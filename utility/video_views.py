"""Views of a video: which frames each temporal view takes, and which squares each frame is cut into.

Source: the multi-view evaluation of action recognisers; numbers as in the recognition reference, section 4.2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utility.images import centre_crop, resize_short

# A row at the edge of the picture is black where the brightest grey of the clip, averaged over its columns, stays here.
BLACK = 15


def temporal_views(
    num_frames: int, frames: int = 8, views: int = 4, space: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers of every view, and which of them the video has.

    Without `space` the video is sampled at floor(linspace) of views * frames places and view k is the k-th run of
    neighbouring samples: quarters of the video, not interleaved clips. A video with fewer frames repeats some.
    With `space` a view is `frames` frames that far apart; the views start evenly spread, and what would lie behind the
    end is padding (mask 0, the last frame in its place).

    Shapes: index [V, F] int64, mask [V, F] bool

    Raises:
        ValueError: numbers below 1.
    """
    if min(num_frames, frames, views) < 1 or (space is not None and space < 1):
        raise ValueError(f"views need at least one of each, got {num_frames=}, {frames=}, {views=}, {space=}")
    if space is None:
        index = np.linspace(0, num_frames - 1, frames * views).astype(np.int64).reshape(views, frames)
        return index, np.ones_like(index, bool)
    starts = np.linspace(0, max(num_frames - 1 - (frames - 1) * space, 0), views).astype(np.int64)
    index = starts[:, None] + space * np.arange(frames)
    return np.minimum(index, num_frames - 1), index < num_frames


def spatial_crops(frames: Tensor, size: int, crops: int = 3) -> Tensor:
    """Squares of frames whose short side is scaled to `size`: the centre, or several spread along the long side.

    Shapes:
        frames:  [n, 3, H, W] uint8
        returns  [crops, n, 3, size, size]: from the left (the top of tall pictures) to the other end

    Raises:
        ValueError: fewer than one crop.
    """
    if crops < 1:
        raise ValueError(f"num-spatial-views is {crops}; at least 1")
    if min(frames.shape[-2:]) != size:
        frames = resize_short(frames, size, "bilinear")
    if crops == 1:
        return centre_crop(frames, size)[None]
    height, width = frames.shape[-2:]
    starts = [(max(height, width) - size) * k // (crops - 1) for k in range(crops)]
    if width >= height:
        return torch.stack([frames[..., start : start + size] for start in starts])
    return torch.stack([frames[..., start : start + size, :] for start in starts])


def without_black_strips(frames: Tensor) -> Tensor:
    """Frames [n, 3, H, W] uint8 without the rows at top and bottom that stay black in all of them, as a view.

    A clip that is black everywhere is kept whole.
    """
    grey = frames.float().mul(torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(-3)
    bright = (grey.amax(0).mean(-1) > BLACK).nonzero().flatten()
    return frames if len(bright) == 0 else frames[..., int(bright[0]) : int(bright[-1]) + 1, :]
