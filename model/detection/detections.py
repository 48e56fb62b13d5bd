"""What a detector is, and what it says about a picture.

Shape letters: B pictures, T frames of a picture (1, or a frame between its neighbours), R edge in pixels, n objects of
one picture, F width of a detector's own features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image


@dataclass
class Detections:
    """The objects of one picture, best first.

    Attributes:
        boxes: [n, 4] float: left, top, right, bottom in pixels of the picture.
        scores: [n] float in 0..1.
        labels: [n] int64, the classes by the detector's own numbers.
        features: [n, F], None of a detector without features of its own.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, count: int, min_score: float) -> Detections:
        """At most `count` objects of at least `min_score`, by descending score."""
        order = self.scores.argsort(descending=True, stable=True)
        order = order[self.scores[order] >= min_score][:count]
        features = None if self.features is None else self.features[order]
        return Detections(self.boxes[order], self.scores[order], self.labels[order], features)


class Detector(Protocol):
    """Pictures to objects.

    Attributes:
        frames: T, how many frames it wants to see of a picture: 1, or 3 for the one before, itself and the one after.
        feature_dim: F, None if it has no features of its own.
    """

    frames: int
    feature_dim: int | None

    def detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Objects of each picture.

        Args:
            pictures: uint8 [B, T, 3, R, R]; each fills the upper left part of its square.
            sizes: (height, width) of that part.
        """


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, size: tuple[int, int], overlap: float) -> Detections:
    """Boxes cut at the picture's borders, without those that overlap a better one of their class by more than so much.

    Boxes of which less than a pixel is left are dropped.
    """
    boxes = clip_boxes_to_image(boxes, size)
    whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    boxes, scores, labels = boxes[whole], scores[whole], labels[whole]
    kept = batched_nms(boxes, scores, labels, overlap)
    return Detections(boxes[kept], scores[kept], labels[kept])


def squares(boxes: Tensor, edge: int) -> Tensor:
    """The square around each box, moved (not cut) so that it lies in a picture of `edge` x `edge` pixels.

    A network for square pictures so sees an object undistorted. Shapes: [n, 4] -> [n, 4], left, top, right, bottom
    """
    side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True).clamp(max=edge)
    start = (boxes[:, :2] + boxes[:, 2:] - side) / 2
    start = torch.minimum(start.clamp(min=0), edge - side)
    return torch.cat([start, start + side], dim=1)
