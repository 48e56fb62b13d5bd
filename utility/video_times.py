"""When each frame of a video appears, from packets where they tell the truth, else from decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

# Containers that store a presentation time with every packet; the others (AVI, FLV, ...) leave them to be guessed.
TIMED_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
# Codecs of which a packet may hold no frame that is shown.
CODECS_WITH_HIDDEN_PACKETS = {"vp8", "vp9"}
# An announced frame rate further off than this is not an average of the frames.
RATE_TOLERANCE = 0.25


@dataclass(frozen=True)
class FrameClock:
    """The frames' times, and how a frame is recognised while decoding.

    Attributes:
        times:    [N] float64 seconds after the first frame, ascending
        keys:     [N] int64, ascending: presentation times in ticks (by_pts), else 0, 1, 2, ... in the order of decoding
        by_pts:   which of the two
        fps:      average frames per second
        duration: seconds
        certain:  whether decoding cannot find other times
    """

    times: np.ndarray
    keys: np.ndarray
    by_pts: bool
    fps: float
    duration: float
    certain: bool = True

    def agrees(self, other: FrameClock) -> bool:
        """Whether both give the same frames the same times, up to rounding."""
        mine, theirs = ((*clock.times, clock.fps, clock.duration) for clock in (self, other))
        return len(mine) == len(theirs) and np.allclose(mine, theirs, rtol=0, atol=1e-6)


def clock_from_packets(container, stream) -> FrameClock | None:
    """The clock without decoding: certain where the container stores times, else to be confirmed by decoding.

    None where packets cannot be the frames that decoding gives.
    """
    codec = stream.codec_context.codec.canonical_name
    timed = bool(TIMED_CONTAINERS & set(container.format.name.split(",")))
    certain = timed and codec not in CODECS_WITH_HIDDEN_PACKETS
    pts, durations, starts_with_key = [], {}, False
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.pts is None or packet.is_discard or packet.is_corrupt:
                return None
            if not pts:
                starts_with_key = packet.is_keyframe
            pts.append(packet.pts)
            durations[packet.pts] = packet.duration or 0
    except (av.FFmpegError, OSError):
        return None  # decoding will say where it fails
    keys = np.unique(np.array(pts, np.int64))
    # frames before the first key frame, in either order, may be dropped by the decoder
    if len(keys) == 0 or len(keys) < len(pts) or not starts_with_key or pts[0] != keys[0]:
        return None
    tick = float(stream.time_base)
    marks = keys if certain else np.arange(len(keys))
    return _clock((keys - keys[0]) * tick, marks, certain, stream.average_rate, durations[keys[-1]] * tick, certain)


def mark(frame: av.VideoFrame) -> tuple[float, float]:
    """What a clock needs of a decoded frame: its time, NaN if it has none, and its duration (seconds)."""
    seconds = np.nan if frame.time is None else float(frame.time)
    return seconds, float((frame.duration or 0) * (frame.time_base or 0))


def clock_from_marks(marks: Sequence[tuple[float, float]], rate: Fraction | None) -> FrameClock | None:
    """The clock of decoded frames, in the order in which they are shown; None for no frames.

    Times that are out of order were handed out wrongly and are sorted; frames without one are spread evenly.
    """
    if not marks:
        return None
    times, durations = np.array(marks, np.float64).T
    known = np.isfinite(times)
    number = np.arange(len(times))
    if known.sum() < 2:
        times = number / float(rate or 25)
    else:
        times[known] = np.sort(times[known])
        times = np.interp(number, number[known], times[known])
    return _clock(times - times[0], number, False, rate, float(durations[-1]))


def _clock(times, keys, by_pts: bool, rate: Fraction | None, last_duration: float, certain: bool = True) -> FrameClock:
    announced = float(rate or 0)
    measured = (len(times) - 1) / times[-1] if times[-1] > 0 else 0.0
    fps = announced
    if announced <= 0 or (measured > 0 and abs(measured / announced - 1) > RATE_TOLERANCE):
        fps = measured or (1 / last_duration if last_duration > 0 else 25.0)
    times.flags.writeable = False
    return FrameClock(times, keys, by_pts, fps, float(times[-1]) + (last_duration or 1 / fps), certain)
