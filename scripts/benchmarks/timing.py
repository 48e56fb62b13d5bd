"""Both sides of a row, measured in turn, and the ratio that comes out."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Measured:
    """One measurement: wall clock and processor seconds of one call, or a number of bytes twice."""

    value: float
    processor: float


@dataclass
class Row:
    """One line of the table.

    Args:
        unit: "s" or "B".
        least: smallest ratio that is aimed at; None where only a limit is.
        limit: largest own value that is aimed at.
    """

    name: str
    what: str
    published: list[Measured]
    ours: list[Measured]
    unit: str = "s"
    least: float | None = None
    limit: float | None = None
    detail: str = ""
    more: dict[str, float] = field(default_factory=dict)

    def ratios(self, processor: bool = False) -> list[float]:
        """Published over ours, one per repetition."""
        pairs = zip(self.published, self.ours, strict=True)
        if processor:
            return [a.processor / max(b.processor, 1e-9) for a, b in pairs]
        return [a.value / max(b.value, 1e-9) for a, b in pairs]

    def summary(self, aimed: bool = True) -> dict:
        """Plain types: medians, spread, and where `aimed` the targets and whether they are met."""
        ratios, ours = self.ratios(), statistics.median(m.value for m in self.ours)
        ratio = statistics.median(ratios)
        least, limit = (self.least, self.limit) if aimed else (None, None)
        met = (least is None or ratio >= least) and (limit is None or ours <= limit)
        return {
            "row": self.name,
            "what": self.what,
            "unit": self.unit,
            "published": statistics.median(m.value for m in self.published),
            "ours": ours,
            "ratio": ratio,
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "published_processor": statistics.median(m.processor for m in self.published),
            "ours_processor": statistics.median(m.processor for m in self.ours),
            "ratio_processor": statistics.median(self.ratios(processor=True)),
            "repeats": len(ratios),
            "target_ratio": least,
            "target_value": limit,
            "met": met if (least, limit) != (None, None) else None,
            "detail": self.detail,
            **self.more,
        }


def measure(call: Callable[[], object], device: torch.device, calls: int = 1, factor: float = 1.0) -> Measured:
    """Mean of `calls` calls, times `factor`."""
    synchronize(device)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    synchronize(device)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Measured(wall / calls * factor, processor / calls * factor)


def compare(
    published: Callable[[], object],
    ours: Callable[[], object],
    repeats: int,
    device: torch.device,
    *,
    factor: float = 1.0,
    least_seconds: float = 0.2,
    warm: bool = True,
    before: Callable[[], object] | None = None,
) -> tuple[list[Measured], list[Measured]]:
    """Both sides alternately, so that what else the machine does meets both.

    Args:
        factor: the published side is timed on a part of the work; its seconds are multiplied by this.
        least_seconds: a measurement repeats its call until about that long.
        warm: call both sides once before anything counts; otherwise each measurement is one call.
        before: called before every measurement and not measured.
    """
    calls = [1, 1]
    if warm:
        for _ in range(2):
            calls = [calls_for(measure(side, device).value, least_seconds) for side in (published, ours)]
    results: tuple[list[Measured], list[Measured]] = ([], [])
    for _ in range(repeats):
        for number, (side, scale) in enumerate(((published, factor), (ours, 1.0))):
            if before is not None:
                before()
            results[number].append(measure(side, device, calls[number], scale))
    return results


def calls_for(seconds: float, least_seconds: float) -> int:
    return max(1, math.ceil(least_seconds / max(seconds, 1e-6)))


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
