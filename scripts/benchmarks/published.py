"""The published formulation of what the benchmark measures, with the weights of a `Captioner`.

Edge lists with one attribute row per edge through torch_geometric's TransformerConv; one video at a time; a search that
runs the whole prefix of every hypothesis through the decoder in each step and projects the memories anew every time.
Left out, in its favour: the full garbage collection and allocator flush that the published system runs per video.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import TransformerConv

from model.captioner import START, Captioner
from model.captioner.decoders import Decoder
from model.captioner.graph_convolution import TransC
from model.captioner.layers import Attention

Memory = tuple[Tensor, Tensor | None]
"""Rows [1, M, d], and [1, M] True where they may be seen (None: everywhere)."""


def published_convolution(width: int, edge_dim: int, heads: int = 4) -> TransformerConv:
    """One convolution of the published graph network."""
    return TransformerConv(width, width // heads, heads, beta=True, edge_dim=edge_dim, aggr="mean")


class PublishedTransC(nn.Module):
    """The graph network on edge lists, with the parameters of ours under the same names.

    Shapes:
        forward(x [N, node_dim], edge_index [2, E], edge_attr [E, A]) -> [N, D]
    """

    def __init__(self, ours: TransC):
        super().__init__()
        width, node_dim = ours.lp.weight.shape
        self.lp = nn.Linear(node_dim, width)
        for name in ("conv1", "conv2", "conv3"):
            conv = getattr(ours, name)
            setattr(self, name, published_convolution(width, conv.lin_edge.weight.shape[1], conv.heads))
        self.load_state_dict(ours.state_dict(), strict=True)
        self.to(ours.lp.weight.device)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        x = self.lp(x)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = (x + conv(x, edge_index, edge_attr)).relu()
        return x


@dataclass(frozen=True)
class StoredGraph:
    """A graph as the published pickle holds it: edge attributes as coordinates and values.

    Shapes:
        x [S*P, node_dim], edge_index [2, E], coords [2, n] int64, data [n], shape (E, A), slot_mask [S]
    """

    x: Tensor
    edge_index: Tensor
    coords: np.ndarray
    data: np.ndarray
    shape: tuple[int, int]
    slot_mask: Tensor

    @classmethod
    def pack(cls, x: Tensor, edge_index: Tensor, edge_attr: Tensor, slot_mask: Tensor) -> StoredGraph:
        dense = edge_attr.numpy()
        places = dense.nonzero()
        return cls(x, edge_index, np.stack(places).astype(np.int64), dense[places], dense.shape, slot_mask)

    def edge_attributes(self) -> Tensor:
        """All attributes [E, A], as the published loader makes them for every item."""
        dense = np.zeros(self.shape, self.data.dtype)
        dense[tuple(self.coords)] = self.data
        return torch.from_numpy(dense)


class PublishedCaptioner:
    """Encoding and search of one video, as published, with the modules' weights of a `Captioner` without options."""

    def __init__(self, model: Captioner):
        self.model = model
        self.networks = PublishedTransC(model.stg_encoder_big.transc), PublishedTransC(model.stg_encoder.transc)

    def encode(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, slot_mask: Tensor) -> tuple[Tensor, Tensor]:
        """R2L and L2R memory rows [1, S, d] of one video."""
        rows = []
        for network, encoder in zip(self.networks, (self.model.stg_encoder_big, self.model.stg_encoder), strict=True):
            slots = network(x, edge_index, edge_attr).view(1, len(slot_mask), -1, network.lp.out_features).mean(dim=2)
            rows.append(encoder.stg_encoder(slots, slot_mask[None]))
        return rows[0], rows[1]

    def search(self, r2l: Tensor, l2r: Tensor, slot_mask: Tensor, beam: int, max_words: int) -> tuple[Beam, Beam]:
        """L2R and R2L hypotheses; the L2R decoder sees the R2L states of the best one that was live last."""
        model, seen = self.model, slot_mask[None]
        first = shrinking_beam(
            lambda ids: hidden(model, model.r2l_decoder, ids, [(r2l, seen)]), model.generator, beam, max_words
        )
        memories: list[Memory] = [(l2r, seen), (first.last_hidden[:1], None)]
        second = shrinking_beam(
            lambda ids: hidden(model, model.l2r_decoder, ids, memories), model.generator, beam, max_words
        )
        return second, first


def attend(attention: Attention, x: Tensor, memory: Tensor, visible: Tensor | None) -> Tensor:
    """Multi-head attention, everything projected here and now. Shapes: x [K, L, d], memory [K, M, d] -> [K, L, d]"""
    heads, c = attention.heads, x.shape[-1] // attention.heads
    q, k, v = (
        linear(rows).view(len(x), -1, heads, c).transpose(1, 2)
        for linear, rows in (
            (attention.linear_query, x),
            (attention.linear_key, memory),
            (attention.linear_value, memory),
        )
    )
    scores = q @ k.transpose(-1, -2) / math.sqrt(c)
    if visible is not None:
        scores = scores.masked_fill(~visible, -1e9)
    return attention.linear_out((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(x.shape))


def hidden(model: Captioner, decoder: Decoder, ids: Tensor, memories: list[Memory]) -> Tensor:
    """Decoder states of whole prefixes. Shapes: ids [K, L] -> [K, L, d]"""
    x = model.embed(ids)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    for layer in decoder.decoder_layer:
        own, *others, last = layer.sublayer_connection
        x = own(x, attend(layer.attn, x, x, causal))
        for sublayer, (rows, seen) in zip(others, memories, strict=True):
            visible = None if seen is None else seen[:, None, None]
            x = sublayer(x, attend(layer.attn, x, rows.expand(len(ids), -1, -1), visible))
        x = last(x, layer.feed_forward(x))
    return x


@dataclass(frozen=True)
class Beam:
    """Words and log-probabilities, best first, and the states [live, length, d] of the last step."""

    words: list[list[int]]
    scores: list[float]
    last_hidden: Tensor


def shrinking_beam(
    states_of: Callable[[Tensor], Tensor], generator: Callable[[Tensor], Tensor], beam: int, max_words: int
) -> Beam:
    """One direction of one video; the beam loses a place with every hypothesis that ends."""
    device = next(generator.parameters()).device
    live = [torch.tensor([START], device=device)]
    scores = [torch.zeros((), device=device)]
    done: list[tuple[list[int], float]] = []
    states = torch.empty(0)
    for _ in range(max_words + 1):
        states = states_of(torch.stack(live))
        total = torch.stack(scores)[:, None] + generator(states[:, -1])
        best, index = total.flatten().topk(beam - len(done))
        prefixes, live, scores = live, [], []
        for place in range(len(index)):
            prefix, word = divmod(index[place].item(), total.shape[1])
            if word == START:
                done.append((prefixes[prefix][1:].tolist(), best[place].item()))
            else:
                live.append(torch.cat([prefixes[prefix], torch.tensor([word], device=device)]))
                scores.append(best[place])
        if len(done) == beam:
            break
    done += [(ids[1:].tolist(), score.item()) for ids, score in zip(live, scores, strict=True)]
    done.sort(key=lambda item: item[1], reverse=True)
    return Beam([words for words, _ in done], [score for _, score in done], states)
