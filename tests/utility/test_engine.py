import json
import logging
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

from utility import schedules
from utility.checkpoint import is_checkpoint, load_checkpoint
from utility.distributed import Distributed
from utility.engine import NonFiniteLoss, OutOfDeviceMemory, TrainSettings, train
from utility.loader import BatchLoader, split_batch, to_device
from utility.random_state import seed_all

SCRIPT = Path(toy_training.__file__)
PASSES = 36  # forward passes of a whole run with micro-batches of 4


def parameters(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model, result = toy_training.run(folder)
    return folder, parameters(model), result


def reports(folder, processes):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]


# Training


def test_a_run_learns_and_leaves_checkpoints_and_curves(whole):
    folder, trained, result = whole
    assert (result["epoch"], result["step"], result["best_epoch"], result["best_score"]) == (3, 18, 3, 2.0)
    losses = [epoch["train/loss"] for epoch in result["history"]]
    assert losses[-1] < 0.8 * losses[0]
    assert set(result["history"][0]) == {"epoch", "step", "train/loss", "train/error", "val/score", "val/noise"}
    last, best = load_checkpoint(folder / "last"), load_checkpoint(folder / "best")
    assert last.training["state"]["step"] == 18 and best.training is None
    assert last.config == {"width": 6} and best.vocabulary == ["a"] and best.metrics["best_score"] == 2.0
    for checkpoint in (last, best):
        stored = toy_training.build(0)
        stored.load_state_dict(checkpoint.tensors)
        assert torch.equal(parameters(stored), trained)
    assert list((folder / "curves").glob("events*"))


@pytest.mark.parametrize("micro", [8, 2])
def test_accumulated_steps_equal_whole_ones(tmp_path, micro):
    a, first = toy_training.run(tmp_path / "a", dropout=0, jitter=0, micro=8)
    b, second = toy_training.run(tmp_path / "b", dropout=0, jitter=0, micro=micro)
    torch.testing.assert_close(parameters(a), parameters(b), rtol=1e-9, atol=1e-12)
    for one, two in zip(first["history"], second["history"], strict=True):
        assert one["train/loss"] == pytest.approx(two["train/loss"], rel=1e-9)


def test_the_gradient_is_that_of_the_mean_over_all_words_of_a_step(tmp_path, monkeypatch):
    seen = {}

    class Recorder(torch.optim.SGD):
        def step(self, *arguments):
            seen.setdefault("gradient", torch.cat([p.grad.reshape(-1) for p in self.param_groups[0]["params"]]))
            return super().step(*arguments)

    model = toy_training.build(0)
    batches = []

    def loss(model, batch):
        batches.append(batch)
        return toy_training.loss_sum(model, batch)

    loader = BatchLoader(toy_training.Words(), toy_training.collate, 8, 2)
    naive = toy_training.build(0)
    optimizer = Recorder(model.parameters(), lr=0.1)
    settings = TrainSettings(str(tmp_path), epochs=1, batch_size=8, micro_batch_size=2, clip_norm=0)
    train(model, loss, loader, optimizer, schedules.constant(optimizer), settings)
    first = batches[:4]
    total = sum(toy_training.loss_sum(naive, b)[0] for b in first) / sum(b["words"].sum() for b in first)
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, list(naive.parameters()))])
    torch.testing.assert_close(seen["gradient"], expected)


def test_gradients_are_clipped_together(tmp_path):
    norms = []

    class Recorder(torch.optim.SGD):
        def step(self, *arguments):
            norms.append(math.sqrt(sum(p.grad.square().sum() for p in self.param_groups[0]["params"])))
            return super().step(*arguments)

    for clip in (0, 0.25):
        model = toy_training.build(0)
        loader = BatchLoader(toy_training.Words(), toy_training.collate, 48)
        optimizer = Recorder(model.parameters(), lr=0.0)
        settings = TrainSettings(str(tmp_path), epochs=1, batch_size=48, clip_norm=clip)
        train(model, toy_training.loss_sum, loader, optimizer, schedules.constant(optimizer), settings)
    assert norms[0] > 0.5 and norms[1] == pytest.approx(0.25, rel=1e-3)


def test_bf16_changes_the_arithmetic_and_still_learns(tmp_path):
    def run(precision):
        seed_all(1)
        model = nn.Linear(6, 1)

        def loss(model, batch):
            out = model(batch["x"].float())
            kinds.add(out.dtype)
            return (out[:, 0].float() - batch["x"].sum(1).float()).square().sum(), len(batch["x"]), {}

        kinds = set()
        loader = BatchLoader(toy_training.Words(), toy_training.collate, 8)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        settings = TrainSettings(str(tmp_path), epochs=4, batch_size=8, precision=precision)
        result = train(model, loss, loader, optimizer, schedules.constant(optimizer), settings)
        return kinds, [epoch["train/loss"] for epoch in result["history"]]

    kinds, losses = run("bf16")
    assert kinds == {torch.bfloat16} and losses[-1] < 0.2 * losses[0]
    assert run("fp32")[0] == {torch.float32}


