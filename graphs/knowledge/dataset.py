"""The knowledge graph as a torch_geometric data set of one graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.data import Data, Dataset

from dataset.arguments import open_corpus
from dataset.knowledge_arguments import GRAPH, KnowledgeArguments, knowledge_dir
from graphs.knowledge.knowledge_graph import SPLITS, KnowledgeGraph


def to_data(graph: KnowledgeGraph) -> Data:
    """The graph with all its triples as edges from head to tail.

    Shapes:
        returns edge_index [2, T], edge_type [T], edge_support [T] (captions that state the triple), train_mask,
            val_mask, test_mask [T] bool, node_support [E]; entities, relations: lists of texts
    """
    masks = {f"{name}_mask": graph.split == number for number, name in enumerate(SPLITS)}
    return Data(
        num_nodes=len(graph.entities),
        edge_index=graph.triples[:, [0, 2]].T.contiguous(),
        edge_type=graph.triples[:, 1].clone(),
        edge_support=graph.support,
        node_support=graph.entity_support,
        **masks,
        entities=graph.entities,
        relations=graph.relations,
    )


class KnowledgeGraphDataset(Dataset):
    """One graph: `KnowledgeGraphDataset("msvd")[0]`.

    Args:
        source: a folder written by `graphs.knowledge.graph`, or the name of a corpus.
        knowledge: which of the graphs of that corpus, as `--knowledge` names it.
        split: only the triples of "train", "val" or "test".
        transform: called with the graph.

    Raises:
        FileNotFoundError, ValueError: no such graph, corpus or split.
    """

    def __init__(
        self,
        source: Path | str,
        knowledge: str | None = None,
        split: str | None = None,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        super().__init__(None, transform)
        if split not in (None, *SPLITS):
            raise ValueError(f"unknown split {split!r}; a knowledge graph has {', '.join(SPLITS)}")
        if not Path(source).is_dir():
            args = KnowledgeArguments(dataset=str(source), knowledge=knowledge)
            source = knowledge_dir(args, open_corpus(args)) / GRAPH
        self.graph, self.split = KnowledgeGraph.load(source), split
        self.settings = self.graph.settings

    def len(self) -> int:
        return 1

    def get(self, idx: int) -> Data:
        """`to_data` of the graph, or of one split of it with all entities."""
        data = to_data(self.graph)
        if self.split is None:
            return data
        rows = torch.nonzero(data[f"{self.split}_mask"]).flatten()
        data.edge_index = data.edge_index[:, rows]
        for name in ("edge_type", "edge_support", *(f"{name}_mask" for name in SPLITS)):
            data[name] = data[name][rows]
        return data
