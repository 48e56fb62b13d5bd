"""What the retrieval trainers read, made from their flags: training pairs, clips to score, a bank of queries."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset.clip_crops import Augmentation
from dataset.clip_frames import ClipFrames, FrameSettings
from dataset.clips import ClipPairs, EvaluationClips, FrameOrder
from dataset.corpus import Corpus, listed
from dataset.rand_augment import RandAugment
from dataset.retrieval_settings import RetrievalArguments
from dataset.stored_frames import StoredFrames
from utility.clip_text import ClipTokenizer
from utility.distributed import Distributed

log = logging.getLogger(__name__)


@dataclass
class RetrievalData:
    """Data sets of a run.

    Attributes:
        args: with all defaults filled in.
        resolution: edge of the pictures that the backbone reads.
        output: folder of the run, for kept frames that several processes share.
        pixels: uint8 frames -> what the backbone reads.
        weights: hash of the backbone, which stored features must be of; None where it is not known.
    """

    args: RetrievalArguments
    corpus: Corpus
    resolution: int
    output: Path
    dist: Distributed
    pixels: Callable[[Any], Any]
    weights: str | None = None

    def __post_init__(self):
        self.tokenizer = ClipTokenizer()

    def frames(self, split: str, slots: int) -> ClipFrames | StoredFrames:
        """Pictures of a split, from a cache that is as large as the flags allow, or stored features.

        Raises:
            ValueError: no video of the split is there, or none can be read.
        """
        args, corpus = self.args, self.corpus
        if args.video_features:
            place = Path(args.video_features).expanduser()
            stored = StoredFrames(place, corpus.name, corpus.ids(split), self.weights)
            if stored.failed:
                log.warning("%d videos have no features: %s", len(stored.failed), listed(stored.failed))
            return stored
        paths = {name: corpus.videos[name] for name in corpus.ids(split) if corpus.videos[name] is not None}
        if not paths:
            raise ValueError(
                f"no video of the {split} split of {corpus.name} is under {corpus.root}; choose others with --data_root"
            )
        settings = FrameSettings(
            slots, args.feature_framerate, args.cache_size or self.resolution, args.slice_framepos, args.frame_sampling
        )
        size = len(paths) * settings.bytes_per_video
        # Processes keep frames in a file that all of them map, which those of several machines cannot.
        cached = size <= args.cache_gb * 2**30 and self.dist.machines == 1
        log.info(
            "%s: %d videos, %s", split, len(paths),
            f"decoding {slots} frames each into {size / 2**20:.0f} MB" if cached else "decoded when they are needed",
        )  # fmt: skip
        shared = self.output / "frames" if self.dist.world_size > 1 else None
        folder = Path(args.cache_dir) if args.cache_dir else shared
        frames = ClipFrames(paths, settings, cached, folder, self.dist, segments=corpus.segments)
        frames.report()
        return frames

    def pairs(self, word_targets: bool = False) -> ClipPairs:
        """Training pairs, with the augmentation of the flags."""
        args = self.args
        operations = RandAugment() if args.augmentation == "randaugment" else None
        augmentation = Augmentation(
            args.random_frames, args.crop_min, args.crop_max, args.whole_share, args.crop_each_frame,
            args.crop_on_motion, operations,
        )  # fmt: skip
        return ClipPairs(
            self.frames("train", args.cache_frames), self.corpus.captions, self.tokenizer, args.train_frames,
            args.max_words, self.resolution, augmentation, args.every_sentence, word_targets,
            self._order(args.train_frame_order),
        )  # fmt: skip

    def clips(self, split: str) -> EvaluationClips:
        """All videos and captions of a split, in the same pictures every time."""
        args = self.args
        slots = args.cache_frames if args.frame_sampling == "segments" else args.max_frames
        return EvaluationClips(
            self.frames(split, slots), self.corpus.captions, self.tokenizer, args.max_frames, args.max_words,
            self.resolution, self._order(args.eval_frame_order),
        )  # fmt: skip

    def bank(self) -> Any:
        """`--qb_norm` training videos, one caption each, as queries of a bank."""
        whole, count = self.corpus, self.args.qb_norm
        ids = [name for name in whole.ids("train") if whole.captions.get(name) and whole.videos[name] is not None]
        chosen = np.random.default_rng(self.args.seed).permutation(len(ids))[:count]
        names = [ids[i] for i in sorted(chosen.tolist())]
        part = Corpus(
            whole.name, whole.root, {name: whole.videos[name] for name in names},
            {name: whole.captions[name][:1] for name in names}, {"train": names}, segments=whole.segments,
        )  # fmt: skip
        return RetrievalData(self.args, part, self.resolution, self.output, self.dist, self.pixels).clips("train")

    def describe(self, trained_on: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the config of a checkpoint says about data and flags.

        Args:
            trained_on: see `dataset.seen_videos.also_trained_on`.
            arguments: all flags, for `dataset.stored_settings`.
        """
        args = self.args
        return {
            "program": "retrieval",
            "corpus": self.corpus.name,
            "protocol": args.protocol,
            "trained_on": trained_on,
            "sampling": {
                "rule": args.frame_sampling,
                "rate": args.feature_framerate,
                "frames": args.max_frames,
                "slice_framepos": args.slice_framepos,
            },
            "preprocessing": {"crop": "centre square", "interpolation": "bicubic", "size": self.resolution},
            "max_words": args.max_words,
            "arguments": arguments,
        }

    def _order(self, order: int) -> FrameOrder:
        return FrameOrder(self.args.frame_sampling == "segments", order, self.args.short_clips == "repeat")


def report_absent(corpus: Corpus, file: Path | None) -> int:
    """Says how many videos of the splits are not on disk, and which; all of them are listed in `file`.

    Returns: their number
    """
    used = {name for split in corpus.splits.values() for name in split}
    absent = [name for name in corpus.missing if name in used]
    if absent:
        where = f"; all of them in {file}" if file else ""
        log.warning("%d videos of the splits are absent and left out: %s%s", len(absent), listed(absent, 10), where)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{name}\n" for name in absent), encoding="utf-8")
    return len(absent)
