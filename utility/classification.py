"""Scores of a classifier: accuracies, precision, recall and F1 per class, confusion matrix.

Shape letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PERCENTILES = (5, 25, 50, 75, 95)


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of samples whose label is among the k best scores [N, C]; the earlier class wins a tie."""
    order = np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :k]
    return float((order == np.asarray(labels)[:, None]).any(1).mean())


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C]: rows are true classes, columns predicted ones."""
    place = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(place, minlength=classes**2).reshape(classes, classes)


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """`precision`, `recall`, `f1` and `count` [C]; 0 where a class was never predicted, or has no sample."""
    hits = np.diag(confusion).astype(np.float64)
    predicted, present = confusion.sum(0), confusion.sum(1)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(present, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    return {"precision": precision, "recall": recall, "f1": f1, "count": present}


def classification_scores(scores: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """All scores as plain types.

    Args:
        scores: [N, C], larger is likelier.
        labels: [N].
        names: of the C classes.

    Returns:
        `top1`, `top5` (of all classes where there are fewer than 5), `macro` means over the classes that have
        samples, `micro` accuracy, `f1_percentiles`, `per_class` by name and the `confusion` matrix.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, np.int64)
    confusion = confusion_matrix(labels, scores.argmax(1), len(names))
    table = per_class(confusion)
    present = table["count"] > 0
    numbers = ("precision", "recall", "f1")
    return {
        "samples": len(labels),
        "top1": top_k(scores, labels, 1),
        "top5": top_k(scores, labels, min(5, len(names))),
        "macro": {name: float(table[name][present].mean()) for name in numbers},
        "micro": {"accuracy": float(np.trace(confusion) / max(confusion.sum(), 1))},
        "f1_percentiles": {str(q): float(np.percentile(table["f1"][present], q)) for q in PERCENTILES},
        "per_class": {
            name: {**{n: float(table[n][c]) for n in numbers}, "count": int(table["count"][c])}
            for c, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }
