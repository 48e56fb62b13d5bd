"""Caption a split with any decoder, on any number of processes, and keep what was said beside its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from utility.caption_scores import score
from utility.device_memory import evaluation_memory
from utility.distributed import Distributed
from utility.vocabulary import Vocabulary, clean
from utility.whole_files import whole_file

T, U = TypeVar("T"), TypeVar("U")


class Features(Protocol):
    def batch(self, names: Sequence[str], device: Any) -> Any:
        """What a decoder needs of these videos."""
        ...


class Hypothesis(Protocol):
    """A caption that a search has found.

    Attributes:
        words: ids without start and end token.
        log_probability: natural logarithm, end token included.
        score: by which the search ranks.
    """

    words: Sequence[int]
    log_probability: float
    score: float


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

    Raises:
        OutOfDeviceMemory: for `batch_size` videos at a time.
    """
    return shared_out(decode, vocabulary.decode, features, ids, dist or Distributed(), batch_size)


def best_captions(
    find: Callable[[Any], Sequence[Sequence[Hypothesis]]],
    features: Features,
    ids: Sequence[str],
    vocabulary: Vocabulary,
    dist: Distributed | None = None,
    batch_size: int = 32,
) -> dict[str, list[dict[str, Any]]]:
    """The same for several captions per video, best first, as `caption_records` writes them.

    Args:
        find: batch of features -> hypotheses of each video, best first.
    """
    return shared_out(
        find, lambda found: caption_records(found, vocabulary), features, ids, dist or Distributed(), batch_size
    )


def caption_records(found: Sequence[Hypothesis], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Hypotheses for JSON: {"caption", "log_probability", "score"} each."""
    return [
        {"caption": vocabulary.decode(h.words), "log_probability": h.log_probability, "score": h.score} for h in found
    ]


def shared_out(
    search: Callable[[Any], Sequence[T]],
    read: Callable[[T], U],
    features: Features,
    ids: Sequence[str],
    dist: Distributed,
    batch_size: int,
) -> dict[str, U]:
    """{id: what `read` makes of its search result}, each video searched by one of the processes."""
    mine = dist.shard(ids)
    found: dict[str, U] = {}
    advice = "a smaller --beam (in training --val_beam) and --device cpu help too"
    for start in range(0, len(mine), batch_size):
        names = mine[start : start + batch_size]
        with evaluation_memory("videos", batch_size, "--batch_size_val", advice, dist.device):
            results = search(features.batch(names, dist.device))
        found.update((name, read(result)) for name, result in zip(names, results, strict=True))
    merged = {name: value for part in dist.gather_objects(found) for name, value in part.items()}
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
