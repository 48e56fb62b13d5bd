"""Losses of recognisers (recognition reference, 2.8). Shape letters: B videos, C classes, E embedding width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model.recognition.settings import Settings


def recognition_loss(
    logits: Tensor, labels: Tensor, kind: str = "cross-entropy", weight: Tensor | None = None
) -> Tensor:
    """Mean loss of a batch.

    Args:
        kind: `cross-entropy`; `kl-divergence` (a softmax is laid over soft labels first, which flattens them, as
            published); `cosine-similarity` (minus the cosine between logits and label vector).
        weight: of the classes, [C], cross entropy only.

    Shapes:
        logits: [B, C]; labels: [B] class numbers or [B, C] soft labels; returns a scalar

    Raises:
        ValueError: unknown kind, class weights with another kind.
    """
    if kind == "cross-entropy":
        return F.cross_entropy(logits, labels if labels.ndim == 1 else labels.to(logits.dtype), weight)
    if weight is not None:
        raise ValueError(f"class weights belong to cross-entropy, not to {kind}")
    soft = F.one_hot(labels, logits.shape[-1]) if labels.ndim == 1 else labels
    soft = soft.to(logits.dtype)
    if kind == "kl-divergence":
        return F.kl_div(logits.log_softmax(-1), soft.softmax(-1), reduction="batchmean")
    if kind == "cosine-similarity":
        return -F.cosine_similarity(logits, soft, dim=-1).mean()
    raise ValueError(f"unknown loss_function {kind!r}; known: cross-entropy, kl-divergence, cosine-similarity")


def text_agreement(handcrafted: Tensor, text: Tensor) -> Tensor:
    """Mean cosine between handcrafted [C, E] and learnt text features [..., C, E], scalar."""
    return F.cosine_similarity(handcrafted, text, dim=-1).mean()


def total_loss(
    settings: Settings,
    logits: Tensor,
    text: Tensor,
    labels: Tensor,
    handcrafted: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """`recognition_loss` and the terms that keep learnt texts near handcrafted ones.

    Raises:
        ValueError: a regulariser without handcrafted features.
    """
    loss = recognition_loss(logits, labels, settings.loss_function, weight)
    hand, cosine = settings.regularisation_strength, settings.cosine_regularisation_strength
    if not hand and not cosine:
        return loss
    if handcrafted is None:
        raise ValueError("text regularisation needs handcrafted features: give `class_texts` their ids")
    agreement = text_agreement(handcrafted, text)
    return loss - hand * agreement + cosine * (1 - agreement)
