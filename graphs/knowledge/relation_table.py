"""The table from which videos choose their relation rows: made once per graph, backbone and embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphs.knowledge.embedding import Embedding
from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.ranking import AllEntities, Known
from graphs.knowledge.relation_rows import RelationTable, RowSettings
from utility.checkpoint import is_checkpoint, load_checkpoint, save_checkpoint
from utility.feature_store import FeatureStore

PROPOSALS = 5  # of the embedding for an entity


def build_table(
    graph: KnowledgeGraph,
    embed: Callable[[Sequence[str]], Tensor],
    embedding: Embedding | None = None,
    settings: RowSettings = RowSettings(),  # noqa: B008 - frozen
    min_entity_support: int = 3,
    complete: bool = False,
) -> RelationTable:
    """
    Args:
        embed: texts -> their rows [n, D], see `text_rows`.
        embedding: trained on this graph; its scores then help to choose.
        min_entity_support: captions in which an entity must occur to be chosen by itself.
        complete: add for every such entity the triples that the embedding finds likeliest and no caption states.

    Raises:
        ValueError: no entity has that support, or `complete` without an embedding.
    """
    if complete and embedding is None:
        raise ValueError("--complete needs --embedding: it is the embedding that proposes triples")
    chosen = torch.nonzero(graph.entity_support >= min_entity_support).flatten()
    if not len(chosen):
        raise ValueError(f"no entity occurs in {min_entity_support} captions; lower --min_entity_support")
    triples, proposed = graph.triples, torch.zeros(len(graph), dtype=torch.bool)
    if complete:
        new = proposals(graph, embedding, chosen)
        triples = torch.cat([triples, new])
        proposed = torch.cat([proposed, torch.ones(len(new), dtype=torch.bool)])
    row = torch.full((len(graph.entities),), -1)
    row[chosen] = torch.arange(len(chosen))
    texts = [f"{graph.entities[h]} {graph.relations[r]} {graph.entities[t]}" for h, r, t in triples.tolist()]
    entities = [graph.entities[i] for i in chosen.tolist()]
    return RelationTable(
        entities=entities,
        relations=graph.relations,
        texts=texts,
        triples=torch.stack([row[triples[:, 0]], triples[:, 1], row[triples[:, 2]]], dim=1),
        entity_rows=embed([settings.entity_text.format(name) for name in entities]),
        triple_rows=embed(texts),
        kge=torch.zeros(len(triples)) if embedding is None else embedding.scores(triples).float(),
        proposed=proposed,
        settings=settings,
    )


def proposals(graph: KnowledgeGraph, embedding: Embedding, heads: Tensor, count: int = PROPOSALS) -> Tensor:
    """For every head its likeliest triples that are not in the graph, with relations that it has there as a head.

    Shapes:
        heads [H] -> [n, 3], n <= H * count
    """
    everything, known = AllEntities(embedding.model), Known(graph.triples, len(graph.relations), "tail")
    found = []
    for head in heads.tolist():
        relations = torch.unique(graph.triples[graph.triples[:, 0] == head, 1])
        if not len(relations):
            continue
        given = torch.full_like(relations, head)
        scores = everything.scores(given, relations, "tail")
        scores[known.pairs(given, relations)] = -torch.inf
        scores[:, head] = -torch.inf
        best = torch.topk(scores.flatten(), min(count, scores.numel())).indices
        best = best[torch.isfinite(scores.flatten()[best])]
        relation, tail = relations[best // scores.shape[1]], best % scores.shape[1]
        found.append(torch.stack([torch.full_like(tail, head), relation, tail], dim=1))
    return torch.cat(found) if found else torch.zeros(0, 3, dtype=torch.int64)


@torch.no_grad()
def text_rows(texts: Sequence[str], backbone: Any, batch_size: int = 256, watch: Callable = iter) -> Tensor:
    """Embeddings [n, D] float16 of texts by the backbone's text tower, of length 1 before rounding.

    Args:
        backbone: a `pretrained.backbones.Backbone`.
        watch: wraps the batches, for a progress bar.
    """
    device = next(backbone.model.parameters()).device
    rows = [torch.zeros(0, backbone.model.config.embed_dim, dtype=torch.float16)]
    for batch in watch([texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]):
        ids = backbone.tokenizer(list(batch)).to(device)
        rows.append(normalize(backbone.model.encode_text(ids).float(), dim=-1).half().cpu())
    return torch.cat(rows)


def table_path(features: Path, corpus: str) -> Path:
    """`{features}/{corpus}_rel_table`, the folder beside the rel features."""
    return Path(features) / f"{corpus}_rel_table"


def table_of(rel: FeatureStore) -> RelationTable | None:
    """The table from which a file of rel features was chosen; None where they were made elsewhere.

    Raises:
        ValueError: the table beside the file is another one.
    """
    wanted = rel.settings.get("table")
    if wanted is None:
        return None
    folder = table_path(rel.path.parent, rel.path.stem.removesuffix("_rel"))
    table, _ = load_table(folder)
    if table.hash != wanted:
        raise ValueError(f"{rel.path} was not chosen from the table in {folder}; make both again with --resume 0")
    return table


def save_table(table: RelationTable, folder: Path, settings: dict[str, Any]) -> None:
    """Writes the folder, whole or not at all."""
    config = {"program": "relation_table", "table": table.description(), "settings": settings, "hash": table.hash}
    save_checkpoint(folder, tensors=table.tensors(), config=config)


def load_table(folder: Path) -> tuple[RelationTable, dict[str, Any]]:
    """A table and its settings.

    Raises:
        FileNotFoundError, ValueError: no such table.
    """
    if not is_checkpoint(folder):
        raise FileNotFoundError(
            f"no table of relations in {folder}; it is made by python -m graphs.knowledge.relations"
        )
    stored = load_checkpoint(folder, training=False)
    return RelationTable.from_parts(stored.config["table"], stored.tensors), stored.config["settings"]
