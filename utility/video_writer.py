"""Writing frames as H.264 video, complete or not at all.

    write_video(Path("out.mp4"), frames, fps=25)

Containers are .mp4, .mov and .mkv. All frames of a video have one size.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# One tick of this clock divides every frame rate in common use to within 1e-5 s.
TIME_BASE = Fraction(1, 90_000)
# AVI is left out: it counts frames instead of timing them.
MUXER_OPTIONS = {".mp4": {"movflags": "+faststart"}, ".mov": {"movflags": "+faststart"}, ".mkv": {}}


def as_rate(fps: Fraction | float) -> Fraction:
    """The frame rate as a fraction that a container can hold, e.g. 29.97 -> 2997/100."""
    rate = Fraction(fps).limit_denominator(1001)
    if rate <= 0:
        raise ValueError(f"a frame rate of {fps} cannot be written; give a positive number of frames per second")
    return rate


def _temporary(path: Path, process: str) -> Path:
    # The suffix stays last: it tells the muxer which container is meant. A hash in place of the stem, because a name
    # may be as long as the system allows, and be the beginning of another one.
    stem = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:16]
    return path.with_name(f".{stem}.{process}.tmp{path.suffix}")


def leftovers(path: Path) -> list[Path]:
    """Temporary files of writers of this video that were killed."""
    before, after = _temporary(path, "*").name.split("*")
    return sorted(path.parent.glob(f"{before}*{glob.escape(after)}"))


class VideoWriter:
    """Encodes frames one by one; the file appears under its name only when it is complete.

    Frames are uint8 [H, W, 3], RGB, all of one size, both edges even (4:2:0 chroma has one sample per two pixels).
    Use as a context manager: leaving it by an exception removes what was written so far.

    Raises:
        ValueError: for an unknown suffix, frames of another type, shape or size, odd edges, times that do not increase,
            or no frame at all.
    """

    def __init__(self, path: Path | str, fps: Fraction | float, crf: int = 18, preset: str = "veryfast"):
        self.path = Path(path)
        if self.path.suffix.lower() not in MUXER_OPTIONS:
            known = ", ".join(MUXER_OPTIONS)
            raise ValueError(f"{self.path}: cannot write {self.path.suffix!r} files; use one of {known}")
        self.rate = as_rate(fps)
        self.options = {"crf": str(crf), "preset": preset}
        self.temporary = _temporary(self.path, str(os.getpid()))
        self.num_frames = 0
        self._container = None
        self._stream = None
        self._last_tick = -1

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self.temporary), "w", options=MUXER_OPTIONS[self.path.suffix.lower()])
        return self

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Adds a frame, shown from `seconds` on (default: the next multiple of 1 / fps)."""
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"{self.path}: a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
        if self._stream is None:
            self._open_stream(frame.shape[0], frame.shape[1])
        if frame.shape[:2] != (self._stream.height, self._stream.width):
            raise ValueError(
                f"{self.path}: frame {self.num_frames} is {frame.shape[1]}x{frame.shape[0]}, "
                f"the first one was {self._stream.width}x{self._stream.height}"
            )
        tick = self.num_frames / self.rate / TIME_BASE if seconds is None else seconds / TIME_BASE
        tick = round(tick)
        if tick <= self._last_tick:
            raise ValueError(f"{self.path}: frame {self.num_frames} is not later than the one before it")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = tick, TIME_BASE
        self._container.mux(self._stream.encode(picture))
        self._last_tick = tick
        self.num_frames += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            try:
                self._container.close()  # which writes, and may find the disk full
            finally:
                self.temporary.unlink(missing_ok=True)

    def _open_stream(self, height: int, width: int) -> None:
        if height % 2 or width % 2:
            raise ValueError(f"{self.path}: H.264 in yuv420p needs even edges, got {width}x{height}")
        stream = self._container.add_stream("libx264", rate=self.rate, options=self.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        # the callers run one process per core
        stream.codec_context.thread_count = 1
        self._stream = stream

    def _finish(self) -> None:
        if self._stream is None:
            raise ValueError(f"{self.path}: no frames were given; a video needs at least one")
        self._container.mux(self._stream.encode(None))
        self._container.close()
        os.replace(self.temporary, self.path)


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: Fraction | float,
    crf: int = 18,
    preset: str = "veryfast",
) -> None:
    """Writes uint8 RGB frames [H, W, 3] (even edges, all of one size) at a constant rate as H.264, yuv420p.

    The container follows the suffix of `path` (.mp4, .mov, .mkv). A lower `crf` means a better picture, a larger file.

    Raises:
        ValueError: see `VideoWriter`.
    """
    with VideoWriter(path, fps, crf=crf, preset=preset) as writer:
        for frame in frames:
            writer.write(frame)
