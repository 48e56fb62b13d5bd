"""The training loop of captioner, retrieval and recognition: one process or several, exact on resume.

The loss of an optimiser step is sum(loss sums) / sum(weights) over all its micro-batches and processes (weights are
words, or samples), so neither padding nor the way a batch is cut changes the objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from utility.checkpoint import Checkpoint
from utility.device_memory import forward_memory, update_memory
from utility.distributed import Distributed
from utility.loader import split_batch, to_device
from utility.precision import LossScale, choose_precision
from utility.progress import Progress, StepLine
from utility.random_state import untouched_random_states
from utility.step_totals import Metric, Number, StepTotals, step_totals
from utility.train_settings import TrainSettings
from utility.training_run import Export, Interrupt, TrainingRun, TrainState

# loss_fn(model, batch) -> (sum of losses, their weight, further numbers to log)
LossFunction = Callable[[nn.Module, Any], tuple[Tensor, Number, Mapping[str, Metric]]]
Evaluate = Callable[[nn.Module, int], Mapping[str, Any]]


class Loader(Protocol):
    """What `train` iterates over, for instance a `utility.loader.BatchLoader`: micro-batches of this rank.

    All ranks have the same number. A `set_epoch(epoch, skip=n)` that leaves out n micro-batches makes resuming inside
    an epoch fast; with `set_epoch(epoch)` alone they are loaded and dropped.
    """

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is NaN or infinite; raised before the model was changed."""


def train(
    model: nn.Module,
    loss_fn: LossFunction,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    settings: TrainSettings,
    dist: Distributed | None = None,
    evaluate: Evaluate | None = None,
    *,
    names_of: Callable[[Any], Sequence[str]] | None = None,
    unit: str = "clips",
    group: int = 1,
    smaller: str = "a smaller model",
    config: Mapping[str, Any] | None = None,
    same: Sequence[str] = (),
    vocabulary: list[str] | None = None,
    tables: Mapping[str, Tensor] | None = None,
    extra_state: Mapping[str, Any] | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    after_epoch: Callable[[nn.Module, TrainState], None] | None = None,
    start: TrainState | None = None,
    find_unused_parameters: bool = False,
    later_wins: bool = False,
    resume_from: Checkpoint | None = None,
    export: Export | None = None,
    curves: Path | None = None,
    step_line: StepLine | None = None,
) -> dict[str, Any]:
    """Trains `model` in place and writes `output_dir/last` (after every epoch and `save_steps`) and `output_dir/best`.

    Args:
        model: on `dist.device`. The loss function receives it unwrapped, in several processes too.
        schedule: has `step()`, `state_dict()`, `load_state_dict()`; stepped after every optimiser step.
        evaluate: (model in eval mode, epoch) -> metrics over all ranks; `score`, higher is better, chooses the best
            epoch. Without it `best` is not written.
        names_of: ids of the samples in a batch, for error messages and the rate.
        unit: what the samples are, for the rate.
        group: samples of which none is without the others in a micro-batch, for advice on its size.
        smaller: flags that make less learn, or a smaller model, for advice on memory.
        config, vocabulary, tables: stored in the checkpoints.
        same: parts of `config` in which a run must not differ from the one that it continues (`utility.same_run`).
        extra_state: further objects with `state_dict` and `load_state_dict` to save and restore.
        after_step: called with the model after every update, e.g. to clamp a temperature.
        after_epoch: called on every rank when an epoch was scored and saved; it is the best so far where
            `best_epoch == epoch`.
        start: counters of a new run that does not start at 0 (the caller has brought the schedule there); a resumed
            run has its own.
        find_unused_parameters: for models of which some parameters take no part in the loss (several processes only).
        later_wins: of epochs with equal scores the later one is the best.
        resume_from: a checkpoint with its training state to continue in place of `output_dir/last`.
        export: called on rank 0 after `last` or `best` was written.
        curves: folder of the curves, by default `output_dir/curves`.
        step_line: text of a progress line, by default that of `utility.progress`.

    Returns:
        `epoch` and `step` reached, `best_score`, `best_epoch` (counted from 1) and `history`, one dictionary per epoch.

    Raises:
        NonFiniteLoss: before the model was changed.
        OutOfDeviceMemory: naming the flags that need less.
        KeyboardInterrupt: after a first Ctrl-C (or SIGTERM), when the state was saved in `last`.
        ValueError: sizes that do not divide, or a checkpoint that does not belong to this run.
    """
    dist = dist or Distributed()
    micro_batch_size, accumulation = split_batch(settings.batch_size, settings.micro_batch_size, dist.world_size)
    precision = choose_precision(settings.precision, dist.device)
    scale = LossScale() if precision == "fp16" else None
    extra_state = {**(extra_state or {}), **({"scale": scale} if scale else {})}
    run = TrainingRun(Path(settings.output_dir), model, optimizer, schedule, settings, dist, extra_state)
    run.config, run.vocabulary, run.tables, run.micro_batches = dict(config or {}), vocabulary, tables, len(loader)
    run.state, run.later_wins, run.same, run.export = start or run.state, later_wins, same, export
    state = run.resume(resume_from) if settings.resume or resume_from else run.start()
    compute = _wrap(_LossModule(model, loss_fn, precision, dist.device), dist, find_unused_parameters)
    progress = Progress(run, names_of, unit, micro_batch_size, accumulation, curves, step_line)
    with Interrupt() as interrupt, run, progress, attention_kernels(dist.device):
        while state.epoch < settings.epochs and not run.out_of_patience:
            model.train()
            for micro_batches in _steps(progress.timed(run.epoch_batches(loader)), accumulation):
                factor = scale.value if scale else 1.0
                with forward_memory(settings, group, smaller, dist):
                    totals = _accumulate_gradients(compute, micro_batches, dist, interrupt, factor)
                _refuse_non_finite(totals.loss, "loss", totals, micro_batches, names_of, state, dist)
                with update_memory(optimizer, smaller, dist.device):
                    norm = _normalise_gradients(optimizer, dist.world_size / totals.weight / factor, settings.clip_norm)
                overflow = scale is not None and not math.isfinite(norm) and factor > 1
                if scale is not None:
                    scale.update(math.isfinite(norm))
                if not overflow:  # an overflow of fp16 costs a step; the next one has a smaller factor
                    _refuse_non_finite(norm, "gradient", totals, micro_batches, names_of, state, dist)
                    with update_memory(optimizer, smaller, dist.device):
                        optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                progress.step(totals, norm, optimizer.param_groups[0]["lr"])
                schedule.step()
                if after_step is not None:
                    after_step(model)
                run.count_step(len(micro_batches), totals)
                if totals.interrupted:
                    run.save_last()
                    raise KeyboardInterrupt(f"stopped at step {state.step}; {run.last} continues with --resume")
                if settings.save_steps and state.step % settings.save_steps == 0:
                    run.save_last()
            metrics = _evaluate(evaluate, model, state.epoch, dist)
            run.finish_epoch(metrics)
            progress.evaluated(metrics, state.history[-1])
            if after_epoch is not None:
                after_epoch(model, state)
            if dist.all_sum(float(interrupt.requested)):
                raise KeyboardInterrupt(f"stopped after epoch {state.epoch}; {run.last} continues with --resume")
    return run.summary()


