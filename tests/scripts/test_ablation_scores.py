"""What an ablation measures beside the scores of captions: what they name, and what relation rows tell."""

import json
from types import SimpleNamespace

from scripts.ablation_scores import place_accuracy, places_in_rows, relation_accuracy
from utility.feature_store import FeatureStore, FeatureWriter


def test_relations_count_in_clips_with_two_objects_only():
    videos = [
        {"caption": "a red ring bumps into a blue star", "relation": "meets"},
        {"caption": "a red ring is going behind a blue star", "relation": "meets"},
        {"caption": "a red ring meets and follows a blue star", "relation": "meets"},
        {"caption": "a red ring follows a blue star", "relation": None},
    ]
    assert relation_accuracy(videos) == {"relation_accuracy": 1 / 3, "two_object_videos": 3}


def test_places_count_in_all_clips_of_a_corpus_that_has_some():
    videos = [
        {"caption": "a red ring rises over the water", "place": "sea"},
        {"caption": "a red ring rises over the brickwork", "place": "sea"},
        {"caption": "a red ring rises over the sea above the wall", "place": "wall"},
        {"caption": "a red ring rises", "place": "wall"},
    ]
    assert place_accuracy(videos) == {"place_accuracy": 1 / 4}
    assert place_accuracy([{"caption": "a red ring rises over the sea", "relation": None}]) == {}


def test_rows_tell_the_place_that_most_of_them_name(tmp_path):
    rows = {
        "a": ["sea", "ring rise water", "ring rise wall"],  # right
        "b": ["sea", "ring rise wall"],  # undecided
        "c": ["ring follow star"],  # silent
        "d": ["ring rise brickwork", "wall", "sea"],  # wrong
    }
    with FeatureWriter(tmp_path / "C_rel.hdf5", {}) as writer:
        for name, texts in rows.items():
            writer.write(name, {"rel": [[1.0, 0.0]] * len(texts)}, {"texts": json.dumps(texts)})
        writer.finish()
    (tmp_path / "metadata").mkdir()
    attributes = tmp_path / "metadata" / "attributes.json"
    corpus = SimpleNamespace(root=tmp_path, ids=lambda split: ["a", "b", "c", "d", "e"])
    attributes.write_text(json.dumps({"videos": {name: {"place": "sea"} for name in "abcde"}}))
    assert places_in_rows(FeatureStore(tmp_path / "C_rel.hdf5"), corpus) == {"places_in_rows": 1 / 4}
    attributes.write_text(json.dumps({"videos": {name: {} for name in "abcde"}}))
    assert places_in_rows(FeatureStore(tmp_path / "C_rel.hdf5"), corpus) == {}
