"""Pictures of clips: decoded as one by one, from folders, in few passes, from a cache that may be damaged."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dataset import action_pictures
from dataset.action_pictures import ActionPictures, CacheSettings, ViewSettings, decode
from dataset.actions import ActionClip
from utility.images import resize_short
from utility.video import VideoError, VideoReader
from utility.video_views import temporal_views

VIEWS = ViewSettings(16, frames=3, temporal=2)


def drawn(count=20, height=24, width=40):
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (count, height // 8, width // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


@pytest.fixture(scope="module", params=["mp4", "avi"])
def clip(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / f"clip.{request.param}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 24, "yuv420p"
        for picture in drawn():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return ActionClip("clip", 0, "clip", path)


@pytest.mark.parametrize("space", [None, 7])
def test_frames_are_those_of_the_views(clip, space):
    views = ViewSettings(16, frames=4, temporal=2, space=space)
    found = decode(clip.path, views)
    index, mask = temporal_views(20, 4, 2, space)
    assert len(found.frames) == len(np.unique(index)) and torch.equal(found.mask, torch.from_numpy(mask))
    for row, numbers in zip(found.index, index, strict=True):
        wanted = VideoReader(clip.path).frames(numbers)
        assert torch.equal(found.frames[row], torch.stack([resize_short(x, 16, "bilinear") for x in wanted]))


def test_a_clip_is_decoded_once(clip, monkeypatch):
    """AVI leaves the times to be found by decoding; the first frame is looked at for its shape."""
    counts = []
    decoded = VideoReader._decoded

    def counted(self):
        counts.append(0)
        for frame in decoded(self):
            counts[-1] += 1
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded", counted)
    decode(clip.path, VIEWS)
    assert sorted(counts) == [1, 20]


def test_folders_of_pictures_in_the_order_of_their_names(tmp_path):
    frames = drawn(6)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"img_{number:05d}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = decode(tmp_path, ViewSettings(24, frames=3, temporal=2))
    np.testing.assert_array_equal(found.frames.permute(0, 2, 3, 1), frames)
    (tmp_path / "img_00003.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"decode: img_00003\.png"):
        decode(tmp_path, VIEWS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="open: this folder holds no pictures"):
        decode(tmp_path / "empty", VIEWS)


def test_black_strips_are_cut_before_scaling(tmp_path):
    frames = drawn(6, 32)
    frames[:, :8] = frames[:, -8:] = 0
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    cut = decode(tmp_path, ViewSettings(16, 3, 2, remove_black_strips=True))
    np.testing.assert_array_equal(cut.frames.permute(0, 2, 3, 1), frames[:, 8:-8])
    assert decode(tmp_path, ViewSettings(16, 3, 2)).frames[:, :, :3].max() == 0


def test_memory_has_a_limit(clip, monkeypatch):
    decoded = []
    plain = action_pictures.decode
    monkeypatch.setattr(action_pictures, "decode", lambda *a: decoded.append(a) or plain(*a))
    size = plain(clip.path, VIEWS).frames.numel()
    for limit, count in ((size, 1), (size - 1, 2)):
        decoded.clear()
        pictures = ActionPictures(VIEWS, CacheSettings(limit))
        assert torch.equal(pictures(clip).frames, pictures(clip).frames)
        assert len(decoded) == count


def test_a_damaged_file_of_the_cache_is_made_anew_and_other_views_have_other_files(clip, tmp_path, caplog):
    cache = CacheSettings(0, tmp_path, read=True, write=True)
    plain = ActionPictures(VIEWS, cache)(clip)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(b"cut off")
    again = ActionPictures(VIEWS, cache)(clip)
    assert torch.equal(plain.frames, again.frames) and f"{file} cannot be read and is made anew" in caplog.text
    assert ActionPictures(ViewSettings(16, 2, 2), cache)(clip).index.shape == (2, 2)
    assert len(list(tmp_path.glob("*.npz"))) == 2
