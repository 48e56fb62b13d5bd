"""Which parameters of a captioner are decayed."""

from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, for an optimiser; by the published names.

    Biases and the norms named `LayerNorm` are spared; two norms with other names (`visual_norm2d`,
    `video_embeddings.0`) are decayed, as published.
    """
    named = list(model.named_parameters())
    free = [p for name, p in named if "bias" in name or "LayerNorm.weight" in name]
    rest = [p for name, p in named if not ("bias" in name or "LayerNorm.weight" in name)]
    return [{"params": rest, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
