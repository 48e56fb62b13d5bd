"""Reading videos: frames by number, decoded forward once, wanted frames only.

    with VideoReader("clip.mp4") as video:
        sample = sample_frames(video.times, video.info.fps)
        frames = video.frames(sample.index)             # uint8 [n, 3, H, W]

Whatever is wrong with a file is one exception, `VideoError`, which says the file, the stage and the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from av.stream import Disposition
from torch import Tensor

from utility.video_times import FrameClock, clock_from_marks, clock_from_packets, mark

STAGES = ("open", "stream", "decode", "sample")
# A file cut off inside its last packets shows its last frame a little longer; more than this is a broken video.
FROZEN_SECONDS = 0.5


class VideoError(Exception):
    """A video that cannot be read.

    Attributes:
        path:  the file
        stage: "open" (file, container), "stream" (no such video stream), "decode", "sample" (frames it does not have)
        cause: what went wrong, in words
    """

    def __init__(self, path: str, stage: str, cause: str):
        super().__init__(path, stage, cause)
        self.path, self.stage, self.cause = str(path), stage, cause

    def __str__(self) -> str:
        return f"{self.path}: {self.stage}: {self.cause}"


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        path:          the file
        width, height: pixels as shown, after rotation
        rotation:      degrees counter-clockwise by which the stored picture is turned to be shown: 0, 90, 180 or 270
        fps:           average frames per second
        duration:      seconds from the first frame's appearance to the end of the last one
        num_frames:    by packets or by decoding, never what the header announces
        codec:         name of the codec, e.g. h264
    """

    path: str
    width: int
    height: int
    rotation: int
    fps: float
    duration: float
    num_frames: int
    codec: str


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _upright(picture: np.ndarray, rotation: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(picture, rotation // 90)) if rotation else picture


class VideoReader:
    """One video stream of a file. Every pass opens the file anew: seeking is slow, and wrong in some containers.

    Args:
        path:    the file
        stream:  which of its video streams; attached pictures (covers) do not count
        threads: decoding threads; the programs run several processes instead

    Pixels keep their stored shape (no correction of non-square ones), and an alpha channel is ignored.

    Raises:
        VideoError: for anything that keeps the wanted frames from being decoded.
    """

    def __init__(self, path: Path | str, stream: int = 0, threads: int = 1):
        self.path = str(path)
        self._number = stream
        self._threads = threads
        with self._opened() as (_, stream):
            self._codec, self._rate = stream.codec_context.codec.canonical_name, stream.average_rate

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing stays open between passes."""

    @property
    def info(self) -> VideoInfo:
        height, width, rotation = self._shown
        clock = self._clock
        if rotation in (90, 270):
            height, width = width, height
        return VideoInfo(self.path, width, height, rotation, clock.fps, clock.duration, len(clock.times), self._codec)

    @property
    def times(self) -> np.ndarray:
        """[N] float64: seconds after the first frame at which each frame appears, ascending."""
        return self._clock.times

    def frames(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """The frames of these numbers, in this order, repeats allowed.

        Shapes: indices [n]; size (height, width) as shown, else the video's; returns [n, 3, height, width] uint8 RGB
        """
        wanted, position = np.unique(np.asarray(indices, np.int64).reshape(-1), return_inverse=True)
        height, width = size or (self.info.height, self.info.width)
        # frames lie in memory as they were decoded, as rows of RGB triples: resizing is fastest on these, too
        pictures = torch.empty(len(wanted), height, width, 3, dtype=torch.uint8)
        for slot, (_, frame) in enumerate(self.stream(wanted, size)):
            pictures[slot] = frame.permute(1, 2, 0)
        if not np.array_equal(position, np.arange(len(wanted))):
            pictures = pictures[torch.from_numpy(position)]
        return pictures.permute(0, 3, 1, 2)

    def stream(self, indices: Iterable[int], size: tuple[int, int] | None = None) -> Iterator[tuple[int, Tensor]]:
        """(number, uint8 [3, height, width]) of each distinct frame in ascending order; holds one frame at a time."""
        wanted = np.unique(np.asarray(list(indices), np.int64))
        total = len(self.times)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < total:
            raise VideoError(
                self.path, "sample", f"frames {wanted[0]}..{wanted[-1]} were asked for, the video has 0..{total - 1}"
            )
        for index, frame in self._pick(wanted):
            yield index, self._picture(frame, size)

    def follow(self, plan: Callable[[], Iterable[int]]) -> Iterator[tuple[int, Tensor]]:
        """`stream(plan())` in one decoding pass for every container, where `plan` looks at `info` and `times`.

        Some containers (AVI, FLV, GIF) leave the times to be found by decoding. Here the plan is made from those of the
        packets, and decoding confirms them. Where it does not, `plan` is called again and all its frames come anew:
        each call of `plan` makes void what came before.
        """
        guess = None if "_clock" in vars(self) else self._packet_clock
        if guess is not None and not guess.certain:
            vars(self)["_clock"] = guess
            try:
                wanted = set(plan())
            except VideoError:
                wanted = set()  # with the times that decoding finds it may do
            finally:
                del vars(self)["_clock"]
            marks = []
            for index, frame in enumerate(self._decoded()):
                marks.append(mark(frame))
                if index in wanted:
                    yield index, self._picture(frame)
            found = clock_from_marks(marks, self._rate)
            if found is not None:
                self._clock = found
                if wanted and found.agrees(guess):
                    return
        yield from self.stream(plan())

    def _picture(self, frame: av.VideoFrame, size: tuple[int, int] | None = None) -> Tensor:
        """A decoded frame as it is shown: uint8 [3, height, width] RGB."""
        height, width, rotation = self._shown
        if size:
            height, width = size if rotation in (0, 180) else size[::-1]
        picture = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC", threads=1)
        return torch.from_numpy(_upright(picture.to_ndarray(), rotation)).permute(2, 0, 1)

    def _pick(self, wanted: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, decoded frame) for ascending frame numbers.

        A frame whose packet turns out not to decode is replaced by the one on screen at its time.
        """
        keys, by_pts = self._clock.keys, self._clock.by_pts
        queue = list(wanted[::-1])
        previous, key, count = None, keys[0], 0
        for count, frame in enumerate(self._decoded(), start=1):
            key = frame.pts if by_pts and frame.pts is not None else keys[min(count, len(keys)) - 1]
            while queue and keys[queue[-1]] <= key:
                shown = frame if previous is None or keys[queue[-1]] == key else previous
                yield int(queue.pop()), shown
            if not queue:
                return
            previous = frame
        if queue and (previous is None or not by_pts or self._seconds(keys[queue[0]] - key) > FROZEN_SECONDS):
            raise VideoError(self.path, "decode", f"decoding ended after {count} of {len(keys)} frames")
        for index in reversed(queue):
            yield int(index), previous

    def _seconds(self, ticks: int) -> float:
        clock = self._clock
        return float(ticks * clock.times[-1] / max(clock.keys[-1] - clock.keys[0], 1))

    @cached_property
    def _clock(self) -> FrameClock:
        clock = self._packet_clock
        if clock is None or not clock.certain:
            clock = clock_from_marks([mark(frame) for frame in self._decoded()], self._rate)
        if clock is None:
            raise VideoError(self.path, "decode", "not one frame could be decoded")
        return clock

    @cached_property
    def _packet_clock(self) -> FrameClock | None:
        with self._opened() as (container, stream):
            return clock_from_packets(container, stream)

    @cached_property
    def _shown(self) -> tuple[int, int, int]:
        """(stored height, stored width, rotation), by decoding the first frame."""
        for frame in self._decoded():
            # cameras write quarter turns; anything else is measured to the nearest one
            return frame.height, frame.width, round(frame.rotation / 90) * 90 % 360
        raise VideoError(self.path, "decode", "not one frame could be decoded")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        with self._opened() as (container, stream):
            stream.codec_context.thread_count = self._threads
            stream.thread_type = "NONE" if self._threads == 1 else "AUTO"
            count = 0
            try:
                for frame in container.decode(stream):
                    count += 1
                    yield frame
            except (av.FFmpegError, OSError) as error:
                raise VideoError(self.path, "decode", f"after {count} frames: {_words(error)}") from error

    @contextmanager
    def _opened(self):
        """(container, stream) of a freshly opened file."""
        path = Path(self.path)
        try:
            if path.is_dir():
                raise VideoError(self.path, "open", "this is a folder, not a video file")
            if path.stat().st_size == 0:
                raise VideoError(self.path, "open", "the file is empty")
            container = av.open(self.path, metadata_errors="ignore")
        except (av.FFmpegError, OSError) as error:
            raise VideoError(self.path, "open", _words(error)) from error
        with container:
            streams = [found for found in container.streams.video if not found.disposition & Disposition.attached_pic]
            if not 0 <= self._number < len(streams):
                kinds = ", ".join(stream.type for stream in container.streams) or "none"
                cause = "no video stream" if not streams else f"no video stream {self._number}, it has {len(streams)}"
                raise VideoError(self.path, "stream", f"{cause} (streams: {kinds})")
            if streams[self._number].codec_context is None:
                raise VideoError(self.path, "stream", "its codec is not known to this build of FFmpeg")
            yield container, streams[self._number]
