"""Reading the real clips, awkward and broken ones, and made ones: counts, times, pixels, causes."""

import tracemalloc

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from utility.sampling import frames_on_screen
from utility.video import VideoError, VideoReader
from utility.video_times import FrameClock
from utility.video_writer import VideoWriter, write_video

# file, frames that decode, width and height as shown, rotation, average frames per second, codec
CLIPS = [
    ("3qqEKTPxLNs_1_15.avi", 421, 480, 360, 0, 30.0, "h264"),
    ("WTf5EgVY5uU_124_128.avi", 120, 320, 240, 0, 29.917, "h264"),
    ("arm_wrestle.mp4", 280, 340, 256, 0, 28.0, "h264"),
    ("basketball_gym.mp4", 300, 426, 240, 0, 29.97, "h264"),
    ("batting_cage.mp4", 300, 426, 320, 0, 30.0, "h264"),
    ("bear.mp4", 82, 854, 480, 0, 30.0, "h264"),
    ("bottles_table.mp4", 1189, 640, 360, 0, 29.833, "h264"),
    ("brick_robot.mp4", 166, 560, 320, 0, 30.0, "h264"),
    ("bunny_rope.webm", 24, 1280, 720, 0, 24.0, "vp8"),
    ("car_turn.mp4", 80, 480, 480, 0, 10.0, "h264"),
    ("carphone.mp4", 120, 176, 144, 0, 29.97, "h264"),
    ("cockatoo.mp4", 280, 1280, 720, 0, 20.0, "h264"),
    ("coffee_pour.mp4", 287, 1280, 720, 0, 29.97, "h264"),
    ("cooks_dough.mp4", 283, 1280, 720, 0, 25.0, "h264"),
    ("cricket_shot.gif", 79, 224, 224, 0, 25.0, "gif"),
    ("dog_skateboard.mp4", 421, 576, 1024, 0, 29.97, "h264"),
    ("edge/counter_10frames.mp4", 10, 128, 128, 0, 10.0, "hevc"),
    ("edge/curves.flv", 28, 170, 120, 0, 24.0, "flv1"),
    ("edge/dark_no_duration.webm", 74, 1280, 720, 0, 14.985, "vp9"),
    ("edge/keyboard_rot0.mov", 3, 568, 320, 0, 30.0, "h264"),
    ("edge/keyboard_rot90.mov", 3, 320, 568, 270, 30.0, "h264"),
    ("edge/room_rot180.mp4", 25, 1280, 720, 180, 10.505, "h264"),
    ("edge/testcard_av1.mkv", 125, 640, 360, 0, 25.0, "av1"),
    ("edge/truncated.mkv", 180, 426, 240, 0, 30.0, "h264"),
    ("edge/white_4frames.mov", 4, 50, 50, 0, 32.0, "h264"),
    ("eye_makeup.avi", 164, 320, 240, 0, 25.0, "mpeg4"),
    ("hardhat_man.mp4", 248, 1280, 720, 0, 23.976, "hevc"),
    ("klteYv1Uv9A_27_33.avi", 91, 352, 288, 0, 15.0, "h264"),
    ("newtons_cradle.gif", 36, 200, 150, 0, 50.0, "gif"),
    ("pancake_flip.mkv", 310, 426, 240, 0, 30.0, "h264"),
    ("people_one_by_one.mp4", 1394, 768, 432, 0, 10.0, "h264"),
    ("rabbit_melon.mp4", 186, 718, 718, 0, 30.0, "h264"),
    ("sign_milk.mkv", 51, 640, 480, 0, 30.0, "h264"),
    ("sign_walk.mkv", 89, 640, 480, 0, 30.0, "h264"),
    ("silent_comedy.mp4", 241, 640, 360, 0, 25.0, "h264"),
    ("skateboard_park.mp4", 300, 340, 256, 0, 29.97, "h264"),
    ("street_bikes.mp4", 250, 640, 272, 0, 25.0, "h264"),
    ("street_from_car.3gp", 222, 176, 144, 0, 14.761, "h263"),
    ("surfer.mp4", 72, 656, 656, 0, 24.0, "h264"),
    ("telescope_mirror.mp4", 325, 320, 180, 0, 25.0, "h264"),
    ("weightlifting.mp4", 355, 320, 240, 0, 19.62, "h264"),
    ("woman_dog.mp4", 289, 1280, 720, 0, 29.97, "h264"),
    ("yoga_terrace.mp4", 300, 568, 320, 0, 30.0, "h264"),
]

# file, stage, cause
BROKEN = [
    ("corrupt_midway.mp4", "decode", "after 28 frames: Invalid data found when processing input"),
    ("undecodable.mp4", "decode", "after 0 frames: Invalid data found when processing input"),
    ("unopenable.mp4", "open", "Invalid data found when processing input"),
    ("truncated.mp4", "open", "Invalid data found when processing input"),
    ("audio_only.mp4", "stream", "no video stream (streams: audio)"),
    ("empty.mp4", "open", "the file is empty"),
]


