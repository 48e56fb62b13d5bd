"""Convolutions by spectra against PyTorch's sums."""

import pytest
import torch
from torch import nn

from model.prompts import fourier_convolution
from model.prompts.fourier_convolution import convolve

CASES = [
    ((2, 3, 4, 9, 8), 4, (3, 5, 7)),
    ((1, 2, 1, 5, 5), 1, (5, 11, 11)),
    ((3, 1, 6, 7, 20), 9, (3, 3, 9)),
    ((1, 1, 2, 1, 3), 1, (1, 1, 1)),
]


def layer_of(channels, out, kernel):
    torch.manual_seed(0)
    return nn.Conv3d(channels, out, kernel, padding=tuple(k // 2 for k in kernel)).double()


@pytest.mark.parametrize("chunk", [2**26, 1])
@pytest.mark.parametrize(("shape", "out", "kernel"), CASES)
def test_values_and_gradients_are_those_of_the_sum(monkeypatch, shape, out, kernel, chunk):
    monkeypatch.setattr(fourier_convolution, "CHUNK", chunk)
    layer = layer_of(shape[1], out, kernel)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = layer(x)
    weight = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    got = convolve(layer, x)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(got, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_float32_is_close_and_autocast_does_not_reach_it():
    layer = layer_of(9, 9, (3, 11, 11)).float()
    x = torch.randn(1, 9, 3, 32, 32)
    expected = layer(x)
    torch.testing.assert_close(convolve(layer, x), expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convolve(layer, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}])
def test_other_convolutions_are_refused(options):
    layer = nn.Conv3d(2, 2, 3, **({"padding": 1} | options))
    with pytest.raises(ValueError, match="only odd kernels with stride 1"):
        convolve(layer, torch.zeros(1, 2, 3, 5, 5))
