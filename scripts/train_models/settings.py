"""Flags of the recognition trainers, and what they are by default for a method and a corpus.

Published keys, `_` for `-`. Values come from BASE, then the method, then the corpus, then config files, then the
command line; the last one that says something counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from dataset.recognition_settings import RecognitionData, ViewArguments, flag

METHODS = ("video_coop", "dual_coop", "stt", "vidop", "vilt", "vita")

BASE: dict[str, Any] = {
    "batch_size": 4, "batches_per_backprop": 32, "num_temporal_views": 4, "num_spatial_views": 3,
    "horizontal_flip": 0.5, "videomix_type": "none",
}  # fmt: skip
# The published rates and lengths; models read their own defaults from model.recognition.METHODS.
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "video_coop": {"lr": 8e-4, "weight_decay": 1e-3, "epochs": 40},
    "dual_coop": {"lr": 1e-3, "weight_decay": 0.01, "epochs": 40},
    "vidop": {"lr": 8e-5, "weight_decay": 0.01, "epochs": 10},
    "vilt": {"lr": 8e-5, "weight_decay": 0.01, "epochs": 30},
    "vita": {"lr": 8e-5, "weight_decay": 0.2, "epochs": 20, "videomix_type": "spatial"},
    "stt": {"lr": 8e-5, "weight_decay": 0.2, "epochs": 20, "videomix_type": "spatial"},
}
# Drawn clips are short and small, show one thing, and a mirrored one shows another action. What they do is not in the
# mean of their frames (a linear probe of it is right in a fifth), but in how frames differ: heads that weigh them
# differently. The rate is that of a small backbone and a few hundred steps.
CORPUS_DEFAULTS: dict[str, dict[str, Any]] = {
    "hmdb51": {"batch_size": 16, "batches_per_backprop": 1},
    "kinetics400": {"batch_size": 2, "batches_per_backprop": 64},
    "minimotion": {
        "batch_size": 16, "batches_per_backprop": 1, "num_temporal_views": 1, "num_spatial_views": 1,
        "horizontal_flip": 0.0, "videomix_type": "none", "lr": 3e-3, "weight_decay": 0.01, "epochs": 12,
        "temporal_pooling": "attention", "num_heads_attention_pooling": 8,
    },
}  # fmt: skip


@dataclass
class PromptArguments:
    """The recogniser. Without a value each key is the method's own; a key that the method does not read is said so."""

    text_path: Literal["clip", "recorded"] | None = flag(
        None, "clip (default): the text tower as it was trained; recorded: as the published numbers were made"
    )
    summary_attention: Literal["video", "frame"] | None = flag(
        None, "video (default): summary tokens look at all frames of a view; frame: at their own, as published"
    )
    temporal_pooling: Literal["mean", "max", "attention"] | None = flag(None, "how frames become a view")
    num_heads_attention_pooling: int | None = flag(None, "heads of attention pooling; default 1")
    ctx_len: int | None = flag(None, "learnt text vectors before the class name; default 8, ViDOP 0")
    ctx_len_video: int | None = flag(None, "learnt visual tokens; default 8")
    std_init: float | None = flag(None, "spread of the first values of prompts; default 0.02")
    keep_vision_prompts_throughout: bool | None = flag(None, "visual tokens stay in all blocks, not in the first only")
    use_handcrafted_features: bool | None = flag(None, "ViDOP: class texts are regularisation_text and the name")
    regularisation_text: str | None = flag(None, "sentence before the class name of handcrafted texts")
    regularisation_strength: float | None = flag(None, "weight of minus the cosine of learnt to handcrafted texts")
    cosine_regularisation_strength: float | None = flag(None, "weight of one minus that cosine")
    num_frames: int | None = flag(None, "frames that ViTA and STT are built for; must be num_frames_temporal (default)")
    num_frame_tokens: int | None = flag(None, "ViTA, STT: tokens per frame; default 1")
    has_discriminative_conditioning: bool | None = flag(None, "ViTA: frame tokens get the previous layer's summary")
    num_heads_summary_attention: int | None = flag(None, "ViTA, STT: default as many as the vision tower has")
    layers_with_summary_to_text: list[int] | None = field(
        default=None, metadata={"help": "STT: text layers that see the video; default 0 to 9"}
    )
    modality_transfer_text: list[str] | None = field(
        default=None,
        metadata={
            "help": "ViLT, per layer: [[own text prompts], [mapped vision prompts]], as in '[[0], []]' '[[], [1]]'"
        },
    )
    modality_transfer_vision: list[str] | None = field(
        default=None, metadata={"help": "ViLT, per layer: [[own vision prompts], [mapped text prompts]]"}
    )
    num_tokens_per_layer_text: int | None = flag(None, "ViLT: own text prompts of a layer; default 4")
    num_tokens_per_layer_vision: int | None = flag(None, "ViLT: own vision prompts of a layer; default 4")
    loss_function: Literal["cross-entropy", "kl-divergence", "cosine-similarity"] | None = flag(
        None, "default cross-entropy"
    )
    learn_just_pooling: bool | None = flag(None, "freeze everything but attention pooling")
    use_checkpointing: bool | None = flag(None, "compute blocks again in the backward pass: less memory, more time")
    frames_per_chunk: int | None = flag(None, "frames in the vision tower at a time; default 384")
    texts_per_chunk: int | None = flag(None, "STT: class texts in the text tower at a time; default 4096")

    def given(self) -> dict[str, Any]:
        """The keys that have a value, transfers as lists of numbers.

        Raises:
            ValueError: a transfer is no list of lists.
        """
        values = {name: value for name, value in asdict(self).items() if value is not None}
        for name in ("modality_transfer_text", "modality_transfer_vision"):
            if name in values:
                try:
                    values[name] = [json.loads(layer) for layer in values[name]]
                except json.JSONDecodeError as error:
                    raise ValueError(f"{name} holds {values[name]}; every layer is written as [[0], []]") from error
        return values


