"""The published extraction of one video, with networks that return what they are given.

One pass for the nodes, with every tile a float picture in a float64 array before the first call of the tower, and
another one for the actions, which transforms and keeps every frame of the video. Left out, in its favour: seeking to
each sampled frame, and the full-size copies of the sampled frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from utility.images import CLIP_MEAN, CLIP_STD

SLOTS, PATCH, WINDOW = 20, 3, 16

see_tile = Compose(
    [Resize(224, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize(CLIP_MEAN, CLIP_STD)]
)
see_frame = Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])


def tile_boxes(side: int) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of the nine tiles of a square, row by row."""
    step, margin = side // PATCH, int(side / PATCH * 0.5)
    starts = [max(k * step - margin, 0) for k in range(PATCH)]
    stops = [(k + 1) * step + margin for k in range(PATCH - 1)] + [side]
    spans = list(zip(starts, stops, strict=True))
    return [(left, top, right, bottom) for top, bottom in spans for left, right in spans]


def square(frame: Image.Image) -> Image.Image:
    """The centred square of the shorter edge."""
    side = min(frame.size)
    left, top = (round((edge - side) / 2) for edge in frame.size)
    return frame.crop((left, top, left + side, top + side))


def tiles(frame: Image.Image) -> Tensor:
    """[9, 3, 224, 224]"""
    whole = square(frame)
    return torch.stack([see_tile(whole.crop(box)) for box in tile_boxes(whole.size[0])])


def sampled(count: int, rate: float) -> list[int]:
    """One frame in floor(rate), thinned to the slots."""
    candidates = list(range(0, count, int(rate)))
    if len(candidates) <= SLOTS:
        return candidates
    return [candidates[k] for k in np.linspace(0, len(candidates) - 1, SLOTS).astype(int)]


def frames_of(path: Path) -> tuple[list[int], Iterator[Image.Image]]:
    """Numbers of the sampled frames, and all frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        chosen = sampled(stream.frames, float(stream.average_rate))

    def decoded() -> Iterator[Image.Image]:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "NONE"
            for frame in container.decode(video=0):
                yield frame.to_image()

    return chosen, decoded()


@torch.inference_mode()
def extract_nodes(path: Path, width: int) -> np.ndarray:
    """[20, 9, width]: position by position through the tower."""
    chosen, frames = frames_of(path)
    kept = [frame for number, frame in enumerate(frames) if number in set(chosen)]
    pictures = np.zeros((PATCH**2, 1, SLOTS, 1, 3, 224, 224))
    for slot, frame in enumerate(kept):
        pictures[:, 0, slot, 0] = tiles(frame).numpy()
    nodes = np.zeros((SLOTS, PATCH**2, width))
    for position in range(PATCH**2):
        nodes[:, position] = torch.from_numpy(pictures[position]).float().view(SLOTS, -1)[:, :width].numpy()
    return nodes


@torch.inference_mode()
def extract_actions(path: Path, width: int) -> np.ndarray:
    """[20, width]: a window of 16 frames per slot."""
    chosen, frames = frames_of(path)
    clip = torch.stack([see_frame(frame) for frame in frames], dim=1)
    actions = np.zeros((SLOTS, width))
    for slot, centre in enumerate(chosen):
        start = min(centre // WINDOW * WINDOW, clip.shape[1] - WINDOW)
        actions[slot] = clip[None, :, start : start + WINDOW].flatten()[:width].numpy()
    return actions


def extract(path: Path, node_width: int = 512, action_width: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and actions of a video."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return extract_nodes(path, node_width), extract_actions(path, action_width)
