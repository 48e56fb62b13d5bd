"""Overlap of what a network was trained on with the videos that captions are scored on."""

import json
from types import SimpleNamespace

import pytest

from dataset.corpus import Corpus
from dataset.seen_videos import note_path, note_training, overlap_notes, seen_test_videos


def corpus(name="films", test=("video3", "video4")):
    videos = dict.fromkeys(["video1", "video2", *test])
    return Corpus(name, root=None, videos=videos, splits={"train": ["video1", "video2"], "test": list(test)})


def network(videos, corpus=None, hash="ab"):
    return SimpleNamespace(name="tiny", hash=hash, trained_on=videos, corpus=corpus)


@pytest.mark.parametrize(
    ("name", "trained_corpus", "seen"),
    [
        ("films", "films", ["video3"]),
        ("films", None, ["video3"]),
        ("films", "other films", ["video3"]),
        ("films", "MSR-VTT", ["video3"]),  # a folder may hold a part of a published corpus
        ("MSR-VTT", "MSR-VTT", ["video3"]),
        ("MSR-VTT", "MiniMotion", []),  # both name their videos alike
        ("MiniMotion", "MSR-VTT", []),
        ("films", "MiniMotion", []),
        ("MSVD", "MSR-VTT", []),
    ],
)
def test_the_same_id_is_the_same_video_where_corpora_can_share_one(name, trained_corpus, seen):
    assert seen_test_videos(corpus(name), ["video3", "video1", "video9"], trained_corpus) == seen


def test_what_is_not_known_is_not_called_nothing():
    assert seen_test_videos(corpus(), None, None) is None


def test_notes_hold_for_these_weights_and_for_the_test_split_of_the_day(tmp_path):
    note_training(tmp_path / "new", "films", {"backbone": network(["video3", "video4"])})
    note_training(tmp_path / "new", "films", {"action_network": network(["video1"], hash="cd"), "more": network(None)})
    hashes = {"backbone": "ab", "action_network": "cd"}
    expected = ["the backbone was trained on 2 of the 2 test videos: scores on them flatter"]
    assert overlap_notes(tmp_path / "new", corpus(), hashes) == expected
    assert overlap_notes(tmp_path / "new", corpus(test=()), hashes) == []
    assert (
        "action network was trained on 1 of the 1"
        in overlap_notes(
            tmp_path / "new", Corpus("films", None, {"video1": None}, splits={"test": ["video1"]}), hashes
        )[0]
    )
    assert overlap_notes(tmp_path / "new", corpus(), {"backbone": "other weights"}) == []
    assert overlap_notes(tmp_path, corpus(), hashes) == []
    assert set(json.loads(note_path(tmp_path / "new", "films").read_text())) == {"backbone", "action_network"}


def test_a_note_is_written_only_when_it_says_something_new(tmp_path):
    note_training(tmp_path, "films", {"backbone": network(None)})
    assert not note_path(tmp_path, "films").exists()
    note_training(tmp_path, "films", {"backbone": network(["video1"])})
    stamp = note_path(tmp_path, "films").stat().st_mtime_ns
    note_training(tmp_path, "films", {"backbone": network(["video1"])})
    assert note_path(tmp_path, "films").stat().st_mtime_ns == stamp
