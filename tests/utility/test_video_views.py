"""Temporal views, crops, black strips."""

import numpy as np
import pytest
import torch

from utility.video_views import spatial_crops, temporal_views, without_black_strips


@pytest.mark.parametrize("count", [1, 5, 32, 33, 97])
def test_views_are_runs_of_evenly_spread_samples(count):
    index, mask = temporal_views(count, 8, 4)
    naive = [int(np.floor((count - 1) * k / 31)) for k in range(32)]
    assert np.abs(index.reshape(-1) - naive).max() <= 0 or count == 1
    assert index.shape == (4, 8) and mask.all()


def test_a_stride_pads_what_lies_behind_the_end():
    index, mask = temporal_views(20, 4, 2, space=3)
    assert index.tolist() == [[0, 3, 6, 9], [10, 13, 16, 19]] and mask.all()
    index, mask = temporal_views(5, 4, 1, space=3)
    assert index.tolist() == [[0, 3, 4, 4]] and mask.tolist() == [[True, True, False, False]]
    with pytest.raises(ValueError, match="at least one"):
        temporal_views(5, 4, 1, space=0)


@pytest.mark.parametrize("tall", [False, True])
def test_three_crops_lie_along_the_long_side(tall):
    frames = torch.arange(50, dtype=torch.uint8).expand(2, 3, 32, 50)
    frames = frames.mT if tall else frames
    crops = spatial_crops(frames, 32, 3)
    assert crops.shape == (3, 2, 3, 32, 32)
    assert crops[:, 0, 0, 0, 0].tolist() == [0, 9, 18]
    assert spatial_crops(frames, 32, 1)[:, 0, 0, 0, 0].tolist() == [9]
    assert spatial_crops(frames, 16, 2).shape == (2, 2, 3, 16, 16)


def test_black_strips_are_cut_and_dark_clips_kept():
    frames = torch.zeros(4, 3, 20, 10, dtype=torch.uint8)
    frames[2, :, 5:15] = 200  # bright in one frame only
    frames[:, :, 3] = 12  # noise within a strip
    assert without_black_strips(frames).shape == (4, 3, 10, 10)
    assert without_black_strips(frames * 0).shape == (4, 3, 20, 10)
