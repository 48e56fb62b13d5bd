"""Which frames of a video are looked at: slots of the extractors, windows of the action network, retrieval's reader.

Nothing here opens a video; frame numbers and times come from decoding (`utility.video`), never from a header.

Source: the samplers of the published captioning pipeline (rule "reference") and of CLIP4Clip (`clip4clip_frames`); the
rule "time" repairs the former by presentation times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RULES = ("time", "reference")
SHORT_CLIPS = ("repeat", "reference")

# Some containers (Matroska, FLV) count whole milliseconds, so that a frame may seem to appear this much late.
MILLISECOND_ROUNDING = 5e-4
FLOAT_ROUNDING = 1e-6


@dataclass(frozen=True)
class FrameSample:
    """The frames that fill the first n slots of a video; the other slots stay empty.

    Attributes:
        index: [n] int64, numbers of the frames, ascending
        time:  [n] float32, seconds from the first frame at which they appear
    """

    index: np.ndarray
    time: np.ndarray


def _rounding(times: np.ndarray) -> float:
    """Seconds that two times may differ and still mean the same moment."""
    whole = np.round(times * 1000)
    return MILLISECOND_ROUNDING if np.allclose(times * 1000, whole, rtol=0, atol=1e-6) else FLOAT_ROUNDING


def frames_on_screen(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """For each moment (seconds) the number of the last frame that has appeared by then; before the first one: 0.

    Shapes: times [N] ascending, moments [n], returns [n] int64
    """
    times = np.asarray(times, np.float64)
    position = np.searchsorted(times, np.asarray(moments, np.float64) + _rounding(times), side="right") - 1
    return np.clip(position, 0, len(times) - 1)


def thin(count: int, slots: int) -> np.ndarray:
    """Positions of at most `slots` of `count` items, evenly spread, both ends included: floor(linspace)."""
    return np.arange(count) if count <= slots else np.linspace(0, count - 1, slots).astype(np.int64)


def sample_frames(
    times: np.ndarray,
    fps: float,
    slots: int | None = 20,
    rule: str = "time",
    rate: float = 1.0,
) -> FrameSample:
    """The frames that fill a video's slots.

    Rule "time": the frames on screen at 0, 1 / rate, 2 / rate, ... seconds, as long as the video lasts.
    Rule "reference": frames 0, f, 2 f, ... with f the frame rate cut to an integer, which is what the published
    extractors take (one per 0.968 s at 29.97 fps; `rate` plays no part). Both agree for constant integer rates.
    More candidates than slots are thinned evenly; `slots=None` keeps all.

    Shapes: times [N] float, seconds from the first frame, ascending; returns n <= slots frames

    Raises:
        ValueError: for an unknown rule, no frames, a rate or number of slots that is not positive, or a frame rate
            below 1 under the rule "reference".
    """
    times = np.asarray(times, np.float64)
    if rule not in RULES:
        raise ValueError(f"unknown sampling rule {rule!r}; use one of {', '.join(RULES)}")
    if len(times) == 0:
        raise ValueError("cannot sample a video without frames")
    if rate <= 0 or fps <= 0 or (slots is not None and slots < 1):
        raise ValueError(f"sampling needs positive numbers, got fps={fps}, rate={rate}, slots={slots}")
    if rule == "reference":
        if fps < 1:
            raise ValueError(f"the rule 'reference' needs a frame rate of at least 1, got {fps}; use the rule 'time'")
        candidates = np.arange(0, len(times), int(fps))
    else:
        duration = times[-1] - times[0] + 1 / fps
        # a last moment that only rounding puts before the end is not one
        count = max(1, math.ceil((duration - _rounding(times)) * rate))
        candidates = frames_on_screen(times - times[0], np.arange(count) / rate)
    index = candidates[thin(len(candidates), slots or len(candidates))].astype(np.int64)
    return FrameSample(index, times[index].astype(np.float32))


def action_windows(index: np.ndarray, num_frames: int, length: int = 16, short: str = "repeat") -> np.ndarray:
    """The frames given to the action network for each sampled frame.

    A window is the block of `length` frames, counted from frame 0, in which the sampled frame lies; the last one is
    moved back to end with the video. Videos shorter than a window repeat their last frame (short="repeat"), or are
    sliced with a negative start as the published extractor does (short="reference": fewer frames, which its network
    then refuses).

    Shapes: index [n], returns [n, length] int64 frame numbers ([n, fewer] for short videos under "reference")

    Raises:
        ValueError: for an unknown treatment of short videos, or sampled frames that the video does not have.
    """
    index = np.asarray(index, np.int64)
    if short not in SHORT_CLIPS:
        raise ValueError(f"unknown treatment of short videos {short!r}; use one of {', '.join(SHORT_CLIPS)}")
    if len(index) and not 0 <= index.min() <= index.max() < num_frames:
        raise ValueError(f"sampled frames {index.min()}..{index.max()} are not all in a video of {num_frames} frames")
    start = np.minimum(index // length * length, num_frames - length)
    offsets = np.arange(length)
    if num_frames < length:
        start = np.zeros_like(index)
        if short == "reference":
            offsets = np.arange(*slice(num_frames - length, num_frames).indices(num_frames))
    return np.minimum(start[:, None] + offsets, num_frames - 1)


def clip4clip_frames(
    num_frames: int,
    fps: float,
    framerate: int,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """The frames that CLIP4Clip's reader takes from a video, or from its seconds start..end (both included).

    The frame rate f is cut to an integer; of each block of f frames the first `framerate` multiples of f // framerate
    are read (all of the block for framerate 0), until the video ends.

    Returns: [n] int64 frame numbers, ascending

    Raises:
        ValueError: for a frame rate below 1, a negative framerate, or an end that does not follow its start.
    """
    whole_rate = int(fps)
    if whole_rate < 1 or framerate < 0:
        raise ValueError(f"this reader needs a frame rate of at least 1 and framerate >= 0, got {fps} and {framerate}")
    if start is not None and end is not None and end <= start:
        raise ValueError(f"a segment must end after it starts, got {start}..{end} seconds")
    first = 0 if start is None else start
    last = -(-num_frames // whole_rate) if end is None else end
    per_second = framerate or whole_rate
    offsets = np.arange(0, whole_rate, max(1, whole_rate // per_second))[:per_second]
    bases = (np.arange(first, last + 1) * whole_rate).astype(np.int64)
    frames = (bases[:, None] + offsets).reshape(-1)
    return frames[frames < num_frames]


def slice_positions(count: int, max_frames: int, slice_framepos: int) -> np.ndarray:
    """Which of `count` frames are kept: the first (0), the last (1) or evenly spread (2) `max_frames` positions.

    Raises:
        ValueError: for another `slice_framepos`.
    """
    if slice_framepos not in (0, 1, 2):
        raise ValueError(f"slice_framepos must be 0 (head), 1 (tail) or 2 (evenly spread), got {slice_framepos}")
    if slice_framepos == 2:
        return thin(count, max_frames)
    kept = min(count, max_frames)
    return np.arange(kept) + (count - kept if slice_framepos == 1 else 0)


def segment_frames(num_frames: int, length: int, random: bool = False) -> np.ndarray:
    """The frames that STOP's reader takes: one of each of `length` segments; a short video repeats its last frame.

    In evaluation the middle of every segment, int((i + 0.5) N / T). In training one draw (NumPy's generator) in each of
    T segments of floor(N / T) frames, so that the remainder at the end is never seen.

    Returns: [length] int64 frame numbers, ascending; the first min(N, T) of them are real

    Raises:
        ValueError: no frames.
    """
    if num_frames < 1 or length < 1:
        raise ValueError(f"cannot take {length} frames of a video with {num_frames}")
    if num_frames <= length:
        return np.minimum(np.arange(length), num_frames - 1)
    places = np.arange(length)
    if random:
        each = num_frames // length
        return places * each + np.random.randint(each, size=length)
    return ((places + 0.5) * num_frames / length).astype(np.int64)
