"""Flags that a checkpoint remembers, for runs that score, continue or extend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dataset.method_settings import MethodArguments, with_defaults
from dataset.retrieval_settings import RetrievalArguments

# What belongs to the run at hand and never comes from an earlier one.
OF_THE_RUN = frozenset((
    "resume", "output_dir", "do_train", "do_eval", "dry_run", "device", "limit", "strict", "eval_split", "init_model",
    "load_from_pretrained", "dual_softmax", "qb_norm", "qb_beta", "ties", "save_matrix", "save_feature_path",
    "export_published", "inference_speed_test", "debug", "cache_dir", "num_workers",
))  # fmt: skip
# Of the methods' flags these choose what trains, not what the network is.
OF_THE_TRAINING = frozenset((
    "freeze_clip", "freeze_substrings", "keep_substrings", "freeze_layer_num", "freeze_token_embedding",
    "temperature_new", "word_weight", "pretrained_dir",
))  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How the network of a checkpoint looks at videos and captions in evaluations.

    Attributes:
        frames: T; a clip is made of at most `slots` pictures of the kind that `rate`, `rule` and `slice_framepos` say
            (`dataset.clip_frames.FrameSettings`), in an `order`, short ones with pictures repeated
            (`dataset.clips.FrameOrder`).
        size: edge of a picture in pixels.
        max_words: sub-words of a caption.
    """

    frames: int
    slots: int
    rate: float
    rule: str
    slice_framepos: int
    order: int
    repeat: bool
    size: int
    max_words: int


def reading_of(config: Mapping[str, Any]) -> Reading:
    """What a checkpoint's config says; what it leaves open (a published file's all) is as its method was published."""
    published = RetrievalArguments(datatype="msrvtt")
    method, args = from_stored(config, MethodArguments(), published, set())
    args, _ = with_defaults(args, method)
    by_flags = {
        "frames": args.max_frames, "rate": args.feature_framerate, "rule": args.frame_sampling,
        "slice_framepos": args.slice_framepos,
    }  # fmt: skip
    sampling = by_flags | dict(config.get("sampling", {}))
    clip = config["backbone"]["clip"]
    return Reading(
        **sampling,
        slots=args.cache_frames if sampling["rule"] == "segments" else sampling["frames"],
        order=args.eval_frame_order,
        repeat=args.short_clips == "repeat",
        size=config.get("preprocessing", {}).get("size", clip["resolution"]),
        max_words=min(config.get("max_words", args.max_words), clip["context_length"]),
    )


def from_stored(
    config: Mapping[str, Any],
    method: MethodArguments,
    args: RetrievalArguments,
    given: set[str],
    weights_only: bool = False,
) -> tuple[MethodArguments, RetrievalArguments]:
    """The flags with what a checkpoint remembers in place of those that were not given.

    Args:
        config: of the checkpoint; that of a published file holds method and settings only.
        given: names of the flags that were given.
        weights_only: take the network only: it is the start of another training.
    """
    stored = dict(config.get("arguments") or config.get("method_settings") or {})
    if "method" in config:
        stored.setdefault("method", config["method"])
    wanted = {f.name for f in fields(MethodArguments)} | {f.name for f in fields(RetrievalArguments)}
    wanted -= OF_THE_RUN | given
    if weights_only:
        wanted &= ({f.name for f in fields(MethodArguments)} - OF_THE_TRAINING) | {"max_frames", "max_words"}
    known = {name: value for name, value in stored.items() if name in wanted}

    def merged(arguments: Any) -> Any:
        names = {f.name for f in fields(arguments)}
        return replace(arguments, **{name: value for name, value in known.items() if name in names})

    # Accumulation and micro-batches say the same; what is given wins over what is remembered.
    if "gradient_accumulation_steps" in given:
        known["micro_batch_size"] = None
    if "micro_batch_size" in given:
        known["gradient_accumulation_steps"] = 1
    return merged(method), merged(args)
