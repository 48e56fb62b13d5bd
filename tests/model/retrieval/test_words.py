import pytest
import torch

from dataset.clips import WordTargets
from model.retrieval.words import WordPrediction


def test_word_targets_weigh_rare_words_and_forget_those_of_every_video():
    # Sub-words 5 and 0 (padding) are everywhere, 7 in two of three videos, 9 in one.
    rows = [torch.tensor([[5, 7, 0], [5, 9, 0]]), torch.tensor([[5, 7, 7]]), torch.tensor([[5, 0, 0]])]
    targets = WordTargets(rows[:2] + [torch.tensor([[5, 0, 0]])])
    vocabulary = [0, 5, 7, 9]
    first = dict(zip(vocabulary, targets(rows[0]).tolist(), strict=True))
    assert first[5] == 0 and first[9] > first[7] > 0
    assert sum(first.values()) == pytest.approx(1)
    assert first[9] / first[7] == pytest.approx(
        torch.log(torch.tensor(3.0)).item() / torch.log(torch.tensor(1.5)).item()
    )
    assert targets(torch.tensor([[5, 5, 5]])).sum() == 0


def test_word_prediction_reads_only_frames_that_are_there():
    torch.manual_seed(0)
    words = WordPrediction(4, 3)
    frames, target = torch.randn(2, 3, 4), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    loss = words(frames, mask, target)
    naive = -(target[0] * words.linear(frames[0, :2].mean(0)).log_softmax(-1)).sum()
    torch.testing.assert_close(loss, naive)
    frames[0, 2] = 100.0
    torch.testing.assert_close(words(frames, mask, target), loss)
