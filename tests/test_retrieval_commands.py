"""Every command of the published guides as typed, the launchers and the configs, on a few drawn clips."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from colour_clips import make_colour_corpus
from launch import ENVIRONMENT, ROOT
from published_lists import make_published_corpus
from retrieval_samples import TOWER, train

import dataset.arguments
from dataset.method_settings import MethodArguments, with_defaults
from dataset.retrieval_settings import RetrievalArguments
from train_unified_model import FLAGS
from utility.arguments import parse

CONFIGS = sorted((ROOT / "configs" / "retrieval").glob("*.yaml"))
SCRIPTS = ("msrvtt", "activitynet", "vatex", "lsmdc", "didemo", "msvd")
STOP_SCRIPTS = ("msrvtt", "activitynet", "vatex")
# The guide's, with what its text leaves to the reader: an output folder, and the number of videos.
GUIDE = [
    "--output_dir ./outputs",
    "--output_dir ./outputs --freeze_clip 1",
    '--output_dir ./outputs --freeze_clip 1 --freeze_substrings "visual.transformer" "text.transformer" '
    '--keep_substrings "logit_scale" "LoRA" "prompt" --do_train 1',
    "--do_eval 1 --resume ./outputs/best_model.pth",
    "--output_dir ./outputs --expand_msrvtt_sentences",
    "--output_dir ./outputs --epochs 30 --batch_size 32 --batch_size_val 64 --lr 1e-4 --freeze_clip 1 "
    '--freeze_substrings "visual.ln_" "text.ln_" --keep_substrings "logit_scale" "LoRA" "prompt" "TemporalPrompt" '
    "--optim AdamW --warmup_proportion 0.1 --precision amp --gradient_accumulation_steps 2 --n_display 50 --seed 42",
]
SMALL = [*TOWER, "--device", "cpu", "--pixel_prompt", "0", "--text_prompt_length", "2", "--tome_r", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a corpus where MiniMotion usually is."""
    folder = tmp_path_factory.mktemp("guide")
    make_colour_corpus(folder / "MiniMotion", {"train": 1, "validate": 1, "test": 1})
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setitem(dataset.arguments.FOLDERS, "minimotion", str(place / "MiniMotion"))


@pytest.mark.parametrize("command", GUIDE)
def test_the_guide_s_commands_run(command, here, capsys):
    """In the order of the guide: the evaluation reads what the training before it wrote, and nothing else."""
    words = shlex.split(command)
    small = [] if "--do_eval" in words else [*SMALL, "--max_words", "8"]
    short = [] if "--do_eval" in words else ["--epochs", "1"]
    results, log = train(capsys, [*words, "--limit", "4", "--device", "cpu", *small, *short])
    assert results["videos"] == 4
    assert " (metric) >>>  V2T$R@1: " in log


def test_main_takes_the_same_words(here, monkeypatch, capsys):
    import main

    assert main.main(["--datatype", "minimotion", "--do_eval", "1", "--resume", "outputs", "--device", "cpu"]) == 0
    assert '"method": "unified"' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.main(["--help"])
    assert "train_unified_model.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", SCRIPTS)
def test_launchers_take_the_environment_and_say_what_they_use(name, tmp_path):
    """With a stand-in for python that prints its words."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "DATA_PATH": "/lists",
        "LIMIT": "3",
        "EPOCHS": "2",
    }
    for unset in ("OUTPUT_DIR", "FEATURES_PATH", "PRETRAINED_DIR", "BATCH_SIZE", "METHOD"):
        environment.pop(unset, None)
    command = [ROOT / "scripts" / f"{name}.sh", "--seed", "7"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=20)
    assert "DATA_PATH=/lists\n" in done.stderr and "LIMIT=3" in done.stderr and "EPOCHS=2\n" in done.stderr
    assert "FEATURES_PATH=dataset/" in done.stderr and "(default)" in done.stderr and "OUTPUT_DIR=logs/" in done.stderr
    words = done.stdout.splitlines()
    assert words[0] == "train_unified_model.py"
    method, args, *_ = parse(FLAGS, words[1:])
    assert (args.captions, args.limit, args.epochs, args.seed) == ("/lists", 3, 2, 7)
    assert args.output_dir.startswith("logs/") and method.backbone == "ViT-B/32" and args.kind() is not None
    from_flags = with_defaults(args, method)[0]
    assert from_flags.max_frames == (64 if name in ("activitynet", "didemo") else 12)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_configs_are_understood(file):
    method, args, *_ = parse(FLAGS, ["--config", str(file)])
    content = yaml.safe_load(file.read_text())
    assert (method.method, args.datatype) == (content["method"], content["datatype"])
    args, method = with_defaults(args, method)
    assert args.lr == float(content["lr"]) and isinstance(args, RetrievalArguments)
    assert isinstance(method, MethodArguments)


@pytest.mark.parametrize("name", [SCRIPTS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS[1:])])
def test_launchers_train(name, tmp_path):
    """Each to its end over its data set's own lists, with a tower for tests in place of the published weights."""
    root = make_published_corpus(tmp_path / "corpus", name)
    environment = {**ENVIRONMENT, "DATA_PATH": str(root / "metadata"), "FEATURES_PATH": str(root / "videos")}
    environment |= {"OUTPUT_DIR": str(tmp_path / "run"), "EPOCHS": "1", "BATCH_SIZE": "4", "LIMIT": "5"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("METHOD", None)
    words = [*SMALL, "--max_words", "8", "--max_frames", "4", "--num_thread_reader", "0", "--freeze_clip", "0"]
    command = [ROOT / "scripts" / f"{name}.sh", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "best_model.pth").is_file()
    scores = json.loads(done.stdout.splitlines()[-1])
    assert scores["videos"] == 5 and scores["method"] == ("stop" if name in STOP_SCRIPTS else "clip4clip")
