"""Graphs to captions: the search that a captioner and a few settings stand for, as one function, and its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from model.captioner import Captioner, GraphBatch
from model.captioner.beam_search import check_search, search_both
from model.captioner.hypothesis import Hypothesis
from model.captioner.reference_search import reference_search_both

SEARCHES = ("sound", "reference")


def check_decoder(
    compat: Sequence[str],
    beam: int = 5,
    max_words: int = 20,
    length_penalty: float = 0.0,
    search: str = "sound",
    n_best: int = 1,
    r2l_hypotheses: int = 1,
) -> None:
    """Whether there is such a search for a captioner with these compat items.

    Raises:
        ValueError: unknown search, numbers or compat items that it cannot follow, or a length penalty or several R2L
            hypotheses where the published search has none.
    """
    if search not in SEARCHES:
        raise ValueError(f"Unknown search ({search}). Known are {', '.join(SEARCHES)}.")
    if length_penalty and (search == "reference" or "beam" in compat):
        chosen = "--search reference" if search == "reference" else "compat item 'beam', the published search,"
        raise ValueError(f"{chosen} has no length penalty; leave --length_penalty at 0")
    if r2l_hypotheses > 1 and (search == "reference" or {"beam", "r2l_memory"} & set(compat)):
        raise ValueError(
            "--r2l_hypotheses is for the sound search: the published one (--search reference, compat items 'beam' and "
            "'r2l_memory') attends to a single right-to-left caption; leave it at 1"
        )
    check_search(
        () if search == "reference" else tuple(compat), beam, max_words, length_penalty, n_best, r2l_hypotheses
    )


def describe(
    compat: Sequence[str], beam: int, length_penalty: float, search: str, r2l_hypotheses: int = 1
) -> dict[str, Any]:
    """What a score file says of a search: its kind, numbers, and what the L2R decoder reads of the R2L search."""
    last_live = search == "reference" or "r2l_memory" in compat
    best = "best hypothesis" if r2l_hypotheses == 1 else f"{r2l_hypotheses} best hypotheses"
    return {
        "kind": "reference" if "beam" in compat else search,
        "beam": beam,
        "length_penalty": length_penalty,
        "r2l_memory": "last live hypothesis" if last_live else best,
    }


def searcher(
    model: Captioner,
    beam: int = 5,
    max_words: int = 20,
    length_penalty: float = 0.0,
    search: str = "sound",
    n_best: int = 1,
    r2l_hypotheses: int = 1,
) -> Callable[[GraphBatch], list[list[Hypothesis]]]:
    """A function from a batch of graphs to the captions of each video, best first.

    Args:
        search: "sound", or "reference": the published search token for token (beam and max_words only).
        n_best: captions per video, at most `beam`; a video gets fewer where the search finished fewer.
        r2l_hypotheses: right-to-left captions that the left-to-right search attends to, at most `beam`.

    Raises:
        ValueError: see `check_decoder`.
    """
    check_decoder(model.config.compat, beam, max_words, length_penalty, search, n_best, r2l_hypotheses)

    def find(batch: GraphBatch) -> list[list[Hypothesis]]:
        if search == "reference":
            return reference_search_both(model, batch, beam, max_words, n_best).l2r
        return search_both(model, batch, beam, max_words, length_penalty, n_best, r2l_hypotheses).l2r

    return find


def decoder(
    model: Captioner, beam: int = 5, max_words: int = 20, length_penalty: float = 0.0, search: str = "sound"
) -> Callable[[GraphBatch], list[Sequence[int]]]:
    """A function from a batch of graphs to the word ids of the best caption of each video; see `searcher`."""
    find = searcher(model, beam, max_words, length_penalty, search)
    return lambda batch: [hypotheses[0].words for hypotheses in find(batch)]
