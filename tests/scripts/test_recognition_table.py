"""The table of methods: its cells, and that a finished training is not repeated."""

import json

import pytest

from scripts import recognition_table

COST = {"trainable": 4097, "seconds": 30.0, "processor_seconds": 20.0, "videos_per_second": 100.0}


def test_cells_are_means_with_their_spread():
    rows = {
        "zero-shot backbone": {"zero": {"top1": 0.25, "clips": 40}},
        "vita": {
            "full": [{"top1": 0.5, **COST}, {"top1": 0.7, **COST, "processor_seconds": 24.0}],
            "4": [{"top1": 0.3, **COST}, {"top1": 0.3, **COST}],
        },
        "stt": {"4": [{"top1": 0.4, **COST}]},
    }
    lines = recognition_table.table(rows, ["full", "4"])
    assert lines[0].startswith("Test top-1 in per cent, 40 clips")
    head = "| method | all clips | 4 per class | learnt | processor seconds, all clips | videos/s |"
    assert lines[2] == head and lines[3].count("|") == head.count("|")
    alone, trained, partly = lines[4:]
    assert alone == "| zero-shot backbone | 25.0 | 25.0 | 0 | | |"
    assert trained == "| vita | 60.0 ± 14.1 | 30.0 ± 0.0 | 4,097 | 22 | 100 |"
    assert partly == "| stt |  | 40.0 (1) | 4,097 |  |  |"


def test_a_finished_training_is_read_from_its_files_and_a_stopped_one_resumed(tmp_path, monkeypatch):
    from scripts.train_models import train_recogniser

    calls = []

    def train(method, words):
        calls.append((method, words))
        folder = tmp_path / method / "MiniMotion" / words[words.index("--run_id") + 1]
        folder.mkdir(parents=True)
        results = {"top1": 0.5, "cost": {"trainable": 7}, "videos_per_second": 3.0}
        (folder / "test_results.json").write_text(json.dumps(results))
        return 0

    monkeypatch.setattr(train_recogniser, "main", train)
    args = recognition_table.TableArguments(output_dir=str(tmp_path), backbone="b")
    only = recognition_table.TableArguments(output_dir=str(tmp_path), finished=True)
    assert recognition_table.one_run(only, tmp_path, "vita", "4", 1) is None
    first = recognition_table.one_run(args, tmp_path, "vita", "4", 1)
    assert first["top1"] == 0.5 and first["trainable"] == 7
    assert recognition_table.one_run(only, tmp_path, "vita", "4", 1) == first
    assert recognition_table.one_run(args, tmp_path, "vita", "4", 1) == first
    ((method, words),) = calls
    assert method == "vita" and words[words.index("--K_train") + 1] == "4" and "--resume" in words
    assert words[words.index("--random_seed") + 1] == "1"


def test_without_a_finished_run_there_is_no_table(tmp_path):
    args = recognition_table.TableArguments(output_dir=str(tmp_path), finished=True)
    with pytest.raises(ValueError, match="nothing is finished in"):
        recognition_table.zero_shot(args, tmp_path, None)
