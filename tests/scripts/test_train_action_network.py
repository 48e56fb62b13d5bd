"""A small action network from captions, through the program, and into the extractors' loader."""

import hardships
import torch

from dataset import mini_motion
from pretrained.i3d_weights import load_i3d
from scripts import train_action_network
from utility.checkpoint import is_checkpoint, load_checkpoint

SMALL = ("--batch_size", "8", "--size", "32", "--embed_dim", "16", "--text_width", "32", "--text_layers", "1")


def train(root, out, *flags):
    words = ("--dataset", "minimotion", "--data_root", str(root), "--output_dir", str(out), *SMALL, *flags)
    return train_action_network.main(words)


def test_the_loss_falls_and_the_folder_of_the_run_is_an_action_network(tmp_path, capsys):
    mini_motion.make(tmp_path / "corpus", 24, seed=5, workers=1)
    assert train(tmp_path / "corpus", tmp_path / "run", "--epochs", "6", "--seed", "0") == 0
    network = load_i3d(tmp_path / "run")
    assert network.corpus == "MiniMotion" and network.trained_on == [
        f"video{n}" for n in range(len(network.trained_on))
    ]
    assert (network.size, network.length) == (32, 16)
    clip = torch.rand(1, 3, 16, 32, 32) * 2 - 1
    assert network.model.extract(clip).shape == (1, network.model.feature_dim)
    assert network.model.differences
    losses = [
        float(line.split("train/loss")[1].split()[0])
        for line in (tmp_path / "run" / "log.txt").read_text().splitlines()
        if "train/loss" in line
    ]
    assert len(losses) == 6 and losses[-1] < losses[0]


def test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_numbers(tmp_path, capsys):
    mini_motion.make(tmp_path / "corpus", 24, seed=5, workers=1)
    flags = ("--epochs", "2", "--seed", "0")
    assert train(tmp_path / "corpus", tmp_path / "whole", *flags) == 0
    with hardships.ctrl_c_in("utility.engine.to_device", 3):
        assert train(tmp_path / "corpus", tmp_path / "cut", *flags) == 130
    assert f"stopped at step 3; {tmp_path / 'cut' / 'last'} continues with --resume" in capsys.readouterr().err
    assert is_checkpoint(tmp_path / "cut" / "last") and load_i3d(tmp_path / "cut" / "last")
    assert train(tmp_path / "corpus", tmp_path / "cut", *flags, "--resume") == 0
    whole, cut = (load_checkpoint(tmp_path / name / "last").tensors for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_what_cannot_be_trained_ends_in_words(tmp_path, capsys):
    assert train(tmp_path / "nothing", tmp_path / "run", "--epochs", "1") == 2
    assert "draw it with" in capsys.readouterr().err
    assert train(tmp_path / "nothing", tmp_path / "run", "--device", "tpu") == 2
    assert "unknown device 'tpu'" in capsys.readouterr().err


def test_a_dry_run_decodes_and_writes_nothing(tmp_path, capsys, monkeypatch):
    mini_motion.make(tmp_path / "corpus", 20, workers=1)
    monkeypatch.setattr("dataset.action_clips.VideoReader", None)
    assert train(tmp_path / "corpus", tmp_path / "run", "--limit", "3", "--dry_run") == 0
    assert "videos (train 3," in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_whole_frames_on_request(tmp_path, capsys):
    mini_motion.make(tmp_path / "corpus", 24, seed=5, workers=1)
    assert train(tmp_path / "corpus", tmp_path / "run", "--epochs", "1", "--differences", "0") == 0
    assert not load_i3d(tmp_path / "run").model.differences
