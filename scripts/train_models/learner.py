"""What the training loop sees of a recogniser, and where its time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PROFILED_STEPS = 3


class Learner(nn.Module):
    """A recogniser whose state is what it learns: checkpoints do not repeat the frozen backbone."""

    def __init__(self, recogniser: Any):
        super().__init__()
        self.recogniser = recogniser

    def forward(self, *inputs: Any) -> Any:
        return self.recogniser(*inputs)

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        return self.recogniser.learner_state()

    def load_state_dict(self, tensors: Mapping[str, Tensor], *args: Any, **options: Any) -> list[str]:
        return self.recogniser.load_learner(tensors)


@contextmanager
def profiled(wanted: bool, file: Path) -> Iterator[Callable[[], None]]:
    """Gives a function to call after every step; `file` gets a table of the first steps but one."""
    if not wanted:
        yield lambda: None
        return

    def write(profile: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30), encoding="utf-8")

    when = torch.profiler.schedule(wait=1, warmup=0, active=PROFILED_STEPS, repeat=1)
    with torch.profiler.profile(schedule=when, on_trace_ready=write) as profile:
        yield profile.step
