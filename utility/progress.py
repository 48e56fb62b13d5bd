"""What a training run reports while it goes: one line every few steps, and curves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from utility.logs import Scalars
from utility.training_run import TrainingRun

log = logging.getLogger(__name__)


class Progress:
    """One line per `log_steps` and curves: loss, rate, gradient norm, clips per second, share of time spent waiting."""

    def __init__(
        self,
        run: TrainingRun,
        names_of: Callable[[Any], Sequence[str]] | None,
        micro_batch_size: int,
        accumulation: int,
    ):
        self._run, self._names_of, self._micro_batch_size = run, names_of, micro_batch_size
        self._steps_per_epoch = math.ceil(run.micro_batches / accumulation)
        self._scalars = Scalars(run.folder / "curves", run.dist, run.config)
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
        self._steps += 1
        self._bar.update()
        state, settings = self._run.state, self._run.settings
        if (state.step + 1) % settings.log_steps:
            return
        seconds = max(time.perf_counter() - self._start, 1e-9)
        speed = self._samples * self._run.dist.world_size / seconds
        waiting = self._waited / seconds
        left = (settings.epochs * self._steps_per_epoch - state.step - 1) * seconds / self._steps
        log.info(
            "epoch %d/%d  step %d  loss %.4f  lr %.2e  grad %.3f  %.1f clips/s  waiting %2.0f %%  %s left",
            *(state.epoch + 1, settings.epochs, state.step + 1, totals.loss, rate, norm, speed, 100 * waiting),
            _clock(left),
        )
        values = {"loss": totals.loss, "lr": rate, "grad_norm": norm, "clips_per_second": speed, "wait_share": waiting}
        self._scalars.add({**values, **totals.metrics}, state.step + 1, "train/")
        self._restart()

    def evaluated(self, metrics: Mapping[str, Any]) -> None:
        self._scalars.add(metrics, self._run.state.step, "val/")
        self._scalars.flush()

    def _restart(self) -> None:
        self._start, self._waited, self._samples, self._steps = time.perf_counter(), 0.0, 0, 0


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
