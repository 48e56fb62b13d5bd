"""What an extractor is, and how one decoding pass over a video serves several of them.

S slots per video, of which the first n <= S are filled; u units per video (tiles, frames, clips): rows of a network's
input, which is what is batched across videos.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extractors.pictures import Pictures
from utility.sampling import FrameSample, sample_frames
from utility.video import VideoError, VideoInfo, VideoReader

# Counted up when the same settings begin to mean other frames.
SAMPLER_VERSION = 1


@dataclass(frozen=True)
class Sampling:
    """Which frames fill the slots."""

    rule: str = "time"
    rate: float = 1.0
    slots: int = 20

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> Sampling:
        """That of the settings of features, as `settings` writes them."""
        rate = settings["rate"]
        return cls(settings["sampling"], slots=settings["slots"], **({} if rate is None else {"rate": rate}))

    def settings(self) -> dict[str, Any]:
        """As feature files record it."""
        rate = self.rate if self.rule == "time" else None
        return {"sampling": self.rule, "rate": rate, "slots": self.slots, "sampler_version": SAMPLER_VERSION}


@dataclass(frozen=True)
class VideoPlan:
    """A video that could be opened, and its sampled frames."""

    info: VideoInfo
    sample: FrameSample
    slots: int

    def slot_arrays(self) -> dict[str, np.ndarray]:
        """slot_mask [S] bool, frame_index [S] int32 and frame_time [S] float32 (seconds), both -1 in empty slots."""
        filled = len(self.sample.index)
        index, time = np.full(self.slots, -1, np.int32), np.full(self.slots, -1.0, np.float32)
        index[:filled], time[:filled] = self.sample.index, self.sample.time
        return {"slot_mask": np.arange(self.slots) < filled, "frame_index": index, "frame_time": time}

    def spread(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the filled slots [n, ...] -> [S, ...], zeros in the empty ones."""
        spread = np.zeros((self.slots, *rows.shape[1:]), rows.dtype)
        spread[: len(rows)] = rows
        return spread


class Extractor(ABC):
    """One stage: frames of a video -> arrays of its feature file.

    Subclasses have a class method `load` that builds them from weights; `frames`, `picture` and `units` run in decoding
    threads, `extract` on the device, with units of several videos at a time.

    Attributes:
        feature: name of the feature in file names.
        settings: what its numbers depend on, beside the sampling.
        batch_units: units per call of `extract`.
    """

    feature: str
    settings: dict[str, Any]
    batch_units: int

    @abstractmethod
    def frames(self, plan: VideoPlan) -> np.ndarray:
        """Numbers of the frames it looks at, repeats allowed."""

    @abstractmethod
    def picture(self, frame: Tensor) -> Tensor:
        """What is kept of one decoded frame: uint8 [3, H, W] -> uint8, much smaller."""

    @abstractmethod
    def units(self, plan: VideoPlan, pictures: Pictures) -> Tensor:
        """All units of a video from its pictures: uint8 [u, ...]."""

    @abstractmethod
    def extract(self, units: Tensor) -> Tensor:
        """uint8 [u, ...] of any videos -> float32 [u, D] on the CPU."""

    @abstractmethod
    def arrays(self, plan: VideoPlan, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays to store, from the rows [u, D] of a video's units."""

    @abstractmethod
    def output_spec(self, slots: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the stored arrays."""


@dataclass
class Prepared:
    """A video after decoding: its units by feature, and their number, which stays when they were used."""

    plan: VideoPlan
    units: dict[str, Tensor]
    counts: dict[str, int]


def prepare(path: Path | str, extractors: Sequence[Extractor], sampling: Sampling) -> Prepared:
    """Decodes a video once and keeps what the extractors need of it.

    Memory is bounded by the kept pictures: a full-size frame lives only until every extractor has looked at it.

    Raises:
        VideoError: the video cannot be read or sampled.
    """
    with VideoReader(path) as reader:
        plan: VideoPlan
        wanted: list[set[int]]
        pictures: list[Pictures]

        def choose() -> set[int]:
            nonlocal plan, wanted, pictures
            try:
                sample = sample_frames(reader.times, reader.info.fps, sampling.slots, sampling.rule, sampling.rate)
            except ValueError as error:
                raise VideoError(str(path), "sample", str(error)) from error
            plan = VideoPlan(reader.info, sample, sampling.slots)
            wanted = [set(extractor.frames(plan).reshape(-1).tolist()) for extractor in extractors]
            pictures = [Pictures(numbers) for numbers in wanted]
            return set().union(*wanted)

        for index, frame in reader.follow(choose):
            for extractor, numbers, kept in zip(extractors, wanted, pictures, strict=True):
                if index in numbers:
                    kept.put(index, extractor.picture(frame))
    units = {e.feature: e.units(plan, kept) for e, kept in zip(extractors, pictures, strict=True)}
    return Prepared(plan, units, {feature: len(value) for feature, value in units.items()})


def stored_arrays(extractor: Extractor, plan: VideoPlan, rows: Tensor) -> dict[str, np.ndarray]:
    """The arrays of a video, their shapes checked against what the extractor promises.

    Raises:
        RuntimeError: an extractor breaks its promise.
    """
    arrays = extractor.arrays(plan, rows.numpy())
    promised = extractor.output_spec(plan.slots)
    got = {name: array.shape for name, array in arrays.items()}
    if got != promised:
        raise RuntimeError(f"{extractor.feature} of {plan.info.path}: shapes {got} instead of {promised}")
    return arrays


def extract_file(
    path: Path | str, extractors: Sequence[Extractor], sampling: Sampling
) -> dict[str, dict[str, np.ndarray]]:
    """All features of one video file, in memory: {feature: arrays}, float32 where the stores hold half precision.

    Raises:
        VideoError: the video cannot be read or sampled.
    """
    prepared = prepare(path, extractors, sampling)
    features = {}
    for extractor in extractors:
        units = prepared.units[extractor.feature].split(extractor.batch_units)
        rows = torch.cat([extractor.extract(part) for part in units])
        features[extractor.feature] = stored_arrays(extractor, prepared.plan, rows)
    return features
