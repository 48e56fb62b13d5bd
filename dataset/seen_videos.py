"""Which test videos the networks behind a set of features saw in their training.

A network that has seen a video with its captions flatters the scores on it. Extraction notes the videos beside the
features, in `{CORPUS}_trained_on.json`; whoever scores compares them with the test split of that day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dataset.corpus import Corpus

PUBLISHED = {"MSR-VTT", "MSVD", "ActivityNet", "DiDeMo", "LSMDC", "VATEX"}
DRAWN = "MiniMotion"


TrainedOn = list[str] | dict[str, list[str]]
"""Ids of videos; {corpus: ids} for a network that was trained on one corpus after another."""


class Network(Protocol):
    """Weights with their history, for instance a `pretrained.backbones.Backbone`."""

    name: str
    hash: str
    trained_on: TrainedOn | None  # None where unknown
    corpus: str | None  # name of the corpus that a plain list of ids belongs to


def by_corpus(trained_on: TrainedOn, corpus: str | None) -> dict[str | None, list[str]]:
    """{corpus: ids} of either form."""
    if isinstance(trained_on, Mapping):
        return dict(trained_on)
    return {corpus: list(trained_on)} if trained_on else {}


def also_trained_on(earlier: TrainedOn | None, earlier_corpus: str | None, corpus: str, ids: list[str]) -> TrainedOn:
    """What a network has seen that starts from an earlier one; every corpus keeps its own ids.

    Returns: a plain list where all of it belongs to `corpus`
    """
    seen = by_corpus(earlier or [], earlier_corpus)
    # Ids of an unnamed corpus may be of any; among those of this one they are at least not lost.
    own = {*ids, *seen.pop(corpus, []), *seen.pop(None, [])}
    return {**seen, corpus: sorted(own)} if seen else sorted(own)


def seen_test_videos(corpus: Corpus, trained_on: TrainedOn | None, trained_corpus: str | None) -> list[str] | None:
    """Test videos among those of a training; None where these are not known.

    The same id is the same video, unless the corpora cannot share one: drawn clips are only in MiniMotion, and two
    published corpora are two. (MiniMotion and MSR-VTT both call their videos video0, video1, ...) A folder may be part
    of any.
    """
    if trained_on is None:
        return None
    seen: set[str] = set()
    for other, ids in by_corpus(trained_on, trained_corpus).items():
        two = {corpus.name, other or corpus.name}
        if not (len(two) == 2 and (DRAWN in two or two <= PUBLISHED)):
            seen.update(ids)
    return [name for name in corpus.ids("test") if name in seen]


def note_path(folder: Path, corpus: str) -> Path:
    """`{folder}/{corpus}_trained_on.json`"""
    return folder / f"{corpus}_trained_on.json"


def note_training(folder: Path, corpus: str, networks: Mapping[str, Network]) -> None:
    """Adds what is known about networks ("backbone", "action_network") to the note beside their features."""
    from utility.caption_evaluation import write_json  # with torch, which readers of corpora need not wait for

    known = {
        kind: {"name": network.name, "hash": network.hash, "corpus": network.corpus, "videos": network.trained_on}
        for kind, network in networks.items()
        if network.trained_on is not None
    }
    path = note_path(folder, corpus)
    before = _read(path)
    if any(before.get(kind) != entry for kind, entry in known.items()):
        write_json(path, before | known)


def overlap_notes(folder: Path, corpus: Corpus, hashes: Mapping[str, str | None]) -> list[str]:
    """A sentence for every network that saw videos of the test split.

    Args:
        folder: where features and note are.
        hashes: {"backbone": hash, "action_network": hash} of the features; a note about other weights does not count.
    """
    sentences = []
    for kind, entry in _read(note_path(folder, corpus.name)).items():
        if entry["hash"] == hashes.get(kind):
            seen = seen_test_videos(corpus, entry["videos"], entry["corpus"])
            if seen:
                sentences.append(overlap_sentence(kind, len(seen), len(corpus.ids("test"))))
    return sentences


def overlap_sentence(kind: str, seen: int, total: int) -> str:
    """For logs and scores."""
    name = kind.replace("_", " ")
    return f"the {name} was trained on {seen} of the {total} test videos: scores on them flatter"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
