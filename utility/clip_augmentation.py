"""Augmentation of training clips: one draw per clip, the same for all its frames, on pictures that are not normalised.

Shape letters: T frames, H and W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GREY = torch.tensor([0.299, 0.587, 0.114])
# RGB to brightness and two colour axes (YIQ): a hue shift is a rotation of the latter two.
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class ClipAugmentation:
    """What may happen to a clip, and how strongly. A strength of 0 (crop_scale of 1) switches its part off.

    Attributes:
        crop_scale: smallest area of the random crop, as a share of the picture's.
        crop_ratio: largest width-to-height ratio that the crop changes by; its inverse is the smallest.
        horizontal_flip, vertical_flip: probabilities.
        brightness, contrast, saturation: factors are drawn from 1 - s to 1 + s.
        hue: largest turn of the colour circle, 0.5 being half of it.
        blur: probability of a Gaussian blur of standard deviation `blur_sigma` pixels, cut at `blur_kernel` pixels.
        salt_and_pepper: share of values set to black or white, independently per channel and frame.
        cutout: probability of a black box of `cutout_scale` (least, largest) of the area, width to height
            `cutout_ratio` (least, largest).
    """

    crop_scale: float = 0.5
    crop_ratio: float = 4 / 3
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.05
    blur: float = 0.0
    blur_kernel: int = 5
    blur_sigma: float = 1.0
    salt_and_pepper: float = 0.0
    cutout: float = 0.0
    cutout_scale: tuple[float, float] = (0.02, 0.33)
    cutout_ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self):
        shares = ("horizontal_flip", "vertical_flip", "brightness", "contrast", "saturation", "blur", "salt_and_pepper")
        for name in (*shares, "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{_key(name)} is {getattr(self, name)}; it must lie between 0 and 1")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is {self.hue}; it must lie between 0 and 0.5")
        if not 0 < self.crop_scale <= 1 or self.crop_ratio < 1:
            raise ValueError(
                f"crop-scale is {self.crop_scale} and crop-ratio {self.crop_ratio}; above 0 to 1, and 1 or more"
            )
        if self.blur_kernel < 1 or self.blur_kernel % 2 == 0 or self.blur_sigma <= 0:
            raise ValueError(
                f"blur-kernel is {self.blur_kernel}, blur-sigma {self.blur_sigma}; an odd number, and above 0"
            )
        for name in ("cutout_scale", "cutout_ratio"):
            least, largest = getattr(self, name)
            if not 0 < least <= largest:
                raise ValueError(f"{_key(name)} is {least} {largest}; the first must be above 0 and at most the second")

    def crop(self, frames: Tensor) -> Tensor:
        """A random box of frames [T, 3, H, W], as a view; the caller scales it to its size."""
        if self.crop_scale >= 1:
            return frames
        height, width = frames.shape[-2:]
        area = height * width * np.random.uniform(self.crop_scale, 1)
        limit = math.log(self.crop_ratio)
        ratio = width / height * math.exp(np.random.uniform(-limit, limit))
        across = min(max(round(math.sqrt(area * ratio)), 1), width)
        down = min(max(round(math.sqrt(area / ratio)), 1), height)
        top, left = np.random.randint(0, height - down + 1), np.random.randint(0, width - across + 1)
        return frames[..., top : top + down, left : left + across]

    def __call__(self, frames: Tensor) -> Tensor:
        """Everything but the crop, on frames [..., 3, H, W] uint8; the same type and shape."""
        if np.random.random() < self.horizontal_flip:
            frames = frames.flip(-1)
        if np.random.random() < self.vertical_flip:
            frames = frames.flip(-2)
        frames = self._jitter(frames)
        if np.random.random() < self.blur:
            frames = gaussian_blur(frames, self.blur_kernel, self.blur_sigma)
        if self.salt_and_pepper:
            draw = torch.from_numpy(np.random.random(tuple(frames.shape)))
            frames = frames.masked_fill(draw < self.salt_and_pepper / 2, 0)
            frames = frames.masked_fill(draw > 1 - self.salt_and_pepper / 2, 255)
        if np.random.random() < self.cutout:
            frames = self._cut_out(frames)
        return frames

    def _jitter(self, frames: Tensor) -> Tensor:
        """Brightness, contrast, saturation and hue are affine maps of a pixel's colour: one product for all four."""
        strengths = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        if not strengths.any():
            return frames
        brightness, contrast, saturation, turn = np.random.uniform(-1, 1, 4) * strengths
        pixels = frames.float()
        mean = float((pixels.mean((-1, -2)) @ GREY).mean()) * (1 + brightness)
        angle = 2 * math.pi * turn
        rotation = torch.eye(3)
        rotation[1:, 1:] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        hue = torch.linalg.inv(YIQ) @ rotation @ YIQ
        grey = GREY.expand(3, 3)
        colour = hue @ ((1 + saturation) * torch.eye(3) - saturation * grey)
        matrix = colour * float((1 + brightness) * (1 + contrast))
        offset = -contrast * mean  # grey stays grey under saturation and hue
        pixels = torch.einsum("dc,...chw->...dhw", matrix, pixels).add_(offset)
        return pixels.round_().clamp_(0, 255).to(torch.uint8)

    def _cut_out(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        area = height * width * np.random.uniform(*self.cutout_scale)
        ratio = math.exp(np.random.uniform(*np.log(self.cutout_ratio)))
        across, down = min(round(math.sqrt(area * ratio)), width), min(round(math.sqrt(area / ratio)), height)
        top, left = np.random.randint(0, height - down + 1), np.random.randint(0, width - across + 1)
        frames = frames.clone()
        frames[..., top : top + down, left : left + across] = 0
        return frames


def gaussian_blur(frames: Tensor, kernel: int, sigma: float) -> Tensor:
    """Frames [..., 3, H, W] uint8 convolved with a Gaussian of `kernel` taps, borders mirrored."""
    offset = torch.arange(kernel) - kernel // 2
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    weight = (weight / weight.sum()).view(1, 1, 1, kernel)
    flat = frames.reshape(-1, 1, *frames.shape[-2:]).float()
    half = kernel // 2
    flat = F.conv2d(F.pad(flat, (half, half, 0, 0), mode="reflect"), weight)
    flat = F.conv2d(F.pad(flat, (0, 0, half, half), mode="reflect"), weight.mT)
    return flat.round_().clamp_(0, 255).to(torch.uint8).reshape(frames.shape)


def _key(name: str) -> str:
    return name.replace("_", "-")
