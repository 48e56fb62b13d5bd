"""Flags of the captioner, and the values they take for a corpus when not given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from dataset.arguments import flag, known_datasets, reader_name
from utility.published_row import PublishedRow

FEATURES = {
    "GBased": "grid",
    "GBased+rel": "grid-rel",
    "GBased+OFeat+rel": "grid-obj-rel",
    "OBased": "grid",
    "OBased+rel": "grid-rel",
}
# The rates with which STOP and TempMe are trained for retrieval.
TUNE_RATES = {"prompts": 1e-3, "lora": 6e-4}
PUBLISHED = {"model_size": "published", "captions_per_video": 1, "lr": 1e-4, "min_count": 3}
SMALL = {
    "model_size": "small",
    "captions_per_video": 1,
    "lr": 1e-3,
    "min_count": 1,
    "epochs": 20,
    "batch_size": 80,
    "micro_batch_size": None,
}
# Published: 32 per process times the accumulation of one process; other corpora start with a small network. A clip of
# MiniMotion has five captions, so that a step encodes each of its clips once for all of them.
DEFAULTS = {
    "msvd": PUBLISHED | {"epochs": 30, "batch_size": 64, "micro_batch_size": 32},
    "msrvtt": PUBLISHED | {"epochs": 25, "batch_size": 128, "micro_batch_size": 32},
    "minimotion": SMALL | {"captions_per_video": 5},
    "other": SMALL,
}


@dataclass
class CaptionerArguments:
    """What to do, with which network, for how long."""

    model_name: str | None = flag(None, "CORPUS_FEATURES, for instance MSR-VTT_GBased+rel+videomask")
    do_train: bool = flag(False, "train, then score the test split with the best checkpoint")
    do_eval: bool = flag(False, "score a split (--split, default test) with --checkpoint")
    caption: list[str] | None = field(
        default=None, metadata={"help": "video files or folders to caption with --checkpoint"}
    )
    json: bool = flag(False, "with --caption: print JSON and nothing else")
    checkpoint: str | None = flag(
        None, "checkpoint folder, folder of a run, best_model.pth, or an AKG .ckpt; default: the best of --output_dir"
    )
    backbone: str | None = flag(None, "where the backbone of the features is, if the checkpoint cannot know")
    detector: str | None = flag(None, "where the object detector of the features is, likewise")
    action_network: str | None = flag(None, "where the action network of the features is, likewise")
    output_dir: str | None = flag(None, "folder of checkpoints, captions and scores; default results/MODEL_NAME")
    export_pth: bool = flag(False, "write best_model.pth too: the best checkpoint as one file for other programs")
    resume: bool = flag(False, "continue from output_dir/last if it is there")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")

    tune: Literal["none", "prompts", "lora"] = flag(
        "none",
        "with --do_train: what of the backbone learns from the captions, none (nodes are read from the features), "
        "prompts (STOP's, and adapters) or lora (TempMe's low-rank additions). Videos are then decoded and cut into "
        "tiles, and nodes and edges made anew in every step; actions come from the features. It starts from the "
        "backbone of the features or --backbone; the run is a backbone for the extractors and for "
        "train_unified_model.py --resume",
    )
    tune_lr: float | None = flag(
        None, "with --tune: largest learning rate of the backbone's part, 0: it stays; default prompts 1e-3, lora 6e-4"
    )
    tune_batch_size: int = flag(
        256,
        "with --tune: tiles per pass of the backbone; several passes are computed again for their gradient, one by one",
    )
    num_workers: int = flag(0, "processes that prepare the next batches; with --tune they decode")

    model_size: Literal["small", "published"] | None = flag(None, "published for MSVD and MSR-VTT, else small")
    attention: int = flag(1, "how +rel rows are encoded: 1 self-attention, 2 with positions, 3 feed-forward only")
    compat: list[str] = field(
        default_factory=list,
        metadata={
            "help": "published behaviours to bring back: reference (all), or some of them; a checkpoint keeps its own "
            "beside them"
        },
    )
    dropout: float | None = flag(None, "dropout of the network; default: that of its size")
    epochs: int | None = flag(None, "MSVD 30, MSR-VTT 25, else 20")
    batch_size: int | None = flag(None, "captions per optimiser step over all processes: MSVD 64, MSR-VTT 128, else 80")
    micro_batch_size: int | None = flag(None, "captions per forward pass and process: MSVD and MSR-VTT 32")
    captions_per_video: int | None = flag(None, "captions trained per encoded video: MiniMotion 5, else 1")
    lr: float | None = flag(None, "largest learning rate: MSVD and MSR-VTT 1e-4, else 1e-3")
    weight_decay: float = flag(5e-6, "of all weights but biases and norms")
    warmup: float = flag(0.1, "share of the steps in which the rate rises")
    clip_norm: float = flag(5.0, "largest norm of the whole gradient")
    precision: Literal["auto", "fp32", "bf16"] = flag("auto", "arithmetic; auto: bf16 where the device multiplies it")
    patience: int = flag(0, "stop after so many epochs without a better score; 0: never")
    save_steps: int = flag(0, "optimiser steps between two checkpoints; 0: at epoch ends only")
    log_steps: int = flag(20, "optimiser steps between two progress lines")
    seed: int = flag(904666, "seed of weights, dropout, order and pairing")
    shuffle_videos: bool = flag(False, "give every video the graph of another: what is known without seeing")
    cache_gb: float = flag(
        4.0, "graphs, and with --tune tiles, are kept in memory up to this size per process and split"
    )

    max_words: int | None = flag(None, "longest caption: 20, or that of the checkpoint")
    min_count: int | None = flag(None, "words seen less often are left out: MSVD and MSR-VTT 3, else 1")
    beam: int = flag(5, "beam width of the test; 1 is greedy")
    val_beam: int = flag(1, "beam width of the validation after every epoch")
    n_best: int = flag(
        1, "captions per video in the printed JSON of --caption and in SPLIT_n_best.json, with scores; at most --beam"
    )
    r2l_hypotheses: int = flag(
        1, "right-to-left captions that the left-to-right search of test and --caption attends to; at most --beam"
    )
    batch_size_val: int = flag(32, "videos captioned at a time in validation and test")
    length_penalty: float = flag(0.0, "a in log-probability / length ** a")
    search: Literal["sound", "reference"] = flag("sound", "reference: the published search, token for token")
    references: Literal["raw", "trimmed"] = flag("raw", "trimmed: cut and without rare words, as published")
    tokenizer: Literal["auto", "java", "nltk"] = flag(
        "auto", "tokeniser of the test scores; auto: java if there is one"
    )

    published: str | None = flag(
        None, "a published row to be shown beside one's own scores: that section of a file in configs/, or JSON"
    )

    def __post_init__(self):
        self.published_row()
        self.compat = [name for word in self.compat for name in word.split(",") if name]
        if not (self.do_train or self.do_eval or self.caption):
            raise ValueError("nothing to do: give --do_train, --do_eval or --caption FILE ...")
        if self.caption and not self.checkpoint:
            raise ValueError("--caption needs --checkpoint DIR, the folder of a trained captioner")
        if self.do_eval and not (self.model_name or self.checkpoint):
            raise ValueError("--do_eval needs --checkpoint DIR or --model_name")
        if min(self.beam, self.val_beam) < 1:
            raise ValueError(f"--beam {self.beam} and --val_beam {self.val_beam} must be 1 or more")
        for name in ("n_best", "r2l_hypotheses"):
            if not 1 <= getattr(self, name) <= self.beam:
                raise ValueError(
                    f"--{name} {getattr(self, name)} of --beam {self.beam}: a search keeps as many captions as its "
                    f"beam is wide, so --{name} must be from 1 to that; a wider --beam finds more"
                )
        if self.batch_size_val < 1:
            raise ValueError(f"--batch_size_val {self.batch_size_val} must be 1 or more")
        if self.tune_batch_size < 1 or (self.tune_lr or 0) < 0 or self.num_workers < 0:
            raise ValueError(
                f"--tune_batch_size {self.tune_batch_size} must be 1 or more, --tune_lr {self.tune_lr} and "
                f"--num_workers {self.num_workers} 0 or more"
            )
        if self.tune != "none" and not self.do_train:
            raise ValueError(
                f"--tune {self.tune} is for training: give --do_train (a tuned checkpoint is scored and captions files "
                "without it)"
            )
        if self.do_train and not self.model_name:
            raise ValueError("--do_train needs --model_name CORPUS_FEATURES, for instance MiniMotion_GBased+videomask")

    def published_row(self) -> PublishedRow | None:
        """What `--published` says.

        Raises:
            ValueError: it is no published row.
        """
        return None if self.published is None else PublishedRow.read(self.published)


def parse_model_name(model_name: str) -> tuple[str, str]:
    """Corpus and features of a model name, "+videomask" left out: the mask is always there.

    Raises:
        ValueError: unknown features, naming the known ones.
    """
    corpus, separator, features = model_name.rpartition("_")
    kept = [part for part in features.split("+") if part.lower() != "videomask"]
    known = {key.lower(): key for key in FEATURES}
    key = known.get("+".join(kept).lower())
    if not separator or not corpus or key is None:
        names = ", ".join(f"{name}[+videomask]" for name in FEATURES)
        raise ValueError(
            f"Unknown model name ({model_name}). It is CORPUS_FEATURES; CORPUS is {known_datasets()}; "
            f"FEATURES is {names}."
        )
    return corpus, key


def with_defaults(args: CaptionerArguments, corpus: str) -> CaptionerArguments:
    """The flags with the values of the corpus where none was given."""
    defaults = DEFAULTS.get(reader_name(corpus) or "other", DEFAULTS["other"])
    values = {name: value for name, value in defaults.items() if getattr(args, name) is None}
    if args.batch_size is not None and args.micro_batch_size is None:
        # A batch of one's own is cut only where that is asked for.
        values.pop("micro_batch_size", None)
    if args.tune != "none" and args.tune_lr is None:
        values["tune_lr"] = TUNE_RATES[args.tune]
    return replace(args, **values)
