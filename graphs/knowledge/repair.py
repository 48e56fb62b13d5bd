"""Verbs that the tagger took for something else, found again.

It reads captions as newspaper English and so takes many verbs for nouns ("a man diving in a lake", "a woman seasons
some meat"). Grammar decides: agreement, what stands around a word, and a dictionary's word on what can be a verb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from graphs.knowledge.chunks import (
    ADJECTIVES,
    ADVERBS,
    AUXILIARIES,
    BE,
    DETERMINERS,
    NOUNS,
    PREPOSITIONS,
    PRONOUNS,
    tag_at,
)
from graphs.knowledge.tagging import Token, can_be_verb, never_adjective, word_set

# Words that stand for a noun whatever tag they get.
PRONOUN_WORDS = word_set(
    "i me you he him she her it we us they them someone somebody something anyone anybody anything everyone everybody "
    "everything nobody nothing myself himself herself itself themselves others"
)
# Participles that have become prepositions.
PREPOSITION_WORDS = frozenset({"including", "regarding", "concerning", "during", "according"})
ADVERB_WORDS = frozenset({"upside", "together", "somewhere"})
OFTEN_A_VERB = 0.1  # "talks" is one in ten of its uses in newspapers, "games" never
# "by singing" is a verb; "in swimming pools" is not.
BEFORE_GERUNDS = frozenset({"by", "without", "while", "after", "before", "about"})


def repair(tokens: Sequence[Token], verb_share: Callable[[str], float]) -> list[Token]:
    """The tokens with verbs that the tagger took for something else.

    Args:
        verb_share: how often a word in -s is a verb, 0 to 1.
    """
    tokens = [_closed_class(token) for token in tokens]
    for i, (word, tag) in enumerate(tokens):
        before, after = tag_at(tokens, i - 1), tag_at(tokens, i + 1)
        if word.endswith("ing") and tag in NOUNS | {"AJ0", "PRP"} and can_be_verb(word):
            helped = _follows_be(tokens, i)
            # "a man diving in": after a noun, and not the first part of a compound that a verb follows
            alone = before in NOUNS and not (after in NOUNS and tag_at(tokens, i + 2) in AUXILIARIES | {"VVZ", "VVB"})
            parallel = before == "CJC" and any(token.tag == "VVG" for token in tokens[:i])
            joined = parallel or (before in {"CJC", "CJS"} and after in DETERMINERS)
            gerund = i > 0 and tokens[i - 1].word in BEFORE_GERUNDS and after not in {"NN1", "NN2"} | PREPOSITIONS
            if helped or alone or joined or gerund:
                tokens[i] = Token(word, "VVG")
        elif tag == "NN2" and before == "CJC" and after in DETERMINERS | PREPOSITIONS and can_be_verb(word):
            if any(token.tag == "VVZ" for token in tokens[:i]):  # "wears a shirt and talks about"
                tokens[i] = Token(word, "VVZ")
        elif word == "other":
            continue  # "each other" is nobody
        elif tag == "AJ0" and after not in NOUNS and never_adjective(word):
            tokens[i] = Token(word, "NN1")
        elif tag in {"VVB", "VVI"} and _behind_article(tokens, i):
            tokens[i] = Token(word, "NN1")  # "a back flip"
        elif tag in ADJECTIVES and before in DETERMINERS and (after[:1] == "V" or after in {"", "PRP", "PUN"}):
            tokens[i] = Token(word, "NN1")  # "a gamer is": what stands between article and verb is a noun
        elif tag in {"AJ0", "VVD", "NN1"} and word.endswith("ed") and can_be_verb(word) and _follows_be(tokens, i):
            tokens[i] = Token(word, "VVN")
    gerunds = {i for i in range(1, len(tokens)) if tokens[i - 1].word in BEFORE_GERUNDS and tokens[i].tag == "VVG"}
    verbs = {i for i, (_, tag) in enumerate(tokens) if tag.startswith("V")} - gerunds
    if not any(tokens[i].tag.startswith("VV") for i in verbs):
        _find_finite(tokens, verb_share)
    else:
        for start, end in _clauses(tokens):
            if verbs.isdisjoint(range(start, end)):
                _find_finite(tokens, verb_share, start, end)
    return tokens


def _closed_class(token: Token) -> Token:
    if token.word in PREPOSITION_WORDS:
        return Token(token.word, "PRP")
    if token.word in ADVERB_WORDS:
        return Token(token.word, "AV0")
    if token.word in PRONOUN_WORDS and token.tag not in {"DPS"}:
        return Token(token.word, "PNP")
    return token


def _follows_be(tokens: Sequence[Token], i: int) -> bool:
    """Whether a form of "be", with nothing but adverbs in between, precedes word i."""
    i -= 1
    while i >= 0 and tokens[i].tag in ADVERBS | {"AVP"}:
        i -= 1
    return i >= 0 and (tokens[i].tag in BE or (tokens[i].word == "'s" and tokens[i].tag == "VBZ"))


def _behind_article(tokens: Sequence[Token], i: int) -> bool:
    """Whether an article precedes word i, with at most one word in between; of a noun, only if a verb came before."""
    last, second = tag_at(tokens, i - 1), tag_at(tokens, i - 2)
    after_verb = any(token.tag.startswith("V") for token in tokens[: max(i - 2, 0)])
    between = ADJECTIVES | {"AV0", "AVP"} | ({"NN1"} if after_verb else set())
    return last == "AT0" or (last in between and second == "AT0")


def _clauses(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """Stretches between words that join clauses."""
    cuts = [i for i, (word, tag) in enumerate(tokens) if tag in {"CJS", "PUN", "AVQ"} or word in ("and", "but", "then")]
    edges = [-1, *cuts, len(tokens)]
    return [(a + 1, b) for a, b in pairwise(edges) if b > a + 1]


def _find_finite(
    tokens: list[Token], verb_share: Callable[[str], float], start: int = 0, end: int | None = None
) -> None:
    """In a clause without a verb: the first noun behind a noun that can be its verb and agrees with it."""
    end = len(tokens) if end is None else end
    for i in range(start + 1, end):
        word, tag = tokens[i]
        before, after = tokens[i - 1].tag, tag_at(tokens, i + 1) if i + 1 < end else ""
        coloured = before == "AJ0" and tag_at(tokens, i - 2) == "PRP"  # "a man in black talks about"
        if tag not in NOUNS or not can_be_verb(word) or not (before in NOUNS or coloured):
            continue
        goes_on = after in DETERMINERS | PREPOSITIONS | PRONOUNS | {"AV0"}
        if after in NOUNS | {"AJ0"} and tokens[start].tag in DETERMINERS:  # "a chef chops onions", no "star wars game"
            goes_on = after in {"NN2", "AJ0"} or verb_share(word) >= OFTEN_A_VERB
        plural = before in {"NN0", "NN2"} or "CJC" in (tag_at(tokens, i - 2), tag_at(tokens, i - 3))
        agrees = (tag == "NN2" and before != "NN2") or (tag == "NN1" and plural)
        group = _group_start(tokens, start, i - 1)
        if tag_at(tokens, group - 1) in PREPOSITIONS and group > start:
            # "a man in a red shirt talks": the noun before the preposition must agree, the word be often a verb
            heads = [token.tag for token in tokens[start : group - 1] if token.tag in NOUNS]
            owned = tokens[group - 1].tag == "PRF"
            agrees = tag == "NN2" and heads[:1] == ["NN1"] and not owned and verb_share(word) >= OFTEN_A_VERB
            goes_on = after in DETERMINERS | PREPOSITIONS
        if agrees and (goes_on or not after) and after != "PRF":
            tokens[i] = Token(word, "VVZ" if tag == "NN2" else "VVB")
            return


def _group_start(tokens: Sequence[Token], start: int, i: int) -> int:
    """Where the noun group that ends at word i starts."""
    while i >= start and tokens[i].tag in NOUNS | DETERMINERS | ADJECTIVES | {"POS"}:
        i -= 1
    return i + 1
