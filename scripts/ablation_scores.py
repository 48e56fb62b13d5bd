"""What the captions of a finished training are worth: scores, and how often they name what was drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from dataset.corpus import Corpus
from dataset.mini_motion_grammar import named_values
from dataset.minimotion import read_attributes
from utility.feature_store import FeatureStore

SCORES = {
    "CIDEr": "CIDEr", "BLEU_4": "BLEU-4", "ROUGE_L": "ROUGE-L", "color_accuracy": "colour",
    "shape_accuracy": "shape", "action_accuracy": "action", "relation_accuracy": "relation",
    # Of a corpus with places only, the second of rows with relations only.
    "place_accuracy": "place", "places_in_rows": "place in the relation rows",
}  # fmt: skip


def measure(run: Path, corpus: Corpus, rel: FeatureStore | None = None) -> dict[str, float]:
    """What the captions of a finished training are worth, by the names of `SCORES`, with the numbers of clips.

    Args:
        run: its folder, with `test_scores.json` and `test_predictions.json`.
        rel: the relation rows that it read, if any; see `places_in_rows`.
    """
    from scripts.demo import accuracies, write_predictions

    scores = json.loads((run / "test_scores.json").read_text(encoding="utf-8"))
    predictions = write_predictions(corpus.root, run, run / "predictions_with_attributes.json")
    found = {name: scores[name] for name in ("CIDEr", "BLEU_4", "ROUGE_L")} | accuracies(predictions)
    found |= relation_accuracy(predictions["videos"]) | place_accuracy(predictions["videos"])
    return found if rel is None else found | places_in_rows(rel, corpus)


def relation_accuracy(videos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of two-object clips whose caption names the true relation and no other."""
    clips = [video for video in videos if video["relation"] is not None]
    right = sum(named_values(clip["caption"], "relation") == {clip["relation"]} for clip in clips)
    return {"relation_accuracy": right / max(len(clips), 1), "two_object_videos": len(clips)}


def place_accuracy(videos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of clips whose caption names the true place and no other; nothing for a corpus without places."""
    right = [named_values(clip["caption"], "place") == {clip["place"]} for clip in videos if "place" in clip]
    return {"place_accuracy": mean(right)} if right else {}


def places_in_rows(rel: FeatureStore, corpus: Corpus) -> dict[str, float]:
    """How well the place of a test clip is told by the words of its relation rows; nothing for a corpus without places.

    Returns:
        {"places_in_rows": share of the clips whose place is named in more rows than any other}.
    """
    attributes = read_attributes(corpus.root)["videos"]
    right = []
    for video in corpus.ids("test"):
        if "place" in attributes[video] and video in rel:
            rows = json.loads(rel.attributes(video)["texts"])
            counts = Counter(place for row in rows for place in named_values(row, "place"))
            own = counts.pop(attributes[video]["place"], 0)
            right.append(own > max(counts.values(), default=0))
    return {"places_in_rows": mean(right)} if right else {}
