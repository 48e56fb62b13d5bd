import math

import pytest
import torch

from model.detection.fastest_det import fastest_det_input, fastest_det_objects


def test_a_cell_becomes_a_box():
    output = torch.zeros(5 + 3, 4, 4)
    output[:, 1, 2] = torch.tensor([0.81, math.atanh(0.5), 0, 0, math.log(1 / 3), 0.1, 0.7, 0.2])
    output[0, 3, 0], output[7, 3, 0] = 0.0, 1.0  # no objectness
    found = fastest_det_objects(output, (100, 200))
    assert found.labels.tolist() == [1]
    assert found.scores.item() == pytest.approx(0.81**0.6 * 0.7**0.4)
    # centre (2.5 / 4, 1 / 4), width 1/2, height 1/4 of 200 x 100 pixels
    assert found.boxes[0].tolist() == pytest.approx([75, 12.5, 175, 37.5], abs=1e-4)


def test_the_input_is_stretched_and_its_channels_turned_round():
    picture = torch.zeros(3, 10, 20, dtype=torch.uint8)
    picture[0, :, :10] = 255  # red on the left
    seen = fastest_det_input(picture, 8, 8)
    assert seen.shape == (1, 3, 8, 8) and seen[0, 2, :, 0].min() == 1 and seen[0, :2].max() == 0
    assert seen[0, 2, :, -1].max() == 0
