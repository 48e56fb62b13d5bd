"""Every model name trains on drawn clips: features, objects, relations and altered graphs made by the programs."""

import json

import numpy as np
import pytest
from no_java import without_java
from tiny_networks import make_action_network, make_backbone

from dataset import mini_motion
from extractors import extract
from scripts import ablation
from scripts.ablation_rows import ROWS
from utility.checkpoint import load_checkpoint
from utility.feature_store import FeatureStore


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A corpus of thirty clips with the features that a demo leaves behind."""
    root = tmp_path_factory.mktemp("drawn") / "MiniMotion"
    assert mini_motion.main(["--num_clips", "30", "--root", str(root), "--workers", "1", "--places"]) == 0
    backbone, network = make_backbone(root.parent / "clip", 0), make_action_network(root.parent / "i3d")
    words = ["--dataset", "minimotion", "--data_root", str(root), "--device", "cpu", "--decode_workers", "0"]
    words += ["--features", str(root.parent / "features"), "--slots", "3", "--rate", "1", "--precision", "fp32"]
    words += ["--nodes", "object", "--detector", "motion"]
    assert extract.main([*words, "--backbone", str(backbone), "--action_network", str(network)]) == 0
    return root


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java():
        yield


def start(drawn, output, *words):
    places = ["--data_root", str(drawn), "--features", str(drawn.parent / "features"), "--output_dir", str(output)]
    return ablation.main([*places, "--epochs", "1", "--batch_size", "60", "--device", "cpu", *words])


@pytest.fixture(scope="module")
def ablated(drawn, tmp_path_factory):
    """One seed of every row."""
    output = tmp_path_factory.mktemp("ablation")
    assert start(drawn, output, "--seeds", "3") == 0
    return output


def runs(output):
    return [json.loads(line) for line in (output / "runs.jsonl").read_text().splitlines()]


def test_every_row_trains_and_is_scored(ablated):
    assert [run["row"] for run in runs(ablated)] == list(ROWS)
    for run in runs(ablated):
        row = ROWS[run["row"]]
        assert run["seed"] == 3 and run["scores"]["CIDEr"] >= 0 and 0 <= run["scores"]["relation_accuracy"] <= 1
        assert run["scores"]["one_object_videos"] + run["scores"]["two_object_videos"] == 3
        assert 0 <= run["scores"]["place_accuracy"] <= 1 and ("places_in_rows" in run["scores"]) == (
            "rel" in row.features
        )
        config = load_checkpoint(ablated / run["row"] / "seed3" / "best").config
        assert config["model_name"] == f"MiniMotion_{row.features}+videomask"
        assert config["features"]["settings"].get("altered") == row.altered
        assert ("relations" in config) == ("rel" in row.features and not row.dealt)
        dealt = config["features"]["others"].get("rel", {}).get("altered")
        assert dealt == ("of another video" if row.dealt else None)
        assert config["arguments"]["shuffle_videos"] == (row.name == "blind")
        assert str(config["captioner"]["attention"]) == (row.flags[1] if "--attention" in row.flags else "1")
    table = (ablated / "table.md").read_text()
    assert all(row.label in table for row in ROWS.values())


def test_tiles_are_sampled_like_the_other_features_and_relations_know_training_captions_only(ablated, drawn):
    features = drawn.parent / "features"
    objects, grid = (FeatureStore(features / f"MiniMotion_{name}_graph.hdf5") for name in ("OBased", "GBased"))
    assert objects.ids == grid.ids and objects.settings["nodes"]["detector"]["name"] == "motion"
    for name in grid.ids:
        np.testing.assert_array_equal(objects[name]["frame_index"], grid[name]["frame_index"])
    assert sum(objects[name]["node_mask"].any() for name in objects.ids) > 20
    lines = (drawn / "knowledge/default/triples.jsonl").read_text().splitlines()[1:]
    read = {json.loads(line)["video"] for line in lines}
    splits = json.loads((drawn / "metadata/captions.json").read_text())["videos"]
    assert read and read <= {video["video_id"] for video in splits if video["split"] == "train"}
    rel = FeatureStore(features / "MiniMotion_rel.hdf5")
    assert rel.ids == grid.ids and all(len(rel[name]["rel"]) for name in rel.ids)


def test_a_finished_run_is_not_repeated(ablated, drawn, monkeypatch, capsys):
    before = (ablated / "runs.jsonl").read_text()
    monkeypatch.setattr("main.main", None)
    assert start(drawn, ablated, "--rows", "GBased", "OBased+rel", "nodes-zeroed", "--seeds", "3") == 0
    assert start(drawn, ablated, "--only_table") == 0
    assert (ablated / "runs.jsonl").read_text() == before
    assert capsys.readouterr().out == 2 * (ablated / "table.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "2"], "epochs was 1, now 2"),
        (["--limit", "20"], "limit was None, now 20"),
    ],
)
def test_runs_of_other_settings_are_not_mixed(ablated, drawn, capsys, words, message):
    assert start(drawn, ablated, "--rows", "GBased", *words) == 2
    assert f"runs with other settings ({message})" in capsys.readouterr().err


def test_mistakes_are_answered(drawn, tmp_path, capsys):
    with pytest.raises(SystemExit):
        ablation.main(["--rows", "deaf"])
    assert "--rows deaf: known are GBased, GBased+rel-1" in capsys.readouterr().err
    assert start(drawn, tmp_path, "--only_table") == 2
    assert "holds no finished run" in capsys.readouterr().err
    words = ["--data_root", str(drawn), "--features", str(tmp_path / "none"), "--output_dir", str(tmp_path)]
    assert ablation.main([*words, "--rows", "GBased", "--device", "cpu"]) == 2
    assert "features 'theta2' of MiniMotion not found" in capsys.readouterr().err