def naive_frames(path, width=None, height=None):
    """Every frame, one by one, as the decoder hands it out."""
    settings = {"width": width, "height": height, "format": "rgb24", "interpolation": "BICUBIC"}
    with av.open(str(path)) as container:
        pictures = [frame.reformat(**settings) for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack([picture.to_ndarray() for picture in pictures])).permute(0, 3, 1, 2)


def grey_video(path, num_frames, step=5, size=(32, 48), fps=10):
    write_video(path, (np.full((*size, 3), step * index, np.uint8) for index in range(num_frames)), fps, crf=1)
    return path


def greys(frames):
    return frames.float().mean(dim=(1, 2, 3)).round().int().tolist()


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip[0])
def test_real_clip_is_what_it_is(shared_data, clip):
    name, num_frames, width, height, rotation, fps, codec = clip
    path = shared_data / "videos" / name
    with VideoReader(path) as video:
        info, times = video.info, video.times
        ends = video.frames([0, min(10, num_frames - 1)])
    assert (info.num_frames, info.width, info.height, info.rotation) == (num_frames, width, height, rotation)
    assert info.codec == codec
    assert info.fps == pytest.approx(fps, abs=0.001)
    assert len(times) == num_frames
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert info.duration == pytest.approx(num_frames / fps, rel=0.15)  # frame times are uneven in some
    assert ends.shape == (2, 3, height, width)
    assert ends.dtype == torch.uint8


@pytest.mark.parametrize(("name", "stage", "cause"), BROKEN)
def test_broken_clip_is_named_with_stage_and_cause(shared_data, name, stage, cause):
    path = shared_data / "videos" / "edge" / name
    with pytest.raises(VideoError) as error:
        reader = VideoReader(path)
        reader.frames(range(len(reader.times)))
    assert (error.value.path, error.value.stage, error.value.cause) == (str(path), stage, cause)
    assert all(part in str(error.value) for part in (str(path), stage, cause))


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 100)
    for path, cause in {
        tmp_path / "missing.mp4": "No such file",
        tmp_path: "a folder",
        tmp_path / "text.mp4": "Invalid data",
    }.items():
        with pytest.raises(VideoError, match=cause) as error:
            VideoReader(path)
        assert error.value.stage == "open"


@pytest.mark.parametrize(
    "name",
    [
        "eye_makeup.avi",
        "cooks_dough.mp4",
        "klteYv1Uv9A_27_33.avi",
        "bunny_rope.webm",
        "newtons_cradle.gif",
        "sign_milk.mkv",
        "street_from_car.3gp",
        "edge/white_4frames.mov",
        "edge/curves.flv",
        "edge/truncated.mkv",
        "edge/counter_10frames.mp4",
    ],
)
def test_every_frame_is_the_decoders(shared_data, name):
    """In each container and way of finding frames, number i is the i-th frame that comes out of the decoder."""
    path = shared_data / "videos" / name
    expected = naive_frames(path, width=80, height=60)
    video = VideoReader(path)
    assert video.info.num_frames == len(expected)
    wanted = np.random.default_rng(0).integers(0, len(expected), 12).tolist() + [len(expected) - 1, 0]
    assert torch.equal(video.frames(wanted, size=(60, 80)), expected[wanted])


def test_rotation_turns_the_picture_upright(shared_data):
    edge = shared_data / "videos" / "edge"
    for name, turns in {"keyboard_rot90.mov": -1, "room_rot180.mp4": 2}.items():
        stored = naive_frames(edge / name)[:2]
        assert torch.equal(VideoReader(edge / name).frames([0, 1]), torch.rot90(stored, turns, dims=(2, 3))), name


def test_uneven_times(shared_data):
    videos = shared_data / "videos"
    steps = np.diff(VideoReader(videos / "dog_skateboard.mp4").times)
    assert (steps.min(), steps.max()) == pytest.approx((0.03337, 0.16683), abs=1e-5)
    steps = np.diff(VideoReader(videos / "street_from_car.3gp").times)
    assert (steps.min(), np.median(steps), steps.max()) == pytest.approx((0.004, 0.068, 0.304), abs=1e-6)
    # the container hands out 1, 2, 4, 3, 5, 7, 6, ... for frames that are 0.04 s apart
    assert VideoReader(videos / "eye_makeup.avi").times == pytest.approx(np.arange(164) / 25)


def test_frames_on_screen_at_given_moments(tmp_path):
    path = tmp_path / "uneven.mp4"
    with VideoWriter(path, fps=10) as writer:
        for index, seconds in enumerate([0, 0.1, 0.9, 1.0]):
            writer.write(np.full((32, 32, 3), 40 * index, np.uint8), seconds)
    video = VideoReader(path)
    assert video.times == pytest.approx([0, 0.1, 0.9, 1.0])
    assert greys(video.frames(frames_on_screen(video.times, [5, 0.89, 0.9, 0]))) == pytest.approx(
        [120, 40, 80, 0], abs=2
    )


