"""Caption a split with any decoder, on any number of processes, and keep what was said beside its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from utility.caption_scores import score
from utility.distributed import Distributed
from utility.vocabulary import Vocabulary, clean
from utility.whole_files import whole_file


class Features(Protocol):
    def batch(self, names: Sequence[str], device: Any) -> Any:
        """What a decoder needs of these videos."""
        ...


def caption_videos(
    decode: Callable[[Any], Sequence[Sequence[int]]],
    features: Features,
    ids: Sequence[str],
    vocabulary: Vocabulary,
    dist: Distributed | None = None,
    batch_size: int = 32,
) -> dict[str, str]:
    """One caption per video; every process captions its share and all get the whole.

    Args:
        decode: batch of features -> word ids of each video's caption.
        features: `features.batch(ids, device)` gives such a batch.
    """
    dist = dist or Distributed()
    mine = dist.shard(ids)
    captions: dict[str, str] = {}
    for start in range(0, len(mine), batch_size):
        names = mine[start : start + batch_size]
        words = decode(features.batch(names, dist.device))
        captions.update((name, vocabulary.decode(row)) for name, row in zip(names, words, strict=True))
    merged = {name: text for part in dist.gather_objects(captions) for name, text in part.items()}
    return {name: merged[name] for name in ids}


def trimmed(references: Mapping[str, Sequence[str]], vocabulary: Vocabulary, max_words: int) -> dict[str, list[str]]:
    """References as the published captioner scored against: cleaned, cut, without words outside the vocabulary."""
    return {
        name: [" ".join(word for word in clean(text, max_words) if word in vocabulary) for text in texts]
        for name, texts in references.items()
    }


def score_split(
    said: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    tokenizer: str = "auto",
    trim: tuple[Vocabulary, int] | None = None,
) -> dict[str, Any]:
    """All scores of the captions that have references, and what these are: "references" raw or trimmed.

    Args:
        trim: vocabulary and longest caption, to score against references as the published captioner did.
    """
    used = references if trim is None else trimmed(references, *trim)
    scores = score(used, {name: said[name] for name in references}, tokenizer)
    return scores | {"references": "raw" if trim is None else "trimmed"}


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is never seen half-written."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Write a text file, closed by a line break, that is never seen half-written."""
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
