"""Scores of a recogniser over labelled clips: predictions split over processes, all measures.

Shape letters: N clips, C classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from dataset.action_videos import ActionBatch, EvaluationClips
from dataset.corpus import listed
from utility.calibration import calibration, fit_temperature, reliability, softmax
from utility.charts import draw_confusion, draw_reliability
from utility.classification import classification_scores
from utility.distributed import Distributed
from utility.loader import to_device
from utility.processes import ignore_interrupts

log = logging.getLogger(__name__)


@dataclass
class Predictions:
    """Logits [N, C] and labels [N] of the clips that could be read, their names, and causes for the others."""

    logits: np.ndarray
    labels: np.ndarray
    names: list[str]
    failed: dict[str, str]
    seconds: float

    @property
    def loss(self) -> float:
        return calibration(softmax(self.logits), self.labels)["nll"] if len(self.labels) else float("nan")

    @property
    def top1(self) -> float:
        return float((self.logits.argmax(1) == self.labels).mean()) if len(self.labels) else 0.0


@torch.no_grad()
def predict(
    model: Any, texts: Any, clips: EvaluationClips, inputs: Callable[[ActionBatch], Any], dist: Distributed,
    batch_size: int = 4, num_workers: int = 0,
) -> Predictions:  # fmt: skip
    """Logits of all clips; every process reads its share and all get everything.

    Args:
        texts: classes, from `Recogniser.class_texts`; their features are computed once.
        inputs: what the model is given of a batch (`Inputs`).
    """
    start = time.perf_counter()
    texts = model.cached(texts)
    own = dist.shard(list(range(len(clips))))
    loader = DataLoader(
        Subset(clips, own), batch_size, num_workers=num_workers, collate_fn=_readable, worker_init_fn=ignore_interrupts
    )
    rows: dict[int, tuple[Any, int, str]] = {}
    failed: dict[str, str] = {}
    position = 0
    for batch, causes in loader:
        places = [k for k in range(len(causes)) if causes[k] is None]
        failed |= {clips.clips[own[position + k]].name: cause for k, cause in enumerate(causes) if cause is not None}
        if batch is not None:
            batch = to_device(batch, dist.device)
            logits = model(inputs(batch), texts, batch.mask).logits.float().cpu().numpy()
            for k, row, label, name in zip(places, logits, batch.labels.tolist(), batch.names, strict=True):
                rows[own[position + k]] = (row, label, name)
        position += len(causes)
    everything: dict[int, tuple[Any, int, str]] = {}
    for part_rows, part_failed in dist.gather_objects((rows, failed)):
        everything |= part_rows
        failed |= part_failed
    ordered = [everything[k] for k in sorted(everything)]
    classes = len(texts.ids)
    logits = np.stack([row for row, _, _ in ordered]) if ordered else np.zeros((0, classes), np.float32)
    labels = np.array([label for _, label, _ in ordered], np.int64)
    return Predictions(logits, labels, [name for _, _, name in ordered], failed, time.perf_counter() - start)


def _readable(items: list[Any]) -> tuple[ActionBatch | None, list[str | None]]:
    """(batch of what could be read, cause or None for every item)."""
    read = [item for item in items if not isinstance(item, str)]
    return (ActionBatch.collate(read) if read else None), [x if isinstance(x, str) else None for x in items]


def results(
    predictions: Predictions, classes: Sequence[str], temperature: float | None = None, pictures: Path | None = None
) -> dict[str, Any]:
    """Everything that is said about a split, as plain types.

    Args:
        temperature: one fitted elsewhere; None fits it on these predictions (and says so).
        pictures: prefix of the confusion matrix's and the reliability diagram's files.

    Raises:
        ValueError: not one clip could be read.
    """
    if not predictions.names:
        causes = "; ".join(list(predictions.failed.values())[:3])
        raise ValueError(f"none of {len(predictions.failed)} clips can be read: {causes or 'no clip was given'}")
    logits, labels = predictions.logits, predictions.labels
    plain = softmax(logits)
    fitted = fit_temperature(logits, labels) if temperature is None else temperature
    scores = classification_scores(plain, labels, classes)
    if pictures is not None:
        draw_confusion(np.array(scores["confusion"]), classes, pictures.with_name(f"{pictures.name}_confusion.png"))
        bins = reliability(plain.max(1), plain.argmax(1) == labels)
        draw_reliability(bins, pictures.with_name(f"{pictures.name}_reliability.png"))
    return {
        **scores,
        "loss": predictions.loss,
        "calibration": calibration(plain, labels),
        "temperature": fitted,
        "temperature_fitted_here": temperature is None,
        "calibration_with_temperature": calibration(softmax(logits, fitted), labels),
        "unreadable": predictions.failed,
        "videos_per_second": len(labels) / max(predictions.seconds, 1e-9),
    }


def say(split: str, report: Mapping[str, Any]) -> None:
    """The log lines of what `results` gave."""
    log.info(
        "%s: top-1 %.1f, top-5 %.1f, F1 %.1f, calibration error %.3f, with temperature %.2f %.3f, %d clips",
        split, 100 * report["top1"], 100 * report["top5"], 100 * report["macro"]["f1"], report["calibration"]["ece"],
        report["temperature"], report["calibration_with_temperature"]["ece"], report["samples"],
    )  # fmt: skip
    failed = report["unreadable"]
    if failed:
        log.warning("%d clips cannot be read: %s", len(failed), listed(failed.values(), 3))
