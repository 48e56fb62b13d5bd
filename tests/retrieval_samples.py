"""Tiny retrieval runs that tests share: colour clips, a tower of two blocks, flags that draw nothing at random."""

import json

import train_unified_model as program

# A 3-D patch layer, because it excludes a stem, whose batch norms look at the whole batch.
TOWER = [
    "--backbone", "small", "--resolution", "16", "--patch", "8", "--vision_width", "32", "--vision_layers", "2",
    "--text_width", "32", "--text_layers", "2", "--embed_dim", "32", "--cache_size", "0", "--word_weight", "0",
    "--linear_patch", "3d",
]  # fmt: skip
STEADY = [
    "--random_frames", "0", "--crop_min", "1.0", "--max_words", "8", "--max_frames", "4", "--batch_size", "8",
    "--method", "clip4clip", "--device", "cpu", "--precision", "fp32", "--log_steps", "1", "--epochs", "1",
]  # fmt: skip


def flags(corpus, output, *more):
    """Words of a run in which nothing is drawn."""
    return list(map(str, ["--data_root", corpus, "--output_dir", output, *TOWER, *STEADY, *more]))


def train(capsys, argv):
    """(scores, log) of a run that must succeed."""
    status = program.main(list(map(str, argv)))
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out.splitlines()[-1]) if captured.out else None, captured.err