@dataclass
class RecogniserArguments:
    """The backbone, the training, and where the run goes."""

    backbone: str | None = flag(
        None, "name, file or folder of a CLIP; default: ViT-B-16 if its file is in pretrained/, else the demo's"
    )
    run_id: str | None = flag(None, "name of the run's folder models/METHOD/DATASET/RUN_ID; default: date and time")
    models_root: str | None = flag(None, "folder of all runs; default: models/ beside the programs")
    resume: bool = flag(False, "continue the run --run_id exactly where it stopped")
    continue_from: str | None = flag(
        None, "start from the learnt tensors of another run, METHOD/DATASET/RUN_ID or a path; what fits is loaded"
    )
    use_fresh_lr_scheduler: bool = flag(
        False, "with continue_from: count epochs and rates from the beginning even on the same corpus"
    )
    epochs: int | None = flag(None, "passes over the training clips; the default depends on the method")
    lr: float | None = flag(None, "first learning rate; the default depends on the method")
    eta_min: float = flag(1e-6, "last learning rate of the cosine")
    weight_decay: float | None = flag(None, "of everything learnt; the default depends on the method")
    grad_norm_max: float = flag(1.0, "largest norm of the gradient of a step; 0: no clipping")
    class_weights: bool = flag(False, "weigh classes by the inverse of how many training clips they have")
    fp16: bool = flag(False, "mixed precision in float16 with a loss scale; else --precision")
    precision: Literal["auto", "fp32", "bf16"] = flag("auto", "arithmetic; auto: bf16 where the device multiplies it")
    early_stop_patience: int = flag(3, "stop after so many epochs without a better validation; 0: never")
    epochs_to_skip: int = flag(0, "start as if so many epochs had been trained")
    start_train_step: int = flag(0, "leave out so many batches of the first epoch")
    save_every_n_steps: int = flag(0, "optimiser steps between two checkpoints inside an epoch; 0: at epoch ends only")
    log_every_n_steps: int = flag(10, "optimiser steps between two lines")
    random_seed: int = flag(42, "seed of initial values, order, augmentation, held-out recordings, chosen classes")
    debug: bool = flag(False, "one epoch of four batches, and every message")
    use_profiling: bool = flag(False, "write profile.txt: where the time of the first steps goes")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")
    limit: int | None = flag(None, "only the first so many clips of every split")
    dry_run: bool = flag(False, "say what would be done, and do nothing")
    print_config: bool = flag(False, "print all settings as a config file, and do nothing")

    def __post_init__(self):
        if self.resume and not self.run_id:
            raise ValueError("--resume needs --run_id, the run to continue")
        for name in ("epochs_to_skip", "start_train_step", "eta_min", "grad_norm_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 0")


PARTS = (RecogniserArguments, PromptArguments, ViewArguments, RecognitionData)


@dataclass(frozen=True)
class Arguments:
    """All flags of a run."""

    method: str
    run: RecogniserArguments
    prompts: PromptArguments
    views: ViewArguments
    data: RecognitionData

    def filled(self) -> Arguments:
        """The same with every value that method and corpus decide; `Literal` and range checks run again."""
        defaults = BASE | METHOD_DEFAULTS[self.method] | CORPUS_DEFAULTS.get(self.data.kind, {})
        run, prompts, views, data = (_fill(part, defaults) for part in (self.run, self.prompts, self.views, self.data))
        if run.debug:
            run = replace(run, epochs=1)
        data = replace(data, dataset=data.dataset or data.kind)
        return replace(self, run=run, prompts=prompts, views=views, data=data)

    def published(self) -> dict[str, Any]:
        """All settings as a config file has them: `-` in names, corpus keys under "dataset-config"."""
        flat = {**asdict(self.run), **asdict(self.prompts), **asdict(self.views)}
        for name in ("print_config", "dry_run"):
            flat.pop(name)
        return _hyphens(flat) | {"dataset-config": _hyphens(asdict(self.data))}


def _fill(part: Any, defaults: dict[str, Any]) -> Any:
    missing = {f.name: defaults[f.name] for f in fields(part) if f.name in defaults and getattr(part, f.name) is None}
    return replace(part, **missing)


def _hyphens(values: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in values.items()}


def known_keys() -> Iterable[str]:
    """Every key, as config files write it."""
    return [f.name.replace("_", "-") for part in PARTS for f in fields(part)]
