"""Re-ranking of a similarity matrix by what other queries score: dual softmax and query-bank normalisation.

Rows are queries, columns are candidates; for the other direction give the transposed matrix. Both look at more than
one query at a time, so their scores are reported beside the plain ones, never in place of them.

Sources: dual softmax, Cheng et al., CAMoE, 2021; QB-Norm (the "dynamic inverted softmax"), Bogolin et al., Cross Modal
Retrieval with Querybank Normalisation, 2022, as STOP's script computes it.
"""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) / sum exp(x) along an axis, in float64."""
    x = np.asarray(x, np.float64)
    exponential = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponential / exponential.sum(axis=axis, keepdims=True)


def dual_softmax(similarity: np.ndarray) -> np.ndarray:
    """Similarity times the softmax of every column times the number of queries; [queries, candidates] float64.

    A candidate that many queries like counts less for each of them. The whole set of queries is used at once.
    """
    similarity = np.asarray(similarity, np.float64)
    return similarity * softmax(similarity, 0) * len(similarity)


def qb_norm(
    similarity: np.ndarray, bank: np.ndarray, k: int = 1, beta: float = 0.87, theta: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Query-bank normalisation: rows whose favourite is a hub are divided by what the bank's queries give.

    A hub is a candidate among the best `k` of at least `theta` bank queries. Rows that are divided leave the scale of
    the others: only the order inside a row means something afterwards.

    Args:
        beta: inverse temperature of the exponentials.

    Shapes:
        similarity: [queries, candidates]; bank: [bank queries, candidates]
        returns [queries, candidates] float64, and the numbers of the rows that were changed

    Raises:
        ValueError: a bank of other candidates, or k outside 1..candidates.
    """
    similarity, bank = np.asarray(similarity, np.float64), np.asarray(bank, np.float64)
    if bank.ndim != 2 or bank.shape[1:] != similarity.shape[1:]:
        raise ValueError(f"a bank {bank.shape} does not belong to similarities {similarity.shape}: other candidates")
    if not 1 <= k <= bank.shape[1]:
        raise ValueError(f"k is {k}; it must be between 1 and the {bank.shape[1]} candidates")
    best = np.argpartition(-bank, k - 1, axis=1)[:, :k]
    counts = np.bincount(best.ravel(), minlength=bank.shape[1])
    rows = np.flatnonzero(counts[similarity.argmax(1)] >= theta)
    # exp(beta s) / sum exp(beta b); the largest value of a column is taken out of both, so that neither overflows
    largest = bank.max(0)
    divisor = np.exp(beta * (bank - largest)).sum(0)
    result = similarity.copy()
    result[rows] = np.exp(beta * (similarity[rows] - largest)) / divisor
    return result, rows
