import json

import numpy as np
import pytest
import torch
from colour_clips import COLOURS, make_colour_corpus
from launch import launch

from dataset.clip_crops import Augmentation
from dataset.clip_frames import ClipFrames, FrameSettings, decode_frames
from dataset.clips import ClipPairs, EvaluationClips, FrameOrder, choose_frames, pad_clip
from utility.clip_text import ClipTokenizer
from utility.random_state import seed_all
from utility.video import VideoError

SETTINGS = FrameSettings(slots=4, rate=4.0, size=16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_colour_corpus(tmp_path_factory.mktemp("colours"), {"train": 1}, captions=3)
    (root / "videos" / "broken.mp4").write_bytes(b"not a video")
    return root


@pytest.fixture(scope="module")
def paths(root):
    return {path.stem: path for path in sorted((root / "videos").iterdir())}


@pytest.fixture(scope="module")
def captions(root):
    content = json.loads((root / "metadata" / "captions.json").read_text())
    texts = {}
    for sentence in content["sentences"]:
        texts.setdefault(sentence["video_id"], []).append(sentence["caption"])
    return texts | {"broken": ["never seen"]}


@pytest.fixture(scope="module")
def frames(paths):
    return ClipFrames(paths, SETTINGS)


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


def test_cached_frames_are_the_decoded_ones(frames, paths):
    for number, value in enumerate(COLOURS.values()):
        name = f"clip{number}"
        assert torch.equal(frames[name], decode_frames(paths[name], SETTINGS))
        assert 3 <= len(frames[name]) <= 4 and frames[name].shape[1:] == (3, 16, 16)
        assert (frames[name].float().mean((0, 2, 3)) - torch.tensor(value)).abs().max() < 12


def test_a_broken_video_is_left_out_and_named(frames, caplog):
    assert list(frames.failed) == ["broken"] and "broken" not in frames.ids
    frames.report()
    assert "broken.mp4: open" in caplog.text
    with pytest.raises(ValueError, match=r"none of 1 videos can be read: .*broken\.mp4"):
        ClipFrames({"broken": frames.paths["broken"]}, SETTINGS)


def test_a_cache_file_serves_a_later_run_with_the_same_settings(paths, frames, tmp_path, monkeypatch):
    first = ClipFrames(paths, SETTINGS, folder=tmp_path)
    assert all(torch.equal(first[name], frames[name]) for name in frames.ids)
    monkeypatch.setattr("dataset.clip_frames.decode_frames", lambda *_: pytest.fail("decoded again"))
    again = ClipFrames(paths, SETTINGS, folder=tmp_path)
    assert again.failed == first.failed
    assert all(torch.equal(again[name], frames[name]) for name in frames.ids)
    with pytest.raises(pytest.fail.Exception):
        ClipFrames(paths, FrameSettings(slots=4, rate=4.0, size=8), folder=tmp_path)


def test_processes_fill_one_file_together(root, tmp_path):
    script = tmp_path / "fill.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from dataset.clip_frames import ClipFrames, FrameSettings\nfrom utility.distributed import start\n"
        "dist = start('cpu')\n"
        "paths = {p.stem: p for p in sorted(Path(sys.argv[1]).iterdir())}\n"
        "frames = ClipFrames(paths, FrameSettings(4, 4.0, 16), folder=Path(sys.argv[2]), dist=dist)\n"
        "print(sorted(frames.failed), sum(int(frames[name].sum()) for name in frames.ids))\n"
        "dist.stop()\n"
    )
    printed = launch(script, root / "videos", tmp_path / "cache", processes=2)
    alone = launch(script, root / "videos", tmp_path / "other")
    assert printed[0] == printed[1] == alone[0]
    assert printed[0].startswith("['broken'] ")


