"""The label-smoothed loss of both directions: by hand, however a batch is cut, and as published."""

import math

import pytest
import torch
from captioner_samples import random_captions

from model.captioner import caption_loss, label_smoothed
from model.captioner.loss import PAD


def test_loss_of_one_word_by_hand():
    logprobs = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().view(1, 1, 4).expand(1, 2, 4)
    total, count = label_smoothed(logprobs, torch.tensor([[2, 0]]), eps=0.2)
    want = sum(q * (math.log(q) - math.log(p)) for q, p in ((0.1, 0.2), (0.8, 0.3), (0.1, 0.4)))
    assert count == 1 and total.item() == pytest.approx(want, rel=1e-5)
    assert label_smoothed(logprobs, torch.tensor([[2, 0]]), eps=0.2, count_padding=True)[1] == 2


def test_loss_does_not_depend_on_padding_or_on_how_a_batch_is_cut():
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.randn(4, 7, 12, generator=generator).log_softmax(-1)
    captions = random_captions(0, 4)
    total, weight, sides = caption_loss(logprobs, logprobs, captions, captions.flip(0))
    parts = [
        caption_loss(logprobs[rows], logprobs[rows], captions[rows], captions.flip(0)[rows])
        for rows in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(sum(part[0] for part in parts), total)
    torch.testing.assert_close(sum(part[1] for part in parts), weight)
    for side in ("r2l", "l2r"):
        for number in (0, 1):
            torch.testing.assert_close(sum(part[2][side][number] for part in parts), sides[side][number])
    padded = torch.nn.functional.pad(captions, (0, 2))
    more = torch.cat([logprobs, logprobs[:, :2]], dim=1)
    torch.testing.assert_close(caption_loss(more, more, padded, padded.flip(0))[:2], (total, weight))


def two_directions(seed=0, captions=5):
    """Log-probabilities and captions of both directions, whose numbers of words differ."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(captions, 7, 12, generator=generator).log_softmax(-1) for _ in range(2)]
    sides = random_captions(seed, captions), random_captions(seed + 1, captions)
    assert (sides[0] != PAD).sum() != (sides[1] != PAD).sum()
    return *draw, *sides


def test_the_published_mean_counts_padding_in_each_direction():
    r2l_logprobs, l2r_logprobs, r2l, l2r = two_directions()
    (r2l_sum, _), (l2r_sum, _) = label_smoothed(r2l_logprobs, r2l[:, 1:]), label_smoothed(l2r_logprobs, l2r[:, 1:])
    total, weight, _ = caption_loss(r2l_logprobs, l2r_logprobs, r2l, l2r, count_padding=True)
    positions = l2r[:, 1:].numel()
    torch.testing.assert_close(total / weight, 0.6 * l2r_sum / positions + 0.4 * r2l_sum / positions)


def test_without_padding_words_of_both_directions_are_weighed_together():
    r2l_logprobs, l2r_logprobs, r2l, l2r = two_directions()
    (r2l_sum, r2l_words), (l2r_sum, l2r_words) = (
        label_smoothed(r2l_logprobs, r2l[:, 1:]),
        label_smoothed(l2r_logprobs, l2r[:, 1:]),
    )
    total, weight, _ = caption_loss(r2l_logprobs, l2r_logprobs, r2l, l2r)
    torch.testing.assert_close(weight, 0.6 * l2r_words + 0.4 * r2l_words)
    torch.testing.assert_close(total, 0.6 * l2r_sum + 0.4 * r2l_sum)