def test_streams_are_numbered_and_covers_are_none(shared_data, tmp_path):
    telescope = shared_data / "videos" / "telescope_mirror.mp4"
    assert (VideoReader(telescope).info.width, VideoReader(telescope, stream=1).info.width) == (320, 480)
    with pytest.raises(VideoError, match="no video stream 2, it has 2"):
        VideoReader(telescope, stream=2)

    cover = tmp_path / "song.mp4"
    with av.open(str(cover), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        stream.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(picture), *stream.encode(None)])
    with pytest.raises(VideoError, match="no video stream") as error:
        VideoReader(cover)
    assert error.value.stage == "stream"


@pytest.mark.parametrize(("height", "width"), [(75, 101), (33, 427), (1, 7)])
def test_odd_sizes_lossless(tmp_path, height, width):
    path = tmp_path / "odd.mkv"
    pictures = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert np.array_equal(VideoReader(path).frames([2, 0, 1]).permute(0, 2, 3, 1).numpy(), pictures[[2, 0, 1]])


def test_transparent_gif(tmp_path):
    """Alpha is ignored: transparent pixels have the white that FFmpeg's decoder gives them."""
    path = tmp_path / "moving.gif"
    pictures = []
    for left in (0, 8, 16):
        picture = Image.new("RGBA", (33, 25), (0, 0, 0, 0))
        picture.paste((255, 0, 0, 255), (left, 4, left + 8, 12))
        pictures.append(picture)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 300, 50], disposal=2)
    video = VideoReader(path)
    assert video.times == pytest.approx([0, 0.1, 0.4])
    frames = video.frames([0, 1, 2])
    assert [frame[1, 6].int().argmin().item() for frame in frames] == [0, 8, 16]
    assert frames[0, :, 20, 30].tolist() == [255, 255, 255]


def test_order_repeats_and_no_frames(tmp_path):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 30))
    assert greys(video.frames([7, 2, 7, 29])) == pytest.approx([35, 10, 35, 145], abs=2)
    assert video.frames([]).shape == (0, 3, 32, 48)
    assert [index for index, _ in video.stream([5, 1, 5])] == [1, 5]


def test_frames_in_another_size(tmp_path):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 4))
    assert video.frames([3], size=(20, 30)).shape == (1, 3, 20, 30)


def test_size_is_as_shown_when_turned(shared_data):
    video = VideoReader(shared_data / "videos" / "edge" / "keyboard_rot90.mov")
    assert video.frames([0], size=(284, 160)).shape == (1, 3, 284, 160)


def test_frames_outside_the_video_are_refused(tmp_path):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 3))
    for indices in ([0, 3], [-1]):
        with pytest.raises(VideoError, match=r"the video has 0\.\.2") as error:
            video.frames(indices)
        assert error.value.stage == "sample"


def test_decoding_stops_after_the_last_wanted_frame(tmp_path, monkeypatch):
    path = grey_video(tmp_path / "a.mp4", 40)
    decoded = []
    original = VideoReader._decoded

    def counting(self):
        for frame in original(self):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded", counting)
    VideoReader(path).frames([3, 1, 2])
    assert len(decoded) == 1 + 4  # the first frame for the picture's size, then frames 0..3 once


def test_streaming_holds_one_frame_at_a_time(tmp_path):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 60, step=4, size=(120, 160)))
    video.frames([0])
    tracemalloc.start()
    count = sum(1 for _ in video.stream(range(60)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60
    assert peak < 6 * 120 * 160 * 3


def clock(keys, by_pts):
    keys = np.array(keys)
    return FrameClock((keys - keys[0]) / 90_000, keys, by_pts, fps=10.0, duration=1.0)


def test_a_packet_without_a_frame_shows_the_frame_before(tmp_path):
    """Packets may promise a frame that the decoder then drops: at its time the one before is still on screen."""
    video = VideoReader(grey_video(tmp_path / "a.mp4", 3, step=50))
    video.__dict__["_clock"] = clock([0, 9000, 13500, 18000], by_pts=True)
    assert greys(video.frames([1, 2, 3])) == pytest.approx([50, 50, 100], abs=2)


@pytest.mark.parametrize("by_pts", [True, False])
def test_a_stream_that_ends_early_is_an_error(tmp_path, by_pts):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 3))
    video.__dict__["_clock"] = clock([9000 * index for index in range(9)], by_pts)
    assert video.frames([2]).shape[0] == 1
    with pytest.raises(VideoError, match="ended after 3 of 9 frames") as error:
        video.frames([2, 8])
    assert error.value.stage == "decode"


def test_a_lost_last_packet_holds_the_last_frame(tmp_path):
    video = VideoReader(grey_video(tmp_path / "a.mp4", 3, step=50))
    video.__dict__["_clock"] = clock([9000 * index for index in range(5)], by_pts=True)
    assert greys(video.frames([1, 3, 4])) == pytest.approx([50, 100, 100], abs=2)


def test_threads_change_nothing(shared_data):
    path = shared_data / "videos" / "carphone.mp4"
    assert torch.equal(VideoReader(path, threads=2).frames([3, 90]), VideoReader(path).frames([3, 90]))
