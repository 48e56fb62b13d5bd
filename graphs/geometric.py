"""Compact action graphs as torch_geometric `Data`, expanded when they are looked at.

S slots, P nodes per slot, D node width, A action width, E edges.
"""

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch_geometric.data import Data

from graphs.combine import edge_attributes, edge_list, edge_mask, pad_edges, positive_sum
from graphs.spatial import nonempty_nodes
from graphs.temporal import temporal_similarity

# What published graphs have and ours do not: emptiness by a zero sum, edges only where attributes sum to more than zero
# (and one edge from node 0 to itself where none is left), edges that pad every video to one length.
REFERENCE = ("emptiness", "positive_sum", "pad_edges")


def check_graph(nodes: Tensor, actions: Tensor, temporal: Tensor, node_mask: Tensor) -> None:
    """Sizes of the four parts must agree.

    Raises:
        ValueError: naming the part, its size, and the size that it must have.
    """
    if nodes.ndim != 3:
        raise ValueError(f"nodes are [slots, nodes per slot, width], not {list(nodes.shape)}")
    slots, per_slot, _ = nodes.shape
    for name, part, shape in (
        ("actions", actions, (slots, *actions.shape[-1:])),
        ("temporal", temporal, (slots - 1, per_slot, per_slot)),
        ("node_mask", node_mask, (slots, per_slot)),
    ):
        if tuple(part.shape) != shape:
            raise ValueError(
                f"{name} of a graph with nodes {list(nodes.shape)} must be {list(shape)}, not {list(part.shape)}; "
                "build spatial and temporal part from the same node features"
            )


def to_data(
    nodes: ArrayLike,
    actions: ArrayLike,
    temporal: ArrayLike | None,
    slot_mask: ArrayLike | None = None,
    node_mask: ArrayLike | None = None,
    reference: tuple[str, ...] = (),
    num_edges: int | None = None,
) -> Data:
    """One video's compact graph -> `Data` with edges listed row by row.

    Args:
        temporal: None to compute it from the nodes.
        node_mask: None for a grid, whose slots are filled or empty as a whole.
        reference: published deviations to reproduce, of `REFERENCE`.
        num_edges: with "pad_edges", how many edges every graph shall have (the most that one has in the data set).

    Shapes:
        nodes [S, P, D], actions [S, A], temporal [S-1, P, P], slot_mask [S], node_mask [S, P]; arrays or tensors
        returns  x [S*P, D] float32 (absent nodes are zero), edge_index [2, E] int64, edge_attr [E, A] float32,
                 node_mask [S*P] bool

    Raises:
        ValueError: sizes that do not fit together, or an unknown name in `reference`.
    """
    if unknown := set(reference).difference(REFERENCE):
        raise ValueError(f"unknown deviations {sorted(unknown)}; known are {', '.join(REFERENCE)}")
    nodes, actions = torch.as_tensor(nodes).float(), torch.as_tensor(actions).float()
    present = present_nodes(nodes, slot_mask, node_mask, reference)
    temporal = temporal_similarity(nodes, present) if temporal is None else torch.as_tensor(temporal).float()
    check_graph(nodes, actions, temporal, present)
    mask = edge_mask(present)
    if "positive_sum" in reference:
        mask = positive_sum(mask, actions, temporal)
    edge_index, places = edge_list(mask)
    edge_attr = edge_attributes(places, actions, temporal)
    if "positive_sum" in reference and not edge_index.shape[1]:
        edge_index, edge_attr = torch.zeros(2, 1, dtype=torch.int64), actions.new_zeros(1, actions.shape[1])
    if "pad_edges" in reference and num_edges is not None:
        edge_index, edge_attr = pad_edges(edge_index, edge_attr, present.numel(), num_edges)
    x = nodes.masked_fill(~present[..., None], 0).flatten(0, 1)
    # The list is shared between all graphs of one mask: without a copy, in-place work on one would change the others.
    return Data(x=x, edge_index=edge_index.clone(), edge_attr=edge_attr, node_mask=present.flatten())


def present_nodes(
    nodes: Tensor, slot_mask: ArrayLike | None, node_mask: ArrayLike | None, reference: tuple[str, ...] = ()
) -> Tensor:
    """Which nodes count: the node mask and the slot mask, as far as given; [S, P] bool."""
    if "emptiness" in reference:
        return nonempty_nodes(nodes)
    present = torch.ones(nodes.shape[:2], dtype=torch.bool)
    if slot_mask is not None:
        present = present & torch.as_tensor(slot_mask).bool()[:, None]
    return present if node_mask is None else present & torch.as_tensor(node_mask).bool()
