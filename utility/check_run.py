"""Whether a training run went as it should: checkpoints load, the loss fell, curves are there, the best epoch.

    python -m utility.check_run DIR

Prints one line per check on standard error and all of them as JSON; ends with status 1 if one failed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CURVES = ("tensorboard", "curves")


@dataclass
class Check:
    """One question about a run and its answer."""

    name: str
    passed: bool
    says: str


def check_run(folder: Path) -> list[Check]:
    """All checks of a run's folder.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the --output_dir of a training")
    history, summary, loading = _checkpoints(folder)
    return [*loading, _loss(history), _best(summary), _curves(folder), _log(folder)]


def _checkpoints(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], list[Check]]:
    """(history, summary of the last checkpoint, one check per checkpoint that is there)."""
    import torch

    from utility.checkpoint import is_checkpoint, load_checkpoint, read_tensors

    checks: list[Check] = []
    summary: dict[str, Any] = {}
    for name in ("last", "best"):
        if not is_checkpoint(folder / name):
            checks.append(Check(f"checkpoint {name}", False, "not there: no epoch was finished"))
            continue
        try:
            checkpoint = load_checkpoint(folder / name)
        except ValueError as error:
            checks.append(Check(f"checkpoint {name}", False, str(error)))
            continue
        broken = [key for key, value in checkpoint.tensors.items() if not torch.isfinite(value.float()).all()]
        says = f"{len(checkpoint.tensors)} tensors" if not broken else f"not finite: {', '.join(broken[:5])}"
        checks.append(Check(f"checkpoint {name}", not broken, says))
        summary = summary or checkpoint.metrics or {}
    for file in sorted(folder.glob("*_model.pth")):
        try:
            checks.append(Check(file.name, True, f"{len(read_tensors(file))} tensors"))
        except (OSError, ValueError) as error:
            checks.append(Check(file.name, False, str(error)))
    return summary.get("history", []), summary, checks


def _loss(history: list[dict[str, Any]]) -> Check:
    losses = [epoch["train/loss"] for epoch in history if "train/loss" in epoch]
    if len(losses) < 2:
        return Check("loss fell", False, f"{len(losses)} epochs with a loss: nothing to compare")
    lowest = min(losses)
    passed = math.isfinite(losses[-1]) and losses[-1] < losses[0]
    return Check("loss fell", passed, f"{losses[0]:.4f} in epoch 1, {losses[-1]:.4f} at the end, lowest {lowest:.4f}")


def _best(summary: dict[str, Any]) -> Check:
    score = summary.get("best_score")
    if score is None or not math.isfinite(score):
        return Check("best score", False, "no epoch was scored")
    return Check("best score", True, f"{score:.4f} in epoch {summary['best_epoch']} of {summary['epoch']}")


def _curves(folder: Path) -> Check:
    files = [file for name in CURVES for file in (folder / name).rglob("events.out.tfevents*")]
    size = sum(file.stat().st_size for file in files)
    says = f"{len(files)} files, {size:,} bytes: tensorboard --logdir {folder}" if files else "no event file"
    return Check("tensorboard", size > 0, says)


def _log(folder: Path) -> Check:
    file = folder / "log.txt"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return Check("log.txt", bool(lines), f"{len(lines)} lines")


def main(argv: Sequence[str] | None = None) -> int:
    import argparse

    parser = argparse.ArgumentParser("utility.check_run", description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="the --output_dir of a training")
    folder = parser.parse_args(argv).folder
    try:
        checks = check_run(folder)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for check in checks:
        print(f"{'ok    ' if check.passed else 'FAILED'}  {check.name:16}  {check.says}", file=sys.stderr)
    passed = all(check.passed for check in checks)
    print(json.dumps({"run": str(folder), "passed": passed, "checks": [vars(check) for check in checks]}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
