"""Which parameters of a retrieval model train, and at which rate."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import nn

from model.backbone.clip import CLIP

ALWAYS = ("ln_final.", "text_projection", "logit_scale", "visual.ln_post.", "visual.proj", "visual.conv2.")
_BLOCK = re.compile(r"(?:visual\.)?transformer\.resblocks\.(\d+)\.")


def freeze_layers(clip: CLIP, below: int) -> None:
    """CLIP4Clip's freezing: the blocks from number `below` on train, and the last norms, projections and temperature.

    Everything else of CLIP stays as it is: earlier blocks, embeddings, positions, patch layer, first norm. -1 freezes
    nothing. A 3-D patch layer trains, and the 2-D one that it replaces never does.
    """
    for name, parameter in clip.named_parameters():
        block = _BLOCK.match(name)
        late = block is not None and int(block[1]) >= below
        parameter.requires_grad_(below < 0 or late or name.startswith(ALWAYS))
    if clip.config.linear_patch == "3d":
        clip.visual.conv1.requires_grad_(False)


def with_3d_patches(clip: CLIP) -> CLIP:
    """The same CLIP with a 3-D patch layer, which starts as the 2-D one."""
    deep = CLIP(replace(clip.config, linear_patch="3d"))
    deep.load_state_dict(clip.state_dict(), strict=False)
    deep.visual.inflate_patch_layer()
    return deep


def parameter_groups(model: nn.Module, lr: float, coef_lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: {CLIP, what a method adds} x {decay, no decay}, trainable parameters only.

    CLIP's own rate is lr * coef_lr. Matrices decay; vectors and scalars (biases, norms, class token, temperature) do
    not.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_clip = name.startswith("clip.") and not model.is_new(name)
            groups.setdefault((of_clip, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (coef_lr if of_clip else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (of_clip, decays), parameters in sorted(groups.items())
    ]
