"""The knowledge graph: entities, relations, triples with their supports and splits, in memory and as a folder.

E entities, R relations, T triples.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphs.knowledge.cleaning import Counts
from graphs.knowledge.extraction import Triple
from utility.checkpoint import is_checkpoint, load_checkpoint, save_checkpoint, tensors_hash

SPLITS = ("train", "val", "test")
STAGE = "python -m graphs.knowledge.graph"


@dataclass
class KnowledgeGraph:
    """Triples by number.

    Attributes:
        entities, relations: texts by id.
        triples: [T, 3] int64: head, relation, tail.
        split: [T] int64: number of `SPLITS`.
        support: [T] int64, captions that state the triple.
        entity_support: [E] int64, captions in whose triples the entity occurs.
        videos: texts by number: videos of the captions.
        stated: [P, 3] int64: triple, video, number of its captions that state it.
        settings: what the numbers depend on.
    """

    entities: list[str]
    relations: list[str]
    triples: Tensor
    split: Tensor
    support: Tensor
    entity_support: Tensor
    videos: list[str] = field(default_factory=list)
    stated: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.int64))
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.triples)

    def of_split(self, name: str) -> Tensor:
        """Triples [t, 3] of "train", "val" or "test"."""
        return self.triples[self.split == SPLITS.index(name)]

    def texts(self, triple: int) -> Triple:
        """The texts of a triple."""
        head, relation, tail = self.triples[triple].tolist()
        return Triple(self.entities[head], self.relations[relation], self.entities[tail])

    def sentence(self, triple: int) -> str:
        """ "man play flute" """
        return " ".join(self.texts(triple))

    def most_frequent(self, count: int = 20) -> list[tuple[Triple, int]]:
        """The triples that most captions state, with their supports."""
        order = torch.argsort(self.support, descending=True, stable=True)[:count].tolist()
        return [(self.texts(i), int(self.support[i])) for i in order]

    @cached_property
    def hash(self) -> str:
        """Short hash of texts and triples."""
        texts = "\n".join([*self.entities, "", *self.relations]).encode()
        return tensors_hash({"triples": self.triples, "split": self.split, "texts": torch.tensor(list(texts))})

    def save(self, folder: Path | str) -> None:
        """Writes the folder, whole or not at all."""
        names = ("triples", "split", "support", "entity_support", "stated")
        save_checkpoint(
            folder,
            tensors={name: getattr(self, name) for name in names},
            config={
                "program": "knowledge_graph",
                "entities": self.entities,
                "relations": self.relations,
                "videos": self.videos,
                "settings": self.settings,
            },
        )

    @classmethod
    def load(cls, folder: Path | str) -> KnowledgeGraph:
        """
        Raises:
            FileNotFoundError: no such folder; the message names the program that makes it.
            ValueError: another kind of folder.
        """
        if not is_checkpoint(folder):
            raise FileNotFoundError(f"no knowledge graph in {folder}; it is made by {STAGE}")
        stored = load_checkpoint(folder, training=False)
        config = stored.config
        if config.get("program") != "knowledge_graph":
            raise ValueError(f"{folder} holds no knowledge graph; it is made by {STAGE}")
        texts = {name: config[name] for name in ("entities", "relations", "videos", "settings")}
        return cls(**texts, **stored.tensors)


def build(
    counts: Counts, min_support: int = 2, seed: int = 42, settings: Mapping[str, Any] | None = None
) -> KnowledgeGraph:
    """The graph of all triples that at least `min_support` captions state.

    Ids follow the first appearance in the sorted triples, head before tail; 10 % test and 10 % validation triples are
    drawn from the sorted list with `seed`, so that the same captions give the same graph on any machine.

    Raises:
        ValueError: no triple is left.
    """
    kept = counts.supported(min_support)
    if not kept:
        raise ValueError(
            f"none of the {len(counts.captions)} distinct triples is stated by {min_support} captions; lower "
            "--min_support, or look at the triples"
        )
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    triples = []
    for head, relation, tail in kept:
        h = entities.setdefault(head, len(entities))
        t = entities.setdefault(tail, len(entities))
        triples.append((h, relations.setdefault(relation, len(relations)), t))
    videos: dict[str, int] = {}
    stated = [
        (row, videos.setdefault(video, len(videos)), number)
        for row, triple in enumerate(kept)
        for video, number in counts.videos.get(triple, {}).items()
    ]
    return KnowledgeGraph(
        entities=list(entities),
        relations=list(relations),
        triples=torch.tensor(triples, dtype=torch.int64),
        split=draw_splits(triples, seed),
        support=torch.tensor([counts.captions[triple] for triple in kept]),
        entity_support=torch.tensor([counts.entities[name] for name in entities]),
        videos=list(videos),
        stated=torch.tensor(stated, dtype=torch.int64).reshape(-1, 3),
        settings=dict(settings or {}),
    )


def draw_splits(triples: Sequence[tuple[int, int, int]], seed: int = 42, share: float = 0.1) -> Tensor:
    """Split numbers [T] of sorted triples: `share` each for test and validation, as far as that is possible.

    A triple whose entity or relation no training triple would have left stays in training: nothing could be learnt
    about it.
    """
    order = list(range(len(triples)))
    random.Random(seed).shuffle(order)
    left: dict[tuple[str, int], int] = {}
    for triple in triples:
        for key in _parts(triple):
            left[key] = left.get(key, 0) + 1
    split = torch.zeros(len(triples), dtype=torch.int64)
    wanted = int(len(triples) * share)
    open_splits = [name for name in ("test", "val") for _ in range(wanted)]
    for row in order:
        if not open_splits:
            break
        parts = _parts(triples[row])
        if all(left[key] > parts.count(key) for key in parts):
            split[row] = SPLITS.index(open_splits.pop(0))
            for key in parts:
                left[key] -= 1
    return split


def _parts(triple: tuple[int, int, int]) -> list[tuple[str, int]]:
    head, relation, tail = triple
    return [("entity", head), ("relation", relation), ("entity", tail)]
