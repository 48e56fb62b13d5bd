"""Graphs as a torch_geometric data set: from the feature file, from the written folder, over loader workers."""

import pickle

import numpy as np
import pytest
import torch
from graph_examples import GRAPHS, SPLITS, A, D, P, S, run
from torch_geometric.data import Dataset
from torch_geometric.loader import DataLoader

from graphs.geometric import ActionGraphDataset, graph_of, most_edges
from graphs.graph_folder import GraphFolder, write_graph_folder
from utility.feature_store import FeatureStore


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in ("x", "edge_index", "edge_attr", "node_mask"))


def test_folder_opens_as_a_data_set_per_split(root):
    assert run(root) == 0
    folder = root / "features/tiny/small_GBased_geometric"
    train, test = (ActionGraphDataset(folder, split) for split in ("train", "test"))
    assert isinstance(train, Dataset) and (len(train), len(test), len(ActionGraphDataset(folder))) == (2, 1, 3)
    assert [data.video for data in train] == ["a-1", "b c"]
    assert [data.num_edges for data in train] == [4 * 4 + 3 * 4, 2 * 4 + 4]
    assert train.num_node_features == D and train.num_edge_features == A
    store = FeatureStore(root / "features/tiny/small_GBased_graph.hdf5")
    for data in ActionGraphDataset(folder):
        assert same(data, graph_of(GRAPHS[data.video])) and same(data, graph_of(store[data.video]))
    assert train.settings["graphs"] == {"stage": "action_graph"}


def test_feature_file_opens_as_a_data_set(root):
    source = root / "features/tiny/small_GBased_graph.hdf5"
    dataset = ActionGraphDataset(source, ids=["d", "a-1"], transform=lambda data: data.video)
    assert list(dataset) == ["d", "a-1"]
    assert len(ActionGraphDataset(source)) == 3
    with pytest.raises(ValueError, match=r"no graphs of 1 videos, among them 'e'"):
        ActionGraphDataset(source, ids=["e"])
    with pytest.raises(ValueError, match=r"unknown split 'train'; .* none: give `ids`"):
        ActionGraphDataset(source, split="train")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_loader_workers_open_their_own_handles(root, kind):
    run(root)
    source = root / "features/tiny" / ("small_GBased_geometric" if kind == "folder" else "small_GBased_graph.hdf5")
    dataset = ActionGraphDataset(source)
    dataset[0]  # the parent's handle is open when the workers start
    one, two = (next(iter(DataLoader(dataset, batch_size=3, num_workers=n))) for n in (0, 1))
    assert one.num_graphs == 3 and one.num_nodes == 3 * S * P and same(one, two) and one.video == two.video
    assert len(pickle.dumps(dataset)) < 5_000
    assert same(pickle.loads(pickle.dumps(dataset))[1], dataset[1])


def test_published_deviations_are_kept_with_the_folder(root):
    assert run(root, "--compat", "pad_edges") == 0
    folder = root / "features/tiny/small_GBased_geometric"
    padded = ActionGraphDataset(folder, "test")
    assert [data.num_edges for data in padded] == [28] and padded.num_padded == 28
    assert not padded[0].edge_attr[4:].any()
    assert [data.num_edges for data in ActionGraphDataset(folder, "test", reference=())] == [4]


def test_other_settings_and_new_videos(root, capsys):
    folder = root / "features/tiny/small_GBased_geometric"
    assert run(root, "--limit", "1") == 0
    assert GraphFolder(folder).ids == ["a-1", "d"] and GraphFolder(folder).splits["train"] == ["a-1"]
    assert run(root) == 0
    assert GraphFolder(folder).ids == ["a-1", "b c", "d"]
    before = folder.stat().st_mtime_ns
    assert run(root) == 0 and folder.stat().st_mtime_ns == before
    assert run(root, "--compat", "reference") == 2
    assert "other settings" in capsys.readouterr().err
    assert run(root, "--compat", "reference", "--resume", "0") == 0
    assert GraphFolder(folder).settings["reference"] == ["emptiness", "positive_sum", "pad_edges"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, "small_GBased_graph.hdf5"]


def test_output_dry_run_split_and_strict(root, tmp_path):
    assert run(root, "--output", str(tmp_path / "out"), "--dry_run") == 0 and not (tmp_path / "out").exists()
    assert run(root, "--output", str(tmp_path / "out"), "--split", "train") == 0
    assert GraphFolder(tmp_path / "out").ids == SPLITS["train"]
    assert run(root, "--strict") == 1
    assert run(root, "--split", "val") == 1


def test_folder_that_is_none_and_graphs_that_do_not_stack(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="transform_graph_to_geometric"):
        ActionGraphDataset(tmp_path)
    odd = {**GRAPHS, "d": {**GRAPHS["d"], "actions": np.zeros((S, A + 1), np.float16)}}
    with pytest.raises(ValueError, match=r"video 'd': actions is \[4, 6\], in 'a-1' it is \[4, 5\]"):
        write_graph_folder(tmp_path / "odd", odd, list(odd), SPLITS, {})
    with pytest.raises(ValueError, match="no graphs for"):
        write_graph_folder(tmp_path / "odd", odd, [], SPLITS, {})
    assert list(tmp_path.iterdir()) == [root]
    with pytest.raises(KeyError, match="'e' is not in"):
        write_graph_folder(tmp_path / "even", GRAPHS, list(GRAPHS), SPLITS, {})
        GraphFolder(tmp_path / "even")["e"]


def test_most_edges_equals_the_expanded_graphs():
    negative = {**GRAPHS["a-1"], "actions": -GRAPHS["a-1"]["actions"]}
    graphs = [negative, GRAPHS["b c"]]
    for reference in ((), ("positive_sum",), ("positive_sum", "pad_edges")):
        plain = tuple(name for name in reference if name != "pad_edges")
        assert most_edges(graphs, reference) == max(graph_of(arrays, plain).num_edges for arrays in graphs)


def test_objects_keep_their_boxes():
    boxes = np.random.default_rng(0).random((S, P, 4), np.float32)
    data = graph_of(GRAPHS["d"] | {"boxes": boxes})
    np.testing.assert_array_equal(data.boxes, boxes.reshape(S * P, 4))
    assert "boxes" not in graph_of(GRAPHS["d"])
