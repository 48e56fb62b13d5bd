"""Action vectors: the window of frames around each sampled frame through the action network.

S slots, n filled ones, w distinct windows of T frames, A width of the network's features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from extractors.base import Extractor, VideoPlan
from extractors.pictures import Pictures
from utility.images import i3d_frames, to_i3d
from utility.sampling import action_windows


class ActionVectors(Extractor):
    """Feature `actions`: actions [S, A]. Windows that several slots share are computed once.

    Args:
        network: a `pretrained.i3d_weights.ActionNetwork`.
        precision: fp32 or bf16.
        batch_size: frames per forward pass, at least one window.
        statistics: `running`; `clip` normalises every window by its own statistics, as features published with the
            grid extractor of AKG do.
    """

    feature = "actions"

    def __init__(
        self,
        network: Any,
        device: torch.device,
        precision: str = "fp32",
        batch_size: int = 256,
        statistics: str = "running",
    ):
        self.network, self.device, self.statistics = network, device, statistics
        self.half = precision == "bf16"
        self.batch_units = max(1, batch_size // network.length)
        self.settings = {
            "stage": "actions",
            "action_network": {"name": network.name, "hash": network.hash},
            "preprocessing": {
                "resize": network.resize,
                "size": network.size,
                "interpolation": "bilinear, uint8",
                "differences": network.model.differences,
            },
            "window": network.length,
            "i3d_bn": "clip_statistics" if statistics == "clip" else "eval",
            "precision": precision,
        }
        if self.half:
            network.model.to(memory_format=torch.channels_last_3d)

    def frames(self, plan: VideoPlan) -> np.ndarray:
        return self._windows(plan)[0]

    def picture(self, frame: Tensor) -> Tensor:
        """[3, H, W] -> [3, R, R]."""
        return i3d_frames(frame, self.network.resize, self.network.size)

    def units(self, plan: VideoPlan, pictures: Pictures) -> Tensor:
        """uint8 [w, T, 3, R, R]."""
        return pictures.take(self._windows(plan)[0])

    def extract(self, units: Tensor) -> Tensor:
        """uint8 [w, T, 3, R, R] -> float32 [w, A] on the CPU."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            layout = torch.channels_last_3d if self.half else torch.contiguous_format
            # One copy, which is order and type at once.
            clips = units.to(self.device, non_blocking=True).transpose(1, 2).to(torch.float32, memory_format=layout)
            return self.network.model.extract(to_i3d(clips), self.statistics).float().cpu()

    def arrays(self, plan: VideoPlan, rows: np.ndarray) -> dict[str, np.ndarray]:
        slots = plan.slot_arrays()
        actions = plan.spread(rows[self._windows(plan)[1]])
        return {"actions": actions, "slot_mask": slots["slot_mask"], "frame_index": slots["frame_index"]}

    def output_spec(self, slots: int) -> dict[str, tuple[int, ...]]:
        return {"actions": (slots, self.network.model.feature_dim), "slot_mask": (slots,), "frame_index": (slots,)}

    def _windows(self, plan: VideoPlan) -> tuple[np.ndarray, np.ndarray]:
        """Distinct windows [w, T], and the window of each filled slot [n]."""
        windows = action_windows(plan.sample.index, plan.info.num_frames, self.network.length)
        distinct, of_slot = np.unique(windows, axis=0, return_inverse=True)
        return distinct, of_slot.reshape(-1)
