"""Texts written by hand around a class name, as features that never change (recognition reference, 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.backbone.clip import CLIP

PERSON_DOING = "A video of a person doing"


def filled_template(template: str, names: Sequence[str]) -> list[str]:
    """The template, a space and the class name, for every name."""
    return [f"{template} {name}" for name in names]


@torch.no_grad()
def template_features(clip: CLIP, ids: Tensor) -> Tensor:
    """CLIP's own features [C, E] of the filled templates' ids [C, L]: causal, normed, not of unit length."""
    return clip.encode_text(ids)
