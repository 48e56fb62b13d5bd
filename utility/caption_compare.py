"""Is one set of captions better than another? Bootstrap intervals and a paired test over the videos of two score files.

The interval of a score is the 95 % percentile interval over resamplings of the videos; that of a difference uses the
same videos on both sides. The test is a paired approximate randomisation: under the hypothesis that the systems are
equal, the two captions of a video may be exchanged; p is the share of exchanges (the observed one counted) with at
least the observed difference. BLEU comes anew from the counts of every resampling, the others are means over videos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utility.caption_metrics import ORDERS

# What two score files must agree in, and what each of these is called in messages.
SAME = {
    "corpus": "corpora",
    "split": "splits",
    "tokenizer": "tokenisers",
    "references": "references",
    "references_hash": "references",
}
_CELLS = 4_000_000  # of the matrix of resamplings x videos that is held at a time
_TINY, _SMALL = 1e-15, 1e-9  # as pycocoevalcap's BLEU guards its divisions


def read_scores(path: Path | str) -> dict[str, Any]:
    """A score file with its scores per video.

    Raises:
        ValueError: not a score file, or one without scores per video.
    """
    try:
        scores = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    videos = scores.get("per_video") if isinstance(scores, dict) else None
    if not isinstance(videos, dict) or not isinstance(videos.get("ids"), list):
        raise ValueError(
            f"{path} has no scores per video: give files that `main.py` wrote (test_scores.json), or what "
            "`python -m utility.caption_scores --references R --predictions P` printed into a file"
        )
    lengths = {name: len(values) for name, values in videos.items()}
    if len(set(lengths.values())) > 1 or not videos["ids"]:
        raise ValueError(f"{path}: the lists of per_video differ in length or are empty: {lengths}")
    return scores


def compare(first: Mapping[str, Any], second: Mapping[str, Any], samples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Both scores of every metric with intervals, their difference (second minus first) with interval and p.

    Args:
        first, second: contents of score files, see `read_scores`.
        samples: resamplings and exchanges.

    Raises:
        ValueError: other videos, splits, references or tokenisers; no metric in common; fewer than one sample.
    """
    refuse_unlike(first, second)
    if samples < 1:
        raise ValueError(f"--samples is {samples}; it must be 1 or more")
    ids = first["per_video"]["ids"]
    place = {name: row for row, name in enumerate(second["per_video"]["ids"])}
    order = [place[name] for name in ids]
    kinds = [kind for kind in first["per_video"] if kind != "ids" and kind in second["per_video"]]
    if not kinds:
        raise ValueError("the two files have no metric in common")
    metrics: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        a = _columns(kind, np.asarray(first["per_video"][kind], np.float64))
        b = _columns(kind, np.asarray(second["per_video"][kind], np.float64)[order])
        metrics |= _compare_metric(kind, a, b, samples, seed)
    return {
        **{name: first[name] for name in ("corpus", "split", "references", "tokenizer") if name in first},
        "num_videos": len(ids),
        "samples": samples,
        "seed": seed,
        "metrics": metrics,
        "notes": ["METEOR is the mean over videos here, not the score of the whole corpus"] * ("METEOR" in kinds),
    }


def refuse_unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: the files cannot be compared; the message says what differs.
    """
    for name, word in SAME.items():
        if first.get(name) != second.get(name):
            raise ValueError(
                f"Scores of different {word} cannot be compared: {name} is {first.get(name)!r} in the first file and "
                f"{second.get(name)!r} in the second. Score the captions again, both in the same way"
            )
    here, there = (set(scores["per_video"]["ids"]) for scores in (first, second))
    if here != there:
        raise ValueError(
            f"Scores of different videos cannot be compared: {len(here - there)} videos are only in the first file, "
            f"{len(there - here)} only in the second. Score the same split"
        )


def _compare_metric(kind: str, a: np.ndarray, b: np.ndarray, samples: int, seed: int) -> dict[str, dict[str, Any]]:
    rng, count = np.random.default_rng(seed), len(a)
    drawn = [_totals(weights, a, b) for weights in _resamplings(rng, count, samples)]
    left, right = (_values(kind, np.concatenate(side), count) for side in zip(*drawn, strict=True))
    swapped = []
    for keep in _exchanges(rng, count, samples):
        from_a = keep @ (a - b)  # totals of a system that takes its caption from `a` where keep is 1
        swapped.append((from_a + b.sum(0), a.sum(0) - from_a))
    one, other = (_values(kind, np.concatenate(side), count) for side in zip(*swapped, strict=True))
    here, there = _values(kind, a.sum(0)[None], count), _values(kind, b.sum(0)[None], count)
    result = {}
    for name in here:
        difference = float(there[name][0] - here[name][0])
        as_large = np.abs(other[name] - one[name]) >= abs(difference) - 1e-12
        result[name] = {
            "a": float(here[name][0]),
            "a_interval": _interval(left[name]),
            "b": float(there[name][0]),
            "b_interval": _interval(right[name]),
            "difference": difference,
            "difference_interval": _interval(right[name] - left[name]),
            "p": (1 + int(as_large.sum())) / (1 + samples),
        }
    return result


def _columns(kind: str, values: np.ndarray) -> np.ndarray:
    """What is summed over videos: the score, for BLEU [closest length, n-grams 1..4, matching n-grams 1..4]."""
    if kind != "BLEU":
        return values[:, None]
    possible = np.maximum(values[:, :1] - np.arange(ORDERS), 0)
    return np.concatenate([values[:, 1:2], possible, values[:, 2:]], axis=1)


def _values(kind: str, totals: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Scores of sums over videos. Shapes: totals [R, columns] -> [R] per metric"""
    if kind != "BLEU":
        return {kind: totals[:, 0] / count}
    reference, possible, matching = totals[:, 0], totals[:, 1 : 1 + ORDERS], totals[:, 1 + ORDERS :]
    logs = np.log((np.maximum(matching, 0) + _TINY) / (possible + _SMALL)).cumsum(1) / np.arange(1, ORDERS + 1)
    ratio = (possible[:, 0] + _TINY) / (reference + _SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return {f"BLEU_{n + 1}": np.exp(logs[:, n]) * brevity for n in range(ORDERS)}


def _totals(weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return weights @ a, weights @ b


def _resamplings(rng: np.random.Generator, count: int, samples: int) -> Iterator[np.ndarray]:
    """How often each video is drawn. Shapes: [chunk, count]"""
    for rows in _chunks(count, samples):
        yield rng.multinomial(count, np.full(count, 1 / count), size=rows).astype(np.float64)


def _exchanges(rng: np.random.Generator, count: int, samples: int) -> Iterator[np.ndarray]:
    for rows in _chunks(count, samples):
        yield rng.integers(0, 2, (rows, count)).astype(np.float64)


def _chunks(count: int, samples: int) -> Iterator[int]:
    rows = max(1, _CELLS // count)
    for start in range(0, samples, rows):
        yield min(rows, samples - start)


def _interval(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(values, (2.5, 97.5))]
