"""3-D convolution with large spatial kernels, computed as products of spectra.

STOP's convolutions have 11 x 11 or 15 x 25 taps and at most 16 channels: the direct sum costs hundreds of products per
value where the transform costs some dozens. Along time, where kernels have 3 or 5 taps, the sum stays direct.

Shape letters: N clips, C channels in, O channels out, T frames, H x W positions, h x w the padded transform,
F = h * (w // 2 + 1) frequencies.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.blocks import at_least_float32

CHUNK = 2**26
"""Complex numbers of a spectrum that are held at a time: half a gigabyte."""


def convolve(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """What `layer` computes, for odd kernels with stride 1 and padding by half a kernel; at least float32.

    Shapes:
        x: [N, C, T, H, W]; returns [N, O, T, H, W]

    Raises:
        ValueError: another stride, padding, dilation or number of groups.
    """
    kernel = layer.kernel_size
    same = all(k % 2 and p == k // 2 for k, p in zip(kernel, layer.padding, strict=True))
    if not same or {*layer.stride, *layer.dilation, layer.groups} != {1}:
        raise ValueError(f"{layer}: only odd kernels with stride 1 and padding by half a kernel")
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        out = _Convolution.apply(x, layer.weight.to(x.dtype))
        return out if layer.bias is None else out + layer.bias.to(x.dtype)[:, None, None, None]


class _Convolution(torch.autograd.Function):
    """Saves clips and taps only: spectra are computed again in the backward pass, a few clips at a time."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        size = _transform_size(x, weight)
        taps = _spectrum_of_taps(weight, size)
        return torch.cat([_correlate(part, taps, size, weight.shape[2]) for part in _parts(x, weight, size)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        size, span = _transform_size(x, weight), weight.shape[2]
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            # The adjoint: taps in reverse order, channels exchanged.
            taps = _spectrum_of_taps(weight.flip(2, 3, 4).transpose(0, 1), size)
            of_x = torch.cat([_correlate(part, taps, size, span) for part in _parts(grad, weight, size)])
        if ctx.needs_input_grad[1]:
            pairs = zip(_parts(x, weight, size), _parts(grad, weight, size), strict=True)
            spectrum = sum(_products(one, other, size, span) for one, other in pairs)
            of_weight = _taps_of_spectrum(spectrum, weight, size)
        return of_x, of_weight


def _parts(x: Tensor, weight: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
    per_clip = max(weight.shape[:2]) * (x.shape[2] + weight.shape[2]) * _frequencies(size)
    return x.split(max(1, CHUNK // per_clip))


def _frequencies(size: tuple[int, int]) -> int:
    return size[0] * (size[1] // 2 + 1)


def _transform_size(x: Tensor, weight: Tensor) -> tuple[int, int]:
    """Smallest fast lengths at which the ends of a row do not reach one another."""
    return tuple(_fast_length(n + k // 2) for n, k in zip(x.shape[-2:], weight.shape[-2:], strict=True))


def _fast_length(least: int) -> int:
    """The next even number without prime factors above 7."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _waves(taps: int, length: int, frequencies: int, like: Tensor) -> Tensor:
    """exp(2 pi i (k - taps // 2) f / length), [taps, frequencies]; the angle is reduced before it is rounded."""
    k = torch.arange(taps, device=like.device)[:, None] - taps // 2
    turns = (k * torch.arange(frequencies, device=like.device)) % length
    angle = turns.double() * (2 * math.pi / length)
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype.to_complex())


def _spectrum_of_taps(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """[kt, F, C, O]: what a spectrum is multiplied by so that every position sums the taps around it."""
    down = _waves(weight.shape[3], size[0], size[0], weight)
    right = _waves(weight.shape[4], size[1], size[1] // 2 + 1, weight)
    complex_taps = weight.to(right.dtype).permute(2, 1, 0, 3, 4) @ right
    return torch.einsum("tcokx,ky->tyxco", complex_taps, down).flatten(1, 2)


def _taps_of_spectrum(spectrum: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """The adjoint of `_spectrum_of_taps`: [kt, F, C, O] to the shape of `weight`."""
    down = _waves(weight.shape[3], size[0], size[0], weight)
    right = _waves(weight.shape[4], size[1], size[1] // 2 + 1, weight)
    # A half spectrum stands for its mirror image too, except in its first and last column.
    share = torch.full((size[1] // 2 + 1,), 2.0 / math.prod(size), dtype=weight.dtype, device=weight.device)
    share[0] = share[-1] = 1.0 / math.prod(size)
    rows = torch.einsum("tyxco,jx->tycoj", spectrum.unflatten(1, (size[0], -1)), right * share)
    return torch.einsum("tycoj,ky->octkj", rows, down).real


def _by_frequency(x: Tensor, size: tuple[int, int], span: int) -> Tensor:
    """Spectra of a clip with empty frames around it: [N, C, T, H, W] to [F, N * (T + span - 1), C]."""
    spectrum = torch.fft.rfft2(x, s=size).permute(3, 4, 0, 2, 1)
    return F.pad(spectrum, (0, 0, span // 2, span // 2)).flatten(2, 3).flatten(0, 1)


def _correlate(x: Tensor, taps: Tensor, size: tuple[int, int], span: int) -> Tensor:
    """[N, C, T, H, W] to [N, O, T, H, W]."""
    rows = _by_frequency(x, size, span)
    # A row is a frame of a clip, and its neighbours in time are its neighbours here.
    count = rows.shape[1] - span + 1
    out = torch.bmm(rows[:, :count], taps[0])
    for step in range(1, span):
        out = torch.baddbmm(out, rows[:, step : step + count], taps[step])
    out = F.pad(out, (0, 0, 0, span - 1)).unflatten(1, (x.shape[0], -1))[:, :, : x.shape[2]]
    out = out.unflatten(0, (size[0], -1)).permute(2, 4, 3, 0, 1)
    return torch.fft.irfft2(out, s=size)[..., : x.shape[3], : x.shape[4]]


def _products(x: Tensor, grad: Tensor, size: tuple[int, int], span: int) -> Tensor:
    """Spectrum of the gradient of the taps, [kt, F, C, O]."""
    rows, inner = _by_frequency(x, size, span), _by_frequency(grad, size, span)
    half, count = span // 2, rows.shape[1] - span + 1
    # `inner` has its frames half a span later; rows beyond a clip's end hold zeros.
    inner = inner[:, half : half + count].conj()
    return torch.stack([rows[:, step : step + count].mT @ inner for step in range(span)])
