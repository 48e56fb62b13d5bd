"""One decoding pass where times must be found by decoding: the same frames, and another plan where packets lied."""

import dataclasses

import av
import numpy as np
import pytest
import torch

from utility.sampling import sample_frames
from utility.video import VideoError, VideoReader
from utility.video_writer import write_video

FRAMES = 40
RATE = 10


@pytest.fixture
def avi(tmp_path):
    """An MPEG-4 film with B-frames in an AVI, which stores no times; each frame is brighter than the one before."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            picture = np.full((48, 64, 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames that are decoded."""
    count = []
    original = VideoReader._decoded

    def counting(self):
        for frame in original(self):
            count.append(1)
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded", counting)
    return count


def planned(reader):
    """(frames by number, plans made, the last plan) of following one frame per half second."""
    plans, frames = [], {}

    def plan():
        frames.clear()
        plans.append(sample_frames(reader.times, reader.info.fps, slots=None, rate=2))
        return plans[-1].index

    for index, frame in reader.follow(plan):
        frames[index] = frame
    return frames, len(plans), plans[-1]


def same(frames, plan, path):
    """Asserts that these are the frames of the plan that the true times give."""
    reader = VideoReader(path)
    true = sample_frames(reader.times, reader.info.fps, slots=None, rate=2)
    np.testing.assert_array_equal(plan.index, true.index)
    np.testing.assert_allclose(plan.time, true.time)
    assert list(frames) == true.index.tolist()
    assert torch.equal(torch.stack(list(frames.values())), reader.frames(true.index))


def test_a_film_without_times_is_decoded_once(avi, decoded):
    reader = VideoReader(avi)
    frames, plans, plan = planned(reader)
    assert plans == 1 and len(decoded) == 1 + FRAMES  # the first one for the picture's size
    assert len(reader.times) == FRAMES and len(decoded) == 1 + FRAMES  # and its times are known from now on
    same(frames, plan, avi)
    assert len(frames) == 8 and len({frame.float().mean().round().item() for frame in frames.values()}) == 8


@pytest.mark.parametrize(
    "name", ["WTf5EgVY5uU_124_128.avi", "eye_makeup.avi", "newtons_cradle.gif", "edge/curves.flv", "bunny_rope.webm"]
)
def test_real_clips_are_decoded_once(shared_data, decoded, name):
    path = shared_data / "videos" / name
    frames, plans, plan = planned(VideoReader(path))
    once = len(decoded)
    assert plans == 1 and once == 1 + len(VideoReader(path).times)
    same(frames, plan, path)


def lie(monkeypatch, change):
    """Packets that tell other times than decoding finds."""
    original = VideoReader._packet_clock.func

    def lying(self):
        return change(original(self))

    monkeypatch.setattr(VideoReader, "_packet_clock", property(lying))


@pytest.mark.parametrize(
    "change",
    [
        lambda clock: dataclasses.replace(clock, times=clock.times * 2, fps=clock.fps / 2),
        lambda clock: dataclasses.replace(clock, times=clock.times[:30], keys=clock.keys[:30]),
        lambda clock: dataclasses.replace(clock, times=np.arange(60) / RATE, keys=np.arange(60)),
        lambda clock: dataclasses.replace(clock, times=clock.times[:1], keys=clock.keys[:1], fps=0.0),
    ],
    ids=["slower", "fewer", "more", "impossible"],
)
def test_a_plan_that_decoding_does_not_confirm_is_made_again(avi, decoded, monkeypatch, change):
    lie(monkeypatch, change)
    reader = VideoReader(avi)
    plans, frames = [], {}

    def plan():
        frames.clear()
        try:
            plans.append(sample_frames(reader.times, reader.info.fps, slots=None, rate=2))
        except ValueError as error:
            raise VideoError(str(avi), "sample", str(error)) from error
        return plans[-1].index

    for index, frame in reader.follow(plan):
        frames[index] = frame
    last = plans[-1].index[-1] + 1
    assert len(decoded) == 1 + FRAMES + last
    same(frames, plans[-1], avi)


def test_a_reader_left_in_the_middle_keeps_no_guess(avi, monkeypatch):
    lie(monkeypatch, lambda clock: dataclasses.replace(clock, times=clock.times * 2))
    reader = VideoReader(avi)
    next(iter(reader.follow(lambda: [0, 5] if len(reader.times) else [])))
    assert reader.times[-1] == pytest.approx((FRAMES - 1) / RATE)


def test_a_film_with_times_is_decoded_up_to_the_last_wanted_frame(tmp_path, decoded):
    write_video(tmp_path / "a.mp4", np.zeros((FRAMES, 32, 32, 3), np.uint8), RATE)
    reader = VideoReader(tmp_path / "a.mp4")
    assert [index for index, _ in reader.follow(lambda: [7, 3])] == [3, 7]
    assert len(decoded) == 1 + 8


def test_what_cannot_be_planned_is_an_error(avi):
    def plan():
        raise VideoError(str(avi), "sample", "too small")

    with pytest.raises(VideoError, match="too small"):
        list(VideoReader(avi).follow(plan))


def test_a_film_that_breaks_is_an_error(avi, tmp_path, monkeypatch):
    original = VideoReader._decoded

    def breaking(self):
        for number, frame in enumerate(original(self)):
            if number == 20:
                raise VideoError(self.path, "decode", "after 20 frames: broken")
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded", breaking)
    with pytest.raises(VideoError, match="after 20 frames"):
        planned(VideoReader(avi))
