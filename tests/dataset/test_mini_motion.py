"""MiniMotion: what is drawn, who sees which combination, what the captions say, and that nothing else is touched."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dataset import READERS, mini_motion
from dataset import mini_motion_grammar as grammar
from dataset.arguments import CorpusArguments, open_corpus
from dataset.mini_motion_scenes import DIAMETER, SIZES, _paint, distance, draw, motion
from dataset.minimotion import read_attributes
from utility.video import VideoReader

CLIPS = 24
OPPOSITES = (("moves left", "moves right"), ("rises", "falls"), ("grows", "shrinks"))


@pytest.fixture(scope="module")
def scripts():
    return mini_motion.scripts(1200, 5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "MiniMotion"
    assert mini_motion.main(["--num_clips", str(CLIPS), "--seed", "5", "--root", str(root), "--workers", "1"]) == 0
    return root


def test_there_is_as_much_to_tell_apart_as_was_promised():
    assert (len(grammar.COLORS), len(grammar.SHAPES), len(grammar.VERBS)) >= (8, 6, 10)
    assert set(grammar.SHAPES) == {"circle", "ring", "square", "triangle", "star", "cross"}
    assert set(itertools.chain(*OPPOSITES)) <= set(grammar.VERBS) and len(grammar.RELATIONS) == 3
    assert len(SIZES) > 2 and DIAMETER[0] >= 0.12 and DIAMETER[1] <= 0.35


def test_a_third_of_the_clips_has_two_objects_and_a_fifth_of_the_combinations_is_for_the_test_split(scripts):
    assert sum(clip.relation is not None for clip in scripts) >= 0.3 * len(scripts)
    unseen = mini_motion.unseen_combinations(5)
    total = len(grammar.COLORS) * len(grammar.SHAPES) * len(grammar.VERBS)
    assert len(unseen) == round(0.2 * total)
    shown = {split: set() for split in ("train", "validate", "test")}
    for clip in scripts:
        shown[clip.split].update(clip.things)
    assert not (shown["train"] | shown["validate"]) & unseen and shown["test"] & unseen
    for kind, values in grammar.SYNONYMS.items():
        assert {getattr(thing, kind) for thing in shown["train"]} == set(values)
    counts = {split: sum(clip.split == split for clip in scripts) for split in shown}
    for split, share in (("test", mini_motion.TEST), ("validate", mini_motion.VALIDATE)):
        assert counts[split] == round(share * len(scripts))
    single = [clip for clip in scripts if clip.split == "test" and clip.relation is None]
    assert 0.3 < sum(clip.unseen for clip in single) / len(single) < 0.7


def test_captions_name_the_attributes_of_their_clip_and_no_others(scripts):
    for clip in scripts[:300]:
        assert len(set(clip.captions)) == 5
        for caption in (*clip.captions, grammar.true_sentence(list(clip.things), clip.relation)):
            for kind in ("color", "shape"):
                assert grammar.named_values(caption, kind) == {getattr(thing, kind) for thing in clip.things}, caption
            actions = {clip.things[0].action} if clip.relation is None else set()
            assert grammar.named_values(caption, "action") == actions, caption
            assert grammar.named_values(caption, "relation") == {clip.relation} - {None}, caption


def test_phrases_of_a_class_belong_to_one_value():
    for values in grammar.SYNONYMS.values():
        phrases = list(itertools.chain(*values.values()))
        assert len(phrases) == len(set(phrases))
    assert grammar.named_values("A  RED box jumps up and down", "action") == {"bounces"}
    assert grammar.named_values("a red or blue box", "color") == {"red", "blue"}
    assert grammar.named_values("a reddish boxer", "color") == set()


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_pairs_of_actions_are_films_played_backwards(one, other):
    forward, backward = (motion(name, 9, 3.0, (0.6, 0.5), np.random.default_rng(3)) for name in (one, other))
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_allclose(a, b[::-1])
    position, diameter, _ = forward
    change = np.concatenate([position[-1] - position[0], diameter[-1:] - diameter[:1]])
    assert np.abs(change).argmax() == OPPOSITES.index((one, other))


@pytest.mark.parametrize("shape", grammar.SHAPES)
def test_shapes_lie_within_their_radius_and_differ(shape):
    y, x = np.mgrid[-1.2:1.2:97j, -1.2:1.2:97j]
    radius = np.ones(())
    inside = distance(shape, x, y, radius) < 0
    assert 0.1 < inside.mean() < 0.7 and not inside[np.hypot(x, y) > 1.2].any()
    for other in set(grammar.SHAPES) - {shape}:
        assert (inside != (distance(other, x, y, radius) < 0)).mean() > 0.03, other


def test_a_frame_shows_the_colour_of_its_object():
    thing = grammar.Thing("red", "circle", "shakes")
    frames, rate = draw([thing], None, np.random.default_rng(1))
    assert frames.dtype == np.uint8 and 2.0 <= len(frames) / rate <= 4.1
    red = (frames[..., 0].astype(int) - frames[..., 1:].max(-1) > 80).mean(axis=(1, 2))
    assert (red > 0.005).all() and (red < 0.15).all()


def test_the_corpus_is_read_with_its_splits_and_its_videos_play(root):
    corpus = READERS["minimotion"](root)
    assert len(corpus.videos) == CLIPS and not corpus.missing
    assert all(len(texts) == 5 for texts in corpus.captions.values())
    assert all(corpus.splits.values()) and sum(map(len, corpus.splits.values())) == CLIPS
    attributes = read_attributes(root)
    assert attributes["synonyms"] == grammar.SYNONYMS and set(attributes["videos"]) == set(corpus.videos)
    sizes = set()
    for path in corpus.videos.values():
        with VideoReader(path) as video:
            assert video.info.codec == "h264" and 1.9 <= video.info.duration <= 4.2
            sizes.add((video.info.width, video.info.height))
    assert len(sizes) > 2


def drawn(root):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (root / "videos").iterdir()}


def test_a_clip_depends_on_seed_number_and_split_alone_and_finished_ones_are_kept(root):
    before = drawn(root)
    captions = (root / "metadata" / "captions.json").read_bytes()
    for name in ("video3.mp4", "video20.mp4"):
        (root / "videos" / name).unlink()
    (root / "metadata" / "captions.json").unlink()
    mini_motion.make(root, CLIPS, 5, workers=1)
    after = drawn(root)
    assert {name: data for name, (_, data) in after.items()} == {name: data for name, (_, data) in before.items()}
    new = {name for name in after if after[name][0] != before[name][0]}
    assert new == {"video3.mp4", "video20.mp4"}
    assert (root / "metadata" / "captions.json").read_bytes() == captions
    assert mini_motion.scripts(CLIPS, 6) != mini_motion.scripts(CLIPS, 5)


def test_other_settings_draw_anew_and_leave_nothing_of_the_old_ones(tmp_path):
    mini_motion.make(tmp_path, 22, 1, workers=1)
    first = drawn(tmp_path)
    mini_motion.make(tmp_path, 20, 2, workers=1)
    second = drawn(tmp_path)
    assert set(second) == {f"video{number}.mp4" for number in range(20)}
    assert all(second[name][1] != first[name][1] for name in second)


@pytest.mark.parametrize("file", ["videos/video0.mp4", "metadata/captions.json"])
def test_a_corpus_of_others_is_never_touched(tmp_path, capsys, file):
    for folder in ("videos", "metadata"):
        (tmp_path / folder).mkdir()
    (tmp_path / file).write_bytes(b"somebody's")
    assert mini_motion.main(["--num_clips", "20", "--root", str(tmp_path)]) == 2
    assert "holds a corpus that was not drawn here" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / file]
    assert (tmp_path / file).read_bytes() == b"somebody's"


def test_too_few_clips_are_refused(tmp_path, capsys):
    assert mini_motion.main(["--num_clips", "19", "--root", str(tmp_path / "x")]) == 2
    assert "at least 20" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_it_is_drawn_where_the_reader_looks_whatever_the_working_directory(tmp_path, monkeypatch):
    drawn, read = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mini_motion, "make", lambda root, *_: drawn.append(root))
    monkeypatch.setitem(READERS, "minimotion", lambda root, *_: read.append(root))
    assert mini_motion.main([]) == 0 and mini_motion.main(["--root", "here"]) == 0
    open_corpus(CorpusArguments())
    assert drawn == [*read, Path("here")]


def test_painting_in_a_window_equals_painting_the_whole_frame():
    rng = np.random.default_rng(5)
    for shape in grammar.SHAPES:
        before = rng.uniform(0, 255, (6, 48, 64, 3)).astype(np.float32)
        position = rng.uniform(-0.6, 0.6, (6, 2))  # some lie partly outside
        diameter, visible = rng.uniform(0.12, 0.35, 6), np.array([1, 1, 0, 1, 1, 1.0])
        turn, color = rng.uniform(0, 6), np.array([200, 30, 90], np.float32)
        after = before.copy()
        _paint(after, shape, color, turn, position, diameter, visible)
        for frame in range(6):
            y, x = (np.mgrid[0:48, 0:64].astype(np.float32) + 0.5 - np.array([24, 32])[:, None, None]) / 48
            dx, dy = x - np.float32(position[frame, 0]), y - np.float32(position[frame, 1])
            c, s = np.cos(turn), np.sin(turn)
            away = distance(shape, c * dx + s * dy, c * dy - s * dx, np.float32(diameter[frame] / 2))
            alpha = np.clip(0.5 - away * 48, 0, 1)[..., None] * visible[frame]
            np.testing.assert_allclose(after[frame], before[frame] + alpha * (color - before[frame]), atol=0.05)
