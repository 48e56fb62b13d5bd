"""The table of retrieval methods: a tiny training through the trainer, what is counted, and that none is repeated."""

import json

import numpy as np
import pytest
from retrieval_samples import TOWER

import train_unified_model
from scripts import retrieval_table
from utility.distributed import Distributed


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """MiniMotion of few clips, and a CLIP for it."""
    from dataset import mini_motion

    root = tmp_path_factory.mktemp("drawn")
    mini_motion.make(root / "MM", 24, seed=0, workers=1)
    words = ["--method", "clip4clip", "--data_root", root / "MM", "--datatype", "minimotion", "--epochs", "1"]
    small = [*TOWER[: TOWER.index("--cache_size")], "--stem", "8", "--max_frames", "2"]
    words += [*small, "--batch_size", "8", "--device", "cpu", "--output_dir", root / "clip"]
    assert train_unified_model.main(list(map(str, words))) == 0
    return root


def test_a_method_is_trained_once_scored_and_measured(drawn, monkeypatch, capsys, tmp_path):
    small = {"--batch_size": 8, "--max_frames": 4, "--cache_frames": 4, "--cache_size": 16}
    common = list(retrieval_table.COMMON)
    for name, value in small.items():
        common[common.index(name) + 1] = value
    monkeypatch.setattr(retrieval_table, "COMMON", tuple(common))
    monkeypatch.setitem(retrieval_table.METHODS, "TempMe", (*retrieval_table.METHODS["TempMe"], "--tome_r", 0))
    folder = tmp_path / "table"
    argv = ["--backbone", str(drawn / "clip" / "best"), "--data_root", str(drawn / "MM"), "--output_dir", str(folder)]
    argv += ["--methods", "TempMe", "--seeds", "5", "--epochs", "1", "--clips", "2", "--speed_repeats", "1"]
    assert retrieval_table.main([*argv, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == (folder / "table.md").read_text().splitlines()
    assert printed[0].startswith("2 held-out clips and their 10 captions") and printed[-1].startswith("| TempMe | ")
    (row,) = json.loads((folder / "table.json").read_text())["TempMe"]
    arguments = json.loads((folder / "tempme" / "seed5" / "hparams_train.json").read_text())
    assert arguments["method"] == "tempme" and arguments["seed"] == 5 and arguments["epochs"] == 1
    assert row["parameters"]["trainable"] == row["parameters"]["new"] > 0
    assert row["multiply_adds"]["video"] > 0 and row["videos_per_second"] > 0 and row["val_before"] >= 0

    args = retrieval_table.TableArguments(output_dir=str(folder))
    monkeypatch.setattr(retrieval_table, "open_session", None)
    again = retrieval_table.one_run(args, folder, "TempMe", 5, Distributed())
    assert again == {name: value for name, value in row.items() if name != "videos_per_second"}


def test_the_median_rank_forgives_clips_that_show_the_same():
    """Three clips, the first two alike; every caption finds the wrong one of them first."""
    similarity = np.array([[0.5, 0.9, 0.1], [0.9, 0.5, 0.6], [0.7, 0.8, 0.6], [0.0, 0.0, 0.0]])
    owner = np.array([0, 1, 2, 3])
    square = np.pad(similarity, ((0, 0), (0, 1)))
    found = retrieval_table.held_out(square, owner, ["a", "a", "b", "c"], 3)
    assert (found["clips"], found["texts"]) == (3, 3)
    assert found["t2v"] == {"R@1": 0, "R@5": 100, "R@10": 100, "median": 2}  # ranks 1, 2 (the third clip), 3


def test_cells_are_means_with_their_spread():
    ways = {"R@1": 50.0, "R@5": 70.0, "R@10": 90.0, "median": 1.0}
    row = {
        "val_before": 10.0, "val_after": 30.0, "t2v": ways, "v2t": ways, "parameters": {"trainable": 1234},
        "multiply_adds": {"video": 25_000_000}, "clips": 200, "texts": 1000, "videos_per_second": 99.6,
    }  # fmt: skip
    other = row | {"val_after": 40.0, "t2v": ways | {"R@1": 60.0}}
    lines = retrieval_table.table({"STOP": [row, other]})
    assert lines[0].startswith("200 held-out clips and their 1000 captions, mean and standard deviation of 2")
    assert lines[4].startswith("| STOP | 55.0 ± 7.1 | 70.0 ± 0.0 | 90.0 ± 0.0 | 1.0 ± 0.0 | 50.0 ± 0.0 |")
    assert lines[4].endswith("| 10.0 to 35.0 ± 7.1 | 1,234 | 25 M | 100 |")


def test_unknown_rows_are_refused():
    with pytest.raises(ValueError, match="known are 'CLIP4Clip, meanP'"):
        retrieval_table.TableArguments(methods=["CLIP4CLIP"])
