"""Parts of the row encoders and decoders: attention, feed-forward, sublayers, embeddings, positions, generator."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-12
MAX_POSITIONS = 5000


def mask_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask, 0 where `mask` is True. A row without any True attends uniformly, it is never NaN."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min / 2)


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be projected apart from the queries (and kept).

    Shapes (H heads of width c = d / H):
        keys_values(memory [B, M, d]) -> two tensors [B, H, M, c]
        forward(x [B, L, d], (k, v), bias broadcastable to [B, H, L, M]) -> [B, L, d]
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.linear_query = nn.Linear(width, width)
        self.linear_key = nn.Linear(width, width)
        self.linear_value = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a memory, which every later query can use."""
        return self._split(self.linear_key(memory)), self._split(self.linear_value(memory))

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor | None = None) -> Tensor:
        q = self._split(self.linear_query(x))
        out = F.scaled_dot_product_attention(q, *keys_values, bias, self.dropout if self.training else 0.0)
        return self.linear_out(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linears with a relu, behind a norm of their own. Shapes: [..., d] -> [..., d]"""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.w_2(self.dropout(self.w_1(self.LayerNorm(x)).relu())))


class Sublayer(nn.Module):
    """dropout(LayerNorm(x + update)): post-norm, with the dropout behind the norm as published."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return self.dropout(self.LayerNorm(x + update))


class RowEncoderLayer(nn.Module):
    """Encoder layer for relation and object rows; without attention only its feed-forward half acts."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, attend: bool):
        super().__init__()
        self.attend = attend
        self.attn = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.sublayer_connection = nn.ModuleList(Sublayer(width, dropout) for _ in range(2))
        if not attend:
            # Published checkpoints hold these; without gradient they do not hold up distributed training.
            self.attn.requires_grad_(False)
            self.sublayer_connection[0].requires_grad_(False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        if self.attend:
            x = self.sublayer_connection[0](x, self.attn(x, self.attn.keys_values(x), bias))
        return self.sublayer_connection[1](x, self.feed_forward(x))


class RowEncoder(nn.Module):
    """Stack of RowEncoderLayers. Shapes: x [B, R, d], mask [B, R] bool -> [B, R, d]"""

    def __init__(self, width: int, heads: int, hidden: int, layers: int, dropout: float, attend: bool = True):
        super().__init__()
        self.encoder_layer = nn.ModuleList(
            RowEncoderLayer(width, heads, hidden, dropout, attend) for _ in range(layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = mask_bias(mask, x.dtype)[:, None, None]
        for layer in self.encoder_layer:
            x = layer(x, bias)
        return x


class RowEmbedding(nn.Module):
    """Norm and projection of feature rows. Shapes: [B, R, row_dim] -> [B, R, d]"""

    def __init__(self, row_dim: int, width: int):
        super().__init__()
        self.video_embeddings = nn.Sequential(nn.LayerNorm(row_dim, eps=NORM_EPS), nn.Linear(row_dim, width))

    def forward(self, rows: Tensor) -> Tensor:
        return self.video_embeddings(rows)


class TokenEmbedding(nn.Module):
    """Token table times the root of its width, so that a token is as large as the sinusoid added to it.

    `published_scale` keeps the published initialisation N(0, 1), which together with the second scaling of
    `Positions` makes tokens about `width` times larger than their position.
    """

    def __init__(self, vocab_size: int, width: int, published_scale: bool):
        super().__init__()
        self.scale = math.sqrt(width)
        self.embed = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embed.weight, std=1.0 if published_scale else 1 / self.scale)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embed(ids) * self.scale


class Positions(nn.Module):
    """Adds a sinusoid by position, then dropout.

    `by_sample` (published) adds row b to every position of sample b instead; `rescale` (published) multiplies
    the input by the root of the width once more.

    Shapes:
        forward(x [B, L, d], start: position of the first column) -> [B, L, d]
    """

    def __init__(self, width: int, dropout: float, by_sample: bool = False, rescale: bool = False):
        super().__init__()
        self.by_sample = by_sample
        self.scale = math.sqrt(width) if rescale else 1.0
        self.dropout = nn.Dropout(dropout)
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angle = torch.arange(MAX_POSITIONS)[:, None] * rate
        table = torch.zeros(MAX_POSITIONS, 1, width)
        table[:, 0, 0::2] = angle.sin()
        table[:, 0, 1::2] = angle.cos()[:, : width // 2]
        self.register_buffer("pe", table)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        rows = self.pe[: x.shape[0]] if self.by_sample else self.pe[start : start + x.shape[1], 0]
        return self.dropout(x * self.scale + rows)


class Generator(nn.Module):
    """Log-probabilities of the next word, in float32. Shapes: [..., d] -> [..., V]"""

    def __init__(self, width: int, vocab_size: int):
        super().__init__()
        self.linear = nn.Linear(width, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
