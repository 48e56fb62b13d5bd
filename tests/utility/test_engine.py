import logging
import math

import pytest
import torch
import toy_training
from torch import nn
from toy_training import parameters

from utility import engine, schedules
from utility.checkpoint import load_checkpoint
from utility.device_memory import OutOfDeviceMemory
from utility.engine import NonFiniteLoss, TrainSettings, train
from utility.loader import BatchLoader
from utility.precision import LossScale
from utility.random_state import seed_all
from utility.training_run import TrainState


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model, result = toy_training.run(folder)
    return folder, parameters(model), result


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


@pytest.mark.parametrize("micro", [8, 2])
def test_a_number_with_a_weight_of_its_own_is_averaged_with_that(tmp_path, micro):
    seen = []

    def loss(model, batch):
        total, weight, _ = toy_training.loss_sum(model, batch)
        pair = ((batch["x"].sum(1) * batch["words"]).sum(), batch["words"].square().sum())
        seen.append(pair)
        return total, weight, {"own": pair}

    _, result = toy_training.run(tmp_path, loss=loss, jitter=0, micro=micro)
    passes = len(seen) // 3
    for number, epoch in enumerate(result["history"]):
        sums, counts = zip(*seen[number * passes : (number + 1) * passes], strict=True)
        assert epoch["train/own"] == pytest.approx(float(sum(sums) / sum(counts)), rel=1e-12)


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


@pytest.mark.parametrize(("later_wins", "best"), [(False, 1), (True, 3)])
def test_of_equal_scores_the_first_or_the_last_is_the_best(tmp_path, later_wins, best):
    _, result = toy_training.run(tmp_path, scores=[0.5, 0.2, 0.5], later_wins=later_wins)
    assert result["best_epoch"] == best and load_checkpoint(tmp_path / "best").metrics["epoch"] == best


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
    with pytest.raises(OutOfDeviceMemory, match="cannot be smaller: use --precision"):
        toy_training.run(tmp_path, loss=loss, micro=1)
    with pytest.raises(OutOfDeviceMemory, match="--micro_batch_size 4 keeps"):
        toy_training.run(tmp_path, loss=loss, micro=8, group=4)
    with pytest.raises(OutOfDeviceMemory, match="cannot be smaller: use a smaller --captions_per_video"):
        toy_training.run(tmp_path, loss=loss, micro=4, group=4)


def test_too_little_memory_for_the_optimiser_says_what_learns(tmp_path, monkeypatch):
    def step(self, closure=None):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.\nmore")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(OutOfDeviceMemory) as error:
        toy_training.run(tmp_path, scores=[1.0] * 3)
    message = str(error.value)
    assert "on cpu in the optimiser step (CUDA out of memory. Tried to allocate 1.00 GiB.)" in message
    assert "The 97 numbers that learn take" in message and "use a smaller model" in message
    assert "micro_batch_size" not in message


def test_other_errors_pass_unchanged(tmp_path):
    def loss(model, batch):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        toy_training.run(tmp_path, loss=loss)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "clip_norm", "log_steps", "save_steps", "patience"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"--{name} -1"):
        TrainSettings(**{name: -1})


def test_a_scaled_loss_trains_as_an_unscaled_one(tmp_path, monkeypatch):
    plain, _ = toy_training.run(tmp_path / "plain")
    monkeypatch.setattr(engine, "choose_precision", lambda *a: "fp16")  # which leaves float64 as it is
    scaled, _ = toy_training.run(tmp_path / "scaled")
    assert torch.equal(toy_training.parameters(plain), toy_training.parameters(scaled))


def test_an_overflow_costs_a_step_and_halves_the_scale(tmp_path, monkeypatch):
    scale = LossScale(2.0**1023)
    monkeypatch.setattr(engine, "choose_precision", lambda *a: "fp16")
    monkeypatch.setattr(engine, "LossScale", lambda: scale)
    model, result = toy_training.run(tmp_path)
    assert toy_training.parameters(model).isfinite().all() and result["step"] == 18
    assert scale.value < 2.0**1023 and scale.good > 0
    saved = load_checkpoint(tmp_path / "last").training["extra.scale"]
    assert saved == {"value": scale.value, "good": scale.good}


def test_a_run_may_start_later_and_tells_its_epochs(tmp_path):
    seen = []
    model = toy_training.build(0.0)
    loader = BatchLoader(toy_training.Words(), toy_training.collate, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    settings = TrainSettings(str(tmp_path), epochs=3, batch_size=8, precision="fp32")
    start = TrainState(epoch=1, step=6, position=2)
    result = engine.train(
        model, toy_training.loss_sum, loader, optimizer, schedules.constant(optimizer), settings, start=start,
        after_epoch=lambda m, state: seen.append((state.epoch, state.step)),
    )  # fmt: skip
    assert seen == [(2, 10), (3, 16)] and [epoch["epoch"] for epoch in result["history"]] == [2, 3]
