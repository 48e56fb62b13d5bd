"""The spatial part of an action graph: within a slot all present nodes are joined and carry the slot's action.

S slots, P nodes per slot, A action width.
"""

import torch
from torch import Tensor


def slot_nodes(slot_mask: Tensor, nodes_per_slot: int) -> Tensor:
    """Node mask of a grid, whose slots are filled or empty as a whole: [..., S] bool -> [..., S, P] bool."""
    return slot_mask.bool()[..., None].expand(*slot_mask.shape, nodes_per_slot)


def nonempty_nodes(nodes: Tensor) -> Tensor:
    """The published test for a present node, features that do not sum to zero: [..., S, P, D] -> [..., S, P] bool.

    It may in principle reject a real node. Only graphs that must equal published ones are built with it; all others use
    the mask that the extractor wrote.
    """
    return nodes.sum(dim=-1) != 0


def spatial_mask(node_mask: Tensor) -> Tensor:
    """Pairs of one slot that are joined, self loops included: [..., S, P] bool -> [..., S, P, P] bool."""
    node_mask = node_mask.bool()
    return node_mask[..., :, None] & node_mask[..., None, :]


def spatial_edges(actions: Tensor, node_mask: Tensor) -> Tensor:
    """Attributes of the joined pairs, zero elsewhere; the dense form, for looking at a graph.

    Shapes:
        actions:   [..., S, A]
        node_mask: [..., S, P] bool
        returns    [..., S, P, P, A]
    """
    mask = spatial_mask(node_mask)[..., None]
    return torch.where(mask, actions[..., :, None, None, :], torch.zeros((), dtype=actions.dtype))
