"""Relation and object rows in published files: read, written, and into the captioner."""

import re

import h5py
import numpy as np
import pytest
from graph_examples import GRAPHS, P, S, run

from dataset.graph_features import GraphFeatures
from dataset.msvd import read_msvd
from graphs.published_import import import_files
from graphs.published_pickle import PublishedFileError
from graphs.published_rows import RowFiles, read_objects, read_relations, rows_kind, write_rows
from graphs.transform_graph_to_geometric import TransformArguments
from utility.feature_store import FeatureStore, FeatureWriter

REL, WIDE = 5, 7


def drawn(seed, rows, width):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


ROWS = {"a-1": drawn(0, 24, REL), "b c": drawn(1, 3, REL), "d": np.zeros((0, REL), np.float32)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MSVD_rel_train.hdf5", "rel"), ("MSR-VTT_OFeat_val.hdf5", "OFeat"), ("x/my_own_BFeat_test.h5", "BFeat"),
        ("clip_embeddings.hdf5", "rel"), ("MSVD_videomask_train.hdf5", None), ("relations.hdf5", None),
    ],
)  # fmt: skip
def test_rows_are_known_by_the_name_of_their_file(name, kind):
    assert rows_kind(name) == kind


def test_relations_come_back_as_they_were_written(tmp_path):
    write_rows(tmp_path / "train.hdf5", list(ROWS.items())[:2])
    write_rows(tmp_path / "test.hdf5", list(ROWS.items())[2:])
    back = dict(read_relations([tmp_path / "train.hdf5", tmp_path / "test.hdf5"]))
    assert back.keys() == ROWS.keys()
    for name, rows in ROWS.items():
        np.testing.assert_array_equal(back[name]["rel"], rows)


@pytest.mark.parametrize(
    "nothing", [np.zeros(0), np.zeros((0, 1024)), np.zeros((20, 1024)), np.zeros((20, REL))], ids=str
)
def test_videos_without_rows_have_the_width_of_the_others(tmp_path, nothing):
    with h5py.File(tmp_path / "x_rel_train.hdf5", "w") as file:
        file["none"], file["some"] = nothing, np.concatenate([drawn(2, 2, REL), np.zeros((4, REL))])
    back = dict(read_relations([tmp_path / "x_rel_train.hdf5"]))
    assert back["none"]["rel"].shape == (0, REL)
    np.testing.assert_array_equal(back["some"]["rel"], drawn(2, 2, REL))


