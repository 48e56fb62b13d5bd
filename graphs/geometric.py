"""Compact action graphs as torch_geometric `Data`, expanded when they are looked at.

S slots, P nodes per slot, D node width, A action width, E edges.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.combine import edge_attributes, edge_list, edge_mask, pad_edges, positive_sum
from graphs.graph_folder import GraphFolder
from graphs.spatial import nonempty_nodes
from graphs.temporal import temporal_similarity
from model.geometric import Data, Dataset
from utility.feature_store import FeatureStore

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


PARTS = ("nodes", "actions", "temporal", "slot_mask", "node_mask")


def graph_of(arrays: Mapping[str, np.ndarray], reference: tuple[str, ...] = (), num_edges: int | None = None) -> Data:
    """`to_data` of one entry of a graph file, which may hold more than a graph needs.

    Objects keep their boxes: `boxes` [S * P, 4], left, top, right, bottom as shares of the frame.
    """
    data = to_data(*(arrays.get(name) for name in PARTS), reference=reference, num_edges=num_edges)
    if "boxes" in arrays:
        data.boxes = torch.as_tensor(np.asarray(arrays["boxes"], np.float32)).flatten(0, 1)
    return data


def most_edges(graphs: Iterable[Mapping[str, np.ndarray]], reference: tuple[str, ...] = ()) -> int:
    """The largest number of edges among graphs: the length to which "pad_edges" fills up."""
    plain = tuple(name for name in reference if name != "pad_edges")
    # Edges depend on the signs of the actions only: one channel, their sum, says as much as all.
    return max(
        graph_of({**arrays, "actions": arrays["actions"].astype(np.float32).sum(-1, keepdims=True)}, plain).num_edges
        for arrays in graphs
    )


class ActionGraphDataset(Dataset):
    """Action graphs of a corpus as a torch_geometric data set; edges are expanded when a graph is asked for.

    Opens its source once per process and reads one graph at a time, so that it works with any number of loader workers
    and any number of videos.

    Args:
        source: a folder written by `transform_graph_to_geometric.py`, or a feature file `..._GBased_graph.hdf5`.
        split: "train", "val" or "test" of a folder; None for all videos.
        ids: the videos to take and their order, in place of a split.
        transform: called with every graph that is asked for.
        reference: published deviations to reproduce, of `REFERENCE`; with "pad_edges" all graphs of the source,
            whatever the split, are filled up to the edges of the largest. None for those that the folder was made with.

    Raises:
        FileNotFoundError: no such source.
        ValueError: unknown split, or videos that the source does not hold.
    """

    def __init__(
        self,
        source: Path | str,
        split: str | None = None,
        ids: Sequence[str] | None = None,
        transform: Callable[[Data], Data] | None = None,
        reference: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(None, transform)
        source = Path(source)
        self.graphs = GraphFolder(source) if source.is_dir() else FeatureStore(source)
        self.settings = self.graphs.settings
        self.reference = tuple(self.settings.get("reference", ()) if reference is None else reference)
        self.ids = self._choose(source, split, ids)
        padded = "pad_edges" in self.reference
        self.num_padded = most_edges((self.graphs[name] for name in self.graphs), self.reference) if padded else None

    def _choose(self, source: Path, split: str | None, ids: Sequence[str] | None) -> list[str]:
        splits = self.graphs.splits if isinstance(self.graphs, GraphFolder) else {}
        if ids is None and split is None:
            return list(self.graphs)
        if ids is None:
            if split not in splits:
                known = ", ".join(splits) or "none: give `ids`"
                raise ValueError(f"unknown split {split!r}; {source} has {known}")
            return list(splits[split])
        if absent := [name for name in ids if name not in self.graphs]:
            raise ValueError(f"{source} has no graphs of {len(absent)} videos, among them {absent[0]!r}")
        return list(ids)

    def len(self) -> int:
        return len(self.ids)

    def get(self, idx: int) -> Data:
        """`to_data` of one video, with its id as `video`."""
        data = graph_of(self.graphs[self.ids[idx]], self.reference, self.num_padded)
        data.video = self.ids[idx]
        return data
