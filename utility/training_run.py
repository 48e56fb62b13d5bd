"""State of a training run: counters, checkpoints, resume and interruption, apart from the loop itself."""

from __future__ import annotations

import inspect
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utility.checkpoint import Checkpoint, is_checkpoint, load_checkpoint, load_tensors, save_checkpoint
from utility.distributed import Distributed
from utility.file_lock import FolderLock, InUse
from utility.random_state import random_states, restore_random_states, seed_all
from utility.same_run import differences
from utility.whole_files import recover

log = logging.getLogger(__name__)

# export("last" or "best", training state or None, summary of the run)
Export = Callable[[str, dict[str, Any] | None, dict[str, Any]], None]


@dataclass
class TrainState:
    """Counters of the loop, all of them saved."""

    epoch: int = 0  # finished epochs
    step: int = 0  # optimiser steps in all
    position: int = 0  # micro-batches of the current epoch already used, per rank
    best_score: float | None = None
    best_epoch: int = 0  # counted from 1
    epochs_since_best: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)  # of loss and metrics times weight, in this epoch
    weight: float = 0.0  # of the loss
    weights: dict[str, float] = field(default_factory=dict)  # of the metrics


class TrainingRun:
    """What a run saves and how it is restored."""

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Any,
        settings: Any,
        dist: Distributed,
        extra_state: Mapping[str, Any],
    ):
        self.last, self.best = folder / "last", folder / "best"
        self.folder, self.model, self.settings, self.dist = folder, model, settings, dist
        self._parts = {
            "optimizer": optimizer,
            "schedule": schedule,
            **{f"extra.{k}": v for k, v in extra_state.items()},
        }
        self.state = TrainState()
        self.config: dict[str, Any] = {}
        self.vocabulary: list[str] | None = None
        self.tables: Mapping[str, torch.Tensor] | None = None
        self.micro_batches = 0
        self.later_wins = False
        self.same: Sequence[str] = ()
        self.export: Export | None = None
        self._restored_states: dict[str, Any] | None = None
        self._lock = FolderLock(folder)

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.leave()

    def start(self) -> TrainState:
        """A new run: every rank draws its own random numbers from here on.

        Raises:
            InUse: another run is writing to the folder.
        """
        self._claim()
        if self.dist.is_main:
            recover(self.last)
            if is_checkpoint(self.last):
                log.warning("%s exists and will be replaced; --resume would continue it", self.last)
        self._seed()
        return self.state

    def resume(self, checkpoint: Checkpoint | None = None) -> TrainState:
        """Continues from `last`, or starts when there is none; or continues the given checkpoint.

        Raises:
            ValueError: a checkpoint of another model or with another description, or one from inside an epoch that this
                run would cut otherwise.
            InUse: another run is writing to the folder.
        """
        self._claim()
        try:
            return self._continue(checkpoint)
        except BaseException:
            self._lock.leave()
            raise

    def _claim(self) -> None:
        """All ranks or none: those that went on alone would wait for the others."""
        taken = not self.dist.is_main or self._lock.take()
        if self.dist.all_sum(float(not taken)):
            raise InUse(
                f"{self.folder} is being written by another run. Wait for it or stop it, or choose another --output_dir"
            )

    def _continue(self, checkpoint: Checkpoint | None) -> TrainState:
        if self.dist.is_main:
            recover(self.last)
        self.dist.barrier()
        if checkpoint is None:
            if not is_checkpoint(self.last):
                log.info("no checkpoint in %s: starting from the beginning", self.last)
                return self.start()
            checkpoint = load_checkpoint(self.last)
        training = checkpoint.training
        if training is None:
            raise ValueError(f"{self.last} holds no training state: it can be used, but not continued")
        self.state = TrainState(**training["state"])
        self._check_same_cut(training["cut"])
        words = (checkpoint.vocabulary, self.vocabulary)
        if changed := differences(checkpoint.config, self.config, self.same, words):
            raise ValueError(
                f"{self.last} is of another training: {'; '.join(changed)}. Continue it with the old values, or choose "
                "another --output_dir for a new one"
            )
        load_tensors(self.model, checkpoint.tensors, str(self.last))
        for name, part in self._parts.items():
            if name in training:  # a run in float32 has no scaler to hand on
                part.load_state_dict(training[name])
        if len(training["random"]) == self.dist.world_size:
            self._restored_states = training["random"][self.dist.rank]
            restore_random_states(self._restored_states, self.dist.device)
        else:
            self._seed()
        log.info("continuing from %s: epoch %d, step %d", self.last, self.state.epoch + 1, self.state.step)
        return self.state

    def epoch_batches(self, loader: Any) -> Iterator[Any]:
        """The micro-batches of the current epoch that were not used yet."""
        skip = self.state.position
        if skip and "skip" in inspect.signature(loader.set_epoch).parameters:
            loader.set_epoch(self.state.epoch, skip=skip)
            skip = 0
        else:
            loader.set_epoch(self.state.epoch)
        batches = iter(loader)
        for _ in range(skip):
            next(batches)
        if self.state.position and self._restored_states is not None:
            # Opening and skipping may have drawn numbers that the interrupted run had drawn long before.
            restore_random_states(self._restored_states, self.dist.device)
        self._restored_states = None
        return batches

    def count_step(self, micro_batches: int, totals: Any) -> None:
        """Note that an optimiser step has used `micro_batches` of this rank."""
        state = self.state
        state.sums["loss"] = state.sums.get("loss", 0.0) + totals.loss * totals.weight
        state.weight += totals.weight
        for name, weight in totals.weights.items():
            if weight:  # else there is no average to be weighted
                state.sums[name] = state.sums.get(name, 0.0) + totals.metrics[name] * weight
                state.weights[name] = state.weights.get(name, 0.0) + weight
        self.state.step += 1
        self.state.position += micro_batches

    def finish_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Counts the epoch, decides whether it is the best, saves and reports."""
        state = self.state
        state.epoch, state.position = state.epoch + 1, 0
        weights = {"loss": state.weight, **state.weights}
        averages = {f"train/{name}": value / weights[name] for name, value in state.sums.items() if weights.get(name)}
        state.sums, state.weight, state.weights = {}, 0.0, {}
        score = metrics.get("score")
        if metrics and score is None:
            raise ValueError(f"an evaluation must give a 'score', higher is better; got {', '.join(metrics)}")
        if score is not None and not math.isfinite(score):
            log.warning("epoch %d: the score is %s and cannot be the best", state.epoch, score)
            score = -math.inf
        best = -math.inf if state.best_score is None else state.best_score
        better = score is not None and (score > best or (self.later_wins and score == best > -math.inf))
        if better:
            state.best_score, state.best_epoch, state.epochs_since_best = float(score), state.epoch, 0
        elif score is not None:
            state.epochs_since_best += 1
        val = {f"val/{k}": v for k, v in metrics.items()}
        state.history.append({"epoch": state.epoch, "step": state.step, **_plain({**averages, **val})})
        if better:
            self._save(self.best, with_training=False)
        self.save_last()
        shown = "  ".join(f"{k} {_number(v)}" for k, v in state.history[-1].items() if k not in ("epoch", "step"))
        log.info("epoch %d/%d  %s%s", state.epoch, self.settings.epochs, shown, "  best so far" if better else "")
        if self.out_of_patience:
            log.info("no better score in %d epochs: stopping. Best: epoch %d", self.settings.patience, state.best_epoch)

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` epochs have passed without a better score."""
        return 0 < self.settings.patience <= self.state.epochs_since_best

    def save_last(self) -> None:
        """Write `last`, from which `resume` continues."""
        self._save(self.last, with_training=True)

    def summary(self) -> dict[str, Any]:
        """Counters, best score and history as plain types."""
        values = asdict(self.state)
        return {name: values[name] for name in ("epoch", "step", "best_score", "best_epoch", "history")}

    def _save(self, folder: Path, with_training: bool) -> None:
        states = self.dist.gather_objects(random_states(self.dist.device)) if with_training else []
        if self.dist.is_main:
            training = None
            if with_training:
                training = {name: part.state_dict() for name, part in self._parts.items()}
                training |= {"state": asdict(self.state), "random": states, "cut": self._cut()}
            save_checkpoint(
                folder,
                tensors=self.model.state_dict(),
                config=self.config,
                training=training,
                vocabulary=self.vocabulary,
                tables=self.tables,
                metrics=self.summary(),
            )
            if self.export is not None:
                self.export(folder.name, training, self.summary())
        self.dist.barrier()

    def _seed(self) -> None:
        seed_all(self.settings.seed, self.state.epoch, self.dist.rank)

    def _cut(self) -> dict[str, int]:
        return {
            "processes": self.dist.world_size,
            "batch_size": self.settings.batch_size,
            "micro-batches per epoch and process": self.micro_batches,
            "seed": self.settings.seed,
        }

    def _check_same_cut(self, stored: dict[str, int]) -> None:
        now = self._cut()
        changed = [f"{key} was {stored[key]}, now {now[key]}" for key in now if stored[key] != now[key]]
        if changed and self.state.position:
            raise ValueError(
                f"{self.last} was saved inside epoch {self.state.epoch + 1}, which this run would cut otherwise: "
                f"{'; '.join(changed)}. Continue with the old values; they may change at the end of an epoch"
            )
        if changed:
            log.warning("continuing with other values: %s", "; ".join(changed))


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a request that the loop answers after its step; a second Ctrl-C raises."""

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and texts as plain types, nested results left to the programs' own files."""
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
    return {k: v for k, v in plain.items() if isinstance(v, int | float | str | bool) or v is None}


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
