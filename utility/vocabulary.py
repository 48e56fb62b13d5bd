"""Captions to word ids and back.

`<PAD>` is 0 and `<S>` is 1, which both opens and closes a caption; there is no unknown word: words outside the
vocabulary are left out. Right-to-left captions are built from the raw text, so that a long one keeps its last words.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

PAD, START = 0, 1
SPECIAL = ("<PAD>", "<S>")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(caption: str, max_words: int | None = 20) -> list[str]:
    """Lower-case ASCII words of a caption without punctuation, at most the first `max_words`.

    Punctuation goes without leaving a blank: "foot-ball" becomes "football".
    """
    plain = caption.encode("ascii", "ignore").decode("ascii").lower().translate(_PUNCTUATION)
    return plain.split()[:max_words]


def reverse(caption: str) -> str:
    """The words of a raw caption from right to left, without full stops at its ends."""
    return " ".join(reversed(caption.strip(".").split()))


def shuffled_reversals(captions: Mapping[str, Sequence[str]], rng: random.Random) -> dict[str, list[str]]:
    """Reversed captions of every video in a random order, drawn video by video.

    Caption i is trained together with entry i of this list, so that the right-to-left text seldom is the target itself.
    """
    reversals = {}
    for name, texts in captions.items():
        reversals[name] = [reverse(text) for text in texts]
        rng.shuffle(reversals[name])
    return reversals


class Vocabulary:
    """The words of a captioner, in the order of their ids.

    Args:
        words: all words from id 2 on; a list that starts with the special words is taken as it is.

    Raises:
        ValueError: a word twice.
    """

    def __init__(self, words: Iterable[str]):
        words = list(words)
        self.words = words if tuple(words[:2]) == SPECIAL else [*SPECIAL, *words]
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ValueError(f"The vocabulary holds {len(twice)} words twice, the first is {twice[0]!r}")
        self.counts: Counter[str] = Counter()
        self.longest = 0

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 3, max_words: int | None = 20) -> Vocabulary:
        """Count the cleaned training captions and keep the words seen `min_count` times, by first appearance.

        `counts` then holds the count of every word, kept or not, and `longest` the words of the longest caption.

        Raises:
            ValueError: no word is left.
        """
        counts: Counter[str] = Counter()
        longest = 0
        for caption in captions:
            words = clean(caption, max_words)
            counts.update(words)
            longest = max(longest, len(words))
        kept = [word for word, count in counts.items() if count >= min_count]
        if not kept:
            raise ValueError(
                f"No word occurs {min_count} times in the training captions ({len(counts)} different words); "
                "lower --min_count or give more captions"
            )
        vocabulary = cls(kept)
        vocabulary.counts, vocabulary.longest = counts, longest
        return vocabulary

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self.index

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of the known words between two `<S>`."""
        index = self.index
        return [START, *(index[word] for word in words if word in index), START]

    def encode_padded(self, captions: Iterable[str], max_words: int, length: int | None = None) -> list[list[int]]:
        """Ids of raw captions, cleaned to `max_words` words and padded to `length` (default `max_words + 2`)."""
        length = max_words + 2 if length is None else length
        rows = [self.encode(clean(caption, max_words)) for caption in captions]
        return [row + [PAD] * (length - len(row)) for row in rows]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids up to the closing `<S>`; an opening `<S>` and padding are left out.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        words: list[str] = []
        for position, i in enumerate(ids):
            i = int(i)
            if not 0 <= i < len(self.words):
                raise ValueError(f"Word id {i} is outside the vocabulary of {len(self.words)} words")
            if i == START and position:
                break
            if i not in (PAD, START):
                words.append(self.words[i])
        return " ".join(words)

    def to_list(self) -> list[str]:
        """All words by id, the special ones included."""
        return list(self.words)

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """The inverse of `to_list`.

        Raises:
            ValueError: the list does not start with the special words.
        """
        if tuple(words[:2]) != SPECIAL:
            raise ValueError(f"A vocabulary list starts with {' and '.join(SPECIAL)}, this one with {list(words[:2])}")
        return cls(words)
