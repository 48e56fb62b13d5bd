"""Edge lists from the compact slot form of action graphs."""

import math

import torch
from torch import Tensor


def full_edge_count(slots: int, nodes_per_slot: int) -> int:
    """Edges of a graph without gaps: all pairs in each slot and from each slot to the next."""
    return (2 * slots - 1) * nodes_per_slot**2


def expand_edges(
    actions: Tensor, temporal: Tensor, mask: Tensor, pad_edges: bool = False, root_offset: bool = False
) -> tuple[Tensor, Tensor]:
    """The edges that a batch of compact graphs stands for, graph after graph, source-major.

    All pairs of present nodes of a slot (self-loops included) carry the slot's action vector; node p of slot t points
    to node q of slot t+1 with [temporal[t, p, q], 0, ...].

    Args:
        pad_edges: as published, append zero-attribute edges 0 -> 0, 0 -> 1, ... until each graph has as many edges as
            a graph without gaps.
        root_offset: as published, shift the nodes of graph i by i times the root of that count, not by i times the
            number of nodes.

    Shapes:
        actions [B, S, A], temporal [B, S-1, P, P], mask [B, S, P] bool
        returns edge_index [2, E] int64 (source, destination), edge_attr [E, A]; node (b, t, p) is b*S*P + t*P + p
    """
    B, S, P = mask.shape
    following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    destinations = torch.stack([mask, following], dim=2)  # [B, S, 2, P]: own slot, next slot
    present = mask[:, :, :, None, None] & destinations[:, :, None]
    graph, slot, source, ahead, destination = present.nonzero(as_tuple=True)
    is_link = ahead == 1
    edge_attr = actions[graph, slot].masked_fill(is_link[:, None], 0)
    edge_attr[is_link, 0] = temporal[graph[is_link], slot[is_link], source[is_link], destination[is_link]]
    start, end = slot * P + source, (slot + ahead) * P + destination

    full = full_edge_count(S, P)
    if pad_edges:
        missing = full - torch.bincount(graph, minlength=B)
        pad_graph, number = (torch.arange(full, device=mask.device) < missing[:, None]).nonzero(as_tuple=True)
        order = torch.cat([graph, pad_graph]).argsort(stable=True)
        graph = torch.cat([graph, pad_graph])[order]
        start = torch.cat([start, number // (S * P)])[order]
        end = torch.cat([end, number % (S * P)])[order]
        edge_attr = torch.cat([edge_attr, edge_attr.new_zeros(len(number), edge_attr.shape[1])])[order]
    offset = math.isqrt(full) if root_offset else S * P
    return torch.stack([start, end]) + graph * offset, edge_attr
