"""Triples as extractors give them to triples worth a place in the graph: normalise, filter, count, deduplicate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from graphs.knowledge.extraction import Triple
from graphs.knowledge.tagging import in_dictionary, word_set
from graphs.knowledge.triple_files import VideoTriples

NO_RELATION = frozenset({"be", "have", "do", "get", "can", "is", "are"})
MOST_WORDS = 2  # of an entity
QUANTIFIERS = word_set(
    "some many several few one two three four five six seven eight nine ten all both each every no none any most more "
    "less"
) | frozenset(map(str, range(1, 51)))
STOP_WORDS = QUANTIFIERS | word_set(
    "a an the this that these those and or but if while as of at by for with about against between into through during "
    "before after above below to from up down in out on off over under again then once here there when where why how "
    "i me my myself we our ours us you your yours he him his she her hers it its they them their theirs who whom which "
    "what other another such nor not only own same so than too very just now am is are was were be been being has had "
    "having does did doing will would shall should could may might must someone somebody something anyone anybody "
    "anything everyone everybody everything nobody nothing"
)
_PUNCTUATION = re.compile(r"[^\w\s-]|_")


def normalise(triple: Triple) -> Triple | None:
    """Fields in lower case, without punctuation, stop words and quantifiers; None where a field is empty then.

    The prepositions of a relation ("talk on") stay, its verb must be one.
    """
    fields = [_PUNCTUATION.sub(" ", text.lower()).split() for text in triple]
    head, relation, tail = fields
    head, tail = ([word for word in words if word not in STOP_WORDS] for words in (head, tail))
    if not head or not relation or not tail or relation[0] in STOP_WORDS:
        return None
    return Triple(" ".join(head), " ".join(relation), " ".join(tail))


def accepted(triple: Triple, known: Callable[[str], bool]) -> bool:
    """Whether a normalised triple says something: a verb of its own, short entities of words that are known."""
    if triple.relation.split()[0] in NO_RELATION:
        return False
    return all(
        len(words := entity.split()) <= MOST_WORDS and all(map(known, words)) for entity in (triple.head, triple.tail)
    )


def known_word(vocabulary: Iterable[str]) -> Callable[[str], bool]:
    """A test for words: in the captioner's vocabulary, or an English word of two letters or more."""
    words = frozenset(vocabulary)
    return lambda word: word in words or (len(word) > 1 and word.isalpha() and in_dictionary(word))


@dataclass
class Counts:
    """What the captions of a corpus state.

    Attributes:
        captions: number of captions that state a triple.
        videos: of each triple the videos whose captions state it, with the number of these captions.
        entities: number of captions in whose triples an entity occurs.
        extracted, rejected: triples read, and those of them that were not accepted.
    """

    captions: Counter[Triple] = field(default_factory=Counter)
    videos: dict[Triple, Counter[str]] = field(default_factory=dict)
    entities: Counter[str] = field(default_factory=Counter)
    extracted: int = 0
    rejected: int = 0

    def supported(self, min_support: int) -> list[Triple]:
        """Triples that at least so many captions state, sorted."""
        return sorted(triple for triple, count in self.captions.items() if count >= min_support)


def count(videos: Iterable[VideoTriples], known: Callable[[str], bool]) -> Counts:
    """Counts every accepted triple of every caption."""
    counts, clean = Counts(), {}
    for video in videos:
        for raw in video.triples:
            if raw not in clean:
                triple = normalise(raw)
                clean[raw] = triple if triple is not None and accepted(triple, known) else None
            triple = clean[raw]
            counts.extracted += 1
            if triple is None:
                counts.rejected += 1
                continue
            counts.captions[triple] += 1
            counts.videos.setdefault(triple, Counter())[video.video] += 1
            counts.entities.update({triple.head, triple.tail})
    return counts
