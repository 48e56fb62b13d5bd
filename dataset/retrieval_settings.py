"""Flags of the retrieval trainers, and the values they take for a backbone when not given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from dataset.arguments import CorpusArguments, flag, known_datasets, reader_name

METHODS = ("clip4clip",)
HEADERS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")
SMALL = "small"

# CLIP4Clip's for weights that exist; a small tower starts from nothing and learns all of itself.
DEFAULTS: dict[str, dict[str, Any]] = {
    "pretrained": {
        "epochs": 5, "batch_size": 128, "lr": 1e-4, "coef_lr": 1e-3, "weight_decay": 0.2, "optim": "BertAdam",
        "max_frames": 12, "max_words": 32, "feature_framerate": 1.0, "freeze_layer_num": 0,
        "random_frames": False, "crop_min": 1.0, "crop_each_frame": False, "cache_size": 0, "word_weight": 0.0,
    },
    SMALL: {
        "epochs": 30, "batch_size": 48, "lr": 1e-3, "coef_lr": 1.0, "weight_decay": 0.05, "optim": "AdamW",
        "max_frames": 6, "max_words": 32, "feature_framerate": 4.0, "freeze_layer_num": -1,
        "random_frames": True, "crop_min": 0.6, "crop_each_frame": True, "cache_size": 128, "word_weight": 10.0,
    },
}  # fmt: skip


def choices(default: Any, text: str, *aliases: str) -> Any:
    return field(default=default, metadata={"help": text, "aliases": list(aliases)})


@dataclass
class RetrievalArguments:
    """What to train on what, and for how long."""

    method: Literal["clip4clip"] = flag("clip4clip", "what is trained: " + ", ".join(METHODS))
    datatype: str | None = flag(None, f"corpus: {known_datasets()}")
    data_root: str | None = flag(
        None, "folder with videos/ and metadata/; default: that of dataset/paths.json, or dataset/NAME"
    )
    captions: str | None = flag(None, "annotation file; default: the known names in metadata/ of the data root")
    protocol: str = flag("captioning", "which lists: captioning; for MSR-VTT also 7k and 9k, the retrieval lists")
    limit: int | None = flag(None, "only the first so many videos of every split")
    dry_run: bool = flag(False, "say what would be done, and do nothing")
    do_eval: bool = flag(False, "train nothing: score a split with the best checkpoint of --output_dir")
    eval_split: Literal["train", "val", "test"] = flag("test", "split that is scored at the end")

    backbone: str | None = choices(
        None,
        "where training starts: small (a tower of the flags below, from nothing; default for MiniMotion), a name of "
        "pretrained.zoo (default elsewhere: ViT-B-32-quickgelu), a file or folder of weights",
        "--pretrained_clip_name",
    )
    sim_header: Literal["meanP", "seqLSTM", "seqTransf", "tightTransf"] = flag("meanP", "how frames become a video")
    cross_num_hidden_layers: int = flag(4, "blocks of seqTransf and tightTransf")
    linear_patch: Literal["2d", "3d"] = flag("2d", "3d: the patch layer sees the neighbouring frames too")
    freeze_layer_num: int | None = flag(
        None,
        "blocks below this number and what lies before them stay as they are, -1: nothing; default 0, small: -1",
    )
    freeze_token_embedding: bool | None = flag(
        None, "keep the table of sub-words; default for small: 49,408 random rows that cost nothing"
    )

    max_words: int | None = flag(None, "sub-words of a caption, start and end included; default 32")
    max_frames: int | None = flag(None, "frames of a clip; default 12, small: 6")
    train_frames: int | None = flag(None, "frames of a training clip; default: max_frames")
    feature_framerate: float | None = flag(None, "candidate frames per second; default 1, small: 4")
    slice_framepos: Literal[0, 1, 2] = flag(2, "which of too many frames: 0 the first, 1 the last, 2 evenly spread")
    every_sentence: bool = choices(
        False, "an item per caption instead of one per video with a drawn caption", "--expand_msrvtt_sentences"
    )
    random_frames: bool | None = flag(None, "draw training frames; default for small")
    crop_min: float | None = flag(None, "smallest edge of a random square in training; default 1 (off), small: 0.6")
    crop_max: float = flag(1.0, "largest edge of a random square in training")
    word_weight: float | None = flag(
        None, "weight of predicting the captions' words from the video, beside the contrast; default 0, small: 10"
    )
    whole_share: float = flag(0.0, "share of random squares that stay whole")
    crop_each_frame: bool | None = flag(None, "a random square per frame instead of per clip; default for small")
    cache_size: int | None = flag(None, "edge of kept frames in pixels; default the resolution, small: 128")
    cache_frames: int | None = flag(None, "frames kept per video; default max_frames, twice that if frames are drawn")
    cache_gb: float = flag(4.0, "frames are decoded once and kept up to this size; 0: decode on every access")
    cache_dir: str | None = flag(None, "folder for kept frames that a later run may use; default: memory")

    output_dir: str | None = flag(None, "folder of checkpoints, log and scores; default results/METHOD_CORPUS")
    resume: bool = flag(False, "continue from output_dir/last if it is there")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")
    epochs: int | None = flag(None, "passes over the training data; default 5, small: 30")
    batch_size: int | None = flag(None, "pairs per optimiser step over all processes; default 128, small: 48")
    micro_batch_size: int | None = flag(
        None, "clips encoded at a time, and again for their gradient; every pair still sees the whole batch"
    )
    gradient_accumulation_steps: int = flag(1, "the same as --micro_batch_size of the batch's part over this")
    batch_size_val: int = flag(32, "clips encoded at a time in evaluations")
    lr: float | None = flag(None, "largest learning rate; default 1e-4, small: 1e-3")
    coef_lr: float | None = flag(None, "factor on the rate of CLIP's own parameters; default 1e-3, small: 1")
    optim: Literal["AdamW", "BertAdam"] | None = flag(None, "default BertAdam (the published runs'), small: AdamW")
    weight_decay: float | None = flag(None, "of matrices, not of vectors; default 0.2, small: 0.05")
    warmup_proportion: float = flag(0.1, "share of the steps in which the rate rises")
    clip_norm: float = choices(1.0, "largest norm of the whole gradient; 0: no clipping", "--clip_grad_norm")
    precision: Literal["auto", "fp32", "bf16"] = flag("auto", "arithmetic; auto: bf16 where the device multiplies it")
    seed: int = flag(42, "seed of weights, order, frames and crops")
    num_workers: int = choices(0, "processes that prepare batches", "--num_thread_reader")
    log_steps: int = choices(20, "optimiser steps between two progress lines", "--n_display")
    save_steps: int = flag(0, "optimiser steps between two checkpoints; 0: at epoch ends only")
    eval_epochs: int = flag(1, "epochs between two validations")
    patience: int = flag(0, "stop after so many epochs without a better score; 0: never")

    def __post_init__(self):
        if self.gradient_accumulation_steps < 1:
            raise ValueError(f"--gradient_accumulation_steps {self.gradient_accumulation_steps}: must be at least 1")
        if self.gradient_accumulation_steps > 1 and self.micro_batch_size:
            raise ValueError("--micro_batch_size and --gradient_accumulation_steps say the same; give one of them")
        if self.eval_epochs < 1:
            raise ValueError(f"--eval_epochs {self.eval_epochs}: must be at least 1")

    @property
    def from_nothing(self) -> bool:
        return self.backbone == SMALL

    def data(self) -> CorpusArguments:
        """The flags that name a corpus."""
        return CorpusArguments(self.datatype, self.data_root, self.captions, self.protocol, limit=self.limit)


@dataclass
class SmallTowerArguments:
    """Sizes of `--backbone small`, where not given those of `model.backbone.clip.small_config`."""

    resolution: int | None = flag(None, "small tower: edge of its pictures in pixels")
    patch: int | None = flag(None, "small tower: pixels between patch tokens, stem included")
    stem: list[int] | None = field(
        default=None, metadata={"help": "small tower: channels of 3x3 convolutions of stride 2 before the patch layer"}
    )
    embed_dim: int | None = flag(None, "small tower: width of the space that videos and texts share")
    vision_width: int | None = flag(None, "small tower: width of the vision tower")
    vision_layers: int | None = flag(None, "small tower: blocks of the vision tower")
    vision_heads: int | None = flag(None, "small tower: attention heads of the vision tower")
    text_width: int | None = flag(None, "small tower: width of the text tower")
    text_layers: int | None = flag(None, "small tower: blocks of the text tower")
    text_heads: int | None = flag(None, "small tower: attention heads of the text tower")

    def given(self) -> dict[str, Any]:
        """The sizes that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def with_defaults(args: RetrievalArguments) -> RetrievalArguments:
    """The flags with every value filled in that depends on corpus or backbone."""
    backbone = args.backbone
    if backbone is None:
        kind = reader_name(args.datatype or ("folder" if args.data_root else "minimotion"))
        backbone = SMALL if kind == "minimotion" else "ViT-B-32-quickgelu"
    defaults = DEFAULTS[SMALL if backbone == SMALL else "pretrained"]
    missing = {f.name: defaults[f.name] for f in fields(args) if f.name in defaults and getattr(args, f.name) is None}
    args = replace(args, backbone=backbone, **missing)
    derived: dict[str, Any] = {}
    if args.freeze_token_embedding is None:
        derived["freeze_token_embedding"] = args.from_nothing
    if args.train_frames is None:
        derived["train_frames"] = args.max_frames
    if args.cache_frames is None:
        derived["cache_frames"] = args.max_frames * (2 if args.random_frames else 1)
    return replace(args, **derived)
