"""Flags that a checkpoint remembers, for runs that score, continue or extend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from dataset.method_settings import MethodArguments
from dataset.retrieval_settings import RetrievalArguments

# What belongs to the run at hand and never comes from an earlier one.
OF_THE_RUN = frozenset((
    "resume", "output_dir", "do_train", "do_eval", "dry_run", "device", "limit", "strict", "eval_split", "init_model",
    "load_from_pretrained", "dual_softmax", "qb_norm", "qb_beta", "ties", "save_matrix", "save_feature_path",
    "inference_speed_test", "debug", "cache_dir", "num_workers",
))  # fmt: skip
# Of the methods' flags these choose what trains, not what the network is.
OF_THE_TRAINING = frozenset((
    "freeze_clip", "freeze_substrings", "keep_substrings", "freeze_layer_num", "freeze_token_embedding",
    "temperature_new", "word_weight", "pretrained_dir",
))  # fmt: skip


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