class _LossModule(nn.Module):
    """Model and loss as one module, so that DDP sees every forward pass whichever methods the loss calls."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction, precision: str, device: torch.device):
        super().__init__()
        self.model, self.loss_fn, self.device = model, loss_fn, device
        self.half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def forward(self, batch: Any) -> tuple[Tensor, Number, Mapping[str, Metric]]:
        with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
            return self.loss_fn(self.model, batch)


def _wrap(module: _LossModule, dist: Distributed, find_unused_parameters: bool) -> nn.Module:
    if dist.world_size == 1:
        return module
    devices = [dist.device] if dist.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=find_unused_parameters)


def attention_kernels(device: torch.device) -> AbstractContextManager:
    """On a CPU the plain kernel: the backward pass of the fused one took most of a step of short sequences there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _steps(batches: Iterable[Any], accumulation: int) -> Iterator[list[Any]]:
    """Groups micro-batches into optimiser steps; a last shorter group is a step too."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == accumulation:
            yield group
            group = []
    if group:
        yield group


def _accumulate_gradients(
    compute: nn.Module,
    micro_batches: list[Any],
    dist: Distributed,
    interrupt: Interrupt,
    factor: float,
) -> StepTotals:
    """Adds the gradients of the loss SUM of every micro-batch; processes exchange them once, with the last."""
    losses, weights, metrics = [], [], []
    for number, batch in enumerate(micro_batches):
        last = number == len(micro_batches) - 1
        if isinstance(compute, DistributedDataParallel):
            compute.require_backward_grad_sync = last
        loss, weight, numbers = compute(to_device(batch, dist.device))
        (loss * factor if factor != 1 else loss).backward()
        losses.append(loss.detach().double())
        weights.append(weight)
        metrics.append(numbers)
    return step_totals(losses, weights, metrics, interrupt.requested, dist)


def _normalise_gradients(optimizer: torch.optim.Optimizer, factor: float, clip_norm: float) -> float:
    """Turns gradients of sums (DDP: averaged over ranks) into those of the mean, clips them; the norm before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not parameters:
        return 0.0
    torch._foreach_mul_([p.grad for p in parameters], factor)
    return float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf))


def _refuse_non_finite(
    value: float,
    what: str,
    totals: StepTotals,
    micro_batches: list[Any],
    names_of: Callable[[Any], Sequence[str]] | None,
    state: Any,
    dist: Distributed,
) -> None:
    """Every rank sees the same value, so that all of them raise together."""
    if math.isfinite(value):
        return
    bad = [b for b, loss in zip(micro_batches, totals.own_losses, strict=True) if not torch.isfinite(loss)]
    suspects = bad if what == "loss" and totals.weight else micro_batches
    own = [str(name) for batch in suspects for name in names_of(batch)] if names_of else []
    names = list(dict.fromkeys(name for part in dist.gather_objects(own) for name in part))
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    cause = "no words or samples to average over" if what == "loss" and not totals.weight else f"{what} is {value}"
    raise NonFiniteLoss(
        f"step {state.step + 1} (epoch {state.epoch + 1}): {cause}; the model was not changed. "
        f"Samples: {shown or 'unnamed'}. Look at their features, or lower the learning rate; the last good state is in "
        "output_dir/last"
    )


def _evaluate(evaluate: Evaluate | None, model: nn.Module, epoch: int, dist: Distributed) -> dict[str, Any]:
    if evaluate is None:
        return {}
    model.eval()
    with torch.no_grad(), untouched_random_states(dist.device):
        metrics = dict(evaluate(model, epoch))
    model.train()
    # One rank's word decides on best and stopping: a last-digit difference must not part the ranks.
    return dist.gather_objects(metrics)[0]
