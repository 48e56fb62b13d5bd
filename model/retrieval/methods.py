"""The retrieval methods, each a declaration over one backbone and shared prompts.

    model = build_method("stop", clip, MethodSettings(max_frames=12))
    loss, rows = model(ids, frames, mask, gather, rank, chunk)

Every method has the interface of `CLIP4Clip`:

| call | gives |
|---|---|
| `model(ids, frames, mask, gather, rank, chunk, words)` | summed loss of the own pairs, logits [b, all videos] |
| `encode_text(ids, chunk)` | [A, E], not normalised |
| `encode_video(frames, mask, chunk)` | [B, F, E]: F = T for CLIP4Clip, 1 (a vector per video) for all others |
| `similarity(text, video, mask)`, `similarity_matrix(...)` | logits [A, B]; `video` from `encode_video`, mask [B, T] |
| `encode_image(pixels)` | [N, E] of pictures, each taken for a video of one frame |
| `clamp_logit_scale()` | after every step |
| `clip`, `words`, `word_weight` | the backbone (`clip.*` are the published parameter names) and word prediction |
| `is_new(name)` | whether a parameter is one that the method adds to CLIP |
| `is_computed(name)` | whether a parameter takes part in the computation; others must not be in the optimiser |

A checkpoint's config names the method (`method`) and its settings (`method_settings`, `dataclasses.asdict`), from which
`build_method` makes it again.

Frames that a mask hides have no influence. TempMe and everything that merges reads T frames: where the mask hides some
of them, those present are repeated in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from model.backbone.clip import CLIP
from model.retrieval.clip4clip import CLIP4Clip
from model.retrieval.prompted import PromptedRetrieval
from model.retrieval.settings import MethodSettings


def clip4clip(clip: CLIP, settings: MethodSettings) -> CLIP4Clip:
    """CLIP and a similarity header (Luo et al., 2021)."""
    return CLIP4Clip(clip, settings.sim_header, settings.cross_num_hidden_layers)


def stop(clip: CLIP, settings: MethodSettings) -> PromptedRetrieval:
    """Spatial and temporal prompts, deep prompts in both towers, adapters (Liu et al., STOP, 2025)."""
    return PromptedRetrieval(clip, settings.but(lora_dim=0), True, False, settings.visual_output_type)


def dgl(clip: CLIP, settings: MethodSettings) -> PromptedRetrieval:
    """Deep prompts, and global ones that see the video (Yang et al., DGL, 2024): STOP without its convolutions."""
    return stop(clip, settings.but(temporal_prompt="DGL"))


def tempme(clip: CLIP, settings: MethodSettings) -> PromptedRetrieval:
    """Low-rank additions, and clips that are joined and merged layer by layer (Shen et al., TempMe, 2025)."""
    return PromptedRetrieval(clip, settings, False, True, "frame_cls_mean")


def unified(clip: CLIP, settings: MethodSettings) -> PromptedRetrieval:
    """TempMe-STOP: prompts, low-rank additions and merging in one tower; every mode has the same parameters."""
    mode = settings.training_mode
    prompts = mode != "tempme_only" if settings.prompts is None else settings.prompts
    merge = mode != "stop_only" if settings.merge is None else settings.merge
    readout = settings.video_readout
    if readout == "auto":
        readout = ("both" if merge else "global_prompt0") if prompts else "frame_cls_mean"
    return PromptedRetrieval(clip, settings, prompts, merge, readout, every_part=True)


METHODS: dict[str, Callable[[CLIP, MethodSettings], nn.Module]] = {
    "clip4clip": clip4clip, "stop": stop, "dgl": dgl, "tempme": tempme, "unified": unified,
}  # fmt: skip


def build_method(name: str, clip: CLIP, settings: MethodSettings | Mapping[str, Any] | None = None) -> nn.Module:
    """The network of a method around a backbone, which it keeps and extends.

    Args:
        settings: or a mapping whose known entries are taken.

    Raises:
        ValueError: an unknown method, or settings that do not fit it or the backbone.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    if not isinstance(settings, MethodSettings):
        settings = MethodSettings.of(dict(settings or {}))
    return METHODS[name](clip, settings)
