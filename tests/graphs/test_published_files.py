"""Published graph files: written, read back, and never trusted."""

import io
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from graph_examples import GRAPHS, SPLITS, D, P, S, run
from launch import launch
from torch_geometric.data import Data

from graphs import transform_graph_to_geometric
from graphs.geometric import graph_of, to_data
from graphs.graph_folder import GraphFolder
from graphs.published_files import (
    compact_graph,
    published_graph,
    read_graphs,
    read_masks,
    read_nodes,
    sparse_rows,
    split_key,
    write_nodes,
)
from graphs.published_pickle import PublishedFileError, SparseCOO, UnsafePickle, read_graph_pickle, write_graph_pickle
from utility.feature_store import FeatureStore


def assert_same_graph(got, want):
    for name in ("nodes", "actions", "temporal", "slot_mask", "node_mask"):
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


@pytest.mark.parametrize("reference", [(), ("emptiness", "positive_sum", "pad_edges")])
def test_pickle_round_trip(tmp_path, reference):
    path = tmp_path / "MSVD_GBased_train.pickle"
    graphs = ((name, published_graph(graph_of(arrays, reference, 28))) for name, arrays in GRAPHS.items())
    assert write_graph_pickle(path, graphs) == 3
    back = read_graphs(path, S, P)
    assert list(back) == list(GRAPHS)
    for name, arrays in GRAPHS.items():
        assert_same_graph(back[name], arrays)
    assert read_graphs(path, S, P, np.float16)["d"]["nodes"].dtype == np.float16


def test_objects_with_absent_nodes_round_trip(tmp_path):
    draw = np.random.default_rng(5)
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    arrays = {"nodes": np.where(mask[..., None], draw.random((3, 3, 4)), 0).astype(np.float32), "node_mask": mask}
    arrays |= {"slot_mask": mask.any(axis=1), "actions": draw.random((3, 2)).astype(np.float32)}
    arrays["actions"][1] = 0
    arrays["temporal"] = np.zeros((2, 3, 3), np.float32)
    write_graph_pickle(tmp_path / "o.pickle", [("v", published_graph(graph_of(arrays)))])
    assert_same_graph(read_graphs(tmp_path / "o.pickle", 3, 3)["v"], arrays)


@pytest.fixture
def sparse(monkeypatch):
    """A module with the name and the state of the `sparse` package's array, in place of that package."""

    class COO:
        def __init__(self, coords, data, shape):
            self.coords, self.data, self.shape, self.fill_value = coords, data, shape, data.dtype.type(0)

        def __getstate__(self):
            return self.coords, self.data, self.shape, self.fill_value

        def __setstate__(self, state):
            self.coords, self.data, self.shape, self.fill_value = state

    module = types.ModuleType("sparse")
    COO.__module__, COO.__qualname__, module.COO = "sparse", "COO", COO
    monkeypatch.setitem(sys.modules, "sparse", module)
    return module


def test_export_opens_with_plain_pickle_where_sparse_is_installed(tmp_path, sparse):
    path = tmp_path / "g.pickle"
    data = graph_of(GRAPHS["a-1"])
    write_graph_pickle(path, [("a-1", published_graph(data)), ("b", published_graph(data))])
    with open(path, "rb") as file:
        content = pickle.load(file)
    got = content["b"]
    assert (
        isinstance(got, Data)
        and isinstance(got.edge_attr, sparse.COO)
        and set(got.keys()) == {"x", "edge_index", "edge_attr"}
    )
    dense = np.zeros(got.edge_attr.shape, np.float32)
    dense[tuple(got.edge_attr.coords)] = got.edge_attr.data
    np.testing.assert_array_equal(dense, data.edge_attr)
    assert torch.equal(got.x, data.x) and torch.equal(got.edge_index, data.edge_index)
    assert b"numpy._core" not in path.read_bytes()  # which NumPy 1 does not have


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_the_published_code_are_read(tmp_path, sparse, protocol):
    data = graph_of(GRAPHS["b c"])
    attributes = data.edge_attr.numpy().astype(np.float64)
    coords = np.stack(attributes.nonzero())
    coo = sparse.COO(coords, attributes[tuple(coords)], attributes.shape)
    shared = Data(x=data.x.double(), edge_index=data.edge_index, edge_attr=coo)
    # Both videos refer to the same arrays, and one array is stored column by column.
    turned = Data(x=np.asfortranarray(data.x.numpy()), edge_index=data.edge_index.numpy(), edge_attr=coo)
    path = tmp_path / "published.pickle"
    path.write_bytes(pickle.dumps({"v1": shared, "v2": turned, "v3": shared.clone()}, protocol=protocol))
    for arrays in read_graphs(path, S, P).values():
        assert_same_graph(arrays, GRAPHS["b c"])


