"""Cells of the Markdown tables that compare several trainings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation of a sample with so many decimals: "44.8 ± 1.2"; of one value the value alone."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"
