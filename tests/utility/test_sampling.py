"""Frame sampling against its definitions, one moment at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utility.sampling import (
    action_windows,
    clip4clip_frames,
    frames_on_screen,
    sample_frames,
    slice_positions,
    thin,
)


def constant(num_frames, fps):
    return np.arange(num_frames) / fps


@given(
    fps=st.sampled_from([3, 10, 12.5, 14.985, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60]),
    num_frames=st.integers(1, 700),
    rate=st.sampled_from([0.5, 1, 2, 3]),
)
@settings(max_examples=200, deadline=None)
def test_time_rule_on_a_constant_rate(fps, num_frames, rate):
    """Frame floor(k fps / rate) at the k-th moment, for as long as the video lasts."""
    expected, k = [], 0
    while k / rate < num_frames / fps - 1e-6:
        expected.append(int(k * fps / rate + 1e-6))
        k += 1
    sample = sample_frames(constant(num_frames, fps), fps, slots=None, rate=rate)
    assert sample.index.tolist() == expected


@given(fps=st.integers(1, 60), num_frames=st.integers(1, 2000), slots=st.integers(1, 25))
@settings(max_examples=200, deadline=None)
def test_both_rules_agree_for_integer_rates(fps, num_frames, slots):
    times = constant(num_frames, fps)
    by_time = sample_frames(times, fps, slots)
    assert by_time.index.tolist() == sample_frames(times, fps, slots, rule="reference").index.tolist()
    assert 1 <= len(by_time.index) <= slots
    assert by_time.time.tolist() == pytest.approx(times[by_time.index].tolist())


def test_time_rule_follows_uneven_times():
    """25 fps for a second, then 10 fps: one frame per second, where counting frames gives one per 0.56 s."""
    times = np.concatenate([np.arange(25) / 25, 1 + np.arange(20) / 10])
    sample = sample_frames(times, fps=14.4)
    assert sample.index.tolist() == [0, 25, 35]
    assert sample.time.tolist() == [0, 1, 2]
    assert sample.time.dtype == np.float32
    assert sample_frames(times, fps=14.4, rule="reference").index.tolist() == [0, 14, 28, 42]


def test_a_still_longer_than_a_second_fills_several_slots():
    assert sample_frames(np.array([0.0, 2.5]), fps=0.4).index.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_millisecond_rounding_changes_nothing(fps):
    """Matroska counts milliseconds: a frame due at 2/3 s is stamped 0.667."""
    exact = constant(300, fps)
    for rate in (1, 3):
        rounded = sample_frames(np.round(exact, 3), fps, slots=None, rate=rate)
        assert rounded.index.tolist() == sample_frames(exact, fps, slots=None, rate=rate).index.tolist()


def test_times_need_not_start_at_zero():
    assert sample_frames(constant(60, 25) + 7.4, 25).index.tolist() == [0, 25, 50]


def test_frames_on_screen():
    times = np.array([0.0, 0.5, 0.6])
    assert frames_on_screen(times, [-1, 0, 0.49, 0.5, 0.55, 9]).tolist() == [0, 0, 0, 1, 1, 2]


def test_thinning_keeps_both_ends():
    assert thin(3, 5).tolist() == [0, 1, 2]
    assert thin(10, 4).tolist() == [0, 3, 6, 9]
    assert thin(8, 1).tolist() == [0]


def test_windows_cover_the_sampled_frame_and_stay_inside():
    windows = action_windows(np.array([0, 15, 16, 47, 49]), num_frames=50)
    assert windows.shape == (5, 16)
    assert windows[:, 0].tolist() == [0, 0, 16, 32, 34]
    assert (windows[:, -1] - windows[:, 0]).tolist() == [15] * 5
    assert windows.max() == 49


def test_short_videos_repeat_their_last_frame():
    assert action_windows(np.array([0, 2]), num_frames=3, length=5).tolist() == [[0, 1, 2, 2, 2]] * 2
    assert action_windows(np.array([0]), num_frames=9, short="reference").tolist() == [list(range(2, 9))]
    assert action_windows(np.array([], dtype=int), num_frames=9).shape == (0, 16)


def test_retrieval_reader_takes_every_frame_at_framerate_zero():
    assert clip4clip_frames(7, fps=3.9, framerate=0).tolist() == list(range(7))
    assert clip4clip_frames(7, fps=2, framerate=5).tolist() == list(range(7))


def test_slice_positions():
    assert [slice_positions(5, 3, kind).tolist() for kind in (0, 1, 2)] == [[0, 1, 2], [2, 3, 4], [0, 2, 4]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_frames(np.arange(3), 1, rule="random"), "use one of time, reference"),
        (lambda: sample_frames(np.array([]), 25), "without frames"),
        (lambda: sample_frames(np.arange(3), 0), "positive numbers, got fps=0"),
        (lambda: sample_frames(np.arange(3), 1, slots=0), "slots=0"),
        (lambda: sample_frames(np.arange(3) * 2, 0.5, rule="reference"), "use the rule 'time'"),
        (lambda: action_windows(np.array([9]), 9), "not all in a video of 9 frames"),
        (lambda: action_windows(np.array([0]), 9, short="loop"), "use one of repeat, reference"),
        (lambda: clip4clip_frames(10, 0.5, 1), "at least 1"),
        (lambda: clip4clip_frames(10, 25, 1, start=4, end=4), "must end after it starts"),
        (lambda: slice_positions(5, 3, 3), "got 3"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
