"""The table of an ablation: scores of runs, what differs beyond chance between rows, and what does not.

Rows are compared seed by seed: the same seed means the same first values and order of captions wherever networks are
alike. A difference counts where the 95 % interval of its mean (Student's t over the seeds) leaves out zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from scripts.ablation_rows import ROWS, Row
from scripts.ablation_scores import SCORES
from scripts.table_cells import spread

# 97.5 % quantiles of Student's t by degrees of freedom; beyond them that of the normal distribution is near enough.
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL_QUANTILE = 1.96

Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, and half the width of its 95 % interval (None for a single pair)."""

    mean: float
    half_width: float | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.half_width is not None and abs(self.mean) > self.half_width

    def __str__(self) -> str:
        return f"{self.mean:+.3f}" + ("" if self.half_width is None else f" ± {self.half_width:.3f}")


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """Second minus first over the seeds that both have; None if they share none."""
    values = [second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())]
    if not values:
        return None
    if len(values) == 1:
        return Difference(values[0], None)
    free = len(values) - 1
    quantile = T_QUANTILES[free - 1] if free <= len(T_QUANTILES) else NORMAL_QUANTILE
    return Difference(mean(values), quantile * stdev(values) / len(values) ** 0.5)


def by_seed(runs: Runs, row: str, score: str) -> dict[int, float]:
    """{seed: score} of a row."""
    return {run["seed"]: run["scores"][score] for run in runs if run["row"] == row and score in run["scores"]}


def table(runs: Runs) -> list[str]:
    """Lines of Markdown: what did not help and what was not missed, what did and was, the scores, how it was made."""
    rows = [row for row in ROWS.values() if any(run["row"] == row.name for run in runs)]
    failed, worked = findings(runs, rows)
    lines = []
    if failed:
        lines += ["What does not help, or is not missed:", "", *(f"- {line}" for line in failed), ""]
    if worked:
        lines += ["What makes a difference:", "", *(f"- {line}" for line in worked), ""]
    scores = {name: label for name, label in SCORES.items() if any(name in run["scores"] for run in runs)}
    lines += [f"| graphs and features | {' | '.join(scores.values())} |", "|---" * (len(scores) + 1) + "|"]
    for row in rows:
        own = [run for run in runs if run["row"] == row.name]
        measured = ([run["scores"][name] for run in own if name in run["scores"]] for name in scores)
        cells = [spread(values, 2) if values else "" for values in measured]
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    return [*lines, "", how_it_was_made(runs)]


def findings(runs: Runs, rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """(what failed to do as it ought to, what did), a sentence for each comparison.

    What is added ought to raise CIDEr, what is taken away ought to lower it; other scores that differ are named too.
    """
    failed, worked = [], []
    for row in rows:
        for base in row.against:
            changes = {
                score: difference(by_seed(runs, base, score), by_seed(runs, row.name, score)) for score in SCORES
            }
            cider = changes["CIDEr"]
            if cider is None:
                continue
            as_it_ought = cider.shown and (cider.mean > 0) == row.adds
            (worked if as_it_ought else failed).append(_sentence(row, ROWS[base], cider, changes))
    return failed, worked


def _sentence(row: Row, base: Row, cider: Difference, changes: Mapping[str, Difference | None]) -> str:
    if not cider.shown:
        verdict = "no difference shown"
    elif row.adds:
        verdict = "helps" if cider.mean > 0 else "does harm"
    else:
        verdict = "is missed" if cider.mean < 0 else "is better without"
    others = [
        f"{SCORES[name]} {change}"
        for name, change in changes.items()
        if name != "CIDEr" and change is not None and change.shown
    ]
    also = f"; also {', '.join(others)}" if others else ""
    return f"{row.label} against {base.label}: {verdict}, CIDEr {cider}{also}"


def how_it_was_made(runs: Runs) -> str:
    """Sizes, seeds, and what the numbers after ± are."""
    settings, scores = runs[0]["settings"], runs[0]["scores"]
    seeds = sorted({run["seed"] for run in runs})
    clips = "all training clips" if settings["limit"] is None else f"the first {settings['limit']} training clips"
    batches = "" if settings["batch_size"] is None else f" in batches of {settings['batch_size']} captions"
    places = "; place: of all" if "place_accuracy" in scores else ""
    return (
        f"{settings['epochs']} epochs on {clips}{batches}, the same for every row; seeds {', '.join(map(str, seeds))}. "
        "In the table mean ± standard deviation over the seeds, in the sentences mean difference ± half its 95 % "
        f"interval, seed by seed. Colour, shape and action: of {scores['one_object_videos']} test clips with one "
        f"object; relation: of {scores['two_object_videos']} with two{places}."
    )
