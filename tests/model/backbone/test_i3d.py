"""Padding, sizes and switches of the action network; its arithmetic is pinned by tests/golden/runners_i3d.py."""

import math

import pytest
import torch
import torch.nn.functional as F

from model.backbone.i3d import ENDPOINTS, I3D, MaxPool, Unit, batch_statistics, same_padding


@pytest.fixture(scope="module")
def small() -> I3D:
    torch.manual_seed(0)
    return I3D(5, width=0.25, pool=(2, 2, 2)).eval()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(224, 7, 2, (2, 3)), (15, 7, 2, (3, 3)), (28, 3, 1, (1, 1)), (7, 3, 2, (1, 1)), (8, 3, 2, (0, 1))],
)
def test_same_padding_of_one_axis(size, kernel, stride, expected):
    assert same_padding([size], [kernel], [stride]) == [expected]


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9])
def test_unit_and_pool_keep_ceil_of_size_over_stride(size):
    x = torch.rand(1, 3, size, size + 1, size + 2)
    want = [math.ceil(n / 2) for n in x.shape[2:]]
    assert list(Unit(3, 8, 7, 2)(x).shape[2:]) == want
    assert list(MaxPool((3, 3, 3), (2, 2, 2))(x).shape[2:]) == want


def test_odd_cell_of_the_padding_goes_behind():
    x = torch.arange(1.0, 9).reshape(1, 1, 1, 1, 8)
    pooled = MaxPool((1, 1, 3), (1, 1, 2))(x).flatten()
    assert pooled.tolist() == [3, 5, 7, 8]  # windows start at 0, not at -1


def test_unit_is_convolution_normalisation_relu():
    torch.manual_seed(1)
    unit = Unit(2, 4, 3).eval()
    unit.bn.running_mean.normal_()
    unit.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 2, 4, 5, 6)
    y = F.conv3d(x, unit.conv3d.weight, padding=1)
    mean, scale = unit.bn.running_mean[:, None, None, None], (unit.bn.running_var + 1e-3).sqrt()[:, None, None, None]
    torch.testing.assert_close(unit(x), ((y - mean) / scale).relu())


def test_published_size():
    network = I3D()
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
    assert len(network.state_dict()) == 344
    assert network.feature_dim == 1024


def test_narrow_network_on_small_clips(small):
    clip = torch.rand(2, 3, 16, 64, 64) * 2 - 1
    with torch.inference_mode():
        features = small.features(clip)
        assert features.shape == (2, small.feature_dim, 1, 1, 1) and small.feature_dim == 256
        assert features.min() >= 0
        assert torch.equal(small.extract(clip), features[:, :, 0, 0, 0])
        assert small(clip).shape == (2, 5, 1)


def test_no_pool_averages_over_everything():
    torch.manual_seed(0)
    network = I3D(5, width=0.25, pool=None).eval()
    clip = torch.rand(1, 3, 20, 40, 72)
    last = network.endpoints(clip, ["Mixed_5c"])["Mixed_5c"]
    assert last.shape[2:] == (3, 2, 3)
    torch.testing.assert_close(network.extract(clip), last.mean(dim=(2, 3, 4)))


def test_spatial_axes_of_the_logits_stay_when_longer_than_one(small):
    with torch.inference_mode():
        assert small(torch.rand(1, 3, 16, 64, 96)).shape == (1, 5, 1, 2)
        assert small(torch.rand(1, 3, 16, 96, 64)).shape == (1, 5, 1, 2, 1)
        assert small(torch.rand(1, 3, 16, 96, 96)).shape == (1, 5, 1, 2, 2)


def test_endpoints_stop_at_the_last_one_wanted(small, monkeypatch):
    def not_reached(_):
        raise RuntimeError("ran past the last endpoint")

    monkeypatch.setattr(small.Mixed_3c, "forward", not_reached)
    found = small.endpoints(torch.rand(1, 3, 16, 32, 32), ["Mixed_3b", "Conv3d_1a_7x7"])
    assert {name: x.shape[2] for name, x in found.items()} == {"Conv3d_1a_7x7": 8, "Mixed_3b": 8}
    assert set(ENDPOINTS) == {name for name, _ in small.named_children()} - {"logits", "dropout"}


def test_clip_statistics_do_not_depend_on_the_rest_of_the_batch_and_leave_no_trace(small):
    clips = torch.rand(2, 3, 16, 64, 64)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    with torch.inference_mode():
        running = small.extract(clips)
        own = small.extract(clips, statistics="clip")
        torch.testing.assert_close(own[1:], small.extract(clips[1:], statistics="clip"))
        with batch_statistics(small):
            joint = small.features(clips)[:, :, 0, 0, 0]
        assert torch.equal(small.extract(clips), running)
    assert not torch.allclose(own, joint)
    assert not torch.allclose(own, running)
    for name, value in small.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gradients_reach_every_parameter():
    network = I3D(5, width=0.25, pool=(2, 2, 2))
    network(torch.rand(2, 3, 16, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.features(torch.rand(1, 3, 8, 64, 64)), r"\[8, 64, 64\].*smaller than the pool \[2, 2, 2\]"),
        (lambda n: n.features(torch.rand(1, 2, 16, 64, 64)), r"\[batch, 3, frames, height, width\], not \[1, 2,"),
        (lambda n: n.endpoints(torch.rand(1, 3, 8, 8, 8), ["Mixed_9"]), r"unknown endpoints \['Mixed_9'\]; known are"),
        (lambda n: n.extract(torch.rand(1, 3, 16, 64, 64), statistics="both"), "'running' or 'clip'"),
        (lambda n: I3D(pool=(2, 0, 2)), "three positive lengths"),
    ],
)
def test_errors_say_what_is_allowed(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(small)


def test_differences_are_all_that_the_network_sees():
    torch.manual_seed(0)
    plain, moving = I3D(5, width=0.25, pool=None).eval(), I3D(5, width=0.25, pool=None, differences=True).eval()
    moving.load_state_dict(plain.state_dict())
    clip = torch.rand(2, 3, 9, 32, 32) * 2 - 1
    expected = plain.features((clip[:, :, 1:] - clip[:, :, :-1]).abs())
    assert torch.equal(moving.features(clip), expected)
    assert torch.allclose(moving.features(1 - clip), expected, atol=1e-5)  # bright on dark is dark on bright
    assert not torch.allclose(plain.features(clip), expected, atol=1e-2)
