"""Graph stages and published files under hardship: a message, nothing half-made, and a rerun that completes."""

import shutil
import sys
from pathlib import Path

import hardships
import numpy as np
import pytest
import torch
from graph_examples import GRAPHS, A, D, P, S
from graph_examples import run as transform
from launch import ROOT, launch, torchrun
from torch_geometric.loader import DataLoader

from graphs import temporal_similarity_graph
from graphs.geometric import ActionGraphDataset, graph_of
from graphs.graph_folder import GraphFolder, write_graph_folder
from graphs.published_files import read_graphs
from graphs.stage import Stage, run_stage
from graphs.stages import GRAPH_STAGES, OBJECT_ROWS
from utility.feature_store import FeatureStore, FeatureWriter
from utility.manifest import Manifest

PROGRAM = [sys.executable, ROOT / "graphs" / "transform_graph_to_geometric.py"]
FOLDER = "features/tiny/small_GBased_geometric"
NODES = ("nodes", "slot_mask", "frame_index")


@pytest.fixture
def sources(root):
    """The corpus with nodes, actions and objects of all videos in place of their graphs."""
    folder = root / "features/tiny"
    (folder / "small_GBased_graph.hdf5").unlink()
    boxes = {"boxes": np.full((S, P, 4), 0.5, np.float32), "scores": np.ones((S, P), np.float32)}
    parts = {"GBased": NODES, "actions": ("actions", "slot_mask", "frame_index"), "OBased": (*NODES, "node_mask")}
    for feature, names in parts.items():
        with FeatureWriter(folder / f"small_{feature}.hdf5", {"slots": S}) as writer:
            for video, graph in GRAPHS.items():
                more = boxes if feature == "OBased" else {}
                writer.write(video, {name: graph[name] for name in names} | more)
            writer.finish()
    return root


def words(root, *more):
    return ["--data_root", str(root), "--device", "cpu", *more]


@pytest.mark.parametrize("stage", [*GRAPH_STAGES, OBJECT_ROWS], ids=lambda stage: stage.name)
def test_ctrl_c_in_every_graph_stage(stage, sources, capsys):
    from dataset.stage_arguments import StageArguments
    from graphs.stage import run_program

    args = StageArguments(data_root=str(sources), device="cpu", nodes="object" if stage is OBJECT_ROWS else "grid")
    for earlier in GRAPH_STAGES[: GRAPH_STAGES.index(stage)] if stage in GRAPH_STAGES else ():
        assert run_program(earlier, args) == 0
    folder, name = sources / "features/tiny", f"small_{stage.target_feature(args.node_feature)}"
    with hardships.ctrl_c_in("utility.feature_store.FeatureWriter.write", 2):
        assert run_program(stage, args) == 130
    assert "stopped; what is stored stays, the same command continues" in capsys.readouterr().err
    assert not (folder / f"{name}.hdf5").exists() and list(folder.glob(f"{name}*.part"))
    assert run_program(stage, args) == 0
    assert "2 made, 1 there already" in capsys.readouterr().err
    assert FeatureStore(folder / f"{name}.hdf5").ids == sorted(GRAPHS) and not list(folder.glob("*.part"))
    latest = Manifest(folder / f"{name}.manifest.jsonl").latest()
    assert [video for video, entry in sorted(latest.items()) if entry["status"] == "done"] == sorted(GRAPHS)


def test_a_stage_that_fails_keeps_what_it_has_stored(sources):
    def failing(nodes, device):
        failing.calls += 1
        if failing.calls == 3:
            raise RuntimeError("a bug")
        return {"nodes": nodes["nodes"]}

    failing.calls = 0
    stage = Stage("copy", ("",), "_copy", lambda nodes: {"nodes": nodes}, failing)
    from dataset.stage_arguments import StageArguments
    from utility.distributed import Distributed

    args = StageArguments(data_root=str(sources), device="cpu")
    with pytest.raises(RuntimeError, match="a bug"):
        run_stage(stage, args, Distributed())
    assert run_stage(stage, args, Distributed()) == 0
    assert failing.calls == 4 and len(FeatureStore(sources / "features/tiny/small_GBased_copy.hdf5")) == 3


@pytest.mark.slow
def test_more_processes_than_videos(sources):
    program = Path(temporal_similarity_graph.__file__)
    launch(program, *words(sources, "--limit", "1", "--split", "train"), processes=2)
    assert FeatureStore(sources / "features/tiny/small_GBased_temporal.hdf5").ids == ["a-1"]


@pytest.mark.slow
def test_what_ends_one_process_ends_the_others_in_words(sources):
    program = Path(temporal_similarity_graph.__file__)
    assert temporal_similarity_graph.main(words(sources)) == 0
    nodes = sources / "features/tiny/small_GBased.hdf5"
    nodes.unlink()
    with FeatureWriter(nodes, {"slots": S, "backbone": "other"}) as writer:
        writer.write("d", {name: GRAPHS["d"][name] for name in NODES})
        writer.finish()
    result = torchrun(program, *words(sources), check=False)
    own = result.stderr.partition("torch/distributed/elastic")[0]
    assert result.returncode and "made with other settings" in own
    assert "another process of this run has ended" in own and "Traceback" not in own, own


