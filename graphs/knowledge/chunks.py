"""Tagged words to chunks: noun groups, verbs, prepositions, and what separates clauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphs.knowledge.tagging import Token

ADJECTIVES = frozenset({"AJ0", "AJC", "AJS"})
DETERMINERS = frozenset({"AT0", "DT0", "DPS", "DTQ", "CRD", "ORD"})
NOUNS = frozenset({"NN0", "NN1", "NN2", "NP0"})
PREPOSITIONS = frozenset({"PRP", "PRF", "AVP"})
# Clauses begin behind these; "as", "while", "because" and the like are CJS.
JOINTS = frozenset({"CJC", "CJS", "AVQ"})
PRONOUNS = frozenset({"PNP", "PNI", "PNX", "EX0"})
RELATIVES = frozenset({"who", "which", "that", "whom", "whose"})
SEVERAL_WORDS = (
    ("in", "front", "of"), ("on", "top", "of"), ("in", "back", "of"), ("on", "to"), ("in", "between"), ("out", "of"),
    ("next", "to"), ("close", "to"), ("up", "to"), ("away", "from"), ("along", "with"), ("instead", "of"),
    ("inside", "of"), ("outside", "of"), ("because", "of"), ("ahead", "of"), ("together", "with"), ("due", "to"),
)  # fmt: skip
BE = frozenset({"VBB", "VBD", "VBG", "VBI", "VBN", "VBZ"})
AUXILIARIES = BE | {"VM0", "VHB", "VHD", "VHG", "VHI", "VHN", "VHZ", "VDB", "VDD", "VDG", "VDI", "VDN", "VDZ", "XX0"}
ADVERBS = frozenset({"AV0", "XX0", "ITJ"})


@dataclass
class Chunk:
    """A piece of a clause.

    Attributes:
        kind: "noun", "pronoun", "verb", "preposition", "joint" (a conjunction), "comma", "stop" (the end of a
            sentence), "relative" ("who"), or "to" (before an infinitive).
        words: of a noun group its nouns, of a verb the verb itself, else what is there.
        tag: of the last word; of a verb "ing", "finite", "participle" or "infinitive" in the place of a tag.
        determined: a noun group that starts with an article, number or possessive.
        helped: a verb that an auxiliary precedes.
    """

    kind: str
    words: tuple[str, ...]
    tag: str = ""
    determined: bool = False
    helped: bool = False


def tag_at(tokens: Sequence[Token], i: int) -> str:
    """The tag of word i, "" where there is none."""
    return tokens[i].tag if 0 <= i < len(tokens) else ""


def chunks(tokens: Sequence[Token]) -> list[Chunk]:
    """Chunks of repaired tokens, in their order; adverbs are left out."""
    found: list[Chunk] = []
    i, helped, passive = 0, False, False
    while i < len(tokens):
        word, tag = tokens[i]
        if length := _several(tokens, i):
            found.append(Chunk("preposition", tuple(t.word for t in tokens[i : i + length]), "PRP"))
            i += length
            continue
        if tag in AUXILIARIES or (word == "'s" and tag != "POS") or (word == "'s" and tag_at(tokens, i + 1) == "VVG"):
            if tag != "XX0":
                helped, passive = True, tag in BE or (passive and tag not in {"VM0"}) or word == "'s"
                main = tag[:2] in ("VH", "VD") and not _verb_follows(tokens, i + 1)
                last = tag in BE and not _verb_follows(tokens, i + 1)
                if main or last:  # "has a hat", "is a man": a verb, though none that makes a triple
                    found.append(Chunk("verb", (word,), "copula", helped=True))
                    helped = passive = False
            i += 1
            continue
        if tag.startswith("VV"):
            if end := _modifies(tokens, i):
                i = end
                continue
            found.append(Chunk("verb", (word,), _form(tag, helped, passive, found), helped=helped))
            helped = passive = False
        elif tag in ADVERBS or tag == "AVP":
            if tag == "AVP":
                found.append(Chunk("preposition", (word,), tag))
        elif word in RELATIVES and _relates(tokens, i):
            found.append(Chunk("relative", (word,), tag))
        elif tag in NOUNS | DETERMINERS | {"AJ0", "AJC", "AJS"}:
            chunk, i = _noun_group(tokens, i)
            if chunk is not None:
                found.append(chunk)
            helped = passive = False
            continue
        else:
            kind = _other(word, tag)
            if kind:
                found.append(Chunk(kind, (word,), tag))
            if kind in ("joint", "stop", "comma", "pronoun"):
                helped = passive = False
        i += 1
    for i, chunk in enumerate(found):
        if chunk.words == ("as",) and _finite_clause(found, i + 1):
            found[i] = Chunk("joint", chunk.words, "CJS")
    return found


def _finite_clause(found: Sequence[Chunk], i: int) -> bool:
    """Whether a noun group, with what prepositions add to it, and its finite verb start at i."""
    if i >= len(found) or found[i].kind not in ("noun", "pronoun"):
        return False
    i += 1
    while i + 1 < len(found) and found[i].kind in ("preposition", "joint") and found[i + 1].kind in ("noun", "pronoun"):
        i += 2
    return i < len(found) and found[i].kind == "verb" and (found[i].helped or found[i].tag == "finite")


def _other(word: str, tag: str) -> str:
    if tag == "PUN":
        return "comma" if word == "," else "stop"
    if tag == "TO0":
        return "to"
    if tag in PREPOSITIONS:
        return "preposition"
    if tag in JOINTS or tag == "CJT":
        return "joint"
    if tag in PRONOUNS or word in RELATIVES:
        return "pronoun"
    return ""


def _several(tokens: Sequence[Token], i: int) -> int:
    """Number of words of a preposition of several words that starts here, 0 if none does."""
    for words in SEVERAL_WORDS:
        if tokens[i].word == words[0] and tuple(t.word for t in tokens[i : i + len(words)]) == words:
            return len(words)
    return 0


def _verb_follows(tokens: Sequence[Token], i: int) -> bool:
    """Whether a verb follows, with nothing but adverbs in between."""
    while i < len(tokens) and tokens[i].tag in ADVERBS:
        i += 1
    return tag_at(tokens, i).startswith("V") and not _modifies(tokens, i)


def _modifies(tokens: Sequence[Token], i: int) -> int:
    """A participle between determiner and noun ("a flying bird"): the place behind it, else 0."""
    before, tag = tag_at(tokens, i - 1), tokens[i].tag
    allowed = DETERMINERS | {"AJ0"} | (PREPOSITIONS if tag == "VVN" else set())  # "by cutting onions" is a verb
    return i + 1 if tag in {"VVG", "VVN"} and before in allowed and tag_at(tokens, i + 1) in NOUNS | {"AJ0"} else 0


def _relates(tokens: Sequence[Token], i: int) -> bool:
    """Whether "that" and the like open a relative clause: a noun precedes, a verb follows."""
    return i > 0 and tokens[i - 1].tag in NOUNS and _verb_follows(tokens, i + 1)


def _form(tag: str, helped: bool, passive: bool, found: Sequence[Chunk]) -> str:
    if found and found[-1].kind == "to":
        return "infinitive"
    last = next((chunk for chunk in reversed(found) if chunk.kind == "verb"), None)
    joined = bool(found) and found[-1].words in (("and",), ("or",))
    if joined and tag in {"VVB", "VVI"} and not helped and last is not None and last.tag == "infinitive":
        return "infinitive"  # "how to clean and maintain"
    if tag == "VVG":
        return "ing"
    if passive:
        return "passive"
    if tag == "VVN" and not helped:
        return "participle"
    return "finite"


def _noun_group(tokens: Sequence[Token], i: int) -> tuple[Chunk | None, int]:
    """The noun group that starts at word i, and the place behind it; None where no noun comes."""
    start, determined = i, False
    nouns: list[str] = []
    tag = ""
    while i < len(tokens):
        word, here = tokens[i]
        if here in DETERMINERS and nouns and tag_at(tokens, i - 1) != "POS" and here != "CRD":
            break  # "on a cold morning the sun": another group
        if here in DETERMINERS or (word == "'s" and here == "POS"):
            determined = determined or not nouns
        elif here in NOUNS:
            nouns.append(word)
            tag = here
        elif here in {"AJ0", "AJC", "AJS", "AV0"}:
            following = tag_at(tokens, i + 1)
            if nouns or following not in NOUNS | DETERMINERS | {"AJ0", "AJC", "AJS", "VVG", "VVN", "AV0", "CJC"}:
                break
        elif here in {"VVG", "VVN"} and not nouns and _modifies(tokens, i):
            pass
        elif here == "CJC" and not nouns and tag_at(tokens, i - 1) in {"AJ0"} and tag_at(tokens, i + 1) in {"AJ0"}:
            pass  # "a black and white dog"
        else:
            break
        i += 1
    if not nouns:
        # "each", "one of them": what a determiner stands for is not said; an adjective alone is nothing
        i = max(i, start + 1)
        return (Chunk("pronoun", (tokens[i - 1].word,)) if determined else None), i
    return Chunk("noun", tuple(nouns), tag, determined), i
