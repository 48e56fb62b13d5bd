"""A frozen CLIP with learnt prompts that names what happens in a video.

Shape letters: B videos, V views of each, N = B * V, T frames, R pixels, C classes, L word positions, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.backbone.blocks import at_least_float32
from model.backbone.clip import CLIP
from model.prompts import Prompt, TemporalPool
from model.prompts.text_template import filled_template, template_features
from model.recognition.objective import total_loss
from model.recognition.settings import Settings
from model.recognition.towers import ClassTexts, PromptedTowers

if TYPE_CHECKING:
    from model.recognition.methods import Method

MAX_LOGIT_SCALE = math.log(100)
PUBLISHED_LOGIT_SCALE = math.log(1 / 0.07)


@dataclass(frozen=True)
class Recognition:
    """What a forward pass gives.

    Shapes:
        logits: [B, C], mean over views; view_logits: [B, V, C]; text: [C, E], or [B, V, C, E] where every view has
        texts of its own; video: [B, V, E]. Text and video as they enter the product.
    """

    logits: Tensor
    view_logits: Tensor
    text: Tensor
    video: Tensor


class Recogniser(PromptedTowers):
    """Prompted towers, temporal pooling, temperature, loss. Built by `model.recognition.build`.

    Only prompts, pooling and temperature learn; `learner` names them as the published checkpoints do. The temperature
    starts as the backbone's, on the recorded path at ln(1 / 0.07).
    """

    def __init__(
        self, clip: CLIP, method: Method, settings: Settings, text: Sequence[Prompt], vision: Sequence[Prompt]
    ):
        super().__init__(clip, method, settings, text, vision)
        self.temporal_pooling = TemporalPool(
            settings.temporal_pooling, clip.config.embed_dim, settings.num_heads_attention_pooling
        )
        start = PUBLISHED_LOGIT_SCALE if settings.recorded else clip.logit_scale.item()
        self.logit_scale = nn.Parameter(torch.tensor(start))
        if settings.learn_just_pooling:
            self._learn_just_pooling()

    def _learn_just_pooling(self) -> None:
        if self.settings.temporal_pooling != "attention":
            raise ValueError(
                f"learn_just_pooling: {self.settings.temporal_pooling} pooling has nothing to learn; use attention"
            )
        for name, parameter in self.learner().items():
            parameter.requires_grad_(name.startswith("temporal_pooling."))

    # ---- parameters ------------------------------------------------------------------------------------------------

    def learner(self) -> dict[str, nn.Parameter]:
        """All parameters that are not the backbone's, under their published names."""
        named: dict[str, nn.Parameter] = {}
        for prompt in (*self.text_prompts, *self.vision_prompts):
            named |= dict(prompt.named_parameters())
        pooling = {f"temporal_pooling.{name}": x for name, x in self.temporal_pooling.named_parameters()}
        return named | pooling | {"logit_scale": self.logit_scale}

    def learner_state(self) -> dict[str, Tensor]:
        """Detached values of `learner`, for a checkpoint."""
        return {name: parameter.detach() for name, parameter in self.learner().items()}

    @torch.no_grad()
    def load_learner(self, tensors: Mapping[str, Tensor], partial: bool = False) -> list[str]:
        """Copies published tensors in.

        Args:
            partial: accept missing and unexpected names and other shapes, and skip them.

        Returns:
            What was not loaded, one line each; empty unless `partial`.

        Raises:
            ValueError: something does not fit, and `partial` is off.
        """
        own = self.learner()
        lines = [f"missing {name}" for name in own if name not in tensors]
        lines += [f"unexpected {name}" for name in tensors if name not in own]
        fitting = {}
        for name in own.keys() & tensors.keys():
            if own[name].shape == tensors[name].shape:
                fitting[name] = tensors[name]
            else:
                lines.append(f"shape of {name}: {list(tensors[name].shape)}, this model has {list(own[name].shape)}")
        if lines and not partial:
            raise ValueError(
                f"these tensors do not fit {self.method.title} as it is set: {'; '.join(lines)}. Settings must be "
                "those of the checkpoint, or ask for a partial load"
            )
        for name, value in fitting.items():
            own[name].copy_(value)
        return lines

    # ---- classes ---------------------------------------------------------------------------------------------------

    @property
    def needs_handcrafted(self) -> bool:
        """Whether classes need handcrafted features."""
        chosen = self.settings
        strength = chosen.regularisation_strength or chosen.cosine_regularisation_strength
        return bool(chosen.use_handcrafted_features or strength)

    def class_texts(self, names: Sequence[str], tokenize: Callable[[Sequence[str]], Tensor]) -> ClassTexts:
        """Classes of these names, on the backbone's device.

        Args:
            tokenize: texts to rows `start, sub-words, end, padding` (`Backbone.tokenizer`).
        """
        hand = tokenize(filled_template(self.settings.regularisation_text, names)) if self.needs_handcrafted else None
        return self.class_texts_of_ids(tokenize(names), hand)

    def class_texts_of_ids(self, ids: Tensor, handcrafted_ids: Tensor | None = None) -> ClassTexts:
        """Classes of token rows [C, L], whose end token is the largest id, padded in any way behind it."""
        device = self.logit_scale.device
        end = ids.argmax(-1)
        ids = ids[:, : int(end.max()) + 1]
        behind = torch.arange(ids.shape[1], device=ids.device) > end[:, None]
        ids = torch.where(behind, ids.max(), ids).to(device)
        if handcrafted_ids is None:
            return ClassTexts(ids)
        return ClassTexts(ids, template_features(self.clip, handcrafted_ids.to(device)))

    @torch.no_grad()
    def cached(self, texts: ClassTexts) -> ClassTexts:
        """The classes with finished text features, for evaluation; unchanged where every view has texts of its own."""
        return texts if self.method.text_per_view else replace(texts, features=self.encode_text(texts))

    # ---- videos ----------------------------------------------------------------------------------------------------

    def frame_features(self, features: Tensor) -> Tensor:
        """Frame features [..., E] as they enter the pooling."""
        return normalize(features, dim=-1) if self.method.unit_frames else features

    def pool(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """One vector per view as it enters the product: [N, T, E] to [N, E].

        Frames that the mask [N, T] leaves out do not count; on the recorded path they count as zeros.
        """
        frames = self.frame_features(at_least_float32(features))
        if mask is not None and self.settings.recorded:
            frames, mask = frames * mask[..., None].to(frames.dtype), None
        video = self.temporal_pooling(frames, mask)
        unit = not self.settings.recorded or self.method.recorded_unit[0]
        return normalize(video, dim=-1) if unit else video

    # ---- both ------------------------------------------------------------------------------------------------------

    def forward(self, pixels: Tensor, texts: ClassTexts, mask: Tensor | None = None) -> Recognition:
        """Logits of videos over classes.

        Args:
            texts: from `class_texts`, or in eval mode from `cached`.

        Shapes:
            pixels: [B, V, T, 3, R, R] normalised, or their `frozen_part`
            mask: [B, V, T], frames that are there, None for all

        Raises:
            ValueError: pixels of another shape; cached text features in training mode.
        """
        config = self.clip.config
        frozen = (config.grid**2, config.vision_width) if self.vision_prompts else (config.embed_dim,)
        if pixels.ndim != 6 and pixels.shape[3:] != frozen:
            raise ValueError(f"pixels have shape {list(pixels.shape)}; expected [B, V, T, 3, R, R]")
        if self.training and texts.features is not None:
            raise ValueError("cached text features do not learn: use the classes from `class_texts` in training")
        shape = pixels.shape[:2]
        flat_mask = None if mask is None else mask.flatten(0, 1)
        features, shared = self.encode_views(pixels.flatten(0, 1), flat_mask)
        video = self.pool(features, flat_mask).unflatten(0, shape)
        text = texts.features if texts.features is not None else self.encode_text(texts, shared)
        text = text.unflatten(0, shape) if text.ndim == 3 else text
        return self.score(video, text, mask)

    def score(self, video: Tensor, text: Tensor, mask: Tensor | None = None) -> Recognition:
        """Scaled products, and their mean over the views that have a frame (recorded path: over all views).

        Shapes:
            video: [B, V, E]; text: [C, E] or [B, V, C, E]; mask: [B, V, T]
        """
        with torch.no_grad():
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        with torch.autocast(video.device.type, enabled=False):
            video, text = at_least_float32(video), at_least_float32(text)
            pattern = "bve,ce->bvc" if text.ndim == 2 else "bve,bvce->bvc"
            by_view = self.logit_scale.exp() * torch.einsum(pattern, video, text)
            logits = by_view.mean(1)
            if mask is not None and not self.settings.recorded:
                live = mask.any(-1, keepdim=True).to(by_view.dtype)
                logits = (by_view * live).sum(1) / live.sum(1).clamp(min=1)
        return Recognition(logits, by_view, text, video)

    def loss(
        self, result: Recognition, labels: Tensor, texts: ClassTexts, class_weights: Tensor | None = None
    ) -> Tensor:
        """Training loss of a batch (scalar); labels are [B] class numbers or [B, C] soft labels."""
        return total_loss(self.settings, result.logits, result.text, labels, texts.handcrafted, class_weights)
