"""Flags of the retrieval trainers: data, training, evaluation. Those of the methods are in `method_settings`.

Names and meanings are those of the published trainers; `--batch_size` counts pairs per optimiser step over all
processes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataset.arguments import CorpusArguments, flag, known_datasets, reader_name

SMALL = "small"
LAST = "last"
NO_FILE = ("None", "none", "")


def words(default: Any, text: str, *aliases: str, **more: Any) -> Any:
    """A flag with other names, or with further words for argparse."""
    return field(default=default, metadata={"help": text, "aliases": list(aliases), **more})


@dataclass
class RetrievalArguments:
    """What to train on what, and for how long."""

    datatype: str | None = flag(
        None, f"corpus: {known_datasets()}; default that of the checkpoint, else MiniMotion, a folder with --data_root"
    )
    data_root: str | None = flag(
        None, "folder with videos/ and metadata/; default: that of dataset/paths.json, or dataset/NAME"
    )
    captions: str | None = words(
        None, "annotation file, or the folder of all; default: known names in metadata/ of the data root", "--data_path"
    )
    videos_path: str | None = words(None, "folder of the videos; default videos/ of the data root", "--features_path")
    lmdb_dataset: str | None = flag(
        None, "LMDB archive (key: id, value: file) for videos that are not on disk; they are unpacked into --output_dir"
    )
    video_features: str | None = flag(
        None, "clip4clip: train header and texts on the feature theta2 of --backbone: its file, or the features' folder"
    )
    train_csv: str | None = flag(None, "MSR-VTT: training list (column video_id) in place of the protocol's")
    val_csv: str | None = flag(None, "MSR-VTT: evaluation pairs (video_id, sentence) in place of the protocol's")
    protocol: str = flag("captioning", "which lists: captioning; for MSR-VTT also 7k and 9k, the retrieval lists")
    limit: int | None = flag(None, "only the first so many videos of every split")
    strict: bool = flag(False, "train and score nothing, with status 1, if a video of the lists is not there")
    dry_run: bool = flag(False, "say what would be done, and do nothing")
    do_train: bool = flag(True, "train; 0 with --do_eval")
    do_eval: bool = flag(False, "train nothing: score a split with the checkpoint of --resume, else of --output_dir")
    eval_split: Literal["train", "val", "test"] = flag("test", "split that is scored at the end")

    max_words: int | None = flag(None, "sub-words of a caption, start and end included; default 32")
    max_frames: int | None = flag(None, "frames of a clip; default 12, small: 6")
    train_frames: int | None = flag(None, "frames of a training clip (clip4clip); default: max_frames")
    feature_framerate: float | None = flag(None, "candidate frames per second; default 1, stop: 3, small: 4")
    frame_sampling: Literal["time", "clip4clip", "segments"] | None = flag(
        None, "candidates: by time; as CLIP4Clip's reader takes them; all, one per segment (STOP's; default for stop)"
    )
    slice_framepos: Literal[0, 1, 2] = flag(2, "which of too many frames: 0 the first, 1 the last, 2 evenly spread")
    train_frame_order: Literal[0, 1, 2] = flag(0, "order of training frames: 0 as they are, 1 reversed, 2 shuffled")
    eval_frame_order: Literal[0, 1, 2] = flag(
        0, "order of frames in evaluations: 0 as they are, 1 reversed, 2 shuffled"
    )
    short_clips: Literal["pad", "repeat"] | None = flag(
        None, "clips with too few frames are padded and masked, or repeat frames (default where tokens are merged)"
    )
    every_sentence: bool | None = words(
        None,
        "an item per caption instead of one per video with a drawn caption; default for tempme",
        "--expand_msrvtt_sentences",
        nargs="?",
        const=True,
    )
    augmentation: Literal["none", "randaugment"] | None = flag(
        None, "randaugment: drawn picture operations on whole training clips, as TempMe has it (default for tempme)"
    )
    random_frames: bool | None = words(
        None, "draw training frames; default for small, and for segments", nargs="?", const=True
    )
    crop_min: float | None = flag(None, "smallest edge of a random square in training; default 1 (off), small: 0.6")
    crop_max: float = flag(1.0, "largest edge of a random square in training")
    whole_share: float = flag(0.0, "share of random squares that stay whole")
    crop_each_frame: bool | None = words(
        None, "a random square per frame instead of per clip; default for small", nargs="?", const=True
    )
    crop_on_motion: bool = flag(
        False, "random squares (--crop_min) hold a place that moves: small things are seen large"
    )
    cache_size: int | None = flag(None, "edge of kept frames in pixels; default the resolution, small: 128")
    cache_frames: int | None = flag(
        None, "frames kept per video; default max_frames, twice that if frames are drawn, four times for segments"
    )
    cache_gb: float = flag(4.0, "frames are decoded once and kept up to this size; 0: decode on every access")
    cache_dir: str | None = flag(None, "folder for kept frames that a later run may use; default: memory")

    output_dir: str | None = flag(None, "folder of checkpoints, log and scores; default results/METHOD_CORPUS")
    resume: str | None = words(
        None,
        "continue a run: its folder, last_model.pth, ckpt.pth.tar; alone: output_dir/last if it is there. Files "
        "without a training state (best_model.pth, pytorch_model.bin.N) give their weights",
        nargs="?",
        const=LAST,
    )
    load_from_pretrained: bool = flag(False, "of --resume take the weights only")
    init_model: str | None = flag(None, "weights to start from, of any retrieval checkpoint; names need not all match")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")
    epochs: int | None = flag(None, "passes over the training data; default 5, small: 30")
    batch_size: int | None = flag(None, "pairs per optimiser step over all processes; default 128, small: 48")
    micro_batch_size: int | None = flag(
        None, "clips encoded at a time, and again for their gradient; every pair still sees the whole batch"
    )
    gradient_accumulation_steps: int = flag(1, "the same as --micro_batch_size of a process's part over this")
    batch_size_val: int = flag(32, "clips encoded at a time in evaluations")
    lr: float | None = flag(None, "largest learning rate; default 1e-4, stop and small: 1e-3, tempme and unified: 6e-4")
    coef_lr: float | None = flag(None, "factor on the rate of CLIP's own parameters; default of the method, small: 1")
    optim: Literal["AdamW", "BertAdam"] | None = flag(None, "default BertAdam for clip4clip, else AdamW")
    beta1: float | None = flag(None, "AdamW: decay of the mean gradient; default 0.9")
    beta2: float | None = flag(None, "AdamW: decay of the squared gradient; default 0.98, tempme: 0.999")
    eps: float | None = flag(None, "AdamW: added to the root; default 1e-6")
    weight_decay: float | None = words(None, "of matrices, not of vectors; default 0.2, small: 0.05", "--wd")
    warmup_proportion: float = flag(0.1, "share of the steps in which the rate rises")
    clip_norm: float = words(1.0, "largest norm of the whole gradient; 0: no clipping", "--clip_grad_norm")
    precision: Literal["auto", "fp32", "bf16", "amp", "fp16"] = flag(
        "auto", "arithmetic; auto: bf16 where the device multiplies it; amp, fp16: float16 on a GPU, elsewhere as auto"
    )
    seed: int = flag(42, "seed of weights, order, frames and crops")
    num_workers: int = words(0, "processes that prepare batches", "--num_thread_reader")
    log_steps: int = words(20, "optimiser steps between two progress lines", "--n_display")
    save_steps: int = flag(0, "optimiser steps between two checkpoints; 0: at epoch ends only")
    eval_epochs: int = flag(1, "epochs between two validations")
    patience: int = flag(0, "stop after so many epochs without a better score; 0: never")

    ties: Literal["worst", "best", "average"] = flag("worst", "place of an answer among candidates of the same score")
    dual_softmax: bool = words(False, "add scores after a dual softmax over all test queries", "--camoe_dsl")
    qb_norm: int = flag(0, "add scores after query-bank normalisation with so many training pairs as bank; 0: none")
    qb_beta: float = flag(0.87, "inverse temperature of the query bank")
    save_matrix: bool = flag(False, "write the similarities as SPLIT_similarity.npy (rows are texts)")
    save_feature_path: str | None = flag(None, "folder for the features of scored texts and videos (.npz)")
    export_published: str | None = flag(
        None,
        "file for the scored network as its method's published code reads it: pytorch_model.bin.N (clip4clip), "
        "ckpt.pth.tar (stop, dgl, unified), best.pth (tempme)",
    )
    inference_speed_test: bool = flag(False, "with --do_eval: measure clips/s and texts/s and score nothing")
    debug: bool = flag(False, "log the ids of every batch too")

    def __post_init__(self):
        for name in ("resume", "init_model", "captions", "videos_path", "lmdb_dataset", "save_feature_path"):
            if getattr(self, name) in NO_FILE:
                setattr(self, name, None)
        if self.precision == "fp16":  # weights are float32 either way
            self.precision = "amp"
        if self.gradient_accumulation_steps < 1:
            raise ValueError(f"--gradient_accumulation_steps {self.gradient_accumulation_steps}: must be at least 1")
        if self.gradient_accumulation_steps > 1 and self.micro_batch_size:
            raise ValueError("--micro_batch_size and --gradient_accumulation_steps say the same; give one of them")
        if self.eval_epochs < 1:
            raise ValueError(f"--eval_epochs {self.eval_epochs}: must be at least 1")
        if not (self.do_train or self.do_eval):
            raise ValueError("--do_train 0 without --do_eval 1 leaves nothing to do")

    def data(self) -> CorpusArguments:
        """The flags that name a corpus."""
        return CorpusArguments(self.datatype, self.data_root, self.captions, self.protocol, limit=self.limit)

    def places(self) -> dict[str, Path | None]:
        """Files that lie elsewhere, as `dataset.arguments.open_corpus` takes them."""
        names = {"videos": self.videos_path, "train_csv": self.train_csv, "val_csv": self.val_csv}
        return {name: Path(value).expanduser() if value else None for name, value in names.items()}

    @property
    def default_corpus(self) -> bool:
        """Whether no flag names a corpus, and MiniMotion is meant."""
        places = (self.datatype, self.data_root, self.captions, self.videos_path, self.train_csv, self.val_csv)
        return not any(places) and self.resume in (None, LAST)

    def kind(self) -> str | None:
        """The reader that the flags mean, None for an unknown name."""
        return reader_name(self.datatype or ("folder" if self.data_root else "minimotion"))


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


@dataclass
class SearchArguments:
    """Searching a folder of videos by a sentence."""

    search: str | None = flag(None, "a sentence: rank the videos of --videos by it with --checkpoint, train nothing")
    checkpoint: str | None = flag(None, "with --search: a run's folder, a checkpoint folder or a best_model.pth")
    videos: str | None = flag(None, "with --search: folder of videos")
    index: str | None = flag(
        None, "with --search: folder that keeps the videos' features; default features/ in the folder of videos"
    )
    top: int = flag(10, "with --search: so many videos are printed and drawn")
    sheet: str | None = flag(None, "with --search: the picture of the best; default search.png in the working folder")

    def __post_init__(self):
        if self.search is not None and not (self.checkpoint and self.videos):
            raise ValueError('--search "A SENTENCE" needs --checkpoint DIR and --videos FOLDER')
        if self.search is not None and not self.search.strip():
            raise ValueError("--search needs a sentence, got an empty one")
        if self.top < 1:
            raise ValueError(f"--top {self.top}: must be at least 1")


@dataclass
class LaunchArguments:
    """Processes of a start without torchrun, and flags of the published commands that change nothing here."""

    gpu: int | None = flag(None, "one process, on the GPU of this number; default: a process per visible GPU")
    multigpu: str | None = flag(None, "a process on each of these GPUs, for instance 0,1,3")
    dp: bool = flag(False, "a process per GPU of --multigpu, or per visible one (never threads in one process)")
    world_size: int = flag(1, "machines that take part; start the program on each (or use torchrun)")
    node_rank: int = words(0, "number of this machine among them, from 0", "--local_rank")
    init_method: str = flag("tcp://127.0.0.1:6101", "address of the first machine, with --world_size above 1")
    use_bn_sync: bool = words(False, "batch norms of a stem look at all processes' clips", "--use-bn-sync")
    dist_backend: Literal["nccl", "gloo"] = flag(
        "nccl", "accepted, changes nothing: GPUs talk through nccl, CPUs through gloo"
    )
    distributed: bool = flag(False, "accepted, changes nothing: several GPUs are always several processes")
    remote: int = flag(0, "accepted, changes nothing: every process logs by itself")
    loose_type: bool = flag(True, "accepted, changes nothing: it follows from --sim_header")
    cross_model: Literal["cross-base"] = flag("cross-base", "accepted: the only configuration of headers there is")
    time_embedding: int = flag(0, "accepted, changes nothing: nothing ever read that table")
    task_type: Literal["retrieval"] = flag("retrieval", "accepted: the only task of this program")

    def __post_init__(self):
        if self.gpu is not None and (self.multigpu or self.dp):
            raise ValueError("--gpu is one GPU, --multigpu and --dp are several; give one of them")
        if self.multigpu:
            parts = self.multigpu.replace(" ", "").split(",")
            if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
                raise ValueError(f"--multigpu {self.multigpu}: numbers of GPUs, for instance 0,1,3")
        if not 0 <= self.node_rank < self.world_size:
            raise ValueError(f"--local_rank {self.node_rank} of --world_size {self.world_size} machines: count from 0")
