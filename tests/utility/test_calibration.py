"""Calibration measures against the formulas written out."""

import numpy as np
import pytest

from utility.calibration import calibration, fit_temperature, reliability, softmax


def predictions(count=400, classes=4, scale=2.0):
    rng = np.random.default_rng(0)
    logits = scale * rng.normal(size=(count, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits)])
    return logits, labels


def naive_ece(confidence, correct, bins=15):
    total, largest = 0.0, 0.0
    for k in range(bins):
        inside = [(c, a) for c, a in zip(confidence, correct, strict=True) if k / bins < c <= (k + 1) / bins]
        if inside:
            gap = abs(np.mean([a for _, a in inside]) - np.mean([c for c, _ in inside]))
            total += gap * len(inside) / len(confidence)
            largest = max(largest, gap)
    return total, largest


def test_measures_equal_their_definitions():
    logits, labels = predictions(203)
    p = softmax(logits)
    found = calibration(p, labels)
    ece, mce = naive_ece(p.max(1), p.argmax(1) == labels)
    order = np.argsort(p.max(1), kind="stable")
    parts = [order[k * 13 : (k + 1) * 13] if k < 14 else order[14 * 13 :] for k in range(15)]
    right = p.argmax(1) == labels
    adaptive = sum(len(part) * abs(right[part].mean() - p.max(1)[part].mean()) for part in parts) / 203
    expected = {
        "nll": -np.mean([np.log(row[y]) for row, y in zip(p, labels, strict=True)]),
        "ece": ece,
        "mce": mce,
        "adaptive_ece": adaptive,
        "classwise_ece": np.mean([naive_ece(p[:, c], labels == c)[0] for c in range(4)]),
        "brier": np.mean([((row - np.eye(4)[y]) ** 2).sum() for row, y in zip(p, labels, strict=True)]),
    }
    assert found == pytest.approx(expected)


def test_temperature_undoes_a_factor():
    logits, labels = predictions(4000)
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.08)
    once = fit_temperature(logits, labels)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * once, rel=1e-6)
    before, after = (calibration(softmax(3 * logits, t), labels)["nll"] for t in (1.0, 3 * once))
    assert after < before


def test_certain_and_few_predictions():
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(0.05)
    perfect = calibration(np.eye(3), np.arange(3))
    assert perfect == pytest.approx(dict.fromkeys(perfect, 0.0))
    bins = reliability(np.array([0.0, 1.0]), np.array([0, 1]))
    assert bins.count[0] == bins.count[14] == 1
    with pytest.raises(ValueError, match=r"expected \[N, C\]"):
        calibration(np.zeros((0, 3)), np.zeros(0))
