"""Flags of what recognisers look at: corpus, split, views, cache, augmentation. Published keys, `_` for `-`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataset.action_lists import FOLDERS, READERS
from dataset.action_split import SplitSettings, divide
from dataset.actions import ActionCorpus
from dataset.data_roots import data_root, dataset_default, plain_name

CHOICES = "minimotion, ucf101, hmdb51, kinetics400, or folder (a folder per class, with --data_root)"


def flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class RecognitionData:
    """The corpus and how it is divided: what a config file has under "dataset-config"."""

    dataset: str | None = flag(
        None, f"{CHOICES}; default: folder where --data_root is given, else what dataset/paths.json says or minimotion"
    )
    data_root: str | None = flag(None, "folder of the corpus; default: of dataset/paths.json, else dataset/NAME")
    lists: str | None = flag(None, "folder of the official lists; default: looked for in the data root")
    split_number: int = flag(1, "which of the official splits of UCF101 or HMDB51: 1, 2 or 3")
    batch_size: int | None = flag(None, "videos per forward pass and process; the default depends on the corpus")
    batches_per_backprop: int | None = flag(None, "batches per optimiser step; the default depends on the corpus")
    num_workers: int = flag(0, "processes that decode and prepare batches")
    K_train: int | None = flag(None, "training clips per class, the first ones of the list; default: all")
    K_val: int | None = flag(None, "validation clips per class; default: all")
    K_test: int | None = flag(None, "test clips per class; default: all")
    skip_first_K_train: int = flag(0, "training clips per class that are left out before those")
    skip_first_K_val: int = flag(0, "validation clips per class that are left out before those")
    has_validation: bool | None = flag(
        None,
        "validate on the corpus's own validation list, else on held-out recordings; 0: on what follows the K_train "
        "clips in the training list; default: 1, HMDB51: 0",
    )
    val_proportion: float = flag(0.2, "share of a class's recordings that validate where there is no list for it")
    class_protocol: Literal["all", "most-frequent", "least-frequent", "random"] = flag("all", "which classes are kept")
    num_classes: int | None = flag(None, "how many classes another class_protocol than all keeps")
    use_excess_for: Literal["none", "train", "val"] = flag("none", "what becomes of training clips beyond K_train")
    remove_class_if_insufficient: bool = flag(False, "leave out classes with fewer clips than K_train or K_val")
    remove_black_strips: bool = flag(False, "cut black rows at top and bottom before scaling")
    use_cache: bool = flag(False, "read decoded pictures from cache_dir where they are there")
    save_to_cache: bool = flag(False, "store decoded pictures in cache_dir")
    resized_cache_protocol: bool = flag(True, "store pictures scaled to what the backbone reads, not as they are")
    cache_dir: str | None = flag(None, "folder of stored pictures; default results/recognition_cache/CORPUS")
    cache_gb: float = flag(2.0, "decoded pictures kept in memory, per process; 0: decode every time")

    @property
    def kind(self) -> str:
        """The key of READERS.

        Raises:
            ValueError: unknown corpus.
        """
        name = self.dataset or ("folder" if self.data_root else dataset_default())
        kind = plain_name(name)
        if kind in READERS:
            return kind
        if self.data_root:
            return "folder"
        raise ValueError(f"unknown dataset {name!r}; known: {CHOICES}")

    def open(self, seed: int = 0) -> ActionCorpus:
        """The corpus of these flags, divided, with the clips that are on disk.

        Raises:
            ValueError, FileNotFoundError, CorpusError: as reader and split say.
        """
        kind = self.kind
        if kind == "folder" and not self.data_root:
            raise ValueError("--dataset folder needs --data_root DIR, the folder that holds a folder per class")
        root = data_root(self.data_root, FOLDERS.get(kind, kind))
        corpus = READERS[kind](root, Path(self.lists).expanduser() if self.lists else None, self.split_number)
        return divide(corpus.on_disk(), self.split_settings(seed))

    def split_settings(self, seed: int) -> SplitSettings:
        has_validation = self.kind != "hmdb51" if self.has_validation is None else self.has_validation
        return SplitSettings(
            self.K_train, self.K_val, self.K_test, self.skip_first_K_train, self.skip_first_K_val, has_validation,
            self.val_proportion, self.class_protocol, self.num_classes, self.use_excess_for,
            self.remove_class_if_insufficient, seed,
        )  # fmt: skip


@dataclass
class ViewArguments:
    """Which frames and squares of a video make its views, and what training does to them."""

    num_frames_temporal: int = flag(8, "frames of a view")
    num_temporal_views: int | None = flag(None, "parts of the video that are looked at; default 4, MiniMotion: 1")
    num_spatial_views: int | None = flag(None, "squares along the long side; default 3, MiniMotion: 1")
    space_between_frames: int | None = flag(
        None, "frames from one frame of a view to the next; default: spread over the whole video"
    )
    use_augmentation: bool = flag(False, "change training clips at random by the strengths below; never others")
    crop_scale: float = flag(0.5, "smallest area of the random crop, as a share; 1: no crop")
    crop_ratio: float = flag(4 / 3, "largest change of the crop's width-to-height ratio")
    horizontal_flip: float | None = flag(
        None, "probability of mirroring; default 0.5, MiniMotion: 0 (it would exchange left and right)"
    )
    vertical_flip: float = flag(0.0, "probability of turning upside down")
    brightness: float = flag(0.3, "colour jitter: factors from 1 - this to 1 + this")
    contrast: float = flag(0.3, "the same of contrast")
    saturation: float = flag(0.3, "the same of saturation")
    hue: float = flag(0.05, "largest turn of the colour circle, 0.5 being half of it")
    blur: float = flag(0.0, "probability of a Gaussian blur")
    blur_kernel: int = flag(5, "its taps, odd")
    blur_sigma: float = flag(1.0, "its standard deviation in pixels")
    salt_and_pepper: float = flag(0.0, "share of values set to black or white")
    cutout: float = flag(0.0, "probability of a black box")
    cutout_scale: list[float] = field(
        default_factory=lambda: [0.02, 0.33], metadata={"help": "least and largest share of the picture that it covers"}
    )
    cutout_ratio: list[float] = field(
        default_factory=lambda: [0.3, 3.3], metadata={"help": "its least and largest ratio of width to height"}
    )
    videomix_type: Literal["none", "spatial", "temporal", "spatiotemporal"] | None = flag(
        None, "VideoMix: a box of one training clip within another; default none, ViTA and STT on real video: spatial"
    )
    videomix_prob: float = flag(0.5, "probability that a training clip is mixed")

    def __post_init__(self):
        if not 0 <= self.videomix_prob <= 1:
            raise ValueError(f"videomix-prob is {self.videomix_prob}; it must lie between 0 and 1")
        for name in ("cutout_scale", "cutout_ratio"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} needs two numbers, got {getattr(self, name)}")

    def augmentation(self) -> Any:
        """The `ClipAugmentation` of training clips, None without `use_augmentation`."""
        # Inside, because it imports torch, which takes seconds, and --help should come at once.
        from utility.clip_augmentation import ClipAugmentation

        flip = 0.5 if self.horizontal_flip is None else self.horizontal_flip
        how = ClipAugmentation(
            self.crop_scale, self.crop_ratio, flip, self.vertical_flip, self.brightness, self.contrast,
            self.saturation, self.hue, self.blur, self.blur_kernel, self.blur_sigma, self.salt_and_pepper, self.cutout,
            tuple(self.cutout_scale), tuple(self.cutout_ratio),
        )  # fmt: skip
        return how if self.use_augmentation else None
