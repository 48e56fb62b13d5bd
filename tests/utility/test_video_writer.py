"""Written videos hold the frames, the times and the rate that were asked for, or do not exist."""

from fractions import Fraction

import av
import numpy as np
import pytest

from utility.video_writer import VideoWriter, write_video


def grey_ramp(num_frames, height=32, width=48):
    return [np.full((height, width, 3), 8 * index, np.uint8) for index in range(num_frames)]


def read_back(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        greys = [round(float(frame.to_ndarray(format="rgb24").mean())) for frame in frames]
        return stream.codec_context.name, frames[0].format.name, [frame.time for frame in frames], greys


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("fps", [3, 12.5, Fraction(30000, 1001)])
def test_frames_times_and_format_survive(tmp_path, suffix, fps):
    path = tmp_path / f"clip{suffix}"
    write_video(path, grey_ramp(12), fps)
    codec, pixel_format, times, greys = read_back(path)
    assert (codec, pixel_format) == ("h264", "yuv420p")
    assert times == pytest.approx([index / float(fps) for index in range(12)], abs=6e-4)  # mkv counts milliseconds
    assert greys == pytest.approx([8 * index for index in range(12)], abs=2)


def test_uneven_times_are_kept(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        for frame, seconds in zip(grey_ramp(3), [0.0, 0.3, 0.35], strict=True):
            writer.write(frame, seconds)
    assert read_back(tmp_path / "a.mp4")[2] == pytest.approx([0.0, 0.3, 0.35], abs=1e-4)


def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, grey_ramp(3), 10)
    before = path.read_bytes()

    def broken():
        yield from grey_ramp(5)
        raise RuntimeError("the source ended early")

    with pytest.raises(RuntimeError, match="ended early"):
        write_video(path, broken(), 10)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("frames", "fps", "name", "message"),
    [
        ([], 10, "a.mp4", "no frames"),
        (grey_ramp(1, height=31), 10, "a.mp4", "even edges, got 48x31"),
        (grey_ramp(1) + grey_ramp(1, height=64), 10, "a.mp4", "frame 1 is 48x64, the first one was 48x32"),
        ([np.zeros((32, 48, 3), np.float32)], 10, "a.mp4", "must be uint8"),
        ([np.zeros((32, 48), np.uint8)], 10, "a.mp4", "must be uint8"),
        (grey_ramp(1), 0, "a.mp4", "positive"),
        (grey_ramp(1), 10, "a.avi", "cannot write '.avi'"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, frames, fps, name, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, fps)
    assert list(tmp_path.iterdir()) == []


def test_times_must_increase(tmp_path):
    with pytest.raises(ValueError, match="frame 1 is not later"), VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        for frame in grey_ramp(2):
            writer.write(frame, seconds=1.0)
