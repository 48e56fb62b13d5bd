"""An I3D trained on captions: clips and texts in one space, pulled together by the loss of CLIP4Clip."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.clip import CLIPConfig, TextTower
from model.backbone.i3d import I3D
from model.retrieval.losses import Gather, alone, symmetric_cross_entropy_sum
from model.retrieval.words import WordPrediction


class ActionText(nn.Module):
    """Contrasts action clips with texts; its `i3d` is afterwards the action network of the extractors.

    The word embeddings stay as they are drawn: the blocks above them learn to read any fixed code, and a table of
    49,408 rows is most of a small tower.

    Args:
        i3d: its `num_classes` is the width of the common space.
        text: sizes of the text tower (the vision sizes are not used).

        num_words: size of the vocabulary of an auxiliary `WordPrediction` (parameters `words.*`); 0 for none.

    Shapes:
        clips: [B, 3, T, H, W] in [-1, 1]; ids: [B, L]
    """

    def __init__(self, i3d: I3D, text: CLIPConfig, num_words: int = 0):
        super().__init__()
        self.i3d = i3d
        self.text = TextTower(text)
        self.text.token_embedding.weight.requires_grad_(False)
        self.words = WordPrediction(i3d.feature_dim, num_words) if num_words else None

    def encode_text(self, ids: Tensor) -> Tensor:
        """[B, L] -> unit vectors [B, E]."""
        return F.normalize(self.text.encode_text(ids).float(), dim=-1)

    def loss_sum(
        self, clips: Tensor, ids: Tensor, words: Tensor, word_weight: float, gather: Gather = alone, offset: int = 0
    ) -> Tensor:
        """Symmetric cross entropy, and `word_weight` times word prediction, summed over this process's own pairs.

        Args:
            words: targets [B, V] of the word prediction; not read without one.
            offset: place of the first own pair among those of all processes.
        """
        features = self.i3d.features(clips)
        clip = F.normalize(self.i3d.logits(features).flatten(2).mean(2).float(), dim=-1)
        text, scale = self.encode_text(ids), self.text.logit_scale.exp()
        loss = symmetric_cross_entropy_sum(scale * text @ gather(clip).T, scale * clip @ gather(text).T, offset)
        if self.words is None:
            return loss
        vectors = features.flatten(2).mean(2)[:, None]
        return loss + word_weight * self.words(vectors, torch.ones_like(vectors[..., 0]), words)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps the temperature at 0.01 or above, as CLIP does."""
        self.text.logit_scale.clamp_(max=math.log(100))
