import numpy as np
import pytest
import torch

from dataset.rand_augment import OPERATIONS, RandAugment


@pytest.fixture
def frames():
    ramp = torch.arange(32, dtype=torch.uint8) * 8
    noise = torch.randint(256, (32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), noise])
    return picture[None].repeat(4, 1, 1, 1).contiguous()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_all_frames_alike(name, frames):
    np.random.seed(0)
    changed = OPERATIONS[name](frames, 0.7)
    assert changed.shape == frames.shape and changed.dtype == torch.uint8
    assert (changed != frames).any() or name == "auto_contrast"
    assert all(torch.equal(changed[0], frame) for frame in changed)


def test_draws_follow_the_generator_and_the_probability(frames):
    np.random.seed(1)
    first = RandAugment()(frames)
    second = RandAugment()(frames)
    np.random.seed(1)
    assert torch.equal(RandAugment()(frames), first) and not torch.equal(first, second)
    assert torch.equal(RandAugment(probability=0.0)(frames), frames)
    with pytest.raises(ValueError, match="magnitude of 0 to 10"):
        RandAugment(magnitude=30)
