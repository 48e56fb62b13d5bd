"""Golden runners of the extractors' frame sampling and of grid tiles."""

import fill
import numpy as np
import pytest
import torch

from utility.images import clip_frames, grid_boxes, grid_tiles, i3d_frames, to_clip, to_i3d
from utility.sampling import action_windows, sample_frames

CLIP_SIZE = 224
SAMPLED_PIXELS = slice(4, 221, 24)  # "rows and columns 4, 28, ..., 220"


def frame_sampling(spec, arrays, folder):
    for row in spec["rows"]:
        times = np.arange(row["frame_count"]) / (row["fps"] or 1)
        case = f"{row['frame_count']} frames at {row['fps']} fps"
        if "error" in row:
            with pytest.raises(ValueError, match=r"needs a frame rate|needs positive numbers|without frames"):
                sample_frames(times, row["fps"], rule="reference")
            continue
        candidates = row["one_per_second_frames"]
        everything = sample_frames(times, row["fps"], slots=max(len(candidates), 1) + 1, rule="reference")
        assert everything.index.tolist() == candidates, case
        slots = row["slots"]
        sample = sample_frames(times, row["fps"], slots=len(slots), rule="reference")
        assert sample.index.tolist() + [-1] * (len(slots) - len(sample.index)) == slots, case
        windows = action_windows(sample.index, row["frame_count"], short="reference")
        assert [[window[0], window[-1] + 1] for window in windows.tolist()] == row["i3d_windows"], case


def noise_frame(name, height, width, repeat):
    """The fixture's frame rule: uint8 [3, height, width]."""
    cells = fill.inputs(name, [-(-height // repeat), -(-width // repeat), 3])
    frame = cells.repeat(repeat, axis=0).repeat(repeat, axis=1)[:height, :width]
    return torch.from_numpy(np.clip(np.rint(128 + 48 * frame), 0, 255).astype(np.uint8)).permute(2, 0, 1)


def assert_pixels(actual, expected, tolerance, case):
    difference = np.abs(actual.numpy() - expected)
    assert difference.max() <= tolerance["atol_uint8_resize"], case
    assert difference.mean() <= tolerance["mean_uint8_resize"], case


def grid_crops(spec, arrays, folder):
    tolerance = spec["tolerance"]
    for case in spec["cases"]:
        name, height, width = case["input"], case["height"], case["width"]
        expected_boxes = case["boxes_top_left_bottom_right"]
        patch, overlap = round(len(expected_boxes) ** 0.5), case.get("overlap", 0.5)
        assert grid_boxes(height, width, patch, overlap).tolist() == expected_boxes, name

        frames = noise_frame(name, height, width, case["repeat"])[None]
        tiles = to_clip(grid_tiles(frames, CLIP_SIZE, patch, overlap))[0]
        sampled = tiles[..., SAMPLED_PIXELS, SAMPLED_PIXELS]
        assert_pixels(sampled, arrays[f"{name}.tiles_sub"], tolerance, f"{name} tiles")
        for statistic, actual in {
            "mean": tiles.mean(dim=(-2, -1)),
            "std": tiles.std(dim=(-2, -1), correction=0),
        }.items():
            # an average over all pixels may be off by what pixels are off on average
            expected = arrays[f"{name}.tiles_{statistic}"]
            assert np.abs(actual.numpy() - expected).max() <= tolerance["mean_uint8_resize"], f"{name} {statistic}"

        whole = to_clip(clip_frames(frames, CLIP_SIZE))[0, :, SAMPLED_PIXELS, SAMPLED_PIXELS]
        assert_pixels(whole, arrays[f"{name}.whole_sub"], tolerance, f"{name} whole")
        action = to_i3d(i3d_frames(frames))[0, :, SAMPLED_PIXELS, SAMPLED_PIXELS]
        assert_pixels(action, arrays[f"{name}.i3d_sub"], tolerance, f"{name} i3d")


RUNNERS = {"graphs/frame_sampling": frame_sampling, "graphs/grid_crops": grid_crops}
