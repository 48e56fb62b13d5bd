"""How far probabilities can be trusted: calibration errors, temperature scaling, reliability per bin.

Shape letters: N samples, C classes.
Source: Guo et al., On Calibration of Modern Neural Networks, 2017; recognition reference, section 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Samples by confidence, in equal-width bins: what was claimed and what came true; both 0 in an empty bin."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        return np.abs(self.accuracy - self.confidence)

    def expected_error(self) -> float:
        """Mean gap, weighted by how many samples a bin has."""
        return float((self.count * self.gaps).sum() / max(self.count.sum(), 1))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities [N, C] in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(1, keepdims=True))
    return scaled / scaled.sum(1, keepdims=True)


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Equal-width bins (low, high] of confidences [N] in 0..1; a confidence of 0 belongs to the first."""
    place = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    return _binned(place, confidence, correct, bins)


def adaptive_reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Bins of N // bins neighbours in the order of confidence; the last one takes the remainder too."""
    order = np.argsort(confidence, kind="stable")
    width = max(len(confidence) // bins, 1)
    place = np.minimum(np.arange(len(confidence)) // width, bins - 1)
    return _binned(place, np.asarray(confidence)[order], np.asarray(correct)[order], bins)


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, float]:
    """Every measure of one set of predictions.

    Args:
        probabilities: [N, C], rows sum to 1.
        labels: [N] class numbers.

    Returns:
        `nll`, `ece`, `adaptive_ece`, `classwise_ece` (mean over classes of the error of "is it this class"), `mce` (the
        largest gap of a bin) and `brier` (squared error against the one-hot label, summed over classes).

    Raises:
        ValueError: no sample, or shapes that do not belong together.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise ValueError(f"probabilities are {p.shape} and labels {y.shape}; expected [N, C] and [N] with N above 0")
    confidence, correct = p.max(1), p.argmax(1) == y
    target = np.eye(p.shape[1])[y]
    whole = reliability(confidence, correct, bins)
    by_class = [reliability(p[:, c], target[:, c], bins).expected_error() for c in range(p.shape[1])]
    return {
        "nll": float(-np.log(np.clip(p[np.arange(len(y)), y], np.finfo(np.float64).tiny, None)).mean()),
        "ece": whole.expected_error(),
        "adaptive_ece": adaptive_reliability(confidence, correct, bins).expected_error(),
        "classwise_ece": float(np.mean(by_class)),
        "mce": float(whole.gaps.max()),
        "brier": float(np.square(p - target).sum(1).mean()),
    }


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood of labels [N] under softmax(logits [N, C] / T).

    That is convex in 1/T, so its slope, mean(expected logit - logit of the label), is bisected. Predictions that are
    always right want T = 0 and get the least allowed, 0.05; worthless ones get the largest, 20.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    z = z - z.max(1, keepdims=True)
    own = z[np.arange(len(y)), y].mean()
    low, high = np.log(1 / 20), np.log(20.0)
    for _ in range(60):
        middle = (low + high) / 2
        p = softmax(z, np.exp(-middle))
        if (p * z).sum(1).mean() - own > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def _binned(place: np.ndarray, confidence: np.ndarray, correct: np.ndarray, bins: int) -> Reliability:
    count = np.bincount(place, minlength=bins)
    divisor = np.maximum(count, 1)
    claimed = np.bincount(place, np.asarray(confidence, np.float64), bins) / divisor
    return Reliability(count, claimed, np.bincount(place, np.asarray(correct, np.float64), bins) / divisor)
