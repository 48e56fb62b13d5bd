from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from utility.distributed import Distributed
from utility.retrieval_evaluation import Rules, evaluate, flat, scored, similarity_matrix
from utility.retrieval_metrics import text_to_video
from utility.retrieval_rerank import dual_softmax, qb_norm


class Model:
    """Features are given; a video is scored by the mean of its valid frames."""

    def __init__(self, texts):
        self.texts = texts

    def encode_text(self, ids):
        return self.texts[ids[:, 0]]

    def encode_video(self, frames, mask):
        return frames

    def similarity_matrix(self, text, frames, mask):
        weight = mask[..., None].float()
        return text @ ((frames * weight).sum(1) / weight.sum(1)).T


class Clips:
    def __init__(self, videos, owner, unreadable=()):
        self.videos, self.unreadable = videos, unreadable
        self.video_of_text = np.array(owner)
        self.ids = torch.arange(len(owner))[:, None]

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, index):
        mask = torch.tensor([1, 1, 0])
        return None if index in self.unreadable else (self.videos[index], mask)


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(9, 4), torch.randn(5, 3, 4), [0, 0, 1, 2, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_every_pair_is_scored_once(data, batch_size):
    texts, videos, owner = data
    matrix, got = similarity_matrix(Model(texts), Clips(videos, owner), lambda x: x, Distributed(), batch_size)
    np.testing.assert_allclose(matrix, (texts @ videos[:, :2].mean(1).T).numpy(), rtol=1e-5, atol=1e-6)
    assert got.tolist() == owner


@pytest.mark.parametrize("count", [1, 9])
def test_two_processes_share_the_work_and_have_the_matrix_of_one(data, count):
    """Threads stand for processes. With one text the second process has no rows of its own."""
    texts, videos, owner = data
    given, barrier, encoded = {}, Barrier(2, timeout=20), []

    class Process(Distributed):
        def gather_objects(self, value):
            given[self.rank] = value
            barrier.wait()
            parts = [given[0], given[1]]
            barrier.wait()
            return parts

    class Counting(Model):
        def encode_video(self, frames, mask):
            encoded.extend(frames[:, 0, 0].tolist())
            return frames

    def matrix(dist):
        return similarity_matrix(Counting(texts), Clips(videos[:count], owner[:count]), lambda x: x, dist, 2)[0]

    owner = owner if count > 1 else [0]
    alone = matrix(Distributed())
    encoded.clear()
    with ThreadPoolExecutor(2) as pool:
        for both in pool.map(matrix, (Process(0, 2), Process(1, 2))):
            np.testing.assert_allclose(both, alone, rtol=1e-5, atol=1e-6)
    assert sorted(encoded) == sorted(videos[:count, 0, 0].tolist())


def test_an_unreadable_video_goes_with_its_texts(data):
    texts, videos, owner = data
    matrix, got = similarity_matrix(Model(texts), Clips(videos, owner, {2}), lambda x: x, Distributed(), 2)
    assert matrix.shape == (6, 4) and got.tolist() == [0, 0, 1, 2, 3, 3]
    np.testing.assert_allclose(matrix[3], (texts[6] @ videos[[0, 1, 3, 4], :2].mean(1).T).numpy(), rtol=1e-5)


def test_the_score_is_the_first_recall_of_texts(data):
    texts, videos, owner = data
    results = evaluate(Model(texts), Clips(videos, owner), lambda x: x, Distributed())
    assert results["score"] == results["t2v"]["R@1"] == flat(results)["score"]
    assert flat(results)["t2v_R1"] == results["t2v"]["R@1"] and flat(results)["v2t_MdR"] == results["v2t"]["MdR"]


def test_perfect_features_score_100():
    videos = torch.eye(6)[:, None].repeat(1, 3, 1)
    results = evaluate(Model(torch.eye(6)), Clips(videos, range(6)), lambda x: x, Distributed())
    assert results["score"] == 100


def test_re_ranked_scores_stand_beside_the_plain_ones():
    rng = np.random.default_rng(0)
    similarity, owner = rng.normal(size=(9, 5)), np.array([0, 0, 1, 2, 2, 2, 3, 4, 4])
    bank = rng.normal(size=(20, 5)), rng.normal(size=(20, 9))
    plain, both = scored(similarity, owner, Rules()), scored(similarity, owner, Rules(dual_softmax=True), bank)
    assert {key: both[key] for key in plain} == plain and set(both) - set(plain) == {"dual_softmax", "qb_norm"}
    grouped = np.array([[similarity[owner == text, video].max() for video in range(5)] for text in range(5)])
    assert both["dual_softmax"]["v2t"] == text_to_video(dual_softmax(grouped.T), np.arange(5))
    columns = np.array([[row[owner == video].max() for video in range(5)] for row in bank[1]])
    expected, rows = qb_norm(grouped.T, columns, beta=0.87, theta=5)
    assert both["qb_norm"]["v2t"] == text_to_video(expected, np.arange(5))
    assert both["qb_norm"]["bank"] == 20 and both["qb_norm"]["changed"]["v2t"] == len(rows)
