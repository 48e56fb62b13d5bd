"""Classification scores of a hand-made example."""

import numpy as np
import pytest

from utility.classification import classification_scores, top_k


def test_scores_of_four_samples():
    scores = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]])
    found = classification_scores(scores, np.array([0, 1, 1, 0]), ["a", "b", "c"])
    assert found["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert (found["top1"], found["top5"], found["samples"]) == (0.5, 1.0, 4)
    assert found["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}
    assert found["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 0}
    assert found["macro"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}  # the absent class does not count
    assert found["micro"]["accuracy"] == 0.5 and found["f1_percentiles"]["50"] == 0.5


def test_top_k_gives_ties_to_the_earlier_class():
    scores = np.array([[0.4, 0.4, 0.2]])
    assert [top_k(scores, np.array([y]), 1) for y in range(3)] == [1.0, 0.0, 0.0]
    assert top_k(scores, np.array([1]), 2) == 1.0
    assert top_k(scores, np.array([2]), 2) == pytest.approx(0.0)
