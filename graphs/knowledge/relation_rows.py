"""What a video takes from a knowledge graph: the entities and triples whose texts are nearest to its frames.

Nothing here reads captions of the video, so training, validation, test and unseen videos get their rows in the same
way. D width of the backbone's joint space, E entities, T triples, S slots.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from utility.checkpoint import tensors_hash


@dataclass(frozen=True)
class RowSettings:
    """How many rows, and what decides.

    Attributes:
        num_entities, num_triples: rows of each kind.
        same_relation: triples with one relation at most.
        both_ends: what a triple gains when head and tail are among the chosen entities.
        kge_weight: weight of the embedding's score, standardised over the candidates.
        entity_text: text of an entity.
    """

    num_entities: int = 10
    num_triples: int = 10
    same_relation: int = 3
    both_ends: float = 0.1
    kge_weight: float = 0.1
    entity_text: str = "a video of a {}"


@dataclass
class Choice:
    """A row of a video.

    Attributes:
        text: an entity, or a triple's words.
        score: by which it was chosen.
        similarity: cosine of video and text.
        both_ends, kge: of a triple, the other parts of its score; None of an entity.
        seen: False for a triple that the embedding proposes and no caption states.
    """

    text: str
    score: float
    similarity: float
    both_ends: float | None = None
    kge: float | None = None
    seen: bool = True


@dataclass
class RelationTable:
    """Entities and triples that may be chosen, with the embeddings of their texts: all that captioning a file needs.

    Attributes:
        entities: texts by row.
        relations: texts by number.
        triples: [T, 3] int64: row of the head, number of the relation, row of the tail; -1 for an entity that may not
            be chosen by itself.
        texts: the words of every triple.
        entity_rows: [E, D], triple_rows: [T, D]: text embeddings, each of length 1.
        kge: [T] scores of a trained embedding; zeros without one.
        proposed: [T] bool, triples that no caption states; candidates where their head is chosen.
        settings: see `RowSettings`.
    """

    entities: list[str]
    relations: list[str]
    texts: list[str]
    triples: Tensor
    entity_rows: Tensor
    triple_rows: Tensor
    kge: Tensor
    proposed: Tensor
    settings: RowSettings = field(default_factory=RowSettings)

    TENSORS = ("triples", "entity_rows", "triple_rows", "kge", "proposed")

    @property
    def hash(self) -> str:
        """Short hash of everything that decides what a video gets."""
        texts = torch.tensor(list("\n".join([*self.entities, "", *self.texts]).encode()))
        return tensors_hash({"texts": texts, **self.tensors()})

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """For a file or a checkpoint; `from_parts` is the inverse."""
        return {prefix + name: getattr(self, name) for name in self.TENSORS}

    def description(self) -> dict[str, Any]:
        """The rest, of JSON types."""
        texts = {"entities": self.entities, "relations": self.relations, "texts": self.texts}
        return {**texts, "settings": asdict(self.settings)}

    @classmethod
    def from_parts(cls, description: dict[str, Any], tensors: dict[str, Tensor], prefix: str = "") -> RelationTable:
        """
        Raises:
            ValueError: a part is missing.
        """
        absent = [name for name in cls.TENSORS if prefix + name not in tensors]
        absent += [name for name in ("entities", "relations", "texts", "settings") if name not in description]
        if absent:
            raise ValueError(f"a table of relations lacks {', '.join(absent)}; make the rel features again")
        settings = RowSettings(**description["settings"])
        texts = {name: description[name] for name in ("entities", "relations", "texts")}
        return cls(**texts, **{name: tensors[prefix + name] for name in cls.TENSORS}, settings=settings)

    def choose(self, video: Tensor) -> tuple[Tensor, list[Choice]]:
        """The rows of a video, entities first, each kind by descending score.

        Args:
            video: `video_vector` of its frames.

        Shapes:
            video [D] -> rows [n, D], n <= num_entities + num_triples

        Raises:
            ValueError: another width than that of the table.
        """
        if video.shape[-1] != self.entity_rows.shape[-1]:
            raise ValueError(
                f"the video's frames are {video.shape[-1]} wide, the texts {self.entity_rows.shape[-1]}: both must "
                "come from one backbone"
            )
        s = self.settings
        near = self.entity_rows.float() @ video
        kept = torch.topk(near, min(s.num_entities, len(near))).indices
        choices = [Choice(self.entities[i], float(near[i]), float(near[i])) for i in kept.tolist()]
        chosen, more = self._triples(video, kept)
        rows = torch.cat([self.entity_rows[kept], self.triple_rows[chosen]])
        return rows, choices + more

    def _triples(self, video: Tensor, kept: Tensor) -> tuple[Tensor, list[Choice]]:
        s = self.settings
        is_kept = torch.zeros(len(self.entities) + 1, dtype=torch.bool)  # the last place is that of row -1
        is_kept[kept] = True
        head, tail = is_kept[self.triples[:, 0]], is_kept[self.triples[:, 2]]
        candidates = torch.where(self.proposed, head, head | tail)
        if int(candidates.sum()) < s.num_triples:
            candidates = ~self.proposed
        rows = torch.nonzero(candidates).flatten()
        if not len(rows) or not s.num_triples:
            return rows[:0], []
        similarity = self.triple_rows[rows].float() @ video
        bonus = s.both_ends * (head & tail)[rows].float()
        kge = s.kge_weight * standardised(self.kge[rows])
        score = similarity + bonus + kge
        taken, used = [], Counter()
        for place in torch.argsort(score, descending=True, stable=True).tolist():
            relation = int(self.triples[rows[place], 1])
            if used[relation] < s.same_relation:
                used[relation] += 1
                taken.append(place)
                if len(taken) == s.num_triples:
                    break
        choices = [
            Choice(
                self.texts[rows[i]],
                *(float(part[i]) for part in (score, similarity, bonus, kge)),
                seen=not bool(self.proposed[rows[i]]),
            )
            for i in taken
        ]
        return rows[torch.tensor(taken)], choices


def standardised(scores: Tensor) -> Tensor:
    """(x - mean) / deviation, zeros where all are equal."""
    scores = scores.float()
    spread = scores.std(correction=0)
    return (scores - scores.mean()) / spread if spread > 0 else torch.zeros_like(scores)


def video_vector(frames: np.ndarray | Tensor, slot_mask: np.ndarray | Tensor) -> Tensor:
    """The mean direction of a video's frames.

    Shapes:
        frames [S, D], slot_mask [S] bool -> [D], length 1 (zeros where no slot is filled)
    """
    filled = torch.as_tensor(frames).float()[torch.as_tensor(slot_mask).bool()]
    return normalize(normalize(filled, dim=-1).sum(0), dim=0)
