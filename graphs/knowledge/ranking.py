"""How well an embedding completes triples: filtered ranks of true heads and tails, all candidates at once.

B triples of a batch, E entities, T triples, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE
from torch_geometric.nn.kge import KGEModel

HITS = (1, 3, 10)


class AllEntities:
    """Scores of all entities as heads or tails: every model here is a product or a distance of query and entity.

    Raises:
        ValueError: a model of another kind.
    """

    def __init__(self, model: KGEModel):
        self.model = model
        if type(model) not in _QUERIES:
            known = ", ".join(kind.__name__ for kind in _QUERIES)
            raise ValueError(f"ranking knows {known}, not {type(model).__name__}")
        self._query = _QUERIES[type(model)]
        entities = model.node_emb.weight.detach()
        if isinstance(model, TransE):
            entities = normalize(entities, p=model.p_norm, dim=-1)
        elif isinstance(model, ComplEx | RotatE):
            entities = torch.cat([entities, model.node_emb_im.weight.detach()], dim=-1)
        self.entities = entities

    @torch.no_grad()
    def scores(self, known: Tensor, relation: Tensor, side: str) -> Tensor:
        """The model's scores [B, E] of all entities as "tail" of known heads, or as "head" of known tails."""
        query = self._query(self.model, self.entities[known], relation, side == "tail")
        if isinstance(self.model, TransE):
            return -torch.cdist(query, self.entities, p=self.model.p_norm)
        if isinstance(self.model, RotatE):
            # Not by a matrix product, whose rounding would put near candidates in another order.
            distance = torch.cdist(query, self.entities, compute_mode="donot_use_mm_for_euclid_dist")
            return self.model.margin - distance
        return query @ self.entities.T


def _transe(model: TransE, known: Tensor, relation: Tensor, forward: bool) -> Tensor:
    step = model.rel_emb(relation)
    return known + step if forward else known - step


def _distmult(model: DistMult, known: Tensor, relation: Tensor, forward: bool) -> Tensor:
    return known * model.rel_emb(relation)


def _complex(model: ComplEx, known: Tensor, relation: Tensor, forward: bool) -> Tensor:
    re, im = known.chunk(2, dim=-1)
    rel_re, rel_im = model.rel_emb(relation), model.rel_emb_im(relation)
    if forward:
        return torch.cat([re * rel_re - im * rel_im, im * rel_re + re * rel_im], dim=-1)
    return torch.cat([re * rel_re + im * rel_im, im * rel_re - re * rel_im], dim=-1)


def _rotate(model: RotatE, known: Tensor, relation: Tensor, forward: bool) -> Tensor:
    re, im = known.chunk(2, dim=-1)
    angle = model.rel_emb(relation)
    rel_re, rel_im = torch.cos(angle), torch.sin(angle) if forward else -torch.sin(angle)
    return torch.cat([re * rel_re - im * rel_im, im * rel_re + re * rel_im], dim=-1)


_QUERIES = {TransE: _transe, DistMult: _distmult, ComplEx: _complex, RotatE: _rotate}


class Known:
    """Which entities complete a pair of entity and relation to a known triple.

    Args:
        triples: all known triples [T, 3].
        side: "tail" for pairs of head and relation, "head" for pairs of tail and relation.
    """

    def __init__(self, triples: Tensor, num_relations: int, side: str):
        self._num_relations = num_relations
        given, sought = (0, 2) if side == "tail" else (2, 0)
        keys = triples[:, given] * num_relations + triples[:, 1]
        self._keys, order = torch.sort(keys)
        self._entities = triples[order, sought]

    def pairs(self, given: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the batch, and an entity that completes each; one entry per known triple."""
        keys = given * self._num_relations + relation
        start, end = torch.searchsorted(self._keys, keys), torch.searchsorted(self._keys, keys, right=True)
        count = end - start
        rows = torch.repeat_interleave(torch.arange(len(keys), device=keys.device), count)
        offset = torch.arange(len(rows), device=keys.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return rows, self._entities[start[rows] + offset]


@torch.no_grad()
def ranks(model: KGEModel, triples: Tensor, known: Tensor, side: str, batch_size: int = 256) -> Tensor:
    """Filtered rank [T] of the true tail (or head) of every triple among all entities, 1 the best.

    Entities that complete the pair to another known triple do not count; of entities with equal scores half do
    (Sun et al., A Re-evaluation of Knowledge Graph Completion Methods, 2020), so that a constant score gains nothing.
    """
    everything, lookup = AllEntities(model), Known(known, model.num_relations, side)
    given, sought = (0, 2) if side == "tail" else (2, 0)
    found = []
    for batch in triples.split(batch_size):
        scores = everything.scores(batch[:, given], batch[:, 1], side)
        true = scores.gather(1, batch[:, sought, None])
        scores[lookup.pairs(batch[:, given], batch[:, 1])] = -torch.inf
        better, equal = (scores > true).sum(1), (scores == true).sum(1)
        found.append(1 + better + equal / 2)
    return torch.cat(found) if found else torch.zeros(0)


def evaluate(
    model: KGEModel, triples: Tensor, known: Tensor, batch_size: int = 256, hits: Sequence[int] = HITS
) -> dict[str, float]:
    """Mean reciprocal rank, mean rank and Hits@k over heads and tails of triples, filtered by `known`.

    Raises:
        ValueError: there are no triples.
    """
    if not len(triples):
        raise ValueError("no triples to rank: the graph is too small for this split")
    known = torch.cat([known, triples])  # a triple never counts against itself
    both = torch.cat([ranks(model, triples, known, side, batch_size) for side in ("head", "tail")]).double()
    return {
        "MRR": float((1 / both).mean()),
        "mean_rank": float(both.mean()),
        **{f"Hits@{k}": float((both <= k).double().mean()) for k in hits},
    }
