"""Knowledge-graph embeddings of torch_geometric: made by name, trained by the common loop, read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE
from torch_geometric.nn.kge import KGEModel

from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.ranking import evaluate
from utility.checkpoint import is_checkpoint, load_checkpoint, load_tensors, tensors_hash
from utility.distributed import Distributed
from utility.engine import train
from utility.loader import BatchLoader
from utility.random_state import seed_all
from utility.schedules import constant
from utility.train_settings import TrainSettings

MODELS: dict[str, type[KGEModel]] = {"TransE": TransE, "DistMult": DistMult, "ComplEx": ComplEx, "RotatE": RotatE}
MARGINS = {"TransE": 1.0, "DistMult": 1.0, "RotatE": 9.0}


def make_model(name: str, num_entities: int, num_relations: int, width: int, margin: float | None = None) -> KGEModel:
    """An untrained model.

    Args:
        margin: None for the usual one of that model.

    Raises:
        ValueError: unknown name, or a margin for a model that has none.
    """
    if name not in MODELS:
        raise ValueError(f"Unknown embedding ({name}). Known are {', '.join(MODELS)}.")
    if name not in MARGINS:
        if margin is not None:
            raise ValueError(f"--margin is {margin}, but {name} has none")
        return MODELS[name](num_entities, num_relations, width)
    return MODELS[name](num_entities, num_relations, width, margin=MARGINS[name] if margin is None else margin)


class _Rows(torch.utils.data.Dataset):
    """The numbers of all training triples, several times over."""

    def __init__(self, count: int, passes: int):
        self.count, self.passes = count, passes

    def __len__(self) -> int:
        return self.count * self.passes

    def __getitem__(self, index: int) -> int:
        return index % self.count


def train_embedding(
    graph: KnowledgeGraph,
    model: KGEModel,
    settings: TrainSettings,
    passes: int,
    lr: float,
    dist: Distributed,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Trains on the training triples; the best round is the one with the highest MRR of the validation triples.

    Returns:
        As `utility.engine.train`.
    """
    triples = graph.of_split("train")
    validation = graph.of_split("val")
    ranked = validation if len(validation) else triples  # a tiny graph has none to spare
    known = graph.triples.to(dist.device)

    def loss(model: KGEModel, batch: Tensor) -> tuple[Tensor, int, dict[str, Tensor]]:
        head, relation, tail = batch.T
        return model.loss(head, relation, tail) * len(batch), len(batch), {}

    def score(model: KGEModel, epoch: int) -> dict[str, float]:
        values = evaluate(model, ranked.to(dist.device), known)
        return {"score": values["MRR"], **{name.replace("@", "_"): value for name, value in values.items()}}

    loader = BatchLoader(
        _Rows(len(triples), passes),
        lambda rows: triples[torch.tensor(rows)],
        settings.batch_size,
        settings.micro_batch_size,
        dist,
        settings.seed,
    )
    seed_all(settings.seed)
    model.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    return train(model, loss, loader, optimizer, constant(optimizer), settings, dist, score, config=dict(config))


@dataclass
class Embedding:
    """A trained model and what it was trained on.

    Attributes:
        config: of its checkpoint; `graph` is the hash of the graph.
        hash: of its weights.
    """

    model: KGEModel
    config: dict[str, Any]
    hash: str

    @torch.no_grad()
    def scores(self, triples: Tensor) -> Tensor:
        """Scores [T] of triples [T, 3], higher for likelier ones."""
        return self.model(*triples.T)


def load_embedding(folder: Path | str, graph: KnowledgeGraph) -> Embedding:
    """The best round of a run.

    Raises:
        FileNotFoundError: no such run; the message names the program.
        ValueError: trained on another graph.
    """
    best = Path(folder) / "best"
    if not is_checkpoint(best):
        raise FileNotFoundError(f"no embedding in {folder}; it is made by python -m graphs.knowledge.embed")
    stored = load_checkpoint(best, training=False)
    config = stored.config
    if config.get("graph") != graph.hash:
        raise ValueError(f"the embedding in {folder} belongs to another graph; train it again with --resume 0")
    model = make_model(config["model"], config["entities"], config["relations"], config["width"], config["margin"])
    load_tensors(model, stored.tensors, str(best))
    return Embedding(model.eval(), config, tensors_hash(stored.tensors))