def test_an_object_row_is_the_box_then_the_feature(tmp_path):
    boxes = {"a": np.array([[0, 0, 0, 0], [3, 1, 9, 8]]), "b": np.zeros(0), "c": np.zeros((20, 4))}
    features = {"a": drawn(3, 2, WIDE), "b": np.zeros((0, WIDE)), "c": np.zeros((20, 1024))}
    for kind, rows in (("OFeat", features), ("BFeat", boxes)):
        with h5py.File(tmp_path / f"x_{kind}_train.hdf5", "w") as file:
            for name, value in rows.items():
                file[name] = value
    back = dict(read_objects([tmp_path / "x_OFeat_train.hdf5"], [tmp_path / "x_BFeat_train.hdf5"]))
    np.testing.assert_array_equal(back["a"]["objects"], np.concatenate([boxes["a"], features["a"]], axis=1))
    assert back["b"]["objects"].shape == back["c"]["objects"].shape == (0, 4 + WIDE)
    assert back["a"]["objects"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": np.ones((2, 3)), "b": np.ones((1, 3)), "c": np.ones((1, 4))}, r"'c' has rows of width 4, others of 3"),
        ({"a": np.ones((2, 3, 1))}, r"no video has rows"),
        ({"a": np.ones((2, 3)), "b": np.ones((2, 3, 1))}, r"'b' is \[2, 3, 1\], not \[rows, width\]"),
        ({"a": np.ones((2, 3)), "b": "text"}, r"'b' is no array of numbers"),
        ({"a": np.zeros(0)}, "no video has rows"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, content, message):
    with h5py.File(tmp_path / "x_rel_train.hdf5", "w") as file:
        for name, value in content.items():
            file[name] = value
    with pytest.raises(PublishedFileError, match=message):
        RowFiles([tmp_path / "x_rel_train.hdf5"])
    with h5py.File(tmp_path / "x_rel_train.hdf5", "r+"):  # what was refused is closed again
        pass


def test_objects_and_boxes_must_go_together(tmp_path):
    write_rows(tmp_path / "o", [("a", drawn(0, 2, WIDE))])
    write_rows(tmp_path / "fewer", [("a", drawn(0, 1, 4))])
    write_rows(tmp_path / "other", [("b", drawn(0, 2, 4))])
    with pytest.raises(PublishedFileError, match=r"'a': 2 objects in OFeat, but 1 boxes in BFeat"):
        dict(read_objects([tmp_path / "o"], [tmp_path / "fewer"]))
    with pytest.raises(PublishedFileError, match=r"'a' has objects in OFeat but no boxes in BFeat"):
        dict(read_objects([tmp_path / "o"], [tmp_path / "other"]))


@pytest.fixture
def with_rows(root):
    """The corpus of graphs with relation and object rows beside them, in half precision as the stages store them."""
    objects = {name: np.abs(drawn(4, len(rows), 4 + WIDE)) for name, rows in ROWS.items()}
    for feature, array, rows in (("rel", "rel", ROWS), ("OFeat", "objects", objects)):
        with FeatureWriter(root / f"features/tiny/small_{feature}.hdf5", {"kind": feature}) as writer:
            for name, value in rows.items():
                writer.write(name, {array: value})
            writer.finish()
    return root


def test_export_and_import_leave_what_the_captioner_reads(with_rows, tmp_path):
    target = tmp_path / "published"
    assert run(with_rows, "--export", str(target)) == 0
    with h5py.File(target / "small_BFeat_train.hdf5") as file:
        assert sorted(file) == ["a-1", "b c"] and file["b c"].shape == (3, 4)
    files = [str(path) for path in sorted(target.glob("small_*"))]
    sizes = ["--slots", str(S), "--nodes_per_slot", str(P)]
    assert run(with_rows, "--features", "akg", "--import", *files, *sizes) == 0
    batches = []
    for folder in ("tiny", "akg"):
        stores = {
            kind: FeatureStore(with_rows / f"features/{folder}/small_{name}.hdf5")
            for kind, name in (("graphs", "GBased_graph"), ("rel", "rel"), ("objects", "OFeat"))
        }
        batches.append(GraphFeatures(ids=list(GRAPHS), **stores).batch(list(GRAPHS)))
    assert batches[0].keys() == batches[1].keys() and {"rel_mask", "object_mask"} <= batches[0].keys()
    for key, value in batches[0].items():
        np.testing.assert_array_equal(batches[1][key], value, err_msg=key)


def test_rows_keep_single_precision_and_say_where_they_come_from(with_rows, tmp_path):
    fine = np.full((2, REL), 1 + 2**-20, np.float32)
    write_rows(tmp_path / "any_rel_train.hdf5", [("a-1", fine), ("of another corpus", fine)])
    assert run(with_rows, "--features", "akg", "--import", str(tmp_path / "any_rel_train.hdf5")) == 0
    store = FeatureStore(with_rows / "features/akg/small_rel.hdf5")
    np.testing.assert_array_equal(store["a-1"]["rel"], fine)
    assert store.ids == ["a-1"] and store.settings == {"imported": ["any_rel_train.hdf5"]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["small_OFeat_train.hdf5"], "object rows are OFeat and BFeat together"),
        (["small_BFeat_train.hdf5", "small_rel_train.hdf5"], "object rows are OFeat and BFeat together"),
        (["text_rel_train.hdf5"], "text_rel_train.hdf5 is not a readable HDF5 file"),
    ],
)
def test_import_mistakes(with_rows, tmp_path, capsys, files, message):
    target = tmp_path / "published"
    assert run(with_rows, "--export", str(target)) == 0
    (target / "text_rel_train.hdf5").write_text("notes")
    assert run(with_rows, "--features", "akg", "--import", *(str(target / name) for name in files)) == 2
    assert re.search(message, capsys.readouterr().err)


def test_names_of_youtube_become_ids(tmp_path):
    root = tmp_path / "MSVD"
    (root / "metadata").mkdir(parents=True)
    (root / "metadata/captions.json").write_text('{"vid1": ["a cat sits"], "vid2": ["a dog runs"]}')
    (root / "metadata/splits.json").write_text('{"train": ["vid1"], "val": [], "test": ["vid2"]}')
    (root / "metadata/youtube_mapping.json").write_text('{"vid1": "-4wsuPCjDBc_5_15", "vid2": "x_0_9"}')
    write_rows(tmp_path / "MSVD_rel_train.hdf5", [("-4wsuPCjDBc_5_15", drawn(0, 2, REL)), ("vid2", drawn(1, 1, REL))])
    args = TransformArguments(
        dataset="msvd", data_root=str(root), features="akg", import_files=[str(tmp_path / "MSVD_rel_train.hdf5")]
    )
    assert import_files(args, read_msvd(root)) == 0
    store = FeatureStore(root / "features/akg/MSVD_rel.hdf5")
    assert store.ids == ["vid1", "vid2"]
    np.testing.assert_array_equal(store["vid1"]["rel"], drawn(0, 2, REL))