def test_a_disk_without_room_for_the_frames_is_named_before_any_is_decoded(paths, tmp_path, monkeypatch):
    def full(handle, start, size):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        patch.setattr("dataset.clip_frames.decode_frames", None)
        with pytest.raises(OSError, match=r"No space left on device while making room for .* GB of frames in .*\.u8"):
            ClipFrames(paths, SETTINGS, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    ClipFrames(paths, SETTINGS, folder=tmp_path)
    (file,) = tmp_path.glob("*.u8")
    assert file.stat().st_blocks * 512 >= file.stat().st_size, "mapped pages must not meet a full disk"


def test_without_a_cache_frames_come_from_the_file(paths, captions, frames, tokenizer, caplog):
    live = ClipFrames(paths, SETTINGS, cache=False)
    assert torch.equal(live["clip0"], frames["clip0"])
    with pytest.raises(VideoError):
        live["broken"]
    pairs = ClipPairs(live, captions, tokenizer, 2, 8, 16)
    assert pairs[pairs.names.index("broken")][3] != "broken"
    assert "another video takes its place" in caplog.text
    clips = EvaluationClips(live, captions, tokenizer, 2, 8, 16)
    assert clips[clips.names.index("broken")] is None


def test_pairs_hold_a_clip_and_one_of_its_captions(frames, captions, tokenizer):
    pairs = ClipPairs(frames, captions, tokenizer, max_frames=6, max_words=8, resolution=8)
    assert len(pairs) == len(COLOURS)
    drawn = {tuple(pairs[0][2].tolist()) for _ in range(40)}
    assert drawn == {tuple(row) for row in tokenizer.pack(captions["clip0"], 8)[0].tolist()}
    batch = pairs.collate([pairs[i] for i in range(3)])
    assert batch.frames.shape == (3, 6, 3, 8, 8) and batch.frames.dtype == torch.uint8
    assert batch.mask.sum(1).tolist() == [len(frames[name]) for name in batch.names]
    assert not batch.frames[batch.mask == 0].any()
    assert len(ClipPairs(frames, captions, tokenizer, 6, 8, 8, every_sentence=True)) == 3 * len(COLOURS)


def test_the_seed_decides_what_is_drawn(frames, captions, tokenizer):
    how = Augmentation(random_frames=True, crop_min=0.3, crop_each_frame=True)
    pairs = ClipPairs(frames, captions, tokenizer, 2, 8, 8, how)

    def draw(seed):
        seed_all(seed)
        return torch.stack([pairs[0][0] for _ in range(4)])

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_frames_are_spread_or_drawn():
    assert choose_frames(9, 3, random=False).tolist() == [0, 4, 8]
    assert choose_frames(2, 3, random=True).tolist() == [0, 1]
    np.random.seed(0)
    drawn = [choose_frames(9, 3, random=True) for _ in range(20)]
    assert all((np.diff(positions) > 0).all() for positions in drawn) and len({tuple(p) for p in drawn}) > 10


def test_padding():
    clip, mask = pad_clip(torch.ones(2, 3, 4, 4), 3)
    assert clip.sum((1, 2, 3)).tolist() == [48, 48, 0] and mask.tolist() == [1, 1, 0]


def test_nothing_to_train_on_is_said(frames, tokenizer):
    with pytest.raises(ValueError, match="both frames and a caption"):
        ClipPairs(frames, {"elsewhere": ["a"]}, tokenizer, 2, 8, 8)
    with pytest.raises(ValueError, match="both frames and a caption"):
        EvaluationClips(frames, {}, tokenizer, 2, 8, 8)


def test_frames_of_segments_in_other_orders_and_repeated():
    how = FrameOrder(segments=True)
    assert choose_frames(30, 3, how=how).tolist() == [5, 15, 25]
    np.random.seed(0)
    drawn = np.stack([choose_frames(30, 3, True, how) for _ in range(50)])
    assert ((drawn // 10) == np.arange(3)).all() and len(np.unique(drawn)) > 20
    assert choose_frames(9, 3, how=FrameOrder(order=1)).tolist() == [8, 4, 0]
    shuffled = choose_frames(9, 9, how=FrameOrder(order=2), generator=np.random.default_rng(0))
    assert sorted(shuffled) == list(range(9)) != shuffled.tolist()
    assert choose_frames(2, 5).tolist() == [0, 1]
    assert choose_frames(2, 5, how=FrameOrder(repeat=True)).tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"2 \(shuffled\)"):
        FrameOrder(order=3)
