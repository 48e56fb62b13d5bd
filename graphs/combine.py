"""Spatial and temporal part together: the edges of an action graph, straight from its masks.

Every edge starts at a node of some slot t and ends in slot t (spatial, attribute = the action of t) or in slot t+1
(temporal, attribute = the similarity in channel 0, zeros behind). So an edge is a place in an [S, P, 2P] array, and the
[S*P, S*P] matrix of the whole graph never exists.

S slots, P nodes per slot, A action width, E edges. Node k of slot t has number t*P + k.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from graphs.spatial import spatial_mask


def edge_mask(node_mask: Tensor) -> Tensor:
    """Which edges exist: [..., S, P] bool -> [..., S, P, 2P] bool; columns: nodes of slot t, then of t+1."""
    node_mask = node_mask.bool()
    following = F.pad(node_mask[..., 1:, :], (0, 0, 0, 1))
    return torch.cat([spatial_mask(node_mask), node_mask[..., :, None] & following[..., None, :]], dim=-1)


def positive_sum(mask: Tensor, actions: Tensor, temporal: Tensor) -> Tensor:
    """Drops the edges whose attributes do not sum to more than zero, as the published conversion does.

    Harmless for I3D vectors, which are never negative; signed action features lose whole slots.

    Shapes:
        mask: [S, P, 2P] bool; actions: [S, A]; temporal: [S-1, P, P]; returns [S, P, 2P] bool
    """
    nodes = mask.shape[1]
    spatial = (actions.float().sum(dim=-1) > 0)[:, None, None].expand(-1, nodes, nodes)
    following = F.pad(temporal.float() > 0, (0, 0, 0, 0, 0, 1))
    return mask & torch.cat([spatial, following], dim=-1)


@lru_cache(maxsize=128)
def _edge_list(bits: bytes, slots: int, nodes: int) -> tuple[Tensor, Tensor]:
    mask = torch.frombuffer(bytearray(bits), dtype=torch.bool).view(slots, nodes, 2 * nodes)
    slot, source, target = mask.nonzero(as_tuple=True)
    # The nodes of slot t+1 are numbered right behind those of slot t, so one offset serves both halves of the columns.
    edges = torch.stack([slot * nodes + source, slot * nodes + target])
    return edges, torch.stack([slot, source, target])


def edge_list(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Edges in row-major order of (source, target), remembered per mask: most videos of a corpus share a few masks.

    Shapes:
        mask:    [S, P, 2P] bool
        returns  edge_index [2, E] int64 (source, target), and [3, E] int64, their places in the mask

    Both are shared between all graphs of one mask: do not write to them.
    """
    slots, nodes, _ = mask.shape
    return _edge_list(mask.cpu().contiguous().numpy().tobytes(), slots, nodes)


def edge_attributes(places: Tensor, actions: Tensor, temporal: Tensor) -> Tensor:
    """Attributes of listed edges.

    Shapes:
        places:   [3, E] int64, slot, node and column of every edge (from `edge_list`)
        actions:  [S, A] float
        temporal: [S-1, P, P] float
        returns   [E, A], type of `actions`
    """
    slot, source, target = places
    nodes = temporal.shape[-1]
    attributes = actions[slot]
    later = (target >= nodes).nonzero()[:, 0]
    attributes[later] = 0
    attributes[later, 0] = temporal[slot[later], source[later], target[later] - nodes].to(attributes.dtype)
    return attributes


def pad_edges(edge_index: Tensor, edge_attr: Tensor, num_nodes: int, num_edges: int) -> tuple[Tensor, Tensor]:
    """Appends edges (0, 0), (0, 1), ... with zero attributes up to `num_edges`, as the published conversion does.

    They repeat real edges and let the first slot speak to the whole video; only for reproducing published numbers.

    Shapes:
        edge_index: [2, E]; edge_attr: [E, A]; returns [2, num_edges], [num_edges, A]
    """
    missing = num_edges - edge_index.shape[1]
    if missing < 0:
        raise ValueError(f"cannot pad {edge_index.shape[1]} edges to {num_edges}; it must be at least as many")
    number = torch.arange(missing)
    tail = torch.stack([number // num_nodes, number % num_nodes])
    return torch.cat([edge_index, tail], dim=1), F.pad(edge_attr, (0, 0, 0, missing))
