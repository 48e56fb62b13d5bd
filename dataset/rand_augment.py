"""RandAugment over whole clips: drawn picture operations, the same for every frame.

Source: Cubuk et al., RandAugment, 2020; operations and strengths are those of its common "increasing" variant, which
TempMe trains with (magnitude 7, four operations, each applied with probability 0.5, strength noise 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

LARGEST = 10.0
GREY = [128.0] * 3


def _signed(value: float) -> float:
    return -value if np.random.random() < 0.5 else value


def _affine(frames: Tensor, angle: float = 0.0, shift: tuple[float, float] = (0, 0), shear: tuple = (0, 0)) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    return F.affine(
        frames, angle, [round(s) for s in shift], 1.0, list(shear), InterpolationMode.BILINEAR, fill=GREY
    )  # fmt: skip


def _enhance(name: str) -> Callable[[Tensor, float], Tensor]:
    def apply(frames: Tensor, strength: float) -> Tensor:
        from torchvision.transforms.v2 import functional as F

        return getattr(F, f"adjust_{name}")(frames, max(0.1, 1.0 + _signed(0.9 * strength)))

    return apply


def _plain(name: str, *arguments: Callable[[float], float]) -> Callable[[Tensor, float], Tensor]:
    def apply(frames: Tensor, strength: float) -> Tensor:
        from torchvision.transforms.v2 import functional as F

        return getattr(F, name)(frames, *(argument(strength) for argument in arguments))

    return apply


def _solarize_add(frames: Tensor, strength: float) -> Tensor:
    brighter = (frames.int() + int(110 * strength)).clamp(max=255).to(frames.dtype)
    return brighter.where(frames < 128, frames)


def _degrees(strength: float) -> float:
    return float(np.degrees(np.arctan(_signed(0.3 * strength))))


# Every operation takes uint8 frames [T, 3, H, W] and a strength in 0..1.
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "auto_contrast": _plain("autocontrast"),
    "equalize": _plain("equalize"),
    "invert": _plain("invert"),
    "rotate": lambda frames, s: _affine(frames, angle=_signed(30.0 * s)),
    "posterize": _plain("posterize", lambda s: 4 - int(4 * s)),
    "solarize": _plain("solarize", lambda s: 256.0 - int(256 * s)),
    "solarize_add": _solarize_add,
    "color": _enhance("saturation"),
    "contrast": _enhance("contrast"),
    "brightness": _enhance("brightness"),
    "sharpness": _enhance("sharpness"),
    "shear_x": lambda frames, s: _affine(frames, shear=(_degrees(s), 0.0)),
    "shear_y": lambda frames, s: _affine(frames, shear=(0.0, _degrees(s))),
    "translate_x": lambda frames, s: _affine(frames, shift=(_signed(0.45 * s) * frames.shape[-1], 0)),
    "translate_y": lambda frames, s: _affine(frames, shift=(0, _signed(0.45 * s) * frames.shape[-2])),
}


@dataclass(frozen=True)
class RandAugment:
    """Draws `count` operations (one may come twice) and applies each with a probability.

    Random draws come from NumPy's global generator, which the loader seeds per batch.

    Attributes:
        magnitude: mean strength, 0 to 10.
        noise: standard deviation of the strength.
        probability: with which each drawn operation is applied.
    """

    magnitude: float = 7.0
    count: int = 4
    probability: float = 0.5
    noise: float = 0.5

    def __post_init__(self):
        if not 0 <= self.magnitude <= LARGEST or self.count < 1 or not 0 <= self.probability <= 1 or self.noise < 0:
            raise ValueError(f"RandAugment needs a magnitude of 0 to {LARGEST:g}, operations and a probability: {self}")

    def __call__(self, frames: Tensor) -> Tensor:
        """[T, 3, H, W] uint8 -> the same shape and type."""
        names = list(OPERATIONS)
        for choice in np.random.randint(len(names), size=self.count):
            if np.random.random() >= self.probability:
                continue
            strength = float(np.clip(np.random.normal(self.magnitude, self.noise), 0, LARGEST)) / LARGEST
            frames = OPERATIONS[names[choice]](frames, strength)
        return frames
