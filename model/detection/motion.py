"""Objects without weights: what moves against its surroundings, or stands out from them.

Letters in shapes: B pictures, m edge of the maps, K regions of a picture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model.detection.detections import Detections, suppress

EDGE = 96  # of the maps that regions are found in: fine enough for boxes, coarse enough for speed
LEVEL = 6.0  # how many usual deviations a pixel must stand out to belong to an object; such a region scores 0.5
SMALLEST, LARGEST = 0.002, 0.6  # share of the picture that an object covers
OVERLAP = 0.5
CHUNK = 16  # pictures at a time


class MotionDetector:
    """Proposals from frame differences and contrast: for a first look, and for drawn corpora.

    A pixel moves as much as it differs from the frame before and from the one after, whichever is less: what has left
    or will come does not count. It stands out as much as its colour differs from the median colour. Both are measured
    in usual (median) deviations of the picture, so that a moving camera or a coarse texture is no object. Connected
    regions of such pixels are objects; the score grows with how much they stand out.
    """

    frames = 3
    feature_dim = None

    def detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        # Maps of a few pictures stay in a processor's cache.
        starts = range(0, len(pictures), CHUNK)
        return [d for at in starts for d in self._detect(pictures[at : at + CHUNK], sizes[at : at + CHUNK])]

    def _detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        edge = min(EDGE, pictures.shape[-1])
        scale = pictures.shape[-1] / edge
        maps, inside = reduce_pictures(pictures, sizes, edge)
        level = prominence(maps, inside)
        labels = connected(level > LEVEL)
        found = []
        for number, size in enumerate(sizes):
            boxes, strength = region_boxes(labels[number], level[number], int(inside[number].sum()))
            scores = strength / (strength + LEVEL)
            classes = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            found.append(suppress(boxes * scale, scores, classes, size, OVERLAP).best(len(boxes), 0.0))
        return found


def reduce_pictures(pictures: Tensor, sizes: Sequence[tuple[int, int]], edge: int) -> tuple[Tensor, Tensor]:
    """Pictures made smaller, camera noise smoothed away; what lies beside a picture does not darken its borders.

    Shapes:
        pictures: uint8 [B, T, 3, R, R], of which (height, width) in `sizes` are picture
        returns   float [B, T, 3, m, m] in 0..255, and [B, m, m] bool, where the pictures are
    """
    place = torch.arange(pictures.shape[-1], device=pictures.device)
    height, width = torch.tensor(sizes, device=pictures.device).view(-1, 2, 1, 1).unbind(1)
    inside = (place[:, None] < height) & (place < width)
    share = _smooth(inside[:, None].to(torch.uint8) * 255, edge) / 255
    seen = _smooth((pictures * inside[:, None, None]).flatten(0, 1), edge).unflatten(0, pictures.shape[:2])
    return seen / share.unsqueeze(1).clamp(min=1e-3), share[:, 0] > 0.5


def _smooth(pictures: Tensor, edge: int) -> Tensor:
    """uint8 [n, c, R, R] -> float [n, c, m, m]"""
    if not pictures.is_cpu:  # bytes are several times as fast there, and only there can they be resized
        pictures = pictures.float()
    if pictures.shape[-1] != edge:
        pictures = F.interpolate(pictures, size=(edge, edge), mode="bilinear", antialias=True)
    # A mean of nine by sums of three and three: twice as fast as pooling.
    padded = F.pad(pictures.float(), (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9


def prominence(pictures: Tensor, inside: Tensor) -> Tensor:
    """How much every pixel moves or stands out, in usual deviations of its picture.

    Shapes: [B, 3 frames, 3 channels, m, m], [B, m, m] bool -> [B, m, m], 0 outside
    """
    before, now, after = pictures.unbind(1)
    changes = torch.stack([_length(now - other) for other in (before, after)])
    # The first and the last frame of a video are their own neighbours; then the other one decides.
    still = (changes.amax(dim=(2, 3)) == 0)[..., None, None]
    moving = torch.where(still.any(0), changes.amax(0), changes.amin(0))
    median = _median(now, inside[:, None])
    standing_out = _length(now - median[..., None, None])
    return torch.maximum(relative(moving, inside), relative(standing_out, inside)) * inside


def _length(colours: Tensor) -> Tensor:
    """[B, 3, m, m] -> [B, m, m]; several times as fast as `norm`, which goes through memory in strides."""
    return colours.square().sum(dim=1).sqrt()


def relative(values: Tensor, inside: Tensor) -> Tensor:
    """Values [B, m, m] in multiples of their median within the picture, which is taken to be 2 grey levels at least."""
    return values / _median(values, inside).clamp(min=2.0)[:, None, None]


def _median(values: Tensor, inside: Tensor) -> Tensor:
    """Median over the last two axes of what is `inside`; a thousand pixels of a map tell it well enough."""
    step = max(values.shape[-1] // 32, 1)
    values, inside = values[..., ::step, ::step], inside[..., ::step, ::step]
    return values.masked_fill(~inside, torch.nan).flatten(-2).nanmedian(dim=-1).values


def connected(mask: Tensor) -> Tensor:
    """Numbers of connected regions (eight neighbours): [B, m, m] bool -> [B, m, m] int64, 0 outside of any.

    Pixels point at the first pixel of their region that they know of; hooking and shortcutting these pointers joins
    the regions of all maps in a number of rounds that grows like the logarithm of their size.
    """
    edge, count = mask.shape[-1], int(mask.sum())
    pointer = torch.arange(count, device=mask.device)
    number = mask.new_full((len(mask), mask.shape[1] + 1, edge + 2), -1, dtype=torch.int64)
    number[:, :-1, 1:-1][mask] = pointer
    own = number[:, :-1, 1:-1]
    others = (number[:, :-1, 2:], number[:, 1:, :-2], number[:, 1:, 1:-1], number[:, 1:, 2:])
    pairs = torch.cat([torch.stack([own, other])[:, (own >= 0) & (other >= 0)] for other in others], dim=1)
    while True:
        first, second = pointer[pairs]
        least = torch.minimum(first, second)
        joined = pointer.scatter_reduce(0, first, least, "amin").scatter_reduce(0, second, least, "amin")
        joined = joined[joined]
        if torch.equal(joined, pointer):
            return torch.zeros_like(own).masked_scatter(mask, pointer + 1)
        pointer = joined


def region_boxes(labels: Tensor, level: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Boxes and strengths of the regions of one map that are neither specks nor the whole picture.

    Shapes: labels [m, m], level [m, m] -> boxes [K, 4] in pixels of the map, mean level [K]
    """
    y, x = labels.nonzero(as_tuple=True)
    _, region = labels[y, x].unique(return_inverse=True)
    count = int(region.max()) + 1 if len(region) else 0
    area = torch.bincount(region, minlength=count)
    corners = torch.stack([x, y, x + 1, y + 1], dim=1).float()
    index = region[:, None].expand(-1, 2)
    start = corners.new_full((count, 2), float(labels.shape[0])).scatter_reduce(0, index, corners[:, :2], "amin")
    stop = corners.new_zeros(count, 2).scatter_reduce(0, index, corners[:, 2:], "amax")
    strength = level.new_zeros(count).index_add(0, region, level[y, x]) / area.clamp(min=1)
    kept = (area >= SMALLEST * pixels) & (area <= LARGEST * pixels)
    return torch.cat([start, stop], dim=1)[kept], strength[kept]
