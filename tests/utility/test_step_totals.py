import pytest
import torch

from utility.distributed import Distributed
from utility.step_totals import step_totals

# Two ranks of two micro-batches: losses, weights, and a sum and count of a direction whose lengths are its own.
RANKS = [
    ([5.0, 1.0], [4, 2], [(3.0, 10), (0.5, 1)]),
    ([2.0, 7.0], [8, 2], [(9.0, 3), (1.0, 6)]),
]


class Summing(Distributed):
    """A rank beside others of which the sums are known."""

    def __init__(self, others=0.0):
        super().__init__(world_size=2)
        self.others, self.own = others, None

    def all_sum(self, value):
        self.own = value
        return value + self.others


def totals(rank, dist, stop=False):
    losses, weights, pairs = RANKS[rank]
    means = [{"side": pair, "mean": 2.0 * weight} for pair, weight in zip(pairs, weights, strict=True)]
    return step_totals([torch.tensor(loss).double() for loss in losses], weights, means, stop, dist)


def test_each_number_is_averaged_by_its_own_count_over_micro_batches_and_ranks():
    other = Summing()
    totals(1, other, stop=True)
    found = totals(0, Summing(other.own))
    assert found.loss == pytest.approx(15 / 16) and found.weight == 16
    assert found.metrics["side"] == pytest.approx(13.5 / 20) and found.weights["side"] == 20
    assert found.metrics["mean"] == pytest.approx(2 * (16 + 4 + 64 + 4) / 16) and found.weights["mean"] == 16
    assert found.interrupted and [loss.item() for loss in found.own_losses] == [5, 1]
