"""The two caption decoders: right-to-left (one memory) and left-to-right (video and R2L hidden states).

One attention module per layer serves all its attention sublayers, as published.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.captioner.layers import Attention, FeedForward, Sublayer, mask_bias

KeysValues = tuple[Tensor, Tensor]


@dataclass
class ProjectedMemory:
    """A memory as keys and values of every decoder layer. Shapes: [B, H, M, c] each; bias [B, 1, 1, M]"""

    layers: list[KeysValues]
    bias: Tensor | None

    def select(self, index: Tensor) -> "ProjectedMemory":
        """Rows `index` of the batch, in this order, repeats allowed."""
        layers = [(k.index_select(0, index), v.index_select(0, index)) for k, v in self.layers]
        return ProjectedMemory(layers, None if self.bias is None else self.bias.index_select(0, index))


class TokenCache:
    """Keys and values of the tokens decoded so far, one row per hypothesis.

    Shapes:
        buffer [layers, 2, rows, H, max_length, c]; the first `length` tokens are filled
    """

    def __init__(self, layers: int, rows: int, heads: int, max_length: int, head_width: int, like: Tensor):
        self.buffer = like.new_empty(layers, 2, rows, heads, max_length, head_width)
        self.length = 0

    def append(self, layer: int, keys_values: KeysValues) -> KeysValues:
        """Adds one token ([rows, H, 1, c] each) to `layer`; all its tokens so far. The last layer ends the step."""
        end = self.length + 1
        for part, new in zip(self.buffer[layer], keys_values, strict=True):
            part[:, :, self.length] = new[:, :, 0]
        if layer == len(self.buffer) - 1:
            self.length = end
        keys, values = self.buffer[layer, :, :, :, :end]
        return keys, values

    def select(self, index: Tensor) -> None:
        """Replaces the rows by rows `index`, in this order."""
        kept = self.buffer[:, :, :, :, : self.length].index_select(2, index)
        if len(index) != self.buffer.shape[2]:
            self.buffer = self.buffer.new_empty(*self.buffer.shape[:2], len(index), *self.buffer.shape[3:])
        self.buffer[:, :, :, :, : self.length] = kept


class DecoderLayer(nn.Module):
    """Self-attention, attention over each memory, feed-forward; a post-norm sublayer each."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, num_memories: int):
        super().__init__()
        self.attn = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.sublayer_connection = nn.ModuleList(Sublayer(width, dropout) for _ in range(num_memories + 2))

    def finish(self, x: Tensor, own: Tensor, memories: list[tuple[KeysValues, Tensor | None]]) -> Tensor:
        """All that follows self-attention, whose output is `own`."""
        x = self.sublayer_connection[0](x, own)
        for sublayer, (keys_values, bias) in zip(self.sublayer_connection[1:-1], memories, strict=True):
            x = sublayer(x, self.attn(x, keys_values, bias))
        return self.sublayer_connection[-1](x, self.feed_forward(x))


class Decoder(nn.Module):
    """Stack of decoder layers over one (R2L) or two (L2R) memories.

    Shapes:
        project(memory [B, M, d], mask bias [B, 1, 1, M]) -> ProjectedMemory
        forward(x [B, L, d], bias [B, 1, L, L], memories of B rows) -> [B, L, d]
        step(x [B, K, d], cache of B*K rows, memories of B rows) -> [B, K, d]: one token of K hypotheses per video
    """

    def __init__(self, width: int, heads: int, hidden: int, layers: int, dropout: float, num_memories: int):
        super().__init__()
        self.decoder_layer = nn.ModuleList(
            DecoderLayer(width, heads, hidden, dropout, num_memories) for _ in range(layers)
        )

    def project(self, memory: Tensor, bias: Tensor | None) -> ProjectedMemory:
        return ProjectedMemory([layer.attn.keys_values(memory) for layer in self.decoder_layer], bias)

    def forward(self, x: Tensor, bias: Tensor, memories: list[ProjectedMemory]) -> Tensor:
        for number, layer in enumerate(self.decoder_layer):
            own = layer.attn(x, layer.attn.keys_values(x), bias)
            x = layer.finish(x, own, [(memory.layers[number], memory.bias) for memory in memories])
        return x

    def new_cache(self, rows: int, max_length: int, like: Tensor) -> TokenCache:
        attention = self.decoder_layer[0].attn
        head_width = attention.linear_key.out_features // attention.heads
        return TokenCache(len(self.decoder_layer), rows, attention.heads, max_length, head_width, like)

    def step(self, x: Tensor, cache: TokenCache, memories: list[ProjectedMemory]) -> Tensor:
        for number, layer in enumerate(self.decoder_layer):
            token = x.flatten(0, 1).unsqueeze(1)
            own = layer.attn(token, cache.append(number, layer.attn.keys_values(token)))
            # Hypotheses of a video stand where the tokens do in `forward`, so that they share its memory uncopied.
            x = layer.finish(x, own.view_as(x), [(memory.layers[number], memory.bias) for memory in memories])
        return x


def causal_bias(visible_tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask of the target side: visible tokens that are not later. Shapes: [B, L] bool -> [B, 1, L, L]"""
    length = visible_tokens.shape[1]
    visible = visible_tokens.new_ones(length, length).tril() & visible_tokens[:, None, :]
    return mask_bias(visible, dtype)[:, None]
