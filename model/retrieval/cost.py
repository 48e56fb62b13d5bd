"""Multiply-adds of a video and of a text in a retrieval network, counted from its sizes.

Matrix products, attention and convolutions are counted, as sums over all taps whatever computes them; norms,
activations and the matching of tokens are not. Shape letters: T frames, L words, D width, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from model.backbone.blocks import Transformer
from model.prompts.adapter import Adapter
from model.prompts.lora import LowRankAttention
from model.prompts.spatial_temporal import SpatialTemporalPrompt
from model.retrieval.clip4clip import CLIP4Clip
from model.retrieval.prompted import PromptedRetrieval


def multiply_adds(model: CLIP4Clip, frames: int, words: int) -> dict[str, int]:
    """Of one video and one text, by part; `video` and `text` are the sums of their parts.

    Args:
        frames: T; words: L, start and end included.

    Returns:
        `tower` (vision tower, frame tokens projected), `pixel_prompt`, `between_frames`, `text_tower`, `header` (per
        video; tightTransf: per pair), `video`, `text`. Deep prompts are made once per batch and are not counted.
    """
    parts = {"tower": _vision(model, frames), "pixel_prompt": 0, "between_frames": 0, "text_tower": _text(model, words)}
    dynamic = model.dynamic if isinstance(model, PromptedRetrieval) else None
    if dynamic is not None:
        pixels = model.clip.config.resolution**2 * frames
        if model.settings.pixel_prompt:
            parts["pixel_prompt"] = pixels * (_per_place([dynamic.Conv, dynamic.Cal_Net]) + _linear([dynamic.MLP]))
        parts["between_frames"] = _between(dynamic, model.clip.config.vision_width, frames)
    parts["header"] = _header(model, frames)
    video = sum(parts[name] for name in ("tower", "pixel_prompt", "between_frames", "header"))
    return parts | {"video": video, "text": parts["text_tower"]}


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """`total` and `trainable` parameters, and of the latter those that the method added (`new`)."""
    named = list(model.named_parameters())
    trains = [(name, p.numel()) for name, p in named if p.requires_grad]
    return {
        "total": sum(p.numel() for _, p in named),
        "trainable": sum(count for _, count in trains),
        "new": sum(count for name, count in trains if model.is_new(name)),
    }


def _vision(model: CLIP4Clip, frames: int) -> int:
    clip = model.clip
    tower, config = clip.visual, clip.config
    patches, width = config.grid**2, config.vision_width
    total = frames * patches * (tower.conv2 if config.linear_patch == "3d" else tower.conv1).weight[0].numel() * width
    if config.stem:
        total += frames * _stem(tower.stem, config.resolution)
    rows, extra, groups = [(frames, 1, patches)] * config.vision_layers, 0, 0
    after = rows
    if isinstance(model, PromptedRetrieval):
        if model.prompts:
            extra, groups = model.settings.global_visual_prompt_length, model.settings.local_each_frame_prompt_length
        if model.merge and frames > 1:
            after = model.plan.counts(config.vision_layers, patches)
            rows = [
                (clips, classes, left + model.plan.inside_count(layer, classes, classes + _before(model, layer, after)))
                for layer, (clips, classes, left) in enumerate(after)
            ]
    for layer, ((clips, classes, left), (_, _, kept)) in enumerate(zip(rows, after, strict=True)):
        block = tower.transformer.resblocks[layer]
        protected = classes * (1 + groups)
        in_row = left + protected
        queries = clips * in_row + extra
        pairs = clips * in_row * (in_row + extra) + extra * queries
        total += queries * _attention(block.attn, width) + 2 * pairs * width
        total += (clips * (kept + protected) + extra) * (_linear([block.mlp]) + _side(block))
    return total + (frames + extra) * width * config.embed_dim


def _before(model: PromptedRetrieval, layer: int, after: list[tuple[int, int, int]]) -> int:
    """Patches of a clip in the attention of a layer."""
    plan, patches = model.plan, model.clip.config.grid**2
    _, classes, left = after[layer - 1] if layer else (plan.frames, 1, patches)
    factor = plan.joins.get(layer)
    return left if factor is None else factor * left - plan.across_count(factor, classes, classes + left)


def _text(model: CLIP4Clip, words: int) -> int:
    clip = model.clip
    depth, width = clip.config.text_layers, clip.config.text_width
    if isinstance(model, PromptedRetrieval) and model.prompts:
        depth = min(depth, model.generator.layers)
        words += model.settings.text_prompt_length // (1 if model.released else 2)
    total = 0
    for block in clip.transformer.resblocks[:depth]:
        total += words * (_attention(block.attn, width) + _linear([block.mlp]) + _side(block)) + 2 * words**2 * width
    return total + width * clip.config.embed_dim


def _attention(attention: nn.Module, width: int) -> int:
    """Projections of one token; a low-rank addition counts as long as it is not folded."""
    low = attention.TVPt_LoRA_a.shape[0] * 4 * width if isinstance(attention, LowRankAttention) else 0
    return 4 * width**2 + low


def _side(block: nn.Module) -> int:
    return _linear([block.LoRA]) if isinstance(block.LoRA, Adapter) and block.LoRA.active else 0


def _linear(modules: Iterable[nn.Module]) -> int:
    """Products per token of the linear layers inside."""
    return sum(m.weight.numel() for part in modules for m in part.modules() if isinstance(m, nn.Linear))


def _per_place(modules: Iterable[nn.Module]) -> int:
    """Products per output position of the convolutions inside."""
    return sum(m.weight.numel() for part in modules for m in part.modules() if isinstance(m, nn.Conv3d))


def _between(module: SpatialTemporalPrompt, width: int, frames: int) -> int:
    patches = module.grid**2
    tokens = frames * patches
    attention = tokens * 4 * width**2 + 2 * tokens**2 * width
    convolutions = tokens * width * _per_place([module.InterConv, module.Cal_Net_Inter])
    return attention + convolutions + frames * width * _linear([module.InterMLP])


def _stem(stem: nn.Sequential, edge: int) -> int:
    total = 0
    for layer in stem:
        if isinstance(layer, nn.Conv2d):
            edge //= layer.stride[0]
            total += edge**2 * layer.weight.numel()
    return total


def _header(model: CLIP4Clip, frames: int) -> int:
    width = model.clip.config.embed_dim
    if model.header == "seqLSTM":
        return frames * 8 * width**2
    blocks: Transformer | None = getattr(model, "transformerClip", None)
    tokens = frames
    if model.header == "tightTransf":
        blocks, tokens = model.cross.transformer, frames + 1
    if blocks is None:
        return 0
    per_block = tokens * (4 * width**2 + _linear([blocks.resblocks[0].mlp])) + 2 * tokens**2 * width
    return len(blocks.resblocks) * per_block
