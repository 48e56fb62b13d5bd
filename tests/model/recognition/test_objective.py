import pytest
import torch
from torch.nn.functional import normalize

from model.recognition import METHODS
from model.recognition.objective import recognition_loss, total_loss

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
LABELS = torch.tensor([0, 1])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5]])


def test_soft_labels_are_the_mean_of_hard_ones():
    hard = recognition_loss(LOGITS, torch.eye(3)[LABELS])
    torch.testing.assert_close(hard, recognition_loss(LOGITS, LABELS))
    wanted = -(SOFT * LOGITS.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(recognition_loss(LOGITS, SOFT), wanted)


def test_other_kinds():
    target = SOFT.softmax(1)
    wanted = (target * (target.log() - LOGITS.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(recognition_loss(LOGITS, SOFT, "kl-divergence"), wanted)
    wanted = -(normalize(LOGITS) * normalize(SOFT)).sum(1).mean()
    torch.testing.assert_close(recognition_loss(LOGITS, SOFT, "cosine-similarity"), wanted)
    weighted = recognition_loss(LOGITS, LABELS, weight=torch.tensor([1.0, 3.0, 1.0]))
    assert weighted > recognition_loss(LOGITS, LABELS)
    with pytest.raises(ValueError, match="class weights belong to cross-entropy"):
        recognition_loss(LOGITS, LABELS, "kl-divergence", torch.ones(3))
    with pytest.raises(ValueError, match="unknown loss_function 'hinge'"):
        recognition_loss(LOGITS, LABELS, "hinge")


def test_both_text_terms_pull_towards_the_handcrafted_features():
    torch.manual_seed(0)
    hand, text = torch.randn(3, 4), torch.randn(3, 4)
    cosine = (normalize(hand) * normalize(text)).sum(1).mean()
    plain = recognition_loss(LOGITS, LABELS)
    settings = METHODS["video_coop"].settings
    got = total_loss(settings({"regularisation-strength": 0.5}), LOGITS, text, LABELS, hand)
    torch.testing.assert_close(got, plain - 0.5 * cosine)
    got = total_loss(settings({"cosine-regularisation-strength": 0.5}), LOGITS, text[None, None], LABELS, hand)
    torch.testing.assert_close(got, plain + 0.5 * (1 - cosine))
    with pytest.raises(ValueError, match="needs handcrafted features"):
        total_loss(settings({"regularisation-strength": 0.5}), LOGITS, text, LABELS)
