"""Words of a caption with their parts of speech, and lemmas, both offline.

Tags are those of HanTa's English model, which follow the C5 set of the British National Corpus (NN1 a singular noun,
VVG the -ing form of a lexical verb, and so on). Lemmas and the question "can this word be a verb" are lemminflect's.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import NamedTuple

# "man's" is two words; a blank may stand where the apostrophe was ("a man s hands").
WORDS = re.compile(r"'s\b|n't\b|\w+?(?=n't\b)|\w+(?:-\w+)*|[.,;:!?]")
LOOSE_S = re.compile(r"(?<=\w) s(?= |$)")
PUNCTUATION = frozenset(".,;:!?")


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


class Token(NamedTuple):
    """A word in lower case and its tag; "PUN" for punctuation."""

    word: str
    tag: str


class Tagger:
    """HanTa's English model (Wartena, A Probabilistic Morphology Model for German Lemmatization, 2019)."""

    def __init__(self) -> None:
        from HanTa.HanoverTagger import HanoverTagger  # a quarter of a second, and only extraction needs it

        self._hanta = HanoverTagger("morphmodel_en.pgz")
        # Words outside the model are analysed letter by letter: once is enough.
        self._hanta.analyze_forward = cache(self._hanta.analyze_forward)
        self.noun = cache(self._noun)
        self.verb_share = cache(self._verb_share)

    def tag(self, caption: str) -> list[Token]:
        """Tokens of a caption, in its order."""
        text = LOOSE_S.sub("'s", " ".join(caption.lower().replace("\u2019", "'").split()))
        words = WORDS.findall(text)
        tags = self._hanta.tag_sent(words, taglevel=0, casesensitive=False)
        return [Token(w, "PUN" if w in PUNCTUATION else tag) for w, tag in zip(words, tags, strict=True)]

    def _noun(self, word: str) -> str:
        """The singular of a noun: of several possible ones the one that is mostly a noun ("leaf", not "leave")."""
        lemmas = _lemmas(word, "NOUN")
        if not lemmas:
            plural = word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3
            return _unknown(word, "NOUN") if plural else word
        if len(lemmas) == 1:
            return lemmas[0]
        return max(lemmas, key=self._share_of_noun)

    def _share_of_noun(self, word: str) -> float:
        return self._shares(word).get("NN1", 0.0)

    def _verb_share(self, word: str) -> float:
        """How often the tagger's corpus has this word as the third person of a verb."""
        return self._shares(word).get("VVZ", 0.0)

    def _shares(self, word: str) -> dict[str, float]:
        scores = {tag: math.exp(score) for tag, score in self._hanta.tag_word(word, cutoff=30)}
        total = sum(scores.values())
        return {tag: score / total for tag, score in scores.items()}


@cache
def verb(word: str) -> str:
    """The base form of a verb; of a word that no dictionary has, by its ending."""
    lemmas = _lemmas(word, "VERB")
    return lemmas[0] if lemmas else _unknown(word, "VERB")


@cache
def can_be_verb(word: str) -> bool:
    """Whether the dictionary has the word as a form of a verb."""
    return bool(_lemmas(word, "VERB"))


@cache
def never_adjective(word: str) -> bool:
    """Whether the dictionary has the word as a noun and as nothing that could qualify one."""
    return bool(_lemmas(word, "NOUN")) and not _lemmas(word, "ADJ") and not _lemmas(word, "VERB")


@cache
def in_dictionary(word: str) -> bool:
    """Whether the dictionary has the word at all."""
    from lemminflect import getAllLemmas

    return bool(getAllLemmas(word))


def _lemmas(word: str, kind: str) -> tuple[str, ...]:
    from lemminflect import getAllLemmas

    return getAllLemmas(word, kind).get(kind, ())


def _unknown(word: str, kind: str) -> str:
    from lemminflect import getAllLemmasOOV

    return getAllLemmasOOV(word, kind).get(kind, (word,))[0]
