import numpy as np
import pytest
import torch

from dataset.clip_crops import Augmentation, crop, motion_maps
from utility.random_state import seed_all


def test_crops_keep_to_their_range():
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1).expand(4, 3, 64, 64)
    np.random.seed(0)

    def spans(how):
        cut = crop(ramp, 16, how).float()
        return (cut.amax((1, 2, 3)) - cut.amin((1, 2, 3))).tolist()

    for _ in range(10):
        same = spans(Augmentation(crop_min=0.5, crop_max=0.75))
        assert len(set(same)) == 1 and 26 <= same[0] <= 48
    each = [tuple(spans(Augmentation(crop_min=0.25, crop_each_frame=True))) for _ in range(5)]
    assert all(len(set(span)) > 1 for span in each)
    assert min(spans(Augmentation(crop_min=0.25, whole_share=1.0))) > 55
    assert torch.equal(crop(ramp, 64, Augmentation()), ramp)
    with pytest.raises(ValueError, match="crop_min"):
        Augmentation(crop_min=0.9, crop_max=0.5)
    with pytest.raises(ValueError, match="crop_min below 1"):
        Augmentation(crop_on_motion=True)


def moving_square(still: bool = False) -> torch.Tensor:
    """Six noisy grey pictures [6, 3, 96, 96] with a red square of 12 pixels that moves, or stays."""
    frames = torch.randint(90, 110, (6, 3, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for number, frame in enumerate(frames):
        left = 40 if still else 4 + 14 * number
        frame[:, 70:82, left : left + 12] = torch.tensor([230, 10, 10], dtype=torch.uint8)[:, None, None]
    return frames


def test_crops_on_motion_hold_what_moves():
    how = Augmentation(crop_min=0.35, crop_max=0.6, crop_each_frame=True, crop_on_motion=True)

    def seen(frames: torch.Tensor, maps: torch.Tensor | None) -> float:
        cuts = torch.cat([crop(frames, 32, how, maps) for _ in range(40)])
        return (cuts[:, 0].amax((1, 2)) > 200).float().mean().item()

    seed_all(0)
    frames, every = moving_square(), np.arange(6)
    assert seen(frames, motion_maps(frames, every)) == 1.0
    assert seen(frames, None) < 0.8
    chosen = np.array([4, 1])
    torch.testing.assert_close(motion_maps(frames, chosen), motion_maps(frames, every)[[4, 1]])
    still = moving_square(still=True)
    assert seen(still, motion_maps(still, every)) < 1.0, "nothing moves: squares lie anywhere"
    one = Augmentation(crop_min=0.5, crop_max=0.5, crop_on_motion=True)
    assert crop(frames, 32, one, motion_maps(frames, every)).shape == (6, 3, 32, 32)
