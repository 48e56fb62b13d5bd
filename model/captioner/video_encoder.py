"""Transformer encoder over the slots of a video (post-norm, learnt positions)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-12


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        parts = (self.query, self.key, self.value)
        q, k, v = (linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in parts)
        out = F.scaled_dot_product_attention(q, k, v, bias, self.dropout if self.training else 0.0)
        return out.transpose(1, 2).flatten(2)


class ResidualOutput(nn.Module):
    """LayerNorm(residual + dropout(linear(x)))."""

    def __init__(self, width_in: int, width: int, dropout: float):
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class VideoEncoderLayer(nn.Module):
    """Self-attention and an exact-GELU feed-forward, each followed by residual and norm."""

    def __init__(self, width: int, feed_forward: int, heads: int, dropout: float):
        super().__init__()
        # The nesting and the name "self" are those of the published state dict.
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(width, heads, dropout), "output": ResidualOutput(width, width, dropout)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, feed_forward)})
        self.output = ResidualOutput(feed_forward, width, dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, bias), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class SlotEmbedding(nn.Module):
    """Linear projection plus learnt position, then norm and dropout."""

    def __init__(self, input_width: int, width: int, positions: int, dropout: float):
        super().__init__()
        self.word_embeddings = nn.Linear(input_width, width)  # the published name; there are no words here
        self.position_embeddings = nn.Embedding(positions, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.LayerNorm(self.word_embeddings(x) + self.position_embeddings.weight[: x.shape[1]]))


class VisualTransformer(nn.Module):
    """Embedding and layers; `forward` returns the output of every layer."""

    def __init__(
        self, input_width: int, width: int, feed_forward: int, heads: int, layers: int, positions: int, dropout: float
    ):
        super().__init__()
        self.embeddings = SlotEmbedding(input_width, width, positions, dropout)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(VideoEncoderLayer(width, feed_forward, heads, dropout) for _ in range(layers))}
        )
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})
        # Part of the published state dict but of no output: without gradient it does not hold up distributed training.
        self.pooler.requires_grad_(False)

    def forward(self, x: Tensor, bias: Tensor) -> list[Tensor]:
        x = self.embeddings(x)
        outputs = []
        for layer in self.encoder["layer"]:
            x = layer(x, bias)
            outputs.append(x)
        return outputs


class STGraphEncoder(nn.Module):
    """Slot features to memory rows: norm, transformer, and a projection where the widths differ.

    Shapes:
        forward(x [B, S, input_width], mask [B, S] bool) -> [B, S, output_width]; masked slots are computed but not seen
    """

    def __init__(
        self,
        input_width: int,
        width: int,
        feed_forward: int,
        heads: int,
        layers: int,
        positions: int,
        output_width: int,
        dropout: float = 0.1,
        position_std: float = 0.02,
    ):
        super().__init__()
        self.normalize_video = nn.ModuleDict({"visual_norm2d": nn.LayerNorm(input_width, eps=EPS)})
        self.visual = VisualTransformer(input_width, width, feed_forward, heads, layers, positions, dropout)
        self.lp = nn.Linear(width, output_width) if width != output_width else None
        self.apply(self._initialise)
        nn.init.normal_(self.visual.embeddings.position_embeddings.weight, std=position_std)

    @staticmethod
    def _initialise(module: nn.Module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def hidden_states(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Output of every transformer layer, before the projection."""
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        bias = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).masked_fill(~mask, -10000.0)[:, None, None]
        return self.visual(self.normalize_video["visual_norm2d"](x), bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.hidden_states(x, mask)[-1]
        return x if self.lp is None else self.lp(x)
