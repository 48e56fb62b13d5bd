"""What the CLIP vision tower sees of a video: tiles of its frames (theta 1) and whole frames (theta 2).

S slots, n filled ones, P tiles per frame, R pixels of the tower's input, D embedding width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from extractors.base import Extractor, VideoPlan
from extractors.pictures import Pictures
from utility.images import clip_frames, grid_tiles, to_clip
from utility.video import VideoError


def encode_pictures(backbone: Any, pictures: Tensor, device: torch.device, half: bool) -> Tensor:
    """Class token, final norm and projection, not normalised to length 1: uint8 [u, 3, R, R] -> float32 [u, D]."""
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        pixels = to_clip(pictures.to(device, non_blocking=True), backbone.mean, backbone.std)
        return backbone.model.encode_image(pixels).float()


class ClipExtractor(Extractor):
    """Pictures through `encode_pictures`.

    Args:
        backbone: a `pretrained.backbones.Backbone`.
        precision: fp32 or bf16.
        batch_size: pictures per forward pass.
    """

    def __init__(self, backbone: Any, device: torch.device, precision: str, batch_size: int):
        self.backbone, self.device, self.batch_units = backbone, device, batch_size
        self.half = precision == "bf16"
        self.size = int(backbone.resolution)
        self.dim = int(backbone.model.config.embed_dim)
        self.settings = {
            "backbone": {"name": backbone.name, "hash": backbone.hash},
            "preprocessing": {
                "square_crop": True,
                "resize": "bicubic, antialiased, uint8",
                "size": self.size,
                "mean": list(backbone.mean),
                "std": list(backbone.std),
            },
            "precision": precision,
        }

    def frames(self, plan: VideoPlan) -> np.ndarray:
        return plan.sample.index

    def extract(self, units: Tensor) -> Tensor:
        """uint8 [u, 3, R, R] -> float32 [u, D] on the CPU."""
        return encode_pictures(self.backbone, units, self.device, self.half).cpu()


class GridNodes(ClipExtractor):
    """Feature `GBased`: nodes [S, P, D], tiles row by row."""

    feature = "GBased"

    def __init__(
        self,
        backbone: Any,
        device: torch.device,
        precision: str = "fp32",
        batch_size: int = 256,
        patch: int = 3,
        overlap: float = 0.5,
    ):
        super().__init__(backbone, device, precision, batch_size)
        self.patch, self.overlap = patch, overlap
        self.settings |= {"stage": "grid_nodes", "patch": patch, "overlap": overlap}

    def picture(self, frame: Tensor) -> Tensor:
        """[3, H, W] -> [P, 3, R, R]."""
        return grid_tiles(frame[None], self.size, self.patch, self.overlap)[0]

    def frames(self, plan: VideoPlan) -> np.ndarray:
        if min(plan.info.width, plan.info.height) < self.patch:
            size = f"{plan.info.width}x{plan.info.height}"
            cause = f"frames of {size} pixels are too small for {self.patch}x{self.patch} tiles"
            raise VideoError(plan.info.path, "sample", cause)
        return super().frames(plan)

    def units(self, plan: VideoPlan, pictures: Pictures) -> Tensor:
        return pictures.take(plan.sample.index).flatten(0, 1)

    def arrays(self, plan: VideoPlan, rows: np.ndarray) -> dict[str, np.ndarray]:
        nodes = rows.reshape(len(plan.sample.index), self.patch**2, -1)
        return {"nodes": plan.spread(nodes), **plan.slot_arrays()}

    def output_spec(self, slots: int) -> dict[str, tuple[int, ...]]:
        return {
            "nodes": (slots, self.patch**2, self.dim),
            "slot_mask": (slots,),
            "frame_index": (slots,),
            "frame_time": (slots,),
        }


class WholeFrames(ClipExtractor):
    """Feature `theta2`: frames [S, D], the centred square of each sampled frame."""

    feature = "theta2"

    def __init__(self, backbone: Any, device: torch.device, precision: str = "fp32", batch_size: int = 256):
        super().__init__(backbone, device, precision, batch_size)
        self.settings |= {"stage": "whole_frames"}

    def picture(self, frame: Tensor) -> Tensor:
        """[3, H, W] -> [3, R, R]."""
        return clip_frames(frame, self.size)

    def units(self, plan: VideoPlan, pictures: Pictures) -> Tensor:
        return pictures.take(plan.sample.index)

    def arrays(self, plan: VideoPlan, rows: np.ndarray) -> dict[str, np.ndarray]:
        slots = plan.slot_arrays()
        return {"frames": plan.spread(rows), "slot_mask": slots["slot_mask"], "frame_index": slots["frame_index"]}

    def output_spec(self, slots: int) -> dict[str, tuple[int, ...]]:
        return {"frames": (slots, self.dim), "slot_mask": (slots,), "frame_index": (slots,)}