@pytest.mark.parametrize(
    ("task", "function"),
    [
        ([], "graphs.graph_folder._write_arrays"),
        (["--export"], "graphs.transform.published_graph"),
        (["--import"], "utility.feature_store.FeatureWriter.write"),
    ],
    ids=["data set", "export", "import"],
)
def test_ctrl_c_while_graphs_are_transformed(task, function, root, tmp_path, capsys):
    files = tmp_path / "published"
    if task == ["--import"]:
        assert transform(root, "--export", str(files)) == 0
        task = ["--features", "akg", "--slots", str(S), "--nodes_per_slot", str(P), "--import"]
        task += map(str, sorted(files.glob("small_*")))
    elif task:
        task = ["--export", str(files)]
    with hardships.ctrl_c_in(function, 1 if "_write_arrays" in function else 2):
        assert transform(root, *task) == 130
    assert "stopped; what is stored stays, the same command continues" in capsys.readouterr().err
    half_made = list(tmp_path.rglob("*writing*"))
    assert not half_made and not (root / FOLDER).exists()
    assert transform(root, *task) == 0
    if "--import" in task:
        assert FeatureStore(root / "features/akg/small_GBased_graph.hdf5").ids == sorted(GRAPHS)
    elif task:
        assert list(read_graphs(files / "small_GBased_train.pickle", S, P)) == ["a-1", "b c"]
    else:
        assert GraphFolder(root / FOLDER).ids == sorted(GRAPHS)


@pytest.mark.parametrize("task", [[], ["--export"]], ids=["data set", "export"])
def test_a_full_disk_while_graphs_are_transformed(task, root, tmp_path, capsys):
    task = [*task, str(tmp_path / "published")] if task else ["--output", str(tmp_path / "set")]
    with hardships.full_disk(200):
        assert transform(root, *task) == 2
    message = capsys.readouterr().err
    assert "File too large" in message and str(tmp_path) in message
    assert not list(tmp_path.rglob("*writing*"))
    assert transform(root, *task) == 0


@pytest.mark.slow
def test_a_data_set_on_a_disk_that_is_really_full(root, tmp_path):
    large = {f"v{n}": {name: np.repeat(array, 200, axis=-1) for name, array in GRAPHS["a-1"].items()} for n in range(9)}
    with FeatureWriter(tmp_path / "large.hdf5", {"stage": "action_graph"}) as writer:
        for name, arrays in large.items():
            writer.write(name, arrays)
        writer.finish()
    (root / "features/tiny/small_GBased_graph.hdf5").unlink()
    (root / "metadata/captions.json").unlink()
    for name in large:
        (root / f"videos/{name}.mp4").touch()
    shutil.move(tmp_path / "large.hdf5", root / "features/tiny/small_GBased_graph.hdf5")
    small = tmp_path / "small_disk"
    command = [*PROGRAM, *words(root, "--output", small / "set")]
    result = hardships.run(hardships.on_a_small_disk(small, 64, command))
    assert result.returncode == 2 and "No space left on device" in result.stderr, result.stderr
    assert not list((tmp_path / "kept").iterdir())
    assert transform(root, "--output", str(tmp_path / "set")) == 0


def test_a_data_set_that_was_there_outlives_a_failure(tmp_path):
    write_graph_folder(tmp_path / "set", GRAPHS, list(GRAPHS), {}, {"made": 1})
    broken = GRAPHS | {"d": {"nodes": GRAPHS["d"]["nodes"]}}
    with pytest.raises(ValueError, match="video 'd': actions is absent"):
        write_graph_folder(tmp_path / "set", broken, list(broken), {}, {"made": 2})
    assert GraphFolder(tmp_path / "set").settings == {"made": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def lonely(nodes: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """A graph of which only these (slot, node) are there."""
    arrays = {name: np.zeros_like(array) for name, array in GRAPHS["a-1"].items()}
    for slot, node in nodes:
        arrays["nodes"][slot, node], arrays["actions"][slot] = 1, 1
        arrays["slot_mask"][slot] = arrays["node_mask"][slot, node] = True
    return arrays


def test_graphs_without_edges_and_without_nodes_are_stacked_and_batched(tmp_path):
    graphs = {"empty": lonely([]), "alone": lonely([(1, 1)]), "apart": lonely([(0, 0), (2, 1)]), "whole": GRAPHS["a-1"]}
    write_graph_folder(tmp_path / "set", graphs, list(graphs), {}, {})
    dataset = ActionGraphDataset(tmp_path / "set")
    empty, alone, apart, whole = (dataset[number] for number in range(4))
    assert empty.num_edges == 0 and alone.num_edges <= 1 and apart.num_edges <= 2  # at most each to itself
    assert not {(a, b) for a, b in apart.edge_index.T.tolist() if a != b}
    (batch,) = DataLoader(dataset, batch_size=4)
    assert batch.num_nodes == 4 * S * P and batch.num_edges == sum(g.num_edges for g in (empty, alone, apart, whole))
    assert batch.x.shape == (4 * S * P, D) and batch.edge_attr.shape[1] == A and torch.isfinite(batch.x).all()
    assert torch.equal(graph_of(graphs["apart"]).edge_index, apart.edge_index)