def test_dense_attributes_and_fewer_rows_are_read(tmp_path):
    data = graph_of(GRAPHS["d"])
    path = tmp_path / "dense.pickle"
    path.write_bytes(pickle.dumps({"v": Data(x=data.x[:P], edge_index=data.edge_index, edge_attr=data.edge_attr)}))
    assert_same_graph(read_graphs(path, S, P)["v"], GRAPHS["d"])


def graph_fields(**changes):
    nodes, actions = torch.ones(2, 2, 3), torch.ones(2, 4)
    data = to_data(nodes, actions, None)
    fields = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy(), "edge_attr": data.edge_attr.numpy()}
    return {**fields, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((5, 3))}, r"x is \[5, 3\], expected at most 2 slots x 2 nodes = 4 rows"),
        ({"edge_index": np.full((2, 12), 4)}, "does not fit 12 attributes and 4 nodes"),
        ({"edge_index": np.zeros((2, 3), int)}, r"edge_index \[2, 3\] does not fit 12"),
        ({"edge_index": np.tile([[3], [0]], 12)}, "slots that are not neighbours"),
        ({"edge_attr": np.arange(48).reshape(12, 4)}, "more than its first channel|different attributes"),
        ({"edge_attr": np.eye(12, 4) + np.eye(12, 1)}, "more than its first channel|different attributes"),
    ],
)
def test_graphs_of_another_form_are_refused(changes, message):
    with pytest.raises(PublishedFileError, match=message):
        compact_graph(graph_fields(**changes), 2, 2)


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def hostile_storage():
    """Bytes that torch would unpickle inside a tensor."""
    return pickle.dumps(Call(os.system, "exit 3"))


def build_on_class():
    """GLOBAL numpy.dtype; state ({}, {"__setstate__": 1}); BUILD: an attempt to change the class itself."""
    return b"\x80\x03cnumpy\ndtype\n}X\x0c\x00\x00\x00__setstate__K\x01s\x86b."


def build_on_function():
    return b"\x80\x03ccollections\nOrderedDict\n}X\x0c\x00\x00\x00__defaults__)sb."


