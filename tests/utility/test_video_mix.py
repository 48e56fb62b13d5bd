"""VideoMix: boxes, shares, labels."""

import numpy as np
import pytest
import torch

from utility.random_state import seed_all
from utility.video_mix import KINDS, Box, draw_box, mix, mixed_label


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_is_that_of_the_pixels(kind):
    inside, outside = torch.ones(2, 6, 3, 16, 20), torch.zeros(2, 6, 3, 16, 20)
    for seed in range(20):
        seed_all(seed)
        box = draw_box(kind, 6, 16, 20)
        mixed, share = mix(inside, outside, box)
        assert share == pytest.approx(mixed.mean().item(), abs=1e-6)
        assert (box.t == (0, 6)) or kind != "spatial"
        assert (box.y == (0, 16) and box.x == (0, 20)) or kind != "temporal"
        label = mixed_label(1, 2, share, 4)
        assert label.sum() == pytest.approx(1) and label[1] == pytest.approx(share)
    assert outside.sum() == 0  # the clip that another one enters is not changed


def test_every_area_is_drawn_and_a_label_may_meet_itself():
    seed_all(0)
    shares = [draw_box("spatial", 1, 32, 32).volume() / 1024 for _ in range(300)]
    assert min(shares) < 0.05 and max(shares) > 0.8
    assert mixed_label(1, 1, 0.3, 2).tolist() == [0, 1]


def test_published_order_of_draws():
    np.random.seed(0)
    np.random.random()  # whether to mix
    assert draw_box("spatiotemporal", 6, 16, 20) == Box((0, 5), (3, 11), (3, 7))


def test_unknown_kind_and_shapes_are_refused():
    with pytest.raises(ValueError, match="videomix-type is 'both'; allowed: spatial, temporal"):
        draw_box("both", 2, 2, 2)
    with pytest.raises(ValueError, match="they need one shape"):
        mix(torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 2, 3, 4, 5), Box((0, 1), (0, 1), (0, 1)))
