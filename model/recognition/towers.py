"""A frozen CLIP with learnt prompts in its towers: features of frames and of class names.

Shape letters: B videos, V views of each, N = B * V, T frames, R pixels, C classes, L word positions, E embedding width,
D vision width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from model.backbone.blocks import Tokens, Transformer, at_least_float32
from model.backbone.clip import CLIP
from model.prompts import Prompt
from model.prompts.summary_token import FRAME_MASK
from model.recognition.settings import Settings

if TYPE_CHECKING:
    from model.recognition.methods import Method


@dataclass(frozen=True)
class ClassTexts:
    """The classes that a recogniser chooses among.

    Shapes:
        ids: [C, L] start, name, end, then the end token again up to the longest name
        handcrafted: [C, E] features of the handcrafted sentences, fixed, or None
        features: [C, E] finished text features (`Recogniser.cached`), or None
    """

    ids: Tensor
    handcrafted: Tensor | None = None
    features: Tensor | None = None


class PromptedTowers(nn.Module):
    """Backbone and prompts. The backbone learns nothing and stays in eval mode.

    Memory is bounded by `frames_per_chunk` and `texts_per_chunk`: what is more goes through a tower in several parts.
    """

    def __init__(
        self, clip: CLIP, method: Method, settings: Settings, text: Sequence[Prompt], vision: Sequence[Prompt]
    ):
        super().__init__()
        self.clip = clip.requires_grad_(False).eval()
        self.method = method
        self.settings = settings
        self.text_prompts = nn.ModuleList(text)
        self.vision_prompts = nn.ModuleList(vision)
        if settings.use_handcrafted_features:
            self.text_prompts.requires_grad_(False)

    def train(self, mode: bool = True) -> PromptedTowers:
        super().train(mode)
        self.clip.eval()
        return self

    # ---- text ------------------------------------------------------------------------------------------------------

    def embed_text(self, texts: ClassTexts) -> Tokens:
        """Prompted words that enter the first block, with the mask of the chosen text path."""
        clip_path = not self.settings.recorded
        tokens = self.clip.embed_text(texts.ids, self.text_prompts, positions_last=clip_path).replace(videos=1)
        length, device = tokens.frames.shape[1], tokens.frames.device
        bias = None
        if clip_path:
            bias = torch.full((length, length), float("-inf"), device=device).triu(1)[None, None]
        elif self.method.recorded_live_bias:
            bias = live_mask(tokens)[:, None, None].float()
        return tokens.replace(bias=bias)

    def raw_text(self, texts: ClassTexts, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Text features [C, E], or [N, C, E] where views have texts of their own; not normalised."""
        if self.settings.use_handcrafted_features:
            if texts.handcrafted is None:
                raise ValueError("use_handcrafted_features needs handcrafted features: give `class_texts` their ids")
            return texts.handcrafted
        tokens = self.embed_text(texts)
        tokens = tokens.replace(shared=dict(shared or {}))
        tokens = self._blocks(self.clip.transformer, tokens, self.text_prompts)
        rows = torch.arange(len(tokens.frames), device=tokens.frames.device)
        norm = not self.settings.recorded or self.method.recorded_live_bias
        features = self.clip.project_text(tokens.frames[rows, tokens.end], norm)
        if not self.method.text_per_view:
            return features
        views = len(next(iter(shared.values())))
        return features.unflatten(0, (tokens.videos, -1)).expand(views, -1, -1)

    def encode_text(self, texts: ClassTexts, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Text features as they enter the product: [C, E], or [N, C, E] where views have texts of their own.

        Args:
            shared: summary tokens of the views (`encode_views`), for methods whose texts see them.
        """
        if not self.method.text_per_view:
            return self._unit_text(self.raw_text(texts))
        if not shared:
            raise ValueError(f"{self.method.title} reads class names in the light of a video; give its summary tokens")
        views = len(next(iter(shared.values())))
        size = max(1, self.settings.texts_per_chunk // len(texts.ids))
        parts = [{k: x[i : i + size] for k, x in shared.items()} for i in range(0, views, size)]
        return self._unit_text(torch.cat([self._again(len(parts), self.raw_text, texts, part) for part in parts]))

    # ---- video -----------------------------------------------------------------------------------------------------

    @property
    def keeps_frames(self) -> bool:
        """Whether `frozen_part` saves much: the whole vision tower, or a stem of convolutions."""
        return not self.vision_prompts or bool(self.clip.config.stem)

    @torch.no_grad()
    def frozen_part(self, pixels: Tensor) -> Tensor:
        """What no prompt can change of the vision tower's work, so that a trainer may keep it instead of pixels.

        Shapes:
            pixels: [B, V, T, 3, R, R]; returns frame features [B, V, T, E] where no prompt enters the vision tower,
            else patches [B, V, T, grid**2, D]
        """
        shape = pixels.shape[:3]
        if not self.vision_prompts:
            return self.encode_views(pixels.flatten(0, 1))[0].unflatten(0, shape[:2])
        return self.clip.visual.patches(pixels.flatten(0, 2), shape[0] * shape[1]).unflatten(0, shape)

    def encode_views(self, views: Tensor, mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of all frames, not normalised, and what the text tower may want to see.

        Shapes:
            views: [N, T, 3, R, R], or what `frozen_part` makes of them; mask: [N, T]
            returns [N, T, E] and {name: [N, T, ...]}
        """
        if views.ndim == 3:
            return views, {}
        size = max(1, self.settings.frames_per_chunk // views.shape[1])
        masks = [None] * len(views) if mask is None else mask.split(size)
        pairs = list(zip(views.split(size), masks, strict=False))
        parts = [self._again(len(pairs), self._encode_views, *pair) for pair in pairs]
        shared = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
        return torch.cat([features for features, _ in parts]), shared

    def _encode_views(self, views: Tensor, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        visual, prompts = self.clip.visual, self.vision_prompts
        tokens = visual.embed(views.flatten(0, 1), len(views), prompts)
        if mask is not None and not self.settings.recorded:
            tokens = tokens.replace(shared=tokens.shared | {FRAME_MASK: mask})
        tokens = self._blocks(visual.transformer, tokens, prompts)
        features = visual.project(tokens.frames[:, 0]).unflatten(0, views.shape[:2])
        return features, {k: x for k, x in tokens.shared.items() if k.startswith("summary.") or k == FRAME_MASK}

    # ---- both ------------------------------------------------------------------------------------------------------

    def _blocks(self, transformer: Transformer, tokens: Tokens, prompts: Sequence[Prompt]) -> Tokens:
        config = self.clip.config
        coupled = self.settings.recorded and self.method.coupled
        depth = min(config.text_layers, config.vision_layers) if coupled else None
        return transformer(tokens, prompts, depth=depth, checkpointing=self.settings.use_checkpointing)

    def _unit_text(self, features: Tensor) -> Tensor:
        features = at_least_float32(features)
        unit = not self.settings.recorded or self.method.recorded_unit[1]
        return normalize(features, dim=-1) if unit else features

    def _again(self, parts: int, encode: Callable, *inputs):
        """`encode`; one of several parts is computed again in the backward pass, so that memory is that of one."""
        learns = torch.is_grad_enabled() and parts > 1
        return checkpoint(encode, *inputs, use_reentrant=False) if learns else encode(*inputs)


def live_mask(tokens: Tokens) -> Tensor:
    """1 from the start to the end token of every text, 0 behind it: [C, n]."""
    places = torch.arange(tokens.frames.shape[1], device=tokens.frames.device)
    return places <= tokens.end[:, None]
