"""Captions to triples behind one small interface, and how well an extractor does on labelled captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from graphs.knowledge.chunks import chunks
from graphs.knowledge.clauses import clauses
from graphs.knowledge.repair import repair
from graphs.knowledge.tagging import Tagger

VERB, WITH_PREPOSITION = RELATION_STYLES = ("verb", "verb+preposition")


class Triple(NamedTuple):
    """What a caption states: who, does what, to whom. Lemmas in lower case, words joined by blanks."""

    head: str
    relation: str
    tail: str


class Extractor(Protocol):
    """Anything with this method: a parser, a server, a language model.

    Attributes:
        settings: what its triples depend on (JSON types).
    """

    settings: dict[str, Any]

    def extract(self, caption: str) -> list[Triple]:
        """Triples of a caption in the order of their verbs, each once."""
        ...


class HantaExtractor:
    """HanTa's tags, rules for English clauses, lemmatised by lemminflect: no network, no weights.

    Args:
        relation_style: "verb" ("talk"), or "verb+preposition" ("talk on", where one introduces the object).

    Raises:
        ValueError: unknown style.
    """

    def __init__(self, relation_style: str = VERB):
        if relation_style not in RELATION_STYLES:
            raise ValueError(f"--relation_style is {relation_style!r}; it must be {' or '.join(RELATION_STYLES)}")
        self.settings = {"extractor": "hanta", "rules": 1, "relation_style": relation_style}
        self._with_preposition = relation_style == WITH_PREPOSITION
        self._tagger = Tagger()
        # Many captions of a corpus are the same: "a man is playing a guitar" is said 217 times in MSVD.
        self._read = lru_cache(1 << 16)(self._read)

    def extract(self, caption: str) -> list[Triple]:
        """Triples of a caption in the order of their verbs, each once."""
        return list(self._read(caption))

    def _read(self, caption: str) -> tuple[Triple, ...]:
        tagger = self._tagger
        found = clauses(chunks(repair(tagger.tag(caption), tagger.verb_share)), tagger.noun)
        triples = {}
        for subject, verb, preposition, tail in found:
            relation = f"{verb} {preposition}" if self._with_preposition and preposition else verb
            triples[Triple(" ".join(subject), relation, " ".join(tail))] = None
        return tuple(triples)


# A further extractor is a class that takes the relation style, entered here.
EXTRACTORS: dict[str, Callable[[str], Extractor]] = {"hanta": HantaExtractor}


def load_extractor(name: str, relation_style: str = VERB) -> Extractor:
    """The extractor of that name.

    Raises:
        ValueError: unknown name.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"Unknown extractor ({name}). Known are {', '.join(EXTRACTORS)}.")
    return EXTRACTORS[name](relation_style)


def read_labelled(path: Path | str) -> list[dict[str, Any]]:
    """Captions with hand-made triples: a list of {"caption", "triples": [[head, relation, tail], ..], "relation_prep"}.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a list; the message names the entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No labelled captions in {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    for number, entry in enumerate(content if isinstance(content, list) else [None]):
        good = isinstance(entry, Mapping) and isinstance(entry.get("caption"), str)
        if not good or any(len(triple) != 3 for triple in entry.get("triples", ())) or "triples" not in entry:
            raise ValueError(f'{path}, entry {number}: expected {{"caption", "triples": [[head, relation, tail], ..]}}')
    return content


def expected(entry: Mapping[str, Any], relation_style: str = VERB) -> list[Triple]:
    """The labelled triples of an entry in a relation style."""
    triples = [Triple(*triple) for triple in entry["triples"]]
    if relation_style == WITH_PREPOSITION:
        relations = entry.get("relation_prep", [triple.relation for triple in triples])
        triples = [t._replace(relation=relation) for t, relation in zip(triples, relations, strict=True)]
    return triples


def evaluate(extractor: Extractor, labelled: Sequence[Mapping[str, Any]], relation_style: str = VERB) -> dict[str, Any]:
    """Precision, recall and F1 over all triples of labelled captions; a triple counts when all three fields agree.

    Returns:
        precision, recall, f1, captions, labelled, extracted, correct, and `mistakes`: per caption what was missed and
        what was invented.
    """
    counts: Counter[str] = Counter()
    mistakes = []
    for entry in labelled:
        right, found = set(expected(entry, relation_style)), set(extractor.extract(entry["caption"]))
        counts.update(labelled=len(right), extracted=len(found), correct=len(right & found))
        if right != found:
            missed, invented = sorted(right - found), sorted(found - right)
            mistakes.append({"caption": entry["caption"], "missed": missed, "invented": invented})
    precision, recall = _share(counts["correct"], counts["extracted"]), _share(counts["correct"], counts["labelled"])
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "captions": len(labelled),
        **{name: counts[name] for name in ("labelled", "extracted", "correct")},
        "mistakes": mistakes,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