HOSTILE = {
    "call": (pickle.dumps({"v": Call(os.system, "exit 3")}), "names (posix|nt).system"),
    "eval": (pickle.dumps(Call(eval, "1 + 1")), "names builtins.eval"),
    "inside a known module": (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "names torch.load"),
    "dotted": (
        b"\x80\x04\x8c\x19torch_geometric.data.data\x8c\x19Data.__init__.__globals__\x93.",
        r"names torch_geometric\.data\.data\.Data\.__init__",
    ),
    "tensor bytes": (pickle.dumps(Call(torch.storage._load_from_bytes, hostile_storage())), "not a readable pickle"),
    "object array": (pickle.dumps(np.array([Call(eval, "1")], object)), "only numbers are read|builtins.eval"),
    "change a class": (build_on_class(), "not a readable pickle|tries to change|cannot be read"),
    "change a function": (build_on_function(), "gives a state to a function"),
    "persistent": (b"\x80\x03X\x01\x00\x00\x00aQ.", "not a readable pickle"),
    "cut": (pickle.dumps({"v": np.zeros(100)})[:-20], "not a readable pickle"),
    "empty": (b"", "not a readable pickle"),
    "text": (b"no pickle at all", "not a readable pickle"),
    "something else": (pickle.dumps([1, 2]), r"does not hold \{video: graph\}"),
    "other values": (pickle.dumps({"v": 1}), r"does not hold \{video: graph\}"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_and_broken_pickles(tmp_path, monkeypatch, name):
    content, message = HOSTILE[name]

    def ran(*_):
        raise SystemExit("code of the file ran")

    monkeypatch.setattr(os, "system", ran)
    path = tmp_path / "hostile.pickle"
    path.write_bytes(content)
    with pytest.raises(PublishedFileError, match=message) as error:
        read_graphs(path, S, P)
    assert str(path) in str(error.value)


def test_records_cannot_be_changed_from_a_file():
    with pytest.raises(UnsafePickle, match=r"tries to change SparseCOO\.__setstate__"):
        SparseCOO.__setstate__ = None


def test_sparse_arrays_out_of_shape_are_refused(tmp_path):
    array = sparse_rows(np.eye(3, dtype=np.float32))
    array.coords = array.coords + 7
    write_graph_pickle(tmp_path / "s.pickle", [("v", Data(x=torch.zeros(1, 1), edge_attr=array))])
    with pytest.raises(UnsafePickle, match="coordinates outside its shape"):
        read_graph_pickle(tmp_path / "s.pickle", dict)


def test_tensors_beyond_their_storage_are_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.zeros(4).storage(), buffer, _use_new_zipfile_serialization=False)
    storage = Call(torch.storage._load_from_bytes, buffer.getvalue())
    for size, stride, fits in (((4,), (1,), True), ((400,), (1,), False), ((4,), (-1,), False)):
        tensor = Call(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, {})
        (tmp_path / "t.pickle").write_bytes(pickle.dumps({"v": tensor}))
        expected = "does not hold" if fits else "not a readable pickle: RuntimeError"
        with pytest.raises(PublishedFileError, match=expected):
            read_graph_pickle(tmp_path / "t.pickle", dict)


def test_one_graph_is_held_at_a_time(tmp_path):
    """Eight graphs of 4 MB each: all at once would be 32 MB."""

    def graphs(count=8):
        return ((f"v{n}", Data(x=np.full((1024, 1024), n, np.float32))) for n in range(count))

    (tmp_path / "theirs.pickle").write_bytes(pickle.dumps(dict(graphs())))
    tracemalloc.start()
    write_graph_pickle(tmp_path / "ours.pickle", graphs())
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    for name in ("ours", "theirs"):
        tracemalloc.reset_peak()
        firsts = read_graph_pickle(tmp_path / f"{name}.pickle", lambda graph: float(graph["x"][0, 0]))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        assert firsts == {f"v{n}": n for n in range(8)}
    tracemalloc.stop()


def test_compact_graphs_wait_in_a_file(tmp_path):
    """Forty graphs, of which the memory holds one and what is needed to read it."""
    arrays = {name: np.repeat(array, 1000, -1) if name == "nodes" else array for name, array in GRAPHS["a-1"].items()}
    data = published_graph(graph_of(arrays))
    write_graph_pickle(tmp_path / "many.pickle", ((f"v{n}", data) for n in range(40)))
    tracemalloc.start()
    graphs = read_graphs(tmp_path / "many.pickle", S, P, folder=tmp_path)
    assert list(graphs) == [f"v{n}" for n in range(40)]
    assert all(np.array_equal(graph["nodes"], arrays["nodes"]) for graph in graphs.values())
    assert tracemalloc.get_traced_memory()[1] < 12 * graphs["v3"]["nodes"].nbytes
    tracemalloc.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["many.pickle"]
    with pytest.raises(KeyError):
        graphs["v40"]


@pytest.mark.parametrize(
    ("key", "expected"), [("video0-19", ("video0", 19)), ("-a-b_1_2-3", ("-a-b_1_2", 3)), ("имя 1-0", ("имя 1", 0))]
)
def test_keys_are_split_at_the_last_dash(key, expected):
    assert split_key(key) == expected


@pytest.mark.parametrize("key", ["video0", "-3", "video-x", "video-"])
def test_other_keys_are_refused(key):
    with pytest.raises(PublishedFileError, match="is not named VIDEO-SLOT"):
        split_key(key)


def test_node_files(tmp_path):
    path = tmp_path / "grid_node_features.hdf5"
    write_nodes(path, GRAPHS.items())
    with h5py.File(path) as file:
        assert len(file) == 3 * S and file["a-1-3"].shape == (P, D) and file["a-1-3"].dtype == np.float32
        assert not file["d-1"][()].any()
    back = dict(read_nodes(path, S))
    for name, arrays in GRAPHS.items():
        for part in ("nodes", "slot_mask", "node_mask"):
            np.testing.assert_array_equal(back[name][part], arrays[part])
    with pytest.raises(PublishedFileError, match=r"has slot 3; with 2 slots the last is 1"):
        dict(read_nodes(path, 2))
    masks = {name: arrays["slot_mask"] for name, arrays in GRAPHS.items()}
    assert set(dict(read_nodes(path, S, masks))) == set(GRAPHS)
    with pytest.raises(PublishedFileError, match=r"'b c' needs a mask of 4 slots, the mask files hold none"):
        dict(read_nodes(path, S, {name: mask for name, mask in masks.items() if name != "b c"}))
    with pytest.raises(PublishedFileError, match=r"hold one of 3 slots"):
        dict(read_nodes(path, S, {name: mask[:3] for name, mask in masks.items()}))


def exported(root, tmp_path):
    target = tmp_path / "published"
    assert run(root, "--export", str(target)) == 0
    return target


def test_export_program(root, tmp_path):
    target = exported(root, tmp_path)
    assert sorted(path.name for path in target.iterdir()) == [
        "grid_node_features.hdf5",
        "small_GBased_test.pickle",
        "small_GBased_train.pickle",
        "small_videomask_test.hdf5",
        "small_videomask_train.hdf5",
        "video_mask.hdf5",
    ]
    assert list(read_graphs(target / "small_GBased_train.pickle", S, P)) == SPLITS["train"]
    with h5py.File(target / "small_videomask_train.hdf5") as file:
        assert sorted(file) == SPLITS["train"] and file["b c"].dtype == np.int64
        assert file["b c"][()].tolist() == [[1, 1, 0, 0]]
    assert {name: mask.sum() for name, mask in read_masks(target / "video_mask.hdf5").items()} == {
        "a-1": 4,
        "b c": 2,
        "d": 1,
    }


def test_export_with_padding_edges(root, tmp_path):
    assert run(root, "--export", str(tmp_path / "p"), "--compat", "pad_edges") == 0
    counts = read_graph_pickle(tmp_path / "p" / "small_GBased_test.pickle", lambda graph: graph["edge_index"].shape[1])
    assert counts == {"d": 28}


def test_dry_runs_of_export_and_import_write_nothing(root, tmp_path, capsys):
    target = exported(root, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(root, "--export", str(tmp_path / "none"), "--dry_run") == 0
    assert "would write train: 2, test: 1 to" in capsys.readouterr().err
    assert run(root, "--features", "akg", "--import", str(target / "grid_node_features.hdf5"), "--dry_run") == 0
    assert "would import" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_export_of_a_split_and_strict(root, tmp_path):
    assert run(root, "--export", str(tmp_path / "p"), "--split", "test", "--strict") == 1  # "absent" has no graph
    assert [path.name for path in sorted((tmp_path / "p").glob("*.pickle"))] == ["small_GBased_test.pickle"]
    assert run(root, "--export", str(tmp_path / "p"), "--split", "train", "--strict") == 0


def test_of_several_processes_one_does_the_work(root):
    launch(Path(transform_graph_to_geometric.__file__), "--data_root", root, "--device", "cpu", processes=2)
    assert len(GraphFolder(root / "features/tiny/small_GBased_geometric")) == len(GRAPHS)
    assert run(root, "--device", "tpu") == 2


def test_import_program_makes_the_same_graphs(root, tmp_path):
    target = exported(root, tmp_path)
    sizes = ["--slots", str(S), "--nodes_per_slot", str(P)]
    files = [str(path) for path in sorted(target.glob("small_*"))]
    assert run(root, "--features", "akg", "--import", *files, *sizes) == 0
    store = FeatureStore(root / "features/akg/small_GBased_graph.hdf5")
    assert store.ids == sorted(GRAPHS) and store.settings["nodes"]["slots"] == S
    for name, arrays in GRAPHS.items():
        assert_same_graph(store[name], arrays)


def test_import_program_reads_node_files(root, tmp_path):
    target = exported(root, tmp_path)
    files = [str(target / "grid_node_features.hdf5"), str(target / "video_mask.hdf5")]
    assert run(root, "--features", "akg", "--import", *files, "--slots", str(S)) == 0
    store = FeatureStore(root / "features/akg/small_GBased.hdf5")
    for name, arrays in GRAPHS.items():
        for part in ("nodes", "slot_mask", "node_mask"):
            np.testing.assert_array_equal(store[name][part], arrays[part])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["absent.pickle"], "no file"),
        (["notes.txt"], "neither a pickle"),
        (["video_mask.hdf5"], "mask files alone hold no graphs"),
        (["small_GBased_train.pickle", "grid_node_features.hdf5"], "graph pickles or node files at a time"),
        (["text.hdf5"], "not a readable HDF5 file"),
        (["odd.hdf5"], "neither a node file .* nor a mask file"),
        (["small_GBased_train.pickle"], "expected at most 1 slots"),
    ],
)
def test_import_mistakes(root, tmp_path, capsys, files, message):
    target = exported(root, tmp_path)
    (target / "notes.txt").write_text("notes")
    (target / "text.hdf5").write_text("notes")
    with h5py.File(target / "odd.hdf5", "w") as file:
        file["video"] = np.zeros((2, 3, 4))
    words = [str(target / name) for name in files]
    assert run(root, "--features", "akg", "--import", *words, "--slots", "1", "--nodes_per_slot", str(P)) == 2
    assert re.search(message, capsys.readouterr().err)


def test_flags_that_exclude_each_other(root, capsys):
    with pytest.raises(SystemExit):
        run(root, "--export", "out", "--import", "file.pickle")
    assert "--export and --import are two tasks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(root, "--compat", "positions")
    assert "'positions' is unknown; known are reference, emptiness" in capsys.readouterr().err


def test_published_program_name(root):
    from graphs import __file__ as package

    program = os.path.join(os.path.dirname(package), "transform-graph-to-geometric.py")
    words = [sys.executable, program, "--data_root", str(root), "--split", "test"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert (root / "features/tiny/small_GBased_geometric/nodes.npy").is_file()
