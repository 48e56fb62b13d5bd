"""The published extraction of the benchmark cuts, resizes and samples as was recorded."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from scripts.benchmarks import published_extraction as published
from scripts.benchmarks.proof import NotPublished, agree, fixtures, with_inputs


def extraction(small: bool) -> list[str]:
    """Against fixtures `grid_crops` (those of nine tiles) and `frame_sampling` (those of 20 slots)."""
    with_inputs()
    import runners_graphs

    proved = []
    for name, spec, path in fixtures("graphs/grid_crops"):
        with np.load(path) as arrays:
            for case in spec["cases"]:
                if len(case["boxes_top_left_bottom_right"]) != published.PATCH**2 or case.get("overlap", 0.5) != 0.5:
                    continue
                pixels = runners_graphs.noise_frame(case["input"], case["height"], case["width"], case["repeat"])
                frame = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
                seen = {"tiles": published.tiles(frame), "i3d": published.see_frame(frame)}
                for kind, got in seen.items():
                    part = got[..., runners_graphs.SAMPLED_PIXELS, runners_graphs.SAMPLED_PIXELS]
                    agree(name, part, arrays[f"{case['input']}.{kind}_sub"], 1e-4)
        proved.append(name)
    for name, spec, _ in fixtures("graphs/frame_sampling"):
        for row in spec["rows"]:
            if "error" not in row and row["fps"] and len(row["slots"]) == published.SLOTS:
                want = [frame for frame in row["slots"] if frame >= 0]
                agree(name, torch.tensor(published.sampled(row["frame_count"], row["fps"])), np.array(want), 0)
        proved.append(name)
    if not proved:
        raise NotPublished("no fixture of nine tiles and 20 slots")
    return proved
