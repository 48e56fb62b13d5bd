import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_training
from launch import launch, torchrun
from torch import nn
from toy_training import parameters

from utility.checkpoint import is_checkpoint, load_checkpoint
from utility.loader import BatchLoader

SCRIPT = Path(toy_training.__file__)
PASSES = 36  # forward passes of a whole run with micro-batches of 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model, result = toy_training.run(folder)
    return folder, parameters(model), result


def reports(folder, processes):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]


def same_run(whole, model, result):
    _, trained, expected = whole
    assert torch.equal(parameters(model), trained)
    assert result == expected


class Killed(BaseException):
    """Ends a run without any of its own handling."""


@pytest.mark.parametrize("save_steps", [0, 1, 4])
def test_a_run_killed_at_a_random_step_continues_to_the_same_numbers(tmp_path, whole, save_steps):
    fatal = random.randint(1, PASSES)
    passes = 0

    def watch(model, batch):
        nonlocal passes
        passes += 1
        if passes == fatal:
            raise Killed

    with pytest.raises(Killed):
        toy_training.run(tmp_path, watch=watch, save_steps=save_steps)
    torch.rand(7), random.random(), np.random.rand()  # a new process begins elsewhere
    print("killed in forward pass", fatal)
    same_run(whole, *toy_training.run(tmp_path, resume=True, save_steps=save_steps))


def test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_numbers(tmp_path, whole):
    fatal = random.randint(1, PASSES)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        toy_training.run(tmp_path, interrupt=fatal)
    assert load_checkpoint(tmp_path / "last").training["state"]["step"] == math.ceil(fatal / 2)
    same_run(whole, *toy_training.run(tmp_path, resume=True))


def test_a_loader_that_cannot_skip_continues_to_the_same_numbers(tmp_path, whole, monkeypatch):
    original = BatchLoader.set_epoch
    with pytest.raises(KeyboardInterrupt):
        toy_training.run(tmp_path, interrupt=16)
    skips = []

    def plain(self, epoch):
        skips.append(epoch)
        original(self, epoch)

    monkeypatch.setattr(BatchLoader, "set_epoch", plain)
    same_run(whole, *toy_training.run(tmp_path, resume=True))
    assert skips == [1, 2]


def test_resuming_without_a_checkpoint_starts(tmp_path, whole):
    same_run(whole, *toy_training.run(tmp_path, resume=True))


def test_the_seed_changes_the_run(tmp_path, whole):
    model, _ = toy_training.run(tmp_path, seed=1)
    assert not torch.equal(parameters(model), whole[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"micro": 2}, "micro-batches per epoch and process was 12, now 24"), ({"seed": 1}, "seed was 0, now 1")],
)
def test_inside_an_epoch_another_cut_is_refused_and_at_its_end_accepted(tmp_path, changed, message, caplog):
    with pytest.raises(KeyboardInterrupt):
        toy_training.run(tmp_path, interrupt=14)
    with pytest.raises(ValueError, match=f"inside epoch 2.*{message}"):
        toy_training.run(tmp_path, resume=True, **changed)
    passes = []

    def watch(model, batch):
        passes.append(batch)
        if len(passes) == 13:
            raise Killed

    with pytest.raises(Killed):
        toy_training.run(tmp_path, watch=watch)
    _, result = toy_training.run(tmp_path, resume=True, **changed)
    assert message in caplog.text and result["step"] == 18


def test_another_model_is_refused(tmp_path, whole, monkeypatch):
    toy_training.run(tmp_path)
    monkeypatch.setattr(toy_training, "build", lambda dropout: nn.Sequential(nn.Linear(6, 1)).double())
    with pytest.raises(ValueError, match=r"last does not fit the model: .*missing|last does not fit"):
        toy_training.run(tmp_path, resume=True)


def test_two_processes_are_two_and_train_as_one_with_the_same_global_batch(tmp_path):
    alone_model, alone = toy_training.run(tmp_path / "alone", dropout=0, jitter=0)
    torchrun(SCRIPT, tmp_path, json.dumps({"dropout": 0, "jitter": 0, "micro": 2}))
    both = reports(tmp_path, 2)
    assert [r["world"] for r in both] == [2, 2]
    seen = [{name for batch in r["seen"][:12] for name in batch} for r in both]
    assert not seen[0] & seen[1] and len(seen[0] | seen[1]) == 48
    for report in both:
        assert report["own"] != report["used"]  # the gradient is not that of this rank's samples
        torch.testing.assert_close(
            torch.cat([torch.tensor(p, dtype=torch.float64).reshape(-1) for p in report["parameters"]]),
            parameters(alone_model),
            rtol=1e-9,
            atol=1e-12,
        )
        for one, two in zip(alone["history"], report["result"]["history"], strict=True):
            assert one["train/loss"] == pytest.approx(two["train/loss"], rel=1e-9)
    assert both[0]["own"] != both[1]["own"] and both[0]["used"] == both[1]["used"]


def test_two_processes_of_which_one_is_killed_continue_to_the_same_numbers(tmp_path):
    options = {"save_steps": 1, "micro": 2}
    (tmp_path / "whole").mkdir()
    launch(SCRIPT, tmp_path / "whole", json.dumps(options), processes=2)
    fatal = {"kill": random.randint(3, PASSES), "killed_rank": random.randint(0, 1)}
    print(fatal)
    result = torchrun(SCRIPT, tmp_path, json.dumps({**options, **fatal}), check=False)
    assert result.returncode and not (tmp_path / "rank0.json").exists()
    assert is_checkpoint(tmp_path / "run" / "last")
    # inside an epoch one process may not take over, unless the kill fell on its end
    if load_checkpoint(tmp_path / "run" / "last").training["state"]["position"]:
        with pytest.raises(ValueError, match="processes was 2, now 1"):
            toy_training.run(tmp_path / "run", resume=True, micro=2)
    launch(SCRIPT, tmp_path, json.dumps({**options, "resume": True}), processes=2)
    for one, two in zip(reports(tmp_path / "whole", 2), reports(tmp_path, 2), strict=True):
        assert one["parameters"] == two["parameters"] and one["result"] == two["result"]
    assert not [name for name in os.listdir(tmp_path / "run") if name.startswith(".")]
