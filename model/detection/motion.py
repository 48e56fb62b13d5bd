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
    share = _smooth(inside[:, None].float(), edge)
    seen = _smooth((pictures * inside[:, None, None]).flatten(0, 1).float(), edge).unflatten(0, pictures.shape[:2])
    return seen / share.unsqueeze(1).clamp(min=1e-3), share[:, 0] > 0.5


def _smooth(pictures: Tensor, edge: int) -> Tensor:
    if pictures.shape[-1] != edge:
        pictures = F.interpolate(pictures, size=(edge, edge), mode="bilinear", antialias=True)
    return F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def prominence(pictures: Tensor, inside: Tensor) -> Tensor:
    """How much every pixel moves or stands out, in usual deviations of its picture.

    Shapes: [B, 3 frames, 3 channels, m, m], [B, m, m] bool -> [B, m, m], 0 outside
    """
    before, now, after = pictures.unbind(1)
    changes = torch.stack([(now - other).norm(dim=1) for other in (before, after)])
    # The first and the last frame of a video are their own neighbours; then the other one decides.
    still = (changes.amax(dim=(2, 3)) == 0)[..., None, None]
    moving = torch.where(still.any(0), changes.amax(0), changes.amin(0))
    median = now.masked_fill(~inside[:, None], torch.nan).flatten(2).nanmedian(dim=2).values
    standing_out = (now - median[..., None, None]).norm(dim=1)
    return torch.maximum(relative(moving, inside), relative(standing_out, inside)) * inside


def relative(values: Tensor, inside: Tensor) -> Tensor:
    """Values [B, m, m] in multiples of their median within the picture, which is taken to be 2 grey levels at least."""
    usual = values.masked_fill(~inside, torch.nan).flatten(1).nanmedian(dim=1).values.clamp(min=2.0)
    return values / usual[:, None, None]


def connected(mask: Tensor) -> Tensor:
    """Numbers of connected regions (eight neighbours): [B, m, m] bool -> [B, m, m] int64, 0 outside of any."""
    count = mask[0].numel()
    # float32 counts exactly up to 2^24 pixels
    labels = torch.arange(1, count + 1, device=mask.device, dtype=torch.float32).view(mask.shape[1:]) * mask
    while True:
        spread = F.max_pool2d(labels[:, None], 3, stride=1, padding=1)[:, 0] * mask
        if torch.equal(spread, labels):
            return labels.long()
        labels = spread


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
