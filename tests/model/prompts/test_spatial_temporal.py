"""STOP's temporal module: which cells, which frames, and what padding and batches must not do."""

import pytest
import torch

from model.prompts.spatial_temporal import Regions, SpatialTemporalPrompt, direct_convolution

GRID, EDGE, WIDTH = 4, 16, 32


def module(**options):
    torch.manual_seed(0)
    regions = Regions(3, options.pop("released", False))
    return SpatialTemporalPrompt(WIDTH, 2, GRID, prompts=3, regions=regions, **options).eval()


def video(videos=2, frames=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(videos, frames, 3, EDGE, EDGE, generator=generator)


def patches(videos=2, frames=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(videos, frames, GRID**2, WIDTH, generator=generator)


@pytest.mark.parametrize("released", [False, True])
def test_cells_are_patches_or_the_released_comb(released):
    own = module(released=released)
    frames = torch.arange(EDGE * EDGE).float().view(1, 1, EDGE, EDGE)
    side = EDGE // GRID
    cells = own._in_cells(frames)[0, 0]
    for a, b in ((0, 0), (1, 3), (3, 2)):
        rows = torch.arange(EDGE)
        rows, columns = (rows % GRID == a, rows % GRID == b) if released else (rows // side == a, rows // side == b)
        assert cells[a, b].flatten().tolist() == frames[0, 0][rows][:, columns].flatten().tolist()
        one = torch.zeros(1, 1, GRID**2)
        one[..., a * GRID + b] = 1
        assert torch.equal(own._on_pixels(one, EDGE)[0, 0, 0].bool(), rows[:, None] & columns[None])


@pytest.mark.parametrize("released", [False, True])
def test_as_many_cells_as_asked_for_and_the_scorer_learns_unless_released(released):
    own = module(released=released)
    prompted, selected = own.pixels(video())
    assert selected.detach().sum(-1).round().eq(3).all() and set(selected.detach().round().flatten().tolist()) == {0, 1}
    prompted.square().sum().backward()
    assert (own.Cal_Net.weight.grad is None) == released


def test_spectra_and_sums_compute_the_same():
    fast, slow = module(), module(convolution=direct_convolution)
    for one, other in zip(fast.pixels(video()), slow.pixels(video()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    _, selected = slow.pixels(video())
    torch.testing.assert_close(
        fast.between_frames(patches(), selected), slow.between_frames(patches(), selected), rtol=1e-3, atol=1e-6
    )


def test_a_video_does_not_depend_on_the_batch_unless_released():
    for released in (False, True):
        own = module(released=released)
        together = own.between_frames(patches(), None)
        alone = torch.cat([own.between_frames(one[None], None) for one in patches()])
        assert torch.allclose(together, alone, atol=1e-6) != released


def test_frames_that_are_not_there_have_no_influence():
    own, mask = module(), torch.tensor([[True, True, True], [True, True, False]])
    frames = video() * mask[..., None, None, None]
    prompted, selected = own.pixels(frames, mask)
    short, chosen = own.pixels(frames[1:, :2])
    torch.testing.assert_close(prompted[1:, :2], short, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(selected[1:, :2], chosen)
    tokens = patches()
    between = own.between_frames(tokens, selected, mask)
    alone = own.between_frames(tokens[1:, :2], chosen)
    torch.testing.assert_close(between[1:, :2], alone, rtol=1e-4, atol=1e-6)
    other = torch.where(mask[..., None, None], tokens, 9.0)
    torch.testing.assert_close(own.between_frames(other, selected, mask)[1, :2], between[1, :2], rtol=1e-4, atol=1e-6)


def test_one_frame_and_no_frame_give_numbers():
    own = module()
    assert own.between_frames(patches(frames=1), None).isfinite().all()
    assert own.between_frames(patches(), None, torch.zeros(2, 3, dtype=torch.bool)).isfinite().all()


def test_selected_cells_count_twice_and_weights_span_zero_to_one():
    own = module()
    weights = own.frame_weights(patches(), None)
    assert weights.amin(1).eq(0).all() and torch.allclose(weights.amax(1), torch.ones(2))
    selected = torch.zeros(2, 3, GRID**2)
    selected[:, 1] = 1
    assert not torch.allclose(own.frame_weights(patches(), selected), weights)


def test_more_regions_than_cells_are_refused():
    with pytest.raises(ValueError, match="16 regions of 16 cells"):
        SpatialTemporalPrompt(WIDTH, 2, GRID, regions=Regions(16))
