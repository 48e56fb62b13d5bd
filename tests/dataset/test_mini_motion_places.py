"""Places of MiniMotion: they are named, they stand still below what moves, nothing but the whole frame tells them."""

import json
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch

from dataset import mini_motion
from dataset import mini_motion_grammar as grammar
from dataset.mini_motion_places import DRAWINGS, SKYLINE, with_place
from dataset.mini_motion_scenes import SIZES, draw
from graphs.knowledge.extraction import load_extractor
from model.detection.motion import MotionDetector
from utility.images import letterbox

FILES = ("settings", "captions", "attributes")
# Of a corpus without places of 1,200 clips and seed 5: those that were drawn before stay valid.
FIRST = (
    "an emerald plus sign bounces",
    "the cross is green and it jumps up and down",
    "bouncing in the picture is a green cross",
    "a green plus sign is bouncing",
    "there is a green plus sign bouncing",
)
LAST = (
    "in the picture the yellow ring bumps into the purple pyramid",
    "one yellow ring is bumping into one violet pyramid",
    "a golden ring is bumping into a violet triangle",
    "there is a yellow ring meeting a purple triangle",
    "a yellow ring meets a violet triangle",
)


@pytest.fixture(scope="module")
def scripts():
    return mini_motion.scripts(1200, 5, places=True)


@pytest.fixture(scope="module")
def drawn(scripts):
    """(script, frames, rate) of two clips of every place."""
    clips = [clip for place in DRAWINGS for clip in [clip for clip in scripts if clip.place == place][:2]]
    return [
        (clip, *draw(list(clip.things), clip.relation, np.random.default_rng([5, 2, clip.number]), clip.place))
        for clip in clips
    ]


def skyline(frames):
    """The row at which a place may begin."""
    height, width = frames.shape[1:3]
    return int(height / 2 + SKYLINE * min(height, width))


def test_captions_name_the_place_of_their_clip_and_no_other(scripts):
    assert set(grammar.PLACES) == set(DRAWINGS)
    said = set()
    for clip in scripts[:300]:
        for caption in (*clip.captions, grammar.true_sentence(list(clip.things), clip.relation, clip.place)):
            assert grammar.named_values(caption, "place") == {clip.place}, caption
            for kind in ("color", "shape"):
                assert grammar.named_values(caption, kind) == {getattr(thing, kind) for thing in clip.things}, caption
            said |= {word for word in grammar.PLACES[clip.place] if f" the {word}" in caption}
    assert len(said) == 2 * len(grammar.PLACES)  # synonyms too
    words = list(chain(*(chain(*values.values()) for values in (*grammar.SYNONYMS.values(), grammar.PLACES))))
    assert len(words) == len(set(words))


def test_places_change_nothing_of_what_moves_and_the_corpus_without_them_is_what_it_was(scripts):
    plain = mini_motion.scripts(1200, 5)
    for one, other in zip(plain, scripts, strict=True):
        assert one.place is None and other.place is not None
        assert (one.things, one.relation, one.split, one.unseen) == (
            other.things, other.relation, other.split, other.unseen,
        )  # fmt: skip
        assert not any(grammar.mentions(caption, "place") for caption in one.captions)
    assert (plain[0].captions, plain[-1].captions) == (FIRST, LAST)


def test_who_knows_what_moves_knows_nothing_of_the_place(scripts):
    assert max(Counter(clip.place for clip in scripts).values()) < 0.16 * len(scripts)
    for kind in ("color", "shape", "action"):
        by_value = {}
        for clip in scripts:
            by_value.setdefault(getattr(clip.things[0], kind), Counter())[clip.place] += 1
        guessed = sum(counts.most_common(1)[0][1] for counts in by_value.values())
        assert guessed < 0.22 * len(scripts), kind  # an eighth, and what chance adds to the best of eight


def test_a_place_stands_still_below_what_moves(drawn):
    for clip, frames, _ in drawn:
        change = np.abs(frames.astype(int) - np.median(frames, axis=0)).max(axis=(0, 3))
        edge = skyline(frames)
        assert change[edge:].max() < 45, clip  # noise and flicker
        assert change[:edge].max() > 60, clip


def test_a_detector_of_objects_finds_nothing_in_a_place(drawn):
    found, inside = 0, 0
    for _, frames, rate in drawn:
        video, step = torch.from_numpy(frames).permute(0, 3, 1, 2), max(1, round(0.12 * rate))
        times = range(step, len(video) - step, rate)
        pictures = torch.stack([torch.stack([letterbox(video[t + d], 96) for d in (-step, 0, step)]) for t in times])
        height, width = int((pictures[0, 0, 3, :, 0] > 0).sum()), int((pictures[0, 0, 3, 0] > 0).sum())
        for objects in MotionDetector().detect(pictures[:, :, :3], [(height, width)] * len(pictures)):
            found += len(objects)
            inside += int((objects.boxes[:, 3] > height * skyline(frames) / frames.shape[1] + 2).sum())
    assert found > 30 and inside <= 0.03 * found


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_places_differ_in_every_size_and_leave_what_is_above_them(width, height):
    background = np.full((height, width, 3), 100.0)
    short = min(height, width)
    low = int(height / 2 + SKYLINE * short) - 1
    foot = (height + short) // 2  # of a square crop
    pictures = {place: with_place(background, place, np.random.default_rng(3)) for place in DRAWINGS}
    for place, picture in pictures.items():
        assert (picture[:low] == 100).all() and np.abs(picture[low:foot] - 100).mean() > 5, place
        for other in set(DRAWINGS) - {place}:
            assert np.abs(picture - pictures[other])[low:foot].mean() > 5, (place, other)
    with pytest.raises(ValueError, match="unknown place 'moon'; known are sea, mountain"):
        with_place(background, "moon", np.random.default_rng(3))


def test_triples_of_one_moving_thing_hold_its_place(scripts):
    extractor, clips = load_extractor("hanta"), [clip for clip in scripts[:60] if clip.relation is None]
    told = 0
    for clip in clips:
        tails = {triple.tail for caption in clip.captions for triple in extractor.extract(caption)}
        assert tails <= {*grammar.PLACES[clip.place], "left", "right"}
        told += any(tail in grammar.PLACES[clip.place] for tail in tails)
    assert told > 0.75 * len(clips)


def test_the_files_say_where_clips_are_and_drawing_the_other_kind_leaves_none_of_this_one(tmp_path):
    words = ["--num_clips", "20", "--root", str(tmp_path), "--workers", "1"]
    videos = {}
    for places in (False, True):
        assert mini_motion.main([*words, *(["--places"] if places else [])]) == 0
        settings, captions, attributes = (
            json.loads((tmp_path / "metadata" / f"{name}.json").read_text()) for name in FILES
        )
        assert ("places" in settings) == ("places" in captions["info"]) == places
        assert ("place" in attributes["synonyms"]) == places
        for clip in mini_motion.scripts(20, 0, places):
            entry = attributes["videos"][clip.video_id]
            assert entry["place"] == clip.place if places else "place" not in entry
            assert grammar.named_values(entry["true_sentence"], "place") == {clip.place} - {None}
        videos[places] = {path.name: path.read_bytes() for path in (tmp_path / "videos").iterdir()}
    assert videos[True].keys() == videos[False].keys()
    assert all(videos[True][name] != videos[False][name] for name in videos[True])
