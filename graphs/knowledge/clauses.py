"""Chunks to triples: who does what to whom, by the order of the chunks.

The rules: the subject is the last noun group before the verb that no preposition
introduces; the object the next noun group, directly or after one preposition; coordinated verbs and participles inherit
their subject; passives need an agent; copulas, have, do and get give nothing, and neither does a pronoun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from graphs.knowledge.chunks import Chunk
from graphs.knowledge.tagging import verb, word_set

NO_RELATION = frozenset({"be", "have", "do", "get", "can", "will", "let"})
# "a clip of a man dancing": what is shown, not the clip, dances.
DEPICTIONS = word_set(
    "clip video footage film movie picture image photo photograph scene shot view close-up closeup animation cartoon "
    "advertisement ad advert commercial documentary series compilation recording slideshow screenshot trailer "
    "demonstration tutorial show display montage example"
)
# "a man watches a woman dancing": what follows the object is the object's doing.
PERCEPTIONS = word_set("see watch show film record hear notice feature depict view picture display find")


class Clause(NamedTuple):
    """A verb with its nouns, each as the lemmas of a group; `preposition` is "" where the object follows directly."""

    subject: tuple[str, ...]
    verb: str
    preposition: str
    object: tuple[str, ...]


Nouns = list[tuple[str, ...]]


def clauses(found: Sequence[Chunk], noun: Callable[[str], str]) -> list[Clause]:
    """Every verb of the chunks with a subject and an object.

    Args:
        noun: a noun -> its singular.
    """
    return list(_Reader(found, noun).read())


class _Reader:
    """Walks over the chunks from left to right and remembers whose doing a verb would be."""

    def __init__(self, found: Sequence[Chunk], noun: Callable[[str], str]):
        self.chunks, self.noun = found, noun
        self.subject: Nouns = []  # of the verb to come; empty where a pronoun or nothing is in its place
        self.main: Nouns = []  # of the clause around a relative clause
        self.in_relative = False
        self.last_verb = ""

    def read(self) -> Iterator[Clause]:
        i = 0
        while i < len(self.chunks):
            chunk = self.chunks[i]
            if chunk.kind == "noun":
                i = self._subject(i)
                continue
            if chunk.kind == "verb":
                yield from self._verb(i)
                i = self._behind(i)
                continue
            if chunk.kind == "pronoun" and not self._prepositional(i):
                self.subject = []
            elif chunk.kind == "stop":
                self.subject, self.in_relative = [], False
            elif chunk.kind == "relative":
                self.main, self.subject, self.in_relative = self.subject, [], True
            i += 1

    def _at(self, i: int) -> Chunk:
        return self.chunks[i] if 0 <= i < len(self.chunks) else Chunk("stop", ())

    def _prepositional(self, i: int) -> bool:
        return self._at(i - 1).kind == "preposition"

    def _group(self, chunk: Chunk) -> tuple[str, ...]:
        """The last two nouns of a group, singular."""
        return tuple(self.noun(word) for word in chunk.words[-2:])

    def _subject(self, i: int) -> int:
        """Takes noun groups that may be a subject; returns the place behind them."""
        depicts = self.noun(self._at(i).words[-1]) in DEPICTIONS
        groups, end = self._groups(i, lambda place: False)
        if not self._prepositional(i):
            joined = self._at(i - 1).kind in ("joint", "comma") and self._at(i - 1).tag != "CJS"
            others = self.subject if joined and self.last_verb == "" else []
            self.subject = [*others, *groups]
            self.last_verb = ""
            self.in_relative = False
        depicted: Nouns = []
        # What belongs to the group: "of the boat", "in a blue shirt".
        while self._at(end).kind == "preposition" and self._at(end + 1).kind in ("noun", "pronoun"):
            inner, after = [], end + 2
            if self._at(end + 1).kind == "noun":  # "a man in a suit and a woman": the second article tells
                inner, after = self._groups(end + 1, lambda place: self._at(place).determined)
            following = self._at(after)
            participle = following.kind == "verb" and following.tag == "ing" and not following.helped
            if depicts and inner and self._at(end).words[-1] in ("of", "about"):
                depicted = inner
            if participle and depicted and verb(following.words[0]) not in PERCEPTIONS:
                self.subject = depicted
            end = after
        return end

    def _groups(self, i: int, ends: Callable[[int], bool]) -> tuple[Nouns, int]:
        """The noun group at i and those joined to it by "and", "or" and commas, and the place behind them.

        Args:
            ends: whether a joined group, by its place, belongs to something else.
        """
        groups, i = [self._group(self._at(i))], i + 1
        while True:
            j = i
            while self._at(j).kind == "comma" or self._at(j).words in (("and",), ("or",)):
                j += 1
            if j == i or self._at(j).kind != "noun" or ends(j):
                return groups, i
            groups.append(self._group(self._at(j)))
            i = j + 1

    def _objects(self, i: int) -> tuple[Nouns, int]:
        """Objects from place i on: a joined group that a verb follows is the subject of the next clause."""
        return self._groups(i, self._starts_clause)

    def _starts_clause(self, i: int) -> bool:
        """Whether the noun group at i, with all that belongs to it, comes before a verb."""
        i += 1
        while self._at(i).kind == "preposition" and self._at(i + 1).kind in ("noun", "pronoun"):
            i += 2
        return self._at(i).kind in ("verb", "relative")

    def _verb(self, i: int) -> Iterator[Clause]:
        """The clauses of the verb at i; then it is the last verb, and its subject that of verbs to come."""
        chunk = self._at(i)
        lemma = verb(chunk.words[0])
        if self.in_relative and chunk.tag in ("finite", "ing", "copula") and chunk.helped and self.last_verb:
            self.subject, self.in_relative = self.main, False
        subject, before = self.subject, self.last_verb
        self.last_verb = lemma
        if chunk.tag in ("infinitive", "copula") or lemma in NO_RELATION:
            return
        if chunk.tag == "ing" and self._prepositional(i) and not before:
            return  # "details for making": nobody makes
        if chunk.tag in ("passive", "participle"):
            agent = self._agent(i + 1)
            for head in agent:
                for tail in subject:
                    yield Clause(head, lemma, self._particle(i + 1), tail)
            if agent or chunk.tag == "passive" or self._at(i + 1).kind != "noun":
                return
        preposition, place = self._preposition(i + 1)
        if self._at(place).kind != "noun":
            return
        objects, _ = self._objects(place)
        for head in subject:
            for tail in objects:
                yield Clause(head, lemma, preposition, tail)
        if lemma in PERCEPTIONS and not preposition:
            after = self._after_objects(place)
            if self._at(after).kind == "verb" and self._at(after).tag == "ing" and not self._at(after).helped:
                self.subject = objects

    def _after_objects(self, place: int) -> int:
        _, after = self._objects(place)
        while self._at(after).kind == "preposition" and self._at(after + 1).kind in ("noun", "pronoun"):
            after += 2
        return after

    def _preposition(self, i: int) -> tuple[str, int]:
        """The preposition at place i (with a particle before it) and the place behind it."""
        words: list[str] = []
        while self._at(i).kind == "preposition" and len(words) < 3:
            words += self._at(i).words
            i += 1
        return " ".join(words), i

    def _particle(self, i: int) -> str:
        words, _ = self._preposition(i)
        return words.removesuffix("by").strip()

    def _agent(self, i: int) -> Nouns:
        """What "by" names behind a passive, with prepositional groups in between."""
        for _ in range(3):
            words, place = self._preposition(i)
            if words.endswith("by") and self._at(place).kind == "noun":
                return self._objects(place)[0]
            if not words or self._at(place).kind not in ("noun", "pronoun"):
                return []
            i = place + 1
        return []

    def _behind(self, i: int) -> int:
        """The place behind a verb, its object and the groups that prepositions add."""
        if self._at(i).tag == "copula" and not self.subject:
            return i + 1  # "there is a man": the man is the subject of what he does next
        infinitive = self._at(i).tag == "infinitive"
        _, place = self._preposition(i + 1)
        if self._at(place).kind in ("noun", "pronoun"):
            place = self._objects(place)[1] if self._at(place).kind == "noun" else place + 1
        elif infinitive:
            return place
        while self._at(place).kind == "preposition" and self._at(place + 1).kind in ("noun", "pronoun"):
            after = self._objects(place + 1)[1] if self._at(place + 1).kind == "noun" else place + 2
            if (
                self._at(place).words == ("with",)
                and self._at(place + 1).kind == "noun"
                and self._at(after).kind == "verb"
            ):
                self.subject = self._objects(place + 1)[0]  # "with music playing" brings a subject of its own
            place = after
        return place
