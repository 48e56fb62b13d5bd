"""What a training run reports while it goes: one line every few steps, and curves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from utility.logs import Scalars
from utility.peak_memory import peak_bytes
from utility.training_run import TrainingRun

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


# step_line({"epoch", "epochs", "step", "samples", "percent", "loss", "lr", "data_time", ...}) -> text of the line
StepLine = Callable[[Mapping[str, Any]], str]


class Progress:
    """A bar with loss, rate, speed and memory of every step; a line per `log_steps` and curves."""

    def __init__(
        self,
        run: TrainingRun,
        names_of: Callable[[Any], Sequence[str]] | None,
        unit: str,
        micro_batch_size: int,
        accumulation: int,
        curves: Path | None = None,
        step_line: StepLine | None = None,
    ):
        self._line, self._unit = step_line, unit
        self._run, self._names_of, self._micro_batch_size = run, names_of, micro_batch_size
        self._steps_per_epoch = math.ceil(run.micro_batches / accumulation)
        self._scalars = Scalars(curves or run.folder / "curves", run.dist, run.config)
        self._restart()

    def __enter__(self) -> Progress:
        settings, state = self._run.settings, self._run.state
        # Where standard error is no terminal there are only the lines.
        self._bar = tqdm(
            total=settings.epochs * self._steps_per_epoch, initial=state.step, desc="training", unit="step",
            disable=None if self._run.dist.is_main else True, leave=False,
        )  # fmt: skip
        self._above_bar = logging_redirect_tqdm() if not self._bar.disable else nullcontext()
        self._above_bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._above_bar.__exit__(*error)
        self._bar.close()
        self._scalars.close()

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Passes batches on, noting how long each was waited for and how many samples it holds."""
        self._restart()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.perf_counter() - start
            self._samples += len(self._names_of(batch)) if self._names_of else self._micro_batch_size
            yield batch

    def step(self, totals: Any, norm: float, rate: float) -> None:
        """Count an optimiser step, before its number; a line and curves every `log_steps`.

        Args:
            totals: loss and metrics of the step.
            norm: of the whole gradient, before clipping.
            rate: learning rate of the first group.
        """
        self._steps += 1
        seconds = max(time.perf_counter() - self._start, 1e-9)
        speed = self._samples * self._run.dist.world_size / seconds
        memory = peak_memory(self._run.dist.device)
        shown = f"loss {totals.loss:.4f}, lr {rate:.2e}, {speed:.1f} {self._unit}/s, {memory:.1f} GiB"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update()
        state, settings = self._run.state, self._run.settings
        if (state.step + 1) % settings.log_steps:
            return
        waiting = self._waited / seconds
        left = (settings.epochs * self._steps_per_epoch - state.step - 1) * seconds / self._steps
        values = {"loss": totals.loss, "lr": rate, "grad_norm": norm, "wait_share": waiting}
        values |= {f"{self._unit}_per_second": speed}
        values |= {"data_time": self._waited / self._steps, "batch_time": seconds / self._steps}
        values |= {"memory_gib": memory, "process_memory_gib": peak_memory(CPU), **totals.metrics}
        self._scalars.add(values, state.step + 1, "train/")
        if self._line is None:
            log.info(
                "epoch %d/%d  step %d  loss %.4f  lr %.2e  grad %.3f  %.1f %s/s  waiting %2.0f %%  %s left",
                *(state.epoch + 1, settings.epochs, state.step + 1, totals.loss, rate, norm, speed, self._unit),
                *(100 * waiting, _clock(left)),
            )
        else:
            done = state.step + 1 - state.epoch * self._steps_per_epoch
            place = {"epoch": state.epoch + 1, "epochs": settings.epochs, "step": state.step + 1}
            place |= {"samples": done * settings.batch_size, "percent": 100 * done / self._steps_per_epoch}
            log.info("%s", self._line({**place, **values}))
        self._restart()

    def evaluated(self, metrics: Mapping[str, Any], epoch: Mapping[str, Any]) -> None:
        """Adds the curves of an epoch: what its evaluation gave, and its averages over training (`epoch_train/...`)."""
        self._scalars.add(metrics, self._run.state.step, "val/")
        averages = {name: value for name, value in epoch.items() if name.startswith("train/")}
        self._scalars.add(averages, self._run.state.step, "epoch_")
        self._scalars.flush()

    def _restart(self) -> None:
        self._start, self._waited, self._samples, self._steps = time.perf_counter(), 0.0, 0, 0


def peak_memory(device: torch.device) -> float:
    """The most memory that this process has used, in GiB: of the GPU, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return peak_bytes() / 2**30


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
