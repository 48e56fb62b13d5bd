"""Which parameters of a captioner learn, and which of them are decayed."""

from typing import Any

from torch import nn

from model.prompts.token_merging import POSITION
from model.retrieval.clip4clip import CLIP4Clip

KINDS = ("prompts", "lora")
"""What of a backbone may learn from captions: STOP's prompts and adapters, or TempMe's low-rank additions."""
BACKBONE = "backbone."
"""Beginning of the names of the backbone in a captioner that has one."""
_LOW_RANK = "TVPt_LoRA"
_OF_TEXT = (
    "clip.transformer.", "clip.unified_prompt_mlp.", "clip.prefix_text_prompt_proj_layer.",
    "clip.postfix_text_prompt_proj_layer.",
)  # fmt: skip


def parameter_groups(model: nn.Module, weight_decay: float, backbone_lr: float | None = None) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, for an optimiser; by the published names.

    Biases and the norms named `LayerNorm` are spared; two norms with other names (`visual_norm2d`,
    `video_embeddings.0`) are decayed, as published. Of a backbone inside, what learns is a third group, its matrices
    decayed, and a fourth, with a rate of their own.
    """
    named = [(name, p) for name, p in model.named_parameters() if not name.startswith(BACKBONE)]
    free = [p for name, p in named if "bias" in name or "LayerNorm.weight" in name]
    rest = [p for name, p in named if not ("bias" in name or "LayerNorm.weight" in name)]
    groups = [{"params": rest, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    learns = [p for name, p in model.named_parameters() if name.startswith(BACKBONE) and p.requires_grad]
    for matrices in (True, False):
        if parts := [p for p in learns if (p.ndim > 1) == matrices]:
            groups.append({"params": parts, "weight_decay": weight_decay * matrices, "lr": backbone_lr})
    return groups


def choose_tuned(network: CLIP4Clip, kind: str, frozen: bool = False) -> list[str]:
    """Lets the parameters of a kind learn that a picture's feature depends on, and no others.

    Those of the text tower stay as they are, and so do positions of joined clips: a picture is a clip of its own.

    Args:
        frozen: let nothing learn.

    Returns:
        Their names.

    Raises:
        ValueError: the network has none.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of tuning {kind!r}; known: {', '.join(KINDS)}")
    names = {
        name
        for name, _ in network.named_parameters()
        if network.is_new(name) and network.is_computed(name) and (_LOW_RANK in name) == (kind == "lora")
        if POSITION not in name and not name.startswith(_OF_TEXT)
    }
    if not names:
        other = next(name for name in KINDS if name != kind)
        raise ValueError(f"this backbone has no {kind} that a picture's feature depends on; --tune {other}?")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names and not frozen)
    return sorted(names)
