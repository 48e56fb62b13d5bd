import numpy as np
import pytest

from utility.retrieval_rerank import dual_softmax, qb_norm


def naive_qb_norm(similarity, bank, k, beta, theta):
    result = similarity.astype(float).copy()
    liked = np.zeros(bank.shape[1], int)
    for row in bank:
        for column in sorted(range(len(row)), key=lambda j: -row[j])[:k]:
            liked[column] += 1
    for i, row in enumerate(similarity):
        if liked[row.argmax()] >= theta:
            for j in range(len(row)):
                result[i, j] = np.exp(beta * row[j]) / sum(np.exp(beta * b) for b in bank[:, j])
    return result


@pytest.mark.parametrize(("k", "beta", "theta"), [(1, 0.87, 3), (3, 0.5, 4), (1, 2.0, 1)])
def test_qb_norm_is_the_naive_one(k, beta, theta):
    rng = np.random.default_rng(k)
    similarity, bank = rng.normal(size=(9, 6)), rng.normal(size=(20, 6))
    expected = naive_qb_norm(similarity, bank, k, beta, theta)
    result, rows = qb_norm(similarity, bank, k, beta, theta)
    np.testing.assert_allclose(result, expected, rtol=1e-10)
    assert rows.tolist() == np.flatnonzero((expected != similarity).any(1)).tolist()


def test_qb_norm_survives_the_temperature_of_clip():
    """100 times a cosine: exp would overflow float32, and float64 beyond 709."""
    similarity = np.full((2, 3), 900.0) + np.eye(2, 3)
    result, rows = qb_norm(similarity, similarity, beta=1.0, theta=1)
    assert np.isfinite(result).all() and rows.tolist() == [0, 1] and result.argmax(1).tolist() == [0, 1]


def test_qb_norm_refuses_a_bank_of_other_candidates():
    with pytest.raises(ValueError, match="other candidates"):
        qb_norm(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="k is 9"):
        qb_norm(np.zeros((2, 3)), np.zeros((2, 3)), k=9)


def test_dual_softmax_is_the_naive_one():
    similarity = np.random.default_rng(0).normal(size=(4, 5))
    for i in range(4):
        for j in range(5):
            share = np.exp(similarity[i, j]) / np.exp(similarity[:, j]).sum()
            np.testing.assert_allclose(dual_softmax(similarity)[i, j], similarity[i, j] * share * 4)
