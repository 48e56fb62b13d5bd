"""What CLIP4Clip does between frame features and a similarity (Luo et al., CLIP4Clip, 2021).

Shape letters: B videos, T frames, E width, A texts.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.backbone.blocks import LayerNorm, QuickGELU, Tokens, Transformer

EPS = 1e-12
"""Of the layer norms in the headers; CLIP's own have 1e-5."""


def key_bias(mask: Tensor) -> Tensor:
    """Additive attention bias [B, 1, 1, T] that hides masked keys."""
    return (1 - mask.float())[:, None, None] * -1e6


class FrameLSTM(nn.LSTM):
    """One unidirectional layer over the frames present, added to its input; masked frames stay as they are."""

    def __init__(self, width: int):
        super().__init__(width, width, batch_first=True)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=frames.shape[1])
        return frames + out


class FrameTransformer(Transformer):
    """Blocks over the frames of a clip, added to their input."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__(width, layers, heads, 4 * width, "quick_gelu", EPS)

    def fuse(self, frames: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        tokens = Tokens(frames + positions.to(frames.dtype), frames.shape[0], bias=key_bias(mask))
        return frames + self(tokens).frames


class CrossEncoder(nn.Module):
    """Reads a text feature and the frame features of one video together; gives one vector per pair."""

    def __init__(self, width: int, layers: int, heads: int, positions: int, dropout: float = 0.1):
        super().__init__()
        self.embeddings = nn.ModuleDict({"position_embeddings": nn.Embedding(positions, width)})
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, layers, heads, 4 * width, "quick_gelu", EPS)
        parts = OrderedDict(ln_pool=LayerNorm(width, eps=EPS), dense=nn.Linear(width, width), activation=QuickGELU())
        self.pooler = nn.Sequential(parts)

    def forward(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """Vectors [A, B, E] of texts [A, E] with videos [B, T, E]."""
        texts, videos, count = text.shape[0], frames.shape[0], frames.shape[1]
        pairs = torch.cat(
            [text[:, None, None].expand(-1, videos, -1, -1), frames.expand(texts, -1, -1, -1)], 2
        ).flatten(0, 1)
        seen = torch.cat([mask.new_ones(videos, 1), mask], 1).expand(texts, -1, -1).flatten(0, 1)
        positions = self.embeddings["position_embeddings"].weight[: 1 + count]
        pairs = self.dropout(pairs + positions.to(pairs.dtype))
        out = self.transformer(Tokens(pairs, texts * videos, bias=key_bias(seen))).frames
        return self.pooler(out[:, 0]).unflatten(0, (texts, videos))
