import numpy as np
import pytest

from utility.retrieval_metrics import group_maximum, ranks, retrieval_scores, scores


def naive_rank(row, answer):
    """Place of the answer after sorting, among equals the last."""
    order = sorted(range(len(row)), key=lambda column: (-row[column], column == answer))
    return order.index(answer) + 1


def test_ranks_equal_sorting_with_ties():
    rng = np.random.default_rng(0)
    matrix, answer = rng.integers(0, 5, (40, 12)).astype(np.float32), rng.integers(0, 12, 40)
    rank, tied = ranks(matrix, answer)
    assert rank.tolist() == [naive_rank(row, column) for row, column in zip(matrix, answer, strict=True)]
    assert tied == sum((row == row[column]).sum() > 1 for row, column in zip(matrix, answer, strict=True))


def test_scoring_everything_alike_finds_nothing():
    results = retrieval_scores(np.zeros((20, 20)), np.arange(20))
    assert results["t2v"] == {"R@1": 0, "R@5": 0, "R@10": 0, "MdR": 20, "MnR": 20, "queries": 20, "ties": 20}


def test_several_texts_per_video():
    owner = [0, 0, 1, 2]
    matrix = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3], [0.2, 0.7, 0.1], [0.3, 0.2, 0.25]])
    results = retrieval_scores(matrix, owner)
    assert results["t2v"]["queries"] == 4 and results["v2t"]["queries"] == 3
    assert results["t2v"]["R@1"] == 50.0  # texts 0 and 2
    assert results["t2v"]["MnR"] == (1 + 3 + 1 + 2) / 4
    # video 0: own group 0.9; video 1: group 0 reaches 0.8 against its own 0.7; video 2: 0.25, 0.3 by group 0
    assert results["v2t"]["MnR"] == (1 + 2 + 2) / 3
    assert group_maximum(matrix, owner)[0].tolist() == [0.9, 0.8, 0.3]


def test_medians():
    assert scores([1, 2, 3, 10])["MdR"] == 2.5
    assert scores([10, 3, 2, 1], lower_median=True)["MdR"] == 2


@pytest.mark.parametrize(
    ("matrix", "owner", "words"),
    [
        ([[np.nan, 1.0], [0.0, 1.0]], [0, 1], "1 queries have a similarity that is not a number"),
        ([[0.0, 1.0]], [0], "1 of 2 videos have no text"),
        ([[0.0, 1.0]], [0, 1], "do not belong together"),
    ],
)
def test_what_cannot_be_scored_is_refused(matrix, owner, words):
    with pytest.raises(ValueError, match=words):
        retrieval_scores(np.array(matrix), owner)
