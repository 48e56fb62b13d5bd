"""The graph programs over a small corpus: what they write, what they skip, what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from launch import launch

from graphs import (
    action_spatio_temporal_graph_feature_extractor,
    grid_based_spatial_action_graph,
    temporal_similarity_graph,
)
from graphs.parts import (
    PartMismatch,
    graph_part,
    graph_settings,
    node_mask,
    spatial_part,
    spatial_settings,
    temporal_settings,
)
from graphs.temporal import temporal_similarity
from utility.feature_store import FeatureStore, FeatureWriter, feature_path
from utility.manifest import Manifest, manifest_path

S, P, D, A = 3, 4, 6, 5
IDS = ["a-1", "b c", "d"]
SETTINGS = {"backbone": "tiny", "slots": S, "sampling": "time"}
PROGRAMS = (grid_based_spatial_action_graph, temporal_similarity_graph, action_spatio_temporal_graph_feature_extractor)


def write(folder, feature, videos, settings=SETTINGS):
    with FeatureWriter(feature_path(folder, "small", feature), settings) as writer:
        for name, arrays in videos.items():
            writer.write(name, arrays)
        writer.finish()


def node_arrays(seed, filled=S):
    draw = np.random.default_rng(seed)
    mask = np.arange(S) < filled
    return {
        "nodes": np.where(mask[:, None, None], draw.standard_normal((S, P, D)), 0).astype(np.float32),
        "slot_mask": mask,
        "frame_index": np.where(mask, np.arange(S) * 25, -1).astype(np.int32),
        "frame_time": np.where(mask, np.arange(S), 0).astype(np.float32),
    }


def action_arrays(seed, filled=S):
    draw = np.random.default_rng(seed + 100)
    return {"actions": draw.random((S, A)).astype(np.float32), "slot_mask": np.arange(S) < filled}


@pytest.fixture
def corpus(tmp_path):
    """A folder corpus of three captioned videos without video files, nodes of three and actions of two of them."""
    root = tmp_path / "small"
    (root / "metadata").mkdir(parents=True)
    (root / "videos").mkdir()
    content = {
        "videos": [{"video_id": name, "split": "train"} for name in IDS],
        "sentences": [{"video_id": name, "caption": "a cat sits", "sen_id": i} for i, name in enumerate(IDS)],
    }
    (root / "metadata" / "captions.json").write_text(json.dumps(content))
    folder = root / "features" / "tiny"
    write(folder, "GBased", {name: node_arrays(i, S - i) for i, name in enumerate(IDS)})
    write(folder, "actions", {name: action_arrays(i, S - i) for i, name in enumerate(IDS[:2])})
    return root


def run(program, root, *words):
    return program.main(["--data_root", str(root), "--device", "cpu", *words])


def store(root, feature):
    return FeatureStore(feature_path(root / "features" / "tiny", "small", feature))


def test_all_stages(corpus):
    assert [run(program, corpus) for program in PROGRAMS] == [0, 0, 0]
    spatial, temporal, graphs = (store(corpus, f"GBased{name}") for name in ("_spatial", "_temporal", "_graph"))
    assert (spatial.ids, temporal.ids, graphs.ids) == (IDS[:2], IDS, IDS[:2])
    nodes = store(corpus, "GBased")["b c"]
    graph = graphs["b c"]
    assert set(graph) == {*nodes, "actions", "temporal", "node_mask"}
    assert graph["temporal"].dtype == np.float32 and graph["nodes"].dtype == np.float16
    assert graph["slot_mask"].tolist() == [True, True, False]
    assert graph["node_mask"].tolist() == [[True] * P, [True] * P, [False] * P]
    assert not graph["actions"][2].any() and graph["actions"][:2].all()
    want = temporal_similarity(torch.from_numpy(nodes["nodes"]), torch.from_numpy(graph["node_mask"]))
    np.testing.assert_array_equal(graph["temporal"], want)
    assert graphs.settings["nodes"] == SETTINGS == graphs.settings["actions"]
    latest = Manifest(manifest_path(corpus / "features" / "tiny", "small", "GBased_graph")).latest()
    assert {name: entry["status"] for name, entry in latest.items()} == {
        "a-1": "done",
        "b c": "done",
        "d": "missing",
    }
    assert latest["d"]["cause"].startswith("no GBased_spatial features (missing: no actions features")


def test_second_run_makes_only_what_is_new(corpus):
    assert run(temporal_similarity_graph, corpus, "--limit", "1") == 0
    assert store(corpus, "GBased_temporal").ids == IDS[:1]
    before = store(corpus, "GBased_temporal")["a-1"]["temporal"]
    assert run(temporal_similarity_graph, corpus) == 0
    after = store(corpus, "GBased_temporal")
    assert after.ids == IDS
    np.testing.assert_array_equal(after["a-1"]["temporal"], before)


def test_two_processes_share_the_videos(corpus):
    launch(Path(temporal_similarity_graph.__file__), "--data_root", corpus, "--device", "cpu", processes=2)
    shared = store(corpus, "GBased_temporal")
    folder = corpus / "features" / "tiny"
    assert shared.ids == IDS
    assert sorted(path.name for path in folder.glob("*temporal*")) == [
        "small_GBased_temporal.hdf5",
        "small_GBased_temporal.manifest.jsonl",
    ]
    assert len(Manifest(manifest_path(folder, "small", "GBased_temporal")).latest()) == len(IDS)
    assert run(temporal_similarity_graph, corpus, "--resume", "0") == 0
    for name in IDS:
        np.testing.assert_array_equal(shared[name]["temporal"], store(corpus, "GBased_temporal")[name]["temporal"])


def test_dry_run_writes_nothing(corpus, caplog):
    before = sorted(corpus.rglob("*"))
    assert run(grid_based_spatial_action_graph, corpus, "--dry_run") == 0
    assert sorted(corpus.rglob("*")) == before


def test_split_and_strict(corpus):
    assert run(grid_based_spatial_action_graph, corpus, "--strict") == 1
    assert run(grid_based_spatial_action_graph, corpus, "--split", "test") == 1
    file = corpus / "metadata" / "captions.json"
    content = json.loads(file.read_text())
    content["videos"][1]["split"] = "validate"
    file.write_text(json.dumps(content))
    assert run(temporal_similarity_graph, corpus, "--split", "val", "--strict") == 0
    assert store(corpus, "GBased_temporal").ids == IDS[1:2]


def test_two_runs_at_once_are_an_answer_and_no_traceback(corpus, capsys):
    folder = corpus / "features" / "tiny"
    settings = temporal_settings(store(corpus, "GBased").settings)
    with FeatureWriter(feature_path(folder, "small", "GBased_temporal"), settings):
        assert run(temporal_similarity_graph, corpus) == 2
    assert "is being written by another process" in capsys.readouterr().err


def test_starting_anew_takes_other_settings(corpus):
    assert run(temporal_similarity_graph, corpus) == 0
    path = feature_path(corpus / "features" / "tiny", "small", "GBased")
    path.unlink()
    write(path.parent, "GBased", {"d": node_arrays(7)}, {**SETTINGS, "backbone": "other"})
    assert run(temporal_similarity_graph, corpus) == 2  # nodes.backbone differs from what is stored
    assert store(corpus, "GBased_temporal").ids == IDS
    assert run(temporal_similarity_graph, corpus, "--resume", "0") == 0
    assert store(corpus, "GBased_temporal").ids == ["d"]


def test_the_backbone_names_the_features(corpus, capsys):
    folder = corpus / "features" / "other.2"
    write(folder, "GBased", {"d": node_arrays(7)})
    assert run(temporal_similarity_graph, corpus) == 2  # two sets, none named
    assert "choose one with --features" in capsys.readouterr().err
    assert run(temporal_similarity_graph, corpus, "--backbone", "tiny") == 0
    assert store(corpus, "GBased_temporal").ids == IDS
    # weights that are not here still name their features
    assert run(temporal_similarity_graph, corpus, "--backbone", "other:weights/2.bin") == 0
    assert FeatureStore(folder / "small_GBased_temporal.hdf5").ids == ["d"]
    assert run(temporal_similarity_graph, corpus, "--backbone", "absent") == 2
    assert "features/absent/small_GBased.hdf5" in capsys.readouterr().err
    assert run(temporal_similarity_graph, corpus, "--backbone", "absent", "--features", "tiny") == 0


def test_manifests_of_the_stages_before_are_read_once(corpus, monkeypatch):
    read = []
    latest = Manifest.latest
    monkeypatch.setattr(Manifest, "latest", lambda self: (read.append(self.path.name), latest(self))[1])
    write(corpus / "features" / "tiny", "OBased", {"x": node_arrays(7)})
    write(corpus / "features" / "tiny", "actions", {})
    assert run(grid_based_spatial_action_graph, corpus, "--nodes", "object") == 1
    assert read == ["small_OBased.manifest.jsonl"]
    latest = Manifest(manifest_path(corpus / "features" / "tiny", "small", "OBased_spatial")).latest()
    assert {entry["cause"] for entry in latest.values()} == {"no OBased features"} and len(latest) == len(IDS)


def test_a_wrong_device_is_an_answer_and_no_traceback(corpus, caplog):
    assert temporal_similarity_graph.main(["--data_root", str(corpus), "--device", "tpu"]) == 2
    assert "unknown device 'tpu'" in caplog.text


def test_missing_source_names_its_stage(corpus, capsys):
    assert run(action_spatio_temporal_graph_feature_extractor, corpus) == 2
    assert "graphs/grid_based_spatial_action_graph.py" in capsys.readouterr().err


def test_object_nodes_use_their_masks(corpus):
    arrays = node_arrays(3)
    arrays |= {"node_mask": np.tile([True, True, False, False], (S, 1)), "boxes": np.zeros((S, P, 4), np.float32)}
    write(corpus / "features" / "tiny", "OBased", {"d": arrays})
    write(corpus / "features" / "tiny", "actions", {"d": action_arrays(5)})
    assert grid_based_spatial_action_graph.main(["--data_root", str(corpus), "--device", "cpu"], nodes="object") == 0
    assert run(temporal_similarity_graph, corpus, "--nodes", "object") == 0
    assert run(action_spatio_temporal_graph_feature_extractor, corpus, "--nodes", "object") == 0
    graph = store(corpus, "OBased_graph")["d"]
    assert graph["node_mask"].sum() == 2 * S and graph["boxes"].dtype == np.float32
    assert not graph["nodes"][:, 2:].any() and graph["nodes"][:, :2].all()


def test_unknown_nodes_are_refused(corpus, capsys):
    with pytest.raises(SystemExit):
        run(temporal_similarity_graph, corpus, "--nodes", "patch")
    assert "--nodes is 'patch'; it must be grid or object" in capsys.readouterr().err


def test_node_mask_is_within_filled_slots():
    arrays = {"nodes": np.zeros((2, 2, 1)), "slot_mask": np.array([1, 0]), "node_mask": np.array([[1, 0], [1, 1]])}
    assert node_mask(arrays).tolist() == [[True, False], [False, False]]
    assert node_mask({"nodes": arrays["nodes"]}).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((S + 1, A))}, r"actions are \[4, 5\] for nodes with 3 slots"),
        ({"slot_mask": np.arange(S) < 1}, "slot_mask of nodes and actions differ"),
        ({"frame_index": np.arange(S)}, "frame_index of nodes and actions differ"),
    ],
)
def test_features_that_were_not_made_for_each_other(change, message):
    with pytest.raises(PartMismatch, match=message):
        spatial_part(node_arrays(0), {**action_arrays(0), **change})


def test_parts_of_other_nodes_are_refused():
    nodes = node_arrays(0)
    spatial = spatial_part(nodes, action_arrays(0))
    with pytest.raises(PartMismatch, match="its node_mask differs"):
        graph_part(node_arrays(0, 1), spatial, {"temporal": np.zeros((S - 1, P, P))})
    with pytest.raises(PartMismatch, match=r"temporal part is \[3, 4, 4\], these nodes need \[2, 4, 4\]"):
        graph_part(nodes, spatial, {"temporal": np.zeros((S, P, P))})


def test_settings_of_parts_must_agree():
    with pytest.raises(PartMismatch, match="slots 3, actions with 4"):
        spatial_settings(SETTINGS, {"slots": 4})
    spatial = spatial_settings(SETTINGS, {})
    temporal = {"nodes": SETTINGS, "temperature": 1.0}
    assert graph_settings(SETTINGS, spatial, temporal)["nodes"] == SETTINGS
    with pytest.raises(PartMismatch, match=r"the temporal part .* \(backbone\)"):
        graph_settings(SETTINGS, spatial, {"nodes": {**SETTINGS, "backbone": "b"}, "temperature": 1.0})
