"""Clips of one colour with features of a tiny backbone, and runs of the captioner on them, cached or tuning."""

import json

from colour_clips import make_colour_corpus
from tiny_networks import make_action_network, make_backbone

import main
from extractors import extract

SAMPLING = ["--slots", "3", "--rate", "2", "--patch", "2", "--decode_workers", "0", "--precision", "fp32"]
TRAINING = [
    "--epochs", "1", "--batch_size", "6", "--captions_per_video", "1", "--precision", "fp32", "--tokenizer", "nltk",
    "--device", "cpu", "--dropout", "0", "--log_steps", "1",
]  # fmt: skip


def make_films(root):
    """A corpus in `root` with features `plain` made through `root/clip`, and an action network in `root/i3d`."""
    make_colour_corpus(root, {"train": 2, "validate": 1, "test": 1})
    make_backbone(root / "clip", 0)
    make_action_network(root / "i3d")
    extract_films(root, root / "clip", "plain")
    return root


def extract_films(root, backbone, features):
    """Features of the films through another backbone."""
    words = ["--data_root", root, "--backbone", backbone, "--action_network", root / "i3d", "--features", features]
    assert extract.main([*map(str, words), "--device", "cpu", *SAMPLING]) == 0


def caption_run(root, output, *flags, features="plain", status=0):
    """The scores of a training run, or None where it should fail."""
    words = ["--model_name", f"{root.name}_GBased+videomask", "--do_train", "--data_root", root]
    words += ["--features", features, "--output_dir", output, *TRAINING, *flags]
    assert main.main(list(map(str, words))) == status
    return json.loads((output / "test_scores.json").read_text()) if status == 0 else None
