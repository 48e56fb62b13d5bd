"""Object nodes: what a detector finds in the sampled frames, and a feature of each find.

S slots, n filled ones, P objects per frame at most, T frames that the detector wants to see of a picture, Q edge of its
pictures, R edge of CLIP's, D width of a feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from extractors.base import Extractor, VideoPlan
from extractors.clip_features import encode_pictures
from extractors.pictures import Pictures
from model.detection.detections import Detections, squares
from utility.images import centre_square, letterbox

# How far the neighbours of a frame are from it, for detectors that look at motion.
NEIGHBOUR_SECONDS = 0.12
# Beside the feature of an object: whether there is one, its score, its box.
HEAD = 6
# What `--batch_size` counts in: a detector's picture holds as many of these as its area has room for.
PICTURE_EDGE = 224


class ObjectNodes(Extractor):
    """Feature `OBased`: nodes [S, P, D], node_mask [S, P], boxes [S, P, 4] and scores [S, P], counts [S].

    Boxes are left, top, right, bottom as shares of the frame's width and height; the objects of a slot come by
    descending score. A slot without objects has no present node, and a count of 0.

    Args:
        detector: a `pretrained.detectors.LoadedDetector`.
        backbone: a `pretrained.backbones.Backbone` that sees the square around each object, cut out by RoIAlign; None
            for the detector's own RoI-aligned features.
        precision: fp32 or bf16, of the backbone; detectors run in fp32.
        batch_size: pictures of 224 pixels per forward pass; larger ones count by their area.
        square_crop: look at the centred square of each frame only, as published.

    Raises:
        ValueError: no backbone for a detector that has no features of its own.
    """

    feature = "OBased"

    def __init__(
        self,
        detector: Any,
        backbone: Any | None,
        device: torch.device,
        precision: str = "fp32",
        batch_size: int = 256,
        square_crop: bool = False,
    ):
        if backbone is None and detector.model.feature_dim is None:
            raise ValueError(
                f"the detector {detector.name} has no features of its own; take --object_features backbone"
            )
        self.detector, self.backbone, self.device = detector, backbone, device
        self.half, self.batch_size, self.square_crop = precision == "bf16", batch_size, square_crop
        self.batch_units = max(1, batch_size * PICTURE_EDGE**2 // detector.size**2)
        self.dim = detector.model.feature_dim if backbone is None else int(backbone.model.config.embed_dim)
        self.settings = {
            "stage": "object_nodes",
            "detector": {"name": detector.name, "hash": detector.hash},
            "max_objects": detector.max_objects,
            "min_score": detector.min_score,
            "preprocessing": {"square_crop": square_crop, "resize": "bilinear, antialiased, uint8"}
            | {"size": detector.size},
            "precision": precision,
        }
        if backbone is None:
            self.settings |= {"object_features": "detector"}
        else:
            self.settings |= {
                "object_features": "backbone",
                "backbone": {"name": backbone.name, "hash": backbone.hash},
                "crops": {"size": int(backbone.resolution), "mean": list(backbone.mean), "std": list(backbone.std)},
            }

    def frames(self, plan: VideoPlan) -> np.ndarray:
        """[n, T]"""
        index = plan.sample.index[:, None]
        if self.detector.model.frames == 1:
            return index
        step = max(1, round(NEIGHBOUR_SECONDS * plan.info.fps))
        return np.clip(index + [-step, 0, step], 0, plan.info.num_frames - 1)

    def picture(self, frame: Tensor) -> Tensor:
        """[3, H, W] -> [4, Q, Q]: the frame, and where in the square it is."""
        return letterbox(centre_square(frame) if self.square_crop else frame, self.detector.size)

    def units(self, plan: VideoPlan, pictures: Pictures) -> Tensor:
        """uint8 [n, T, 4, Q, Q]."""
        return pictures.take(self.frames(plan))

    def extract(self, units: Tensor) -> Tensor:
        """uint8 [u, T, 4, Q, Q] -> float32 [u, P, HEAD + D] on the CPU; absent objects are rows of zeros."""
        units = units.to(self.device, non_blocking=True)
        place = units[:, 0, 3] > 0
        sizes = list(zip(place[:, :, 0].sum(1).tolist(), place[:, 0].sum(1).tolist(), strict=True))
        pictures = units[:, :, :3]
        found = self.detector.detect(pictures, sizes)
        rows = torch.zeros(len(units), self.detector.max_objects, HEAD + self.dim)
        features = self._features(pictures[:, pictures.shape[1] // 2], found)
        for row, objects, own, (height, width) in zip(rows, found, features, sizes, strict=True):
            count = len(objects)
            row[:count, 0] = 1
            row[:count, 1] = objects.scores.cpu()
            row[:count, 2:HEAD] = objects.boxes.cpu() / torch.tensor([width, height, width, height])
            row[:count, HEAD:] = own.cpu()
        return rows

    def _features(self, pictures: Tensor, found: list[Detections]) -> list[Tensor]:
        """Features [n, D] of the objects of each picture."""
        if self.backbone is None:
            return [objects.features for objects in found]
        edge = int(self.backbone.resolution)
        boxes = torch.cat([squares(objects.boxes, self.detector.size) for objects in found])
        counts = [len(objects) for objects in found]
        owner = torch.arange(len(found)).repeat_interleave(torch.tensor(counts)).to(boxes)
        features = [torch.zeros(0, self.dim, device=self.device)]
        if not sum(counts):  # an empty tensor still splits into one part
            return [features[0]] * len(found)
        for part in torch.cat([owner[:, None], boxes], dim=1).to(self.device).split(self.batch_size):
            first, last = int(part[0, 0]), int(part[-1, 0]) + 1
            part = torch.cat([part[:, :1] - first, part[:, 1:]], dim=1)
            crops = roi_align(pictures[first:last].float(), part, edge, aligned=True)
            crops = crops.round_().clamp_(0, 255).to(torch.uint8)
            features.append(encode_pictures(self.backbone, crops, self.device, self.half))
        return list(torch.cat(features).split(counts))

    def arrays(self, plan: VideoPlan, rows: np.ndarray) -> dict[str, np.ndarray]:
        present = plan.spread(rows[..., 0] > 0)
        boxes = rows[..., 2:HEAD]
        if self.square_crop:
            boxes = np.where(rows[..., :1] > 0, _of_the_frame(boxes, plan.info.width, plan.info.height), 0)
        return {
            "nodes": plan.spread(rows[..., HEAD:]),
            "node_mask": present,
            "boxes": plan.spread(boxes.astype(np.float32)),
            "scores": plan.spread(rows[..., 1]),
            "counts": present.sum(axis=1).astype(np.int32),
            **plan.slot_arrays(),
        }

    def output_spec(self, slots: int) -> dict[str, tuple[int, ...]]:
        objects = self.detector.max_objects
        return {
            "nodes": (slots, objects, self.dim),
            "node_mask": (slots, objects),
            "boxes": (slots, objects, 4),
            "scores": (slots, objects),
            "counts": (slots,),
            "slot_mask": (slots,),
            "frame_index": (slots,),
            "frame_time": (slots,),
        }


def _of_the_frame(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes as shares of the centred square -> as shares of the whole frame."""
    side = min(width, height)
    size = np.array([width, height, width, height], np.float32)
    start = np.round((size - side) / 2)
    return (boxes * side + start) / size
