"""CLIP's byte-pair tokeniser: text to ids and to the rows that text towers read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

MARKERS = ("<|startoftext|>", "<|endoftext|>")


class ClipTokenizer:
    """OpenAI's 49,408 sub-words (open_clip carries the table).

    Args:
        read_markers: take a start or end marker written out in a caption for the marker itself, as OpenAI's code does.
            An end marker inside a caption moves the place where text towers read their feature, so by default markers
            are ordinary characters.

    Source: Radford et al., 2021; Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, 2016.
    """

    def __init__(self, read_markers: bool = False):
        # Inside, because open_clip takes seconds to import and most programs never tokenise.
        import regex
        from open_clip.tokenizer import SimpleTokenizer

        tokenizer = SimpleTokenizer()
        self.start, self.end = tokenizer.all_special_ids
        self.vocab_size: int = tokenizer.vocab_size
        own_markers = "|".join(tokenizer.decoder[marker] for marker in (self.start, self.end))
        tokenizer.pat = regex.compile(tokenizer.pat.pattern.removeprefix(f"{own_markers}|"), regex.IGNORECASE)
        tokenizer.decoder.update(zip((self.start, self.end), MARKERS, strict=True))
        self._clean, tokenizer.clean_fn = tokenizer.clean_fn, str
        self._tokenizer = tokenizer
        self._ids = dict(zip(MARKERS, (self.start, self.end), strict=True)) if read_markers else {}
        self._split = regex.compile("(" + "|".join(map(regex.escape, MARKERS)) + ")")

    def encode(self, text: str) -> list[int]:
        """Ids of the sub-words of a text, without start and end."""
        ids: list[int] = []
        text = self._clean(text)
        for piece in self._split.split(text) if self._ids else [text]:
            ids += [self._ids[piece]] if piece in self._ids else self._tokenizer.encode(piece)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; every word is followed by a blank."""
        return self._tokenizer.decode(list(ids))

    def tokens(self, text: str) -> list[str]:
        """The sub-words themselves; `</w>` closes a word."""
        return [self._tokenizer.decoder[number] for number in self.encode(text)]

    def pack(self, texts: Sequence[str], max_words: int = 32) -> tuple[Tensor, Tensor]:
        """Rows `start, sub-words, end, 0, 0, ...`; a long text loses sub-words, never its end.

        Shapes:
            returns ids [B, max_words] int64 and mask [B, max_words] int64, 1 up to the end token

        Raises:
            ValueError: `max_words` leaves no room for start and end.
        """
        if max_words < 2:
            raise ValueError(f"max_words is {max_words}; at least 2, for the start and the end of a text")
        ids = torch.zeros(len(texts), max_words, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            words = [self.start, *self.encode(text)[: max_words - 2], self.end]
            ids[row, : len(words)] = torch.tensor(words)
            mask[row, : len(words)] = 1
        return ids, mask


def trim(ids: Tensor) -> Tensor:
    """Rows cut behind the last of their end tokens, [B, L] -> [B, l]: a causal tower computes the same, sooner."""
    return ids[:, : int(ids.argmax(1).max()) + 1]  # the end token is the largest id, and 0 is a word too
