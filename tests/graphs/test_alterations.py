"""Altered graphs: what changes, what does not, and that the same seed gives the same file."""

import numpy as np
import pytest

from graphs.alterations import ALTERATIONS, write_altered, write_dealt
from utility.feature_store import FeatureStore, FeatureWriter, SettingsMismatch

SLOTS, NODES = 5, 3


def graph(rng, filled=4):
    slot_mask = np.arange(SLOTS) < filled
    node_mask = slot_mask[:, None] & (rng.random((SLOTS, NODES)) < 0.8)
    joined = node_mask[:-1, :, None] & node_mask[1:, None]
    return {
        "nodes": rng.normal(size=(SLOTS, NODES, 4)) * node_mask[..., None],
        "actions": rng.normal(size=(SLOTS, 6)) * slot_mask[:, None],
        "temporal": rng.random((SLOTS - 1, NODES, NODES)).astype(np.float32) * joined,
        "slot_mask": slot_mask,
        "node_mask": node_mask,
    }


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(1)
    with FeatureWriter(tmp_path / "C_GBased_graph.hdf5", {"slots": SLOTS}) as writer:
        for name in ("a", "b"):
            writer.write(name, graph(rng))
        writer.finish()
    return FeatureStore(tmp_path / "C_GBased_graph.hdf5")


def test_each_alteration_changes_what_its_name_says_and_nothing_else():
    before = graph(np.random.default_rng(0))
    changed = {
        name: {key for key, value in change(before, np.random.default_rng(2)).items() if (value != before[key]).any()}
        for name, change in ALTERATIONS.items()
    }
    assert changed == {
        "edges shuffled": {"actions", "temporal"},
        "actions zeroed": {"actions"},
        "nodes zeroed": {"nodes"},
    }
    for name, key in (("actions zeroed", "actions"), ("nodes zeroed", "nodes")):
        assert not ALTERATIONS[name](before, np.random.default_rng(0))[key].any()


def test_shuffled_edges_carry_the_same_values_between_the_same_nodes():
    before = graph(np.random.default_rng(0))
    after = ALTERATIONS["edges shuffled"](before, np.random.default_rng(2))
    joined = before["node_mask"][:-1, :, None] & before["node_mask"][1:, None]
    assert not after["temporal"][~joined].any() and not after["actions"][4].any()
    np.testing.assert_array_equal(np.sort(after["temporal"][joined]), np.sort(before["temporal"][joined]))
    rows = [sorted(map(tuple, arrays["actions"])) for arrays in (before, after)]
    assert rows[0] == rows[1]


def test_an_altered_file_says_so_repeats_itself_and_refuses_another_alteration(source, tmp_path):
    path = tmp_path / "altered" / "C_GBased_graph.hdf5"
    altered = write_altered(source, path, "edges shuffled")
    assert altered.settings == {"slots": SLOTS, "altered": "edges shuffled", "alteration_seed": 0}
    again = write_altered(source, tmp_path / "again.hdf5", "edges shuffled")
    other = write_altered(source, tmp_path / "other.hdf5", "edges shuffled", seed=1)
    for name in "ab":
        assert (altered[name]["nodes"] == source[name]["nodes"]).all()
        assert (altered[name]["temporal"] == again[name]["temporal"]).all()
        assert (altered[name]["temporal"] != other[name]["temporal"]).any()
    with pytest.raises(SettingsMismatch, match="altered was 'edges shuffled', now 'nodes zeroed'"):
        write_altered(source, path, "nodes zeroed")


def test_dealt_features_are_those_of_another_video_of_the_group_texts_included(tmp_path):
    with FeatureWriter(tmp_path / "C_rel.hdf5", {"stage": "relations", "table": "of these rows"}) as writer:
        for number, name in enumerate("abcdefg"):
            writer.write(name, {"rel": np.full((2, 3), number)}, {"texts": name})
        writer.finish()
    source, groups = FeatureStore(tmp_path / "C_rel.hdf5"), (["a", "b", "c", "d"], ["e", "f", "without features"])
    dealt = write_dealt(source, tmp_path / "dealt" / "C_rel.hdf5", groups, seed=4)
    assert sorted(dealt.ids) == list("abcdef")
    for group in groups:
        present = [name for name in group if name in source]
        others = [dealt.attributes(name)["texts"] for name in present]
        assert sorted(others) == present and all(map(str.__ne__, others, present))
        for name, other in zip(present, others, strict=True):
            np.testing.assert_array_equal(dealt[name]["rel"], source[other]["rel"])
    assert dealt.settings == {"stage": "relations", "altered": "of another video", "alteration_seed": 4}
    same = write_dealt(source, tmp_path / "again" / "C_rel.hdf5", groups, seed=4)
    assert all(same.attributes(name) == dealt.attributes(name) for name in dealt.ids)
