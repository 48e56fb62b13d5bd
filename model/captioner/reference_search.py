"""The published search, token for token: one video at a time, whole prefixes recomputed in every step.

The beam shrinks by one with every finished hypothesis, scores are raw log-probabilities, padding and empty captions
are allowed, and a caption cut at the limit has `max_words` + 1 words. The L2R decoder attends, without a mask, to the
R2L hidden states of the best hypothesis that was still live in the last step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.captioner.captioner import START, Captioner, GraphBatch
from model.captioner.hypothesis import R2L_MEMORIES, Hypothesis, SearchResult, closed_input, r2l_memory


@dataclass(frozen=True)
class DirectionResult:
    """All hypotheses, best first, and the hidden states [live, length, d] of the last step that was run."""

    hypotheses: list[Hypothesis]
    last_hidden: Tensor


def shrinking_beam(
    hidden_of: Callable[[Tensor], Tensor], generator: Callable[[Tensor], Tensor], beam: int, max_words: int, device
) -> DirectionResult:
    """One direction of one video; `hidden_of` maps prefixes [K, L] to hidden states [K, L, d]."""
    live = torch.full((1, 1), START, device=device)
    scores = torch.zeros(1, device=device)
    done: list[tuple[list[int], float]] = []
    for _ in range(max_words + 1):
        hidden = hidden_of(live)
        total = scores[:, None] + generator(hidden[:, -1])
        best, index = total.flatten().topk(beam - len(done))
        prefix, word = index // total.shape[1], index % total.shape[1]
        ends = word == START
        done += [(live[row, 1:].tolist(), score) for row, score in zip(prefix[ends], best[ends].tolist(), strict=True)]
        live = torch.cat([live[prefix[~ends]], word[~ends, None]], dim=1)
        scores = best[~ends]
        if len(done) == beam:
            break
    done += [(words[1:], score) for words, score in zip(live.tolist(), scores.tolist(), strict=True)]
    done.sort(key=lambda item: item[1], reverse=True)
    return DirectionResult([Hypothesis(tuple(words), score, score) for words, score in done], hidden)


def search_video(
    model: Captioner, batch: GraphBatch, beam: int, max_words: int, memory: str = "last_live"
) -> tuple[DirectionResult, DirectionResult]:
    """(L2R, R2L) results of a batch that holds one video."""
    r2l_video, l2r_video = model.video_memories(model.encode(batch))
    device = batch["slot_mask"].device

    def over_video(number: int):
        return torch.zeros(number, dtype=torch.long, device=device)

    def r2l_hidden(ids: Tensor) -> Tensor:
        # Decoding has no padding mask, so that a <PAD> taken as a word is attended to.
        return model.r2l_hidden(ids, r2l_video.select(over_video(len(ids))), mask_padding=False)

    r2l = shrinking_beam(r2l_hidden, model.generator, beam, max_words, device)
    if memory == "last_live":
        context = model.l2r_decoder.project(r2l.last_hidden[:1], None)
    else:
        ids = closed_input(torch.tensor([r2l.hypotheses[0].words], dtype=torch.long, device=device))
        context = r2l_memory(model, ids.unsqueeze(1), r2l_video)

    def l2r_hidden(ids: Tensor) -> Tensor:
        rows = over_video(len(ids))
        return model.l2r_hidden(ids, l2r_video.select(rows), context.select(rows), mask_padding=False)

    return shrinking_beam(l2r_hidden, model.generator, beam, max_words, device), r2l


@torch.inference_mode()
def reference_search_both(
    model: Captioner, batch: GraphBatch, beam: int = 5, max_words: int = 20, n_best: int = 1, memory: str = "last_live"
) -> SearchResult:
    """Captions of every video in both directions by the published search.

    Args:
        memory: "last_live" as published, or "best": the best R2L hypothesis of all, with its end token.

    Raises:
        ValueError: `memory` is neither.
    """
    if memory not in R2L_MEMORIES:
        raise ValueError(f"memory is {memory!r}; allowed are {', '.join(R2L_MEMORIES)}")
    training = model.training
    model.eval()
    try:
        videos = range(len(batch["slot_mask"]))
        results = [
            search_video(model, {name: part[b : b + 1] for name, part in batch.items()}, beam, max_words, memory)
            for b in videos
        ]
    finally:
        model.train(training)
    return SearchResult(*([direction.hypotheses[:n_best] for direction in side] for side in zip(*results, strict=True)))


def reference_search(
    model: Captioner, batch: GraphBatch, beam: int = 5, max_words: int = 20, n_best: int = 1
) -> list[list[Hypothesis]]:
    """The L2R captions of `reference_search_both`: for every video its best hypotheses, best first."""
    return reference_search_both(model, batch, beam, max_words, n_best).l2r
