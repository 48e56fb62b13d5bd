"""Graphs to captions: the search that a captioner and a few settings stand for, as one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model.captioner import Captioner, GraphBatch
from model.captioner.beam_search import check_search, search_both
from model.captioner.reference_search import reference_search_both

SEARCHES = ("sound", "reference")


def decoder(
    model: Captioner, beam: int = 5, max_words: int = 20, length_penalty: float = 0.0, search: str = "sound"
) -> Callable[[GraphBatch], list[Sequence[int]]]:
    """A function from a batch of graphs to the word ids of the best caption of each video.

    Args:
        search: "sound", or "reference": the published search token for token (beam and max_words only).

    Raises:
        ValueError: unknown search, numbers or compat items that it cannot follow, or a length penalty with the
            reference search.
    """
    if search not in SEARCHES:
        raise ValueError(f"Unknown search ({search}). Known are {', '.join(SEARCHES)}.")
    if search == "reference" and length_penalty:
        raise ValueError("--search reference has no length penalty; leave --length_penalty at 0")
    check_search(() if search == "reference" else model.config.compat, beam, max_words, length_penalty)

    def decode(batch: GraphBatch) -> list[Sequence[int]]:
        if search == "reference":
            result = reference_search_both(model, batch, beam, max_words)
        else:
            result = search_both(model, batch, beam, max_words, length_penalty)
        return [hypotheses[0].words for hypotheses in result.l2r]

    return decode
