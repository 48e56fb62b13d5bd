"""What can be set about a recogniser, and what a method makes of it by default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from model.prompts.temporal_pool import POOLINGS
from model.prompts.text_template import PERSON_DOING

TEXT_PATHS = ("clip", "recorded")
SUMMARY_ATTENTIONS = ("video", "frame")
LOSSES = ("cross-entropy", "kl-divergence", "cosine-similarity")


@dataclass(frozen=True)
class Settings:
    """Settings of a recogniser; names are the published keys with `_` for `-`."""

    text_path: str = "clip"
    """`clip`: the text tower as CLIP was trained (causal, final norm, context with positions), features of unit length,
    padded frames and views left out. `recorded`: what the published numbers were computed with (recognition reference,
    2.1-2.7)."""
    summary_attention: str = "video"
    """`video`: summary tokens look at all frames of a view. `frame`: at their own only, as published."""
    temporal_pooling: str = "mean"
    num_heads_attention_pooling: int = 1
    ctx_len: int = 8
    ctx_len_video: int = 8
    std_init: float = 0.02
    keep_vision_prompts_throughout: bool = False
    use_handcrafted_features: bool = False
    """Class texts are `regularisation_text` and the name, read by CLIP itself, in training and evaluation."""
    regularisation_text: str = PERSON_DOING
    regularisation_strength: float = 0.0
    """Weight of minus the cosine between handcrafted and learnt text features."""
    cosine_regularisation_strength: float = 0.0
    """Weight of one minus the same cosine."""
    num_frames: int = 8
    """Frames of a view (frame tokens and the summary for the text tower have this many places)."""
    num_frame_tokens: int = 1
    has_discriminative_conditioning: bool = True
    num_heads_summary_attention: int | None = None
    """Default: as many as the vision tower has."""
    layers_with_summary_to_text: Sequence[int] | None = None
    """Default: the first 10/12 of the layers (0-9 of 12)."""
    modality_transfer_text: Sequence[Sequence[Sequence[int]]] | None = None
    """Per layer [own text prompts, mapped vision prompts], indices of the layers whose prompts enter.
    Default: own ones in the first 5/12 of the layers, mapped ones in the next 5/12."""
    modality_transfer_vision: Sequence[Sequence[Sequence[int]]] | None = None
    """Per layer [own vision prompts, mapped text prompts]; the default is the other way round."""
    num_tokens_per_layer_text: int = 4
    num_tokens_per_layer_vision: int = 4
    loss_function: str = "cross-entropy"
    learn_just_pooling: bool = False
    use_checkpointing: bool = False
    """Compute every block again in the backward pass: less memory, the same gradients."""
    frames_per_chunk: int = 384
    """Frames that the vision tower encodes at a time (whole views). Bounds memory, changes no number."""
    texts_per_chunk: int = 4096
    """Class texts that the text tower reads at a time where every view has its own."""

    def __post_init__(self):
        _one_of("text_path", self.text_path, TEXT_PATHS)
        _one_of("summary_attention", self.summary_attention, SUMMARY_ATTENTIONS)
        _one_of("temporal_pooling", self.temporal_pooling, POOLINGS)
        _one_of("loss_function", self.loss_function, LOSSES)
        least = {"num_heads_attention_pooling": 1, "ctx_len": 0, "ctx_len_video": 0, "num_frames": 1}
        least |= {"num_frame_tokens": 0, "num_tokens_per_layer_text": 0, "num_tokens_per_layer_vision": 0}
        for name, bound in (least | {"frames_per_chunk": 1, "texts_per_chunk": 1}).items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {bound} or more")

    @property
    def recorded(self) -> bool:
        """Whether the published numbers are wanted."""
        return self.text_path == "recorded"


NAMES = tuple(field.name for field in fields(Settings))
COMMON = (
    "text_path", "temporal_pooling", "num_heads_attention_pooling", "ctx_len", "std_init", "regularisation_text",
    "regularisation_strength", "cosine_regularisation_strength", "loss_function", "learn_just_pooling",
    "use_checkpointing", "frames_per_chunk",
)  # fmt: skip
"""Names that every method reads."""


def make_settings(given: Mapping[str, Any], defaults: Mapping[str, Any], known: Sequence[str], method: str) -> Settings:
    """Settings from names with `-` or `_`, a method's defaults below them.

    Raises:
        ValueError: a name that the method does not read, a value that is not allowed.
    """
    named = {name.replace("-", "_"): value for name, value in given.items()}
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise ValueError(f"{method} has no setting {name}{hint}")
    return Settings(**(dict(defaults) | named))


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
