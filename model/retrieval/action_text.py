"""An I3D trained on captions: clips and texts in one space, pulled together by the loss of CLIP4Clip."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.clip import CLIPConfig, TextTower
from model.backbone.i3d import I3D
from model.retrieval.losses import Gather, alone, symmetric_cross_entropy_sum


class ActionText(nn.Module):
    """Contrasts action clips with texts; its `i3d` is afterwards the action network of the extractors.

    The word embeddings stay as they are drawn: the blocks above them learn to read any fixed code, and a table of
    49,408 rows is most of a small tower.

    Args:
        i3d: its `num_classes` is the width of the common space.
        text: sizes of the text tower (the vision sizes are not used).

    Shapes:
        clips: [B, 3, T, H, W] in [-1, 1]; ids: [B, L]
    """

    def __init__(self, i3d: I3D, text: CLIPConfig):
        super().__init__()
        self.i3d = i3d
        self.text = TextTower(text)
        self.text.token_embedding.weight.requires_grad_(False)

    def encode_clip(self, clips: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> unit vectors [B, E]: the logits, averaged over the positions of the last map."""
        return F.normalize(self.i3d(clips).flatten(2).mean(2).float(), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """[B, L] -> unit vectors [B, E]."""
        return F.normalize(self.text.encode_text(ids).float(), dim=-1)

    def loss_sum(self, clips: Tensor, ids: Tensor, gather: Gather = alone, offset: int = 0) -> Tensor:
        """The symmetric cross entropy summed over this process's own pairs; `offset` is the place of the first."""
        clip, text = self.encode_clip(clips), self.encode_text(ids)
        scale = self.text.logit_scale.exp()
        return symmetric_cross_entropy_sum(scale * text @ gather(clip).T, scale * clip @ gather(text).T, offset)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps the temperature at 0.01 or above, as CLIP does."""
        self.text.logit_scale.clamp_(max=math.log(100))
