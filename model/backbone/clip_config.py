"""Sizes of a CLIP: as a declaration, those of a tower for two CPU cores, and those of a state dict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.backbone.blocks import ACTIVATIONS


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of both towers. The published models have one attention head per 64 channels."""

    embed_dim: int
    resolution: int
    patch: int
    """Pixels between neighbouring patch tokens, the stem included."""
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    context_length: int = 77
    vocab_size: int = 49408
    activation: str = "quick_gelu"
    mlp_ratio: float = 4.0
    linear_patch: str = "2d"
    """"3d": the patch layer also looks at the frame before and the frame after."""
    stem: tuple[int, ...] = ()
    """Channels of 3x3 convolutions of stride 2 in front of a patch layer of the remaining stride."""

    def __post_init__(self):
        object.__setattr__(self, "stem", tuple(self.stem))
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}")
        if self.linear_patch not in ("2d", "3d"):
            raise ValueError(f"linear_patch is {self.linear_patch!r}; allowed: 2d, 3d")
        if self.linear_patch == "3d" and self.stem:
            raise ValueError("a stem and linear_patch 3d exclude one another; drop one of them")
        if self.patch % 2 ** len(self.stem) or self.resolution % self.patch:
            raise ValueError(
                f"resolution {self.resolution}, patch {self.patch} and {len(self.stem)} stem convolutions do not fit: "
                f"the patch must be a multiple of {2 ** len(self.stem)} and divide the resolution"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.resolution // self.patch


def small_config(**changes) -> CLIPConfig:
    """A tower that two CPU cores train in minutes: 64 pixels, convolutional stem, a few narrow blocks."""
    sizes = {
        "embed_dim": 128, "resolution": 64, "patch": 16, "stem": (32, 64, 128),
        "vision_width": 128, "vision_layers": 2, "vision_heads": 4,
        "text_width": 128, "text_layers": 2, "text_heads": 4, "context_length": 32,
    }  # fmt: skip
    return CLIPConfig(**(sizes | changes))


def config_of(tensors: Mapping[str, Tensor], activation: str = "quick_gelu", **changes) -> CLIPConfig:
    """Sizes of a CLIP state dict; `changes` overrides what shapes cannot tell (heads).

    Raises:
        ValueError: the tensors are not a CLIP with a transformer vision tower.
    """
    needed = ("visual.proj", "visual.conv1.weight", "visual.positional_embedding", "text_projection", "ln_final.weight")
    missing = [name for name in needed if name not in tensors]
    if missing:
        kind = " (a ResNet CLIP, which has no patch tokens)" if any("visual.layer" in name for name in tensors) else ""
        raise ValueError(f"not the weights of a CLIP with a transformer vision tower{kind}: no {', '.join(missing)}")

    def layers(prefix: str) -> int:
        found = (re.match(rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.", name) for name in tensors)
        return len({match[1] for match in found if match})

    conv = tensors["visual.conv1.weight"]
    # A stage's last convolution has the stage's channels on both sides, except in the first stage, which has only one.
    sides = [tensors[f"visual.stem.{3 * i}.weight"].shape[:2] for i in range(_stem_length(tensors))]
    stem = [after for after, _ in [*sides[:1], *sides[2::2]]]
    patch = conv.shape[-1] * 2 ** len(stem)
    vision_width, text_width = conv.shape[0], tensors["ln_final.weight"].shape[0]
    hidden = tensors.get("visual.transformer.resblocks.0.mlp.c_fc.weight")
    sizes = {
        "embed_dim": tensors["text_projection"].shape[1],
        "resolution": patch * round(math.sqrt(tensors["visual.positional_embedding"].shape[0] - 1)),
        "patch": patch,
        "vision_width": vision_width,
        "vision_layers": layers("visual."),
        "vision_heads": max(1, vision_width // 64),
        "text_width": text_width,
        "text_layers": layers(""),
        "text_heads": max(1, text_width // 64),
        "context_length": tensors["positional_embedding"].shape[0],
        "vocab_size": tensors["token_embedding.weight"].shape[0],
        "activation": activation,
        "mlp_ratio": 4.0 if hidden is None else hidden.shape[0] / vision_width,
        "linear_patch": "3d" if "visual.conv2.weight" in tensors else "2d",
        "stem": tuple(stem),
    }
    return CLIPConfig(**(sizes | changes))


def _stem_length(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.ndim == 4 for name, tensor in tensors.items() if name.startswith("visual.stem."))
