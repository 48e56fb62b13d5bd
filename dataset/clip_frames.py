"""Frames of many videos as small uint8 pictures, decoded once and kept where they fit.

Shape letters: V videos, n <= S frames of a video, S slots, R edge of a picture in pixels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset.corpus import listed
from utility.distributed import Distributed, available_cores
from utility.images import clip_frames
from utility.sampling import clip4clip_frames, sample_frames, slice_positions
from utility.video import VideoError, VideoReader
from utility.whole_files import whole_file

log = logging.getLogger(__name__)

SAMPLERS = ("time", "clip4clip", "segments")


@dataclass(frozen=True)
class FrameSettings:
    """Which frames are kept of a video, and how large.

    Attributes:
        slots: at most so many, evenly thinned.
        rate: candidates per second.
        size: edge in pixels of the centred square that is kept.
        slice_framepos: which of too many candidates are kept: 0 the first, 1 the last, 2 evenly spread.
        rule: which frames are candidates. "time": those on screen every 1 / rate seconds. "clip4clip": those of the
            published reader (`utility.sampling.clip4clip_frames`). "segments": all of them, as in STOP, whose reader
            wants videos of few frames per second; too many are thinned evenly.
    """

    slots: int
    rate: float
    size: int
    slice_framepos: int = 2
    rule: str = "time"

    def __post_init__(self):
        if self.rule not in SAMPLERS:
            raise ValueError(f"unknown frame sampling {self.rule!r}; use one of {', '.join(SAMPLERS)}")

    @property
    def bytes_per_video(self) -> int:
        """What a video takes in memory at most."""
        return self.slots * 3 * self.size**2


def candidates(reader: VideoReader, settings: FrameSettings, segment: tuple[float, float] | None) -> np.ndarray:
    """Numbers of the frames among which `slice_framepos` chooses.

    Args:
        segment: first and last second of the part of the video that counts.

    Raises:
        ValueError: no frame there, or a frame rate that the rule cannot take.
    """
    times = reader.times
    if settings.rule == "clip4clip":
        start, end = (None, None) if segment is None else map(int, segment)
        return clip4clip_frames(len(times), reader.info.fps, max(1, round(settings.rate)), start, end)
    inside = np.arange(len(times))
    if segment is not None:
        first, last = segment
        inside = np.flatnonzero((times - times[0] >= first) & (times - times[0] <= last))
        if not len(inside):
            raise ValueError(f"no frame between {first:g} and {last:g} seconds")
    if settings.rule == "segments":
        return inside
    return inside[sample_frames(times[inside], reader.info.fps, None, "time", settings.rate).index]


def decode_frames(path: Path | str, settings: FrameSettings, segment: tuple[float, float] | None = None) -> Tensor:
    """Pictures of one video, or of a part of it in seconds: [n, 3, R, R] uint8.

    Raises:
        VideoError: it cannot be read.
    """
    with VideoReader(path) as reader:
        try:
            index = candidates(reader, settings, segment)
        except ValueError as error:
            raise VideoError(str(path), "sample", str(error)) from error
        index = index[slice_positions(len(index), settings.slots, settings.slice_framepos)]
        return clip_frames(reader.frames(index), settings.size)


def _reserve(file: Path, size: int) -> None:
    """An empty file whose bytes are set aside: writing mapped pages that a full disk has no room for would end the
    process without a word.

    Raises:
        OSError: there is no room.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, size) if hasattr(os, "posix_fallocate") else handle.truncate(size)
        except OSError as error:
            file.unlink()
            raise OSError(
                error.errno, f"{error.strerror} while making room for {size / 1e9:.1f} GB of frames in {file}"
            ) from error


