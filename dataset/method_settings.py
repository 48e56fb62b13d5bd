"""Flags of the retrieval methods, and the values that flags take for a method and a backbone when not given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from dataset.arguments import flag
from dataset.retrieval_settings import SMALL, RetrievalArguments, words

# Published settings for weights that exist (reference sections 3, 8.9 and 1.6).
PRETRAINED: dict[str, Any] = {
    "epochs": 5, "batch_size": 128, "lr": 1e-4, "coef_lr": 1e-3, "weight_decay": 0.2, "optim": "BertAdam",
    "beta1": 0.9, "beta2": 0.98, "eps": 1e-6, "max_frames": 12, "max_words": 32, "feature_framerate": 1.0,
    "freeze_layer_num": 0, "freeze_clip": False, "random_frames": False, "crop_min": 1.0, "crop_each_frame": False,
    "cache_size": 0, "word_weight": 0.0, "frame_sampling": "time", "short_clips": "pad", "every_sentence": False,
    "augmentation": "none", "freeze_token_embedding": False,
}  # fmt: skip
PROMPTED = {"optim": "AdamW", "freeze_layer_num": -1, "freeze_clip": True}
STOP = {
    **PROMPTED, "lr": 1e-3, "coef_lr": 5e-4, "feature_framerate": 3.0, "frame_sampling": "segments",
    "random_frames": True,
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "clip4clip": {},
    "stop": STOP,
    "dgl": STOP,
    "tempme": {
        **PROMPTED, "lr": 6e-4, "coef_lr": 1.0, "beta2": 0.999, "short_clips": "repeat",
        "every_sentence": True, "augmentation": "randaugment",
    },
    "unified": {**PROMPTED, "lr": 6e-4, "coef_lr": 1.0, "short_clips": "repeat"},
}  # fmt: skip
# A small tower starts from nothing and learns all of itself.
SMALL_TOWER: dict[str, Any] = {
    "epochs": 30, "batch_size": 48, "lr": 1e-3, "coef_lr": 1.0, "weight_decay": 0.05, "optim": "AdamW",
    "beta2": 0.98, "eps": 1e-6, "max_frames": 6, "feature_framerate": 4.0, "freeze_layer_num": -1, "freeze_clip": False,
    "random_frames": True, "crop_min": 0.6, "crop_each_frame": True, "cache_size": 128, "word_weight": 10.0,
    "frame_sampling": "time", "every_sentence": False, "augmentation": "none", "freeze_token_embedding": True,
}  # fmt: skip
# Methods whose published temperature stays where CLIP's training left it.
FROZEN_TEMPERATURE = ("stop", "dgl", "tempme")


@dataclass
class MethodArguments:
    """What is trained: backbone, method, and which of their parameters."""

    method: Literal["clip4clip", "stop", "dgl", "tempme", "unified"] = flag(
        "unified", "clip4clip; stop; dgl (stop without its convolutions); tempme; unified: TempMe-STOP"
    )
    training_mode: Literal["joint", "stop_only", "tempme_only"] = words(
        "joint", "unified: prompts, low-rank additions and merging; or the first two; or the last two", "--mode"
    )
    backbone: str | None = words(
        None,
        "where training starts: small (a tower of the flags below, from nothing; default for MiniMotion), a name of "
        "pretrained.zoo (default elsewhere: ViT-B-32-quickgelu), a file or folder of weights",
        "--pretrained_clip_name",
    )
    pretrained_dir: str | None = flag(None, "folder of the published CLIP files; default pretrained/")
    linear_patch: Literal["2d", "3d"] = flag("2d", "3d: the patch layer sees the neighbouring frames too")
    sim_header: Literal["meanP", "seqLSTM", "seqTransf", "tightTransf"] = flag(
        "meanP", "clip4clip: how frames become a video"
    )
    cross_num_hidden_layers: int = flag(4, "clip4clip: blocks of seqTransf and tightTransf")

    freeze_clip: bool | None = words(
        None,
        "the backbone stays as it is, what a method adds trains; default for all but clip4clip and small towers",
        nargs="?",
        const=True,
    )
    freeze_substrings: list[str] | None = field(
        default=None,
        metadata={"help": "parameters with one of these in their name stay as they are; text. and visual. are towers"},
    )
    keep_substrings: list[str] | None = field(
        default=None,
        metadata={"help": "parameters with one of these in their name train, whatever the flags before say"},
    )
    freeze_layer_num: int | None = flag(
        None,
        "clip4clip: blocks below this number and what lies before them stay as they are, -1: nothing; default 0, "
        "small and other methods: -1",
    )
    freeze_token_embedding: bool | None = words(
        None,
        "keep the table of sub-words; default for small: 49,408 random rows that cost nothing",
        nargs="?",
        const=True,
    )
    word_weight: float | None = flag(
        None, "clip4clip: weight of predicting the captions' words beside the contrast; default 0, small: 10"
    )
    temperature_new: float = flag(1.0, "above 1: start with this logit_scale (a logarithm) instead of the backbone's")

    shared_latent_space: Literal["transformer", "linear"] = flag(
        "transformer", "prompts: made by a transformer block from one table, or by linear maps"
    )
    text_prompt_length: int = flag(8, "prompts: in the text tower, half before and half after the words")
    local_each_frame_prompt_length: int = flag(4, "prompts: per frame")
    global_visual_prompt_length: int = flag(4, "prompts: per video")
    unified_transformer_layers: int | None = flag(None, "prompts: layers with prompts of their own; default all")
    temporal_prompt: Literal["group2-2", "DGL"] = flag("group2-2", "group2-2: STOP's two modules; DGL: neither")
    adapter: bool = words(True, "prompts: a side branch in every block (what STOP calls lora)", "--lora")
    regions: int | None = flag(None, "prompts: selected cells per frame; default 6, at most half of the grid")
    pixel_prompt: bool = flag(True, "prompts: STOP's 3-D convolutions over pixels; 0: without")
    visual_output_type: Literal[
        "global_prompt0",
        "average_global_prompt",
        "average_frame_cls_token",
        "average_global_prompt_and_frame_cls_token",
    ] = flag("global_prompt0", "stop: which tokens become the video's vector")
    compat: Literal["repaired", "released"] = flag("repaired", "stop: released brings its published mistakes back")

    lora_dim: int = flag(8, "tempme, unified: rank of the additions to attention; 0: none")
    tome_r: int = flag(2, "merging: patches merged per layer inside a frame")
    tome_propattn: bool = flag(True, "merging: merged tokens count by their size")
    merge_layer: str | None = flag(
        None, "merging: layers that join clips, from 0; default 8-9-10 of 12, else before the last"
    )
    merge_frame_num: str | None = flag(
        None, "merging: clips joined there; default 2-2-3 for 12 frames, 4-4-4 for 64, else their factors"
    )
    merge_token_proportion: str = flag("30-10", "merging: percent removed across joined clips, and inside clips after")
    frame_pos: bool = flag(True, "merging: positions of joined frames")
    merge: bool | None = words(None, "unified: merging on or off, whatever the mode says", nargs="?", const=True)
    prompts: bool | None = words(None, "unified: prompts on or off, whatever the mode says", nargs="?", const=True)
    video_readout: Literal["auto", "global_prompt0", "frame_cls_mean", "average_frame_cls_token", "both"] = flag(
        "auto", "unified: which tokens become the video's vector; auto: by mode"
    )

    @property
    def from_nothing(self) -> bool:
        return self.backbone == SMALL

    @property
    def temperature_frozen(self) -> bool:
        """Whether logit_scale stays as it is unless it is named: each method's published setting."""
        return self.method in FROZEN_TEMPERATURE and not self.from_nothing


def with_defaults(args: RetrievalArguments, method: MethodArguments) -> tuple[RetrievalArguments, MethodArguments]:
    """The flags with every value filled in that depends on corpus, method or backbone."""
    if method.backbone is None:
        method = replace(method, backbone=SMALL if args.kind() == "minimotion" else "ViT-B-32-quickgelu")
    defaults = PRETRAINED | METHODS[method.method] | (SMALL_TOWER if method.from_nothing else {})
    args, method = _filled(args, defaults), _filled(method, defaults)
    drawn = {"segments": 4}.get(args.frame_sampling, 2 if args.random_frames else 1)
    derived = {"train_frames": args.max_frames, "cache_frames": args.max_frames * drawn}
    return _filled(args, derived), method


def _filled(arguments: Any, values: Mapping[str, Any]) -> Any:
    names = {f.name for f in fields(arguments)}
    missing = {k: v for k, v in values.items() if k in names and getattr(arguments, k) is None}
    return replace(arguments, **missing)
