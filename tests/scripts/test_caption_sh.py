"""The launcher starts the right program with flags that main.py understands."""

import os
import subprocess

import pytest
from launch import ROOT

from dataset.arguments import DataArguments
from dataset.caption_settings import CaptionerArguments, parse_model_name
from utility.arguments import parse

SCRIPT = ROOT / "scripts/caption.sh"


def start(tmp_path, *words):
    """(exit status, words of the started program, standard error) with a program that only says how it was called."""
    for name in ("python", "torchrun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, env=environment, cwd=tmp_path)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("corpus", ["msvd", "msrvtt"])
@pytest.mark.parametrize("gpus", [1, 8])
def test_training_keeps_the_published_batch_on_any_number_of_gpus(tmp_path, corpus, gpus):
    status, said, _ = start(tmp_path, corpus, "train", str(gpus), "--attention", "1")
    assert status == 0
    program = ["python"] if gpus == 1 else ["torchrun", "--nproc_per_node", str(gpus)]
    assert said[: len(program) + 1] == [*program, "main.py"]
    args, data = parse((CaptionerArguments, DataArguments), said[len(program) + 1 :])
    size = {"msvd": 64, "msrvtt": 128}[corpus]
    assert args.do_train and args.batch_size == size
    assert args.micro_batch_size * gpus <= size and size % (args.micro_batch_size * gpus) == 0
    assert parse_model_name(args.model_name) == ({"msvd": "MSVD", "msrvtt": "MSR-VTT"}[corpus], "GBased")
    assert data.features == f"clip4clip_{'MSVD' if corpus == 'msvd' else 'MSR-VTT'}"


@pytest.mark.parametrize("gpus", ["1", "8"])
def test_evaluation_takes_a_checkpoint(tmp_path, gpus):
    _, said, _ = start(tmp_path, "msvd", "eval", gpus, "--checkpoint", "a run/best", "--model_name", "MSVD_GBased+rel")
    args, _ = parse((CaptionerArguments, DataArguments), said[said.index("main.py") + 1 :])
    assert args.do_eval and not args.do_train
    assert (args.checkpoint, args.model_name) == ("a run/best", "MSVD_GBased+rel")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the corpus is ''"),
        (("vatex", "train"), "the corpus is 'vatex'"),
        (("msvd",), "the task is ''"),
        (("msvd", "train", "0"), "the number of GPUs is '0'"),
        (("msvd", "train", "5"), "5 GPUs do not divide a batch of 64 captions"),
    ],
)
def test_wrong_words_are_answered(tmp_path, words, message):
    status, said, answer = start(tmp_path, *words)
    assert status == 2 and not said and message in answer and "Usage: " in answer