def test_progress_lines_and_curves_tell_rate_and_waiting(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        toy_training.run(tmp_path)
    lines = [r.getMessage() for r in caplog.records if "clips/s" in r.getMessage()]
    assert len(lines) == 9 and all("waiting" in line and "lr" in line and "grad" in line for line in lines)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    names = {"loss", "lr", "grad_norm", "clips_per_second", "wait_share", "error"}
    assert {f"train/{name}" for name in names} | {"val/score", "val/noise"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train/lr")] == list(range(2, 19, 2))


def test_patience_stops_and_the_best_epoch_is_kept(tmp_path):
    scores = [0.5, 0.4, 0.3]
    model, result = toy_training.run(tmp_path, patience=1, scores=scores)
    assert (result["epoch"], result["best_epoch"], result["best_score"]) == (2, 1, 0.5)
    best = load_checkpoint(tmp_path / "best")
    assert best.metrics["epoch"] == 1
    assert not torch.equal(best.tensors["0.weight"], model[0].weight)
    _, again = toy_training.run(tmp_path, patience=1, scores=scores, resume=True)
    assert again == result


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    _, result = toy_training.run(tmp_path, scores=[0.1, math.nan, math.inf])
    assert (result["best_epoch"], result["best_score"]) == (1, 0.1)


# Failures


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_samples(tmp_path):
    states = []

    def loss(model, batch):
        states.append(parameters(model))
        total, weight, numbers = toy_training.loss_sum(model, batch)
        return (total * math.nan if "v7" in batch["names"] else total), weight, numbers

    model = None

    def watch(current, batch):
        nonlocal model
        model = current

    with pytest.raises(NonFiniteLoss) as error:
        toy_training.run(tmp_path, loss=loss, watch=watch)
    named = str(error.value).split("Samples: ")[1].split(". ")[0].split(", ")
    assert "v7" in named and len(named) == 4  # its micro-batch, not the whole step
    assert "loss is nan" in str(error.value)
    # both forward passes of the failing step saw what the step before had left, and so does the caller
    assert torch.equal(parameters(model), states[-1])


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Poisoned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf

    def loss(model, batch):
        total, weight, numbers = toy_training.loss_sum(model, batch)
        return Poisoned.apply(total), weight, numbers

    with pytest.raises(NonFiniteLoss, match=r"step 1 \(epoch 1\): gradient is (nan|inf)"):
        toy_training.run(tmp_path, loss=loss)


def test_a_step_without_words_is_refused(tmp_path):
    with pytest.raises(NonFiniteLoss, match="no words or samples"):
        toy_training.run(tmp_path, loss=lambda model, batch: (model(batch["x"]).sum() * 0, 0, {}))


def test_too_little_memory_names_the_flags_that_keep_the_effective_batch(tmp_path):
    def loss(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    with pytest.raises(OutOfDeviceMemory) as error:
        toy_training.run(tmp_path, loss=loss)
    message = str(error.value)
    assert "Tried to allocate 20.00 GiB" in message and "more" not in message
    assert "--micro_batch_size 2 keeps the effective --batch_size 8 (4 forward passes" in message
    with pytest.raises(OutOfDeviceMemory, match="cannot be smaller"):
        toy_training.run(tmp_path, loss=loss, micro=1)


def test_other_errors_pass_unchanged(tmp_path):
    def loss(model, batch):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        toy_training.run(tmp_path, loss=loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 4, 1), "--micro_batch_size 4 does not divide.*Possible: 1, 2, 5, 10"),
        ((9, None, 2), "--batch_size 9 must be a positive multiple of the number of processes, 2"),
        ((0, None, 1), "--batch_size 0"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_batch(*arguments)


def test_more_samples_per_step_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"--batch_size 64 is larger than the training data: 52 samples"):
        BatchLoader(toy_training.Words(), toy_training.collate, 64)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "clip_norm", "log_steps", "save_steps", "patience"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"--{name} -1"):
        TrainSettings(**{name: -1})


# Loading


def batches(epoch=0, skip=0, **options):
    loader = BatchLoader(toy_training.Words(1.0), toy_training.collate, 8, 4, **options)
    loader.set_epoch(epoch, skip)
    return len(loader), [(b["names"], b["x"]) for b in loader]


def test_epochs_differ_and_each_sample_comes_at_most_once():
    length, first = batches()
    assert length == len(first) == 12
    names = [name for batch, _ in first for name in batch]
    assert len(set(names)) == len(names) == 48
    assert [n for n, _ in batches(epoch=1)[1]] != [n for n, _ in first]


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_and_workers_change_no_sample_and_no_random_draw(workers):
    _, expected = batches(epoch=2)
    state = torch.get_rng_state()
    _, rest = batches(epoch=2, skip=5, num_workers=workers)
    assert torch.equal(torch.get_rng_state(), state)  # dropout will not notice the loader
    assert [names for names, _ in rest] == [names for names, _ in expected[5:]]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(rest, expected[5:], strict=True))


def test_ranks_share_each_step_of_a_plain_run():
    _, alone = batches()
    parts = [batches(dist=Distributed(rank, 2))[1] for rank in range(2)]
    for step in range(6):
        together = {name for part in parts for name in part[step][0]}
        assert together == {name for batch, _ in alone[2 * step : 2 * step + 2] for name in batch}


def test_batches_are_moved_whatever_they_are_made_of():
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")
    batch = {"x": [torch.ones(1), "name"], "p": Pair(torch.ones(2), None), "t": (torch.ones(3),)}
    moved = to_device(batch, torch.device("meta"))
    assert moved["x"][0].is_meta and moved["p"].a.is_meta and moved["t"][0].is_meta
    assert moved["x"][1] == "name" and isinstance(moved["p"], Pair)


# Continuing


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


# Two processes


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
