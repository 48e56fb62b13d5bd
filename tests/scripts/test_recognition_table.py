"""The table of methods: its cells, and that a finished training is not repeated."""

import json

from scripts import recognition_table


def test_cells_are_means_with_their_spread():
    rows = {
        "zero-shot backbone": {"zero": {"top1": 0.25, "clips": 40}},
        "vita": {
            "full": [{"top1": 0.5, "seconds": 10.0}, {"top1": 0.7, "seconds": 14.0}],
            "4": [{"top1": 0.3, "seconds": 1.0}, {"top1": 0.3, "seconds": 1.0}],
        },
    }
    lines = recognition_table.table(rows, ["full", "4"], 2)
    assert lines[0].startswith("Test top-1 in per cent, 40 clips")
    assert lines[2] == "| method | all clips | 4 per class | seconds, all clips |"
    assert lines[4:] == ["| zero-shot backbone | 25.0 | 25.0 | |", "| vita | 60.0 ± 14.1 | 30.0 ± 0.0 | 12 |"]


def test_a_finished_training_is_read_from_its_files(tmp_path, monkeypatch):
    from scripts.train_models import train_recogniser

    calls = []

    def train(method, words):
        calls.append((method, words))
        folder = tmp_path / method / "MiniMotion" / words[words.index("--run_id") + 1]
        folder.mkdir(parents=True)
        (folder / "test_results.json").write_text(json.dumps({"top1": 0.5}))
        return 0

    monkeypatch.setattr(train_recogniser, "main", train)
    args = recognition_table.TableArguments(output_dir=str(tmp_path), backbone="b")
    first = recognition_table.one_run(args, tmp_path, "vita", "4", 1)
    assert first["top1"] == 0.5 and recognition_table.one_run(args, tmp_path, "vita", "4", 1) == first
    ((method, words),) = calls
    assert method == "vita" and words[words.index("--K_train") + 1] == "4"
    assert words[words.index("--random_seed") + 1] == "1"
