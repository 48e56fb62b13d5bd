"""The words of MiniMotion: attribute values, their closed synonym lists, and the grammar of its captions.

Every word that names a colour, a shape, an action or a place comes from the lists here; the sentences around them use
none of these words. A caption can therefore be checked by looking for the phrases of each class: `named_values`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLORS = {
    "red": ["red", "crimson"],
    "orange": ["orange", "amber"],
    "yellow": ["yellow", "golden"],
    "green": ["green", "emerald"],
    "cyan": ["cyan", "turquoise"],
    "blue": ["blue", "navy"],
    "purple": ["purple", "violet"],
    "white": ["white", "ivory"],
}
SHAPES = {
    "circle": ["circle", "disc"],
    "ring": ["ring", "hoop"],
    "square": ["square", "box"],
    "triangle": ["triangle", "pyramid"],
    "star": ["star", "asterisk"],
    "cross": ["cross", "plus sign"],
}
# (third person, -ing form); the first pair is the usual wording.
VERBS = {
    "moves left": [("moves left", "moving left"), ("slides to the left", "sliding to the left")],
    "moves right": [("moves right", "moving right"), ("slides to the right", "sliding to the right")],
    "rises": [("rises", "rising"), ("moves up", "moving up")],
    "falls": [("falls", "falling"), ("moves down", "moving down")],
    "grows": [("grows", "growing"), ("gets bigger", "getting bigger")],
    "shrinks": [("shrinks", "shrinking"), ("gets smaller", "getting smaller")],
    "bounces": [("bounces", "bouncing"), ("jumps up and down", "jumping up and down")],
    "blinks": [("blinks", "blinking"), ("flashes on and off", "flashing on and off")],
    "loops": [("loops", "looping"), ("goes round and round", "going round and round")],
    "shakes": [("shakes", "shaking"), ("trembles", "trembling")],
}
RELATIONS = {
    "follows": [("follows", "following"), ("runs after", "running after")],
    "passes behind": [("passes behind", "passing behind"), ("goes behind", "going behind")],
    "meets": [("meets", "meeting"), ("bumps into", "bumping into")],
}
# Singular nouns: the words of a knowledge graph are lemmas, and a backbone knows the words of its captions only.
PLACES = {
    "sea": ["sea", "water"],
    "mountain": ["mountain", "peak"],
    "forest": ["forest", "wood"],
    "city": ["city", "town"],
    "desert": ["desert", "sand"],
    "meadow": ["meadow", "grass"],
    "wall": ["wall", "brickwork"],
    "fence": ["fence", "railing"],
}
WHERE = ("over", "above")
ACTIONS = {action: [form for pair in verbs for form in pair] for action, verbs in VERBS.items()}
RELATION_PHRASES = {relation: [form for pair in verbs for form in pair] for relation, verbs in RELATIONS.items()}
SYNONYMS = {"color": COLORS, "shape": SHAPES, "action": ACTIONS}

# {where} is " over the sea" in a corpus with places, else empty.
ONE_OBJECT = (
    "a {color} {shape} {third}{where}",
    "a {color} {shape} is {ing}{where}",
    "there is a {color} {shape} {ing}{where}",
    "the {shape} is {color} and it {third}{where}",
    "we see a {shape} in {color} that is {ing}{where}",
    "{ing} in the picture is a {color} {shape}{where}",
    "something {color} {third}{where} and it is a {shape}",
)
TWO_OBJECTS = (
    "a {color} {shape} {third} a {color2} {shape2}{where}",
    "a {color} {shape} is {ing} a {color2} {shape2}{where}",
    "there is a {color} {shape} {ing} a {color2} {shape2}{where}",
    "the {shape} in {color} {third} the {shape2} in {color2}{where}",
    "we see a {color} {shape} that {third} a {color2} {shape2}{where}",
    "one {color} {shape} is {ing} one {color2} {shape2}{where}",
    "in the picture the {color} {shape} {third} the {color2} {shape2}{where}",
)
USUAL = 0.7  # share of the first synonym among the words that are drawn


@dataclass(frozen=True)
class Thing:
    """One object of a clip: a colour of `COLORS`, a shape of `SHAPES`, an action of `VERBS`."""

    color: str
    shape: str
    action: str


def _draw(options: Sequence, rng: np.random.Generator):
    return options[0] if rng.random() < USUAL else options[rng.integers(1, len(options))]


def _with_articles(sentence: str) -> str:
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence)


def captions(
    things: list[Thing], relation: str | None, rng: np.random.Generator, count: int = 5, place: str | None = None
) -> list[str]:
    """`count` paraphrases of a clip, each from another sentence pattern.

    Args:
        place: named in each, if there is one.

    Raises:
        ValueError: more captions are asked for than there are patterns.
    """
    patterns = ONE_OBJECT if relation is None else TWO_OBJECTS
    if count > len(patterns):
        raise ValueError(f"{count} captions were asked for; the grammar has {len(patterns)} sentence patterns")
    verbs = VERBS[things[0].action] if relation is None else RELATIONS[relation]
    sentences = []
    for pattern in rng.permutation(len(patterns))[:count]:
        third, ing = _draw(verbs, rng)
        words = {"third": third, "ing": ing, "where": ""}
        for thing, suffix in zip(things, ("", "2"), strict=False):
            words["color" + suffix] = _draw(COLORS[thing.color], rng)
            words["shape" + suffix] = _draw(SHAPES[thing.shape], rng)
        if place is not None:
            words["where"] = f" {_draw(WHERE, rng)} the {_draw(PLACES[place], rng)}"
        sentences.append(_with_articles(patterns[pattern].format(**words)))
    return sentences


def true_sentence(things: list[Thing], relation: str | None, place: str | None = None) -> str:
    """The fixed sentence that names the true attributes with the usual words (the upper bound of the demo)."""
    pattern = ONE_OBJECT[1] if relation is None else TWO_OBJECTS[1]
    third, ing = (VERBS[things[0].action] if relation is None else RELATIONS[relation])[0]
    first, last = things[0], things[-1]
    words = {"color": first.color, "shape": first.shape, "color2": last.color, "shape2": last.shape}
    where = "" if place is None else f" {WHERE[0]} the {PLACES[place][0]}"
    return _with_articles(pattern.format(**words, third=third, ing=ing, where=where))


_PATTERNS = {
    kind: {
        value: re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, phrases)) + r")(?!\w)")
        for value, phrases in values.items()
    }
    for kind, values in (SYNONYMS | {"relation": RELATION_PHRASES, "place": PLACES}).items()
}


def mentions(caption: str, kind: str) -> list[str]:
    """Values of class `kind` (color, shape, action, relation or place) in the order in which a caption names them."""
    text = " ".join(caption.lower().split())
    found = [(match.start(), value) for value, pattern in _PATTERNS[kind].items() for match in pattern.finditer(text)]
    return [value for _, value in sorted(found)]


def named_values(caption: str, kind: str) -> set[str]:
    """Values of class `kind` that a caption names, by whole phrases."""
    return set(mentions(caption, kind))