class ClipFrames:
    """`frames[id]` gives the pictures of a video, from memory, from a file, or by decoding.

    Args:
        paths: file of every video.
        settings: which frames.
        cache: decode all videos now and keep their pictures; otherwise decode on every access.
        folder: where the kept pictures are, a file that processes share (several processes need it) and that a later
            run with the same settings reuses; None for memory.
        threads: videos decoded at a time while the cache is filled.
        segments: first and last second of what counts, by id; others count whole.

    Attributes:
        ids: videos that can be read, as far as known: those decoded into the cache, without one all.
        failed: cause by id of the others.

    Raises:
        ValueError: no video at all can be read.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        settings: FrameSettings,
        cache: bool = True,
        folder: Path | None = None,
        dist: Distributed | None = None,
        threads: int | None = None,
        segments: Mapping[str, tuple[float, float]] | None = None,
    ):
        self.paths, self.settings, self.segments = dict(paths), settings, dict(segments or {})
        self.failed: dict[str, str] = {}
        self._dist = dist or Distributed()
        self._threads = threads or max(1, available_cores() // self._dist.world_size)
        self._array: np.ndarray | None = None
        self._row = {name: row for row, name in enumerate(self.paths)}
        if cache:
            self._fill(folder)
        self.ids = [name for name in self.paths if name not in self.failed]
        if not self.ids:
            causes = "; ".join(list(self.failed.values())[:3])
            raise ValueError(f"none of {len(self.paths)} videos can be read: {causes or 'no video was given'}")

    def __getitem__(self, name: str) -> Tensor:
        """Pictures [n, 3, R, R] uint8 of a video.

        Raises:
            VideoError: without a cache, a video that cannot be read.
        """
        if self._array is None:
            return decode_frames(self.paths[name], self.settings, self.segments.get(name))
        row = self._row[name]
        return torch.from_numpy(self._array[row, : self._counts[row]])

    def _fill(self, folder: Path | None) -> None:
        dist, names = self._dist, list(self.paths)
        shape = (len(names), self.settings.slots, 3, self.settings.size, self.settings.size)
        self._counts = np.zeros(len(names), np.int64)
        if folder is None:
            if dist.world_size > 1:
                raise ValueError("several processes share their frames through a file; give the folder for it")
            self._array = np.empty(shape, np.uint8)
            self._decode_into(self._array, names)
            return
        file = Path(folder) / f"frames-{self._key()}.u8"
        done = file.with_suffix(".json")
        # One process looks for all, so that none sees what another is about to write.
        known = dist.gather_objects(self._read_index(done) if dist.is_main else None)[0]
        if known is None:
            if dist.is_main:
                _reserve(file, int(np.prod(shape, dtype=np.int64)))
            dist.barrier()
            array = np.memmap(file, np.uint8, "r+", shape=shape)
            self._decode_into(array, dist.shard(names))
            array.flush()
            parts = dist.gather_objects((self._counts.tolist(), self.failed))
            known = {"counts": np.sum([counts for counts, _ in parts], 0).tolist(), "failed": {}}
            for _, failed in parts:
                known["failed"].update(failed)
            if dist.is_main:
                with whole_file(done) as temporary:
                    temporary.write_text(json.dumps(known), encoding="utf-8")
        self._counts, self.failed = np.array(known["counts"]), known["failed"]
        dist.barrier()
        self._array = np.memmap(file, np.uint8, "c", shape=shape)  # private pages: tensors want writable memory

    def _decode_into(self, array: np.ndarray, names: Sequence[str]) -> None:
        def one(name: str) -> None:
            row = self._row[name]
            try:
                frames = decode_frames(self.paths[name], self.settings, self.segments.get(name))
            except VideoError as error:
                self.failed[name] = str(error)
                return
            array[row, : len(frames)] = frames.numpy()
            self._counts[row] = len(frames)

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(one, names))

    def _key(self) -> str:
        files = [(name, str(path), path.stat().st_size, path.stat().st_mtime_ns) for name, path in self.paths.items()]
        parts = [self.segments.get(name) for name in self.paths]
        return hashlib.sha256(json.dumps([asdict(self.settings), files, parts]).encode()).hexdigest()[:16]

    @staticmethod
    def _read_index(done: Path) -> dict | None:
        return json.loads(done.read_text(encoding="utf-8")) if done.is_file() else None

    def report(self) -> None:
        """Names the videos that could not be read."""
        if self.failed:
            log.warning("%d videos cannot be read and are left out: %s", len(self.failed), listed(self.failed.values()))
