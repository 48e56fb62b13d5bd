"""Beam search over a batch of videos with cached keys and values, right-to-left and then left-to-right.

Per video: the beam keeps its width, finished hypotheses have a list of their own (at most as many), padding and empty
captions are excluded, every caption ends with the end token after at most `max_words` words, and the search of a video
stops when no live hypothesis can beat the worst finished one that is kept. Rank score: log-probability / length ** a,
the length counting the end token. With beam 1 this is greedy decoding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.captioner.captioner import PAD, START, Captioner, GraphBatch
from model.captioner.decoders import Decoder, ProjectedMemory
from model.captioner.hypothesis import Hypothesis, SearchResult, closed_input, open_input, r2l_memory
from model.captioner.reference_search import reference_search_both

SHRINK_AT = 0.75  # share of unfinished videos at which finished ones are taken out of the tensors


@dataclass
class Finished:
    """Kept hypotheses of every video, best first; a log-probability of -inf marks an empty place.

    Shapes (B videos, K beam, T steps):
        words [B, K, T] int64 padded, log_probability [B, K], score [B, K], last_live [B, T]: the best live hypothesis
        when the last step of the video began, last_length [B]: its words
    """

    words: Tensor
    log_probability: Tensor
    score: Tensor
    last_live: Tensor
    last_length: Tensor

    def hypotheses(self, n_best: int) -> list[list[Hypothesis]]:
        """The best `n_best` of every video as records."""
        rows = zip(self.words.tolist(), self.log_probability.tolist(), self.score.tolist(), strict=True)
        return [
            [
                Hypothesis(tuple(word for word in words if word != PAD), total, score)
                for words, total, score in list(zip(*row, strict=True))[:n_best]
                if total > -float("inf")
            ]
            for row in rows
        ]


def rank_score(log_probability: Tensor, length: int, length_penalty: float) -> Tensor:
    return log_probability / length**length_penalty


def beam_search(
    model: Captioner,
    decoder: Decoder,
    memories: list[ProjectedMemory],
    videos: int,
    beam: int,
    max_words: int,
    length_penalty: float,
    min_words: int = 1,
) -> Finished:
    """One direction. `memories` hold one row per video."""
    K, T = beam, max_words + 1
    penalty = length_penalty if beam > 1 else 0.0  # greedy decoding ends with the first end token, whatever its score
    like = memories[0].layers[0][0]
    device = like.device
    active = torch.arange(videos, device=device)
    token = torch.full((videos, K), START, device=device)
    live_words = torch.full((videos, K, T), PAD, device=device)
    at_least_float32 = torch.promote_types(like.dtype, torch.float32)
    live_total = torch.full((videos, K), -torch.inf, dtype=at_least_float32, device=device)
    live_total[:, 0] = 0
    kept = Finished(
        live_words.clone(),
        torch.full_like(live_total, -torch.inf),
        torch.full_like(live_total, -torch.inf),
        live_words[:, 0].clone(),
        torch.zeros(videos, dtype=torch.long, device=device),
    )
    result = Finished(*(part.clone() for part in vars(kept).values()))
    over = torch.zeros(videos, dtype=torch.bool, device=device)
    cache = decoder.new_cache(videos * K, T, like)

    for step in range(T):
        x = model.embed(token.view(-1, 1), start=step).view(*token.shape, -1)
        logprobs = model.generator(decoder.step(x, cache, memories))
        logprobs[..., PAD] = -torch.inf
        if step < min_words:
            logprobs[..., START] = -torch.inf
        if step == max_words:
            logprobs[..., START + 1 :] = -torch.inf
        V = logprobs.shape[-1]
        # Each live hypothesis ends in one way only, so 2 K candidates hold at least K that go on.
        total, index = (live_total[..., None] + logprobs).flatten(1).topk(2 * K)
        source, word = index // V, index % V
        ends = word == START

        _keep_best(kept, live_words, total[:, :K], source[:, :K], ends[:, :K] & ~over[:, None], step, penalty)
        kept.last_live = torch.where(over[:, None], kept.last_live, live_words[:, 0])
        kept.last_length = kept.last_length.masked_fill(~over, step)

        live_total, order = total.masked_fill(ends, -torch.inf).topk(K)
        source, token = source.gather(1, order), word.gather(1, order)
        live_words = live_words.gather(1, source[..., None].expand(-1, -1, T))
        live_words[:, :, step] = token
        over = over | (rank_score(live_total[:, 0], T, penalty) <= kept.score[:, -1])
        running = ~over
        left = int(running.sum())
        if left == 0:
            break
        rows = torch.arange(len(active), device=device)[:, None] * K + source
        if left <= SHRINK_AT * len(active):
            _store(result, kept, active)
            keep = running.nonzero()[:, 0]
            active, token, over = active[keep], token[keep], over[keep]
            live_words, live_total = live_words[keep], live_total[keep]
            kept = Finished(*(part[keep] for part in vars(kept).values()))
            memories = [memory.select(keep) for memory in memories]
            cache.select(rows[keep].flatten())
        elif K > 1:
            cache.select(rows.flatten())
    _store(result, kept, active)
    return result


def _keep_best(
    kept: Finished, live_words: Tensor, total: Tensor, source: Tensor, ends: Tensor, step: int, penalty: float
) -> None:
    """Merges the candidates that end in this step into the kept lists."""
    K = total.shape[1]
    total = total.masked_fill(~ends, -torch.inf)
    words = live_words.gather(1, source[..., None].expand(-1, -1, live_words.shape[2]))
    score = torch.cat([kept.score, rank_score(total, step + 1, penalty)], dim=1)
    kept.score, order = score.topk(K)
    kept.log_probability = torch.cat([kept.log_probability, total], dim=1).gather(1, order)
    kept.words = torch.cat([kept.words, words], dim=1).gather(1, order[..., None].expand(-1, -1, words.shape[2]))


def _store(result: Finished, kept: Finished, active: Tensor) -> None:
    for name, part in vars(kept).items():
        getattr(result, name)[active] = part


def check_search(
    compat: tuple[str, ...], beam: int, max_words: int, length_penalty: float, n_best: int = 1, r2l_hypotheses: int = 1
) -> None:
    """Whether `search_both` can search so.

    Raises:
        ValueError: a number is out of range, or compat `positions` without `beam`.
    """
    if min(beam, max_words, n_best, r2l_hypotheses) < 1 or max(n_best, r2l_hypotheses) > beam or length_penalty < 0:
        raise ValueError(
            f"beam {beam}, max_words {max_words}, n_best {n_best}, r2l_hypotheses {r2l_hypotheses}, length_penalty "
            f"{length_penalty}: all must be at least 1 (the penalty 0), n_best and r2l_hypotheses at most the beam"
        )
    if "positions" in compat and "beam" not in compat:
        raise ValueError(
            "compat item 'positions' makes scores depend on the rank of a hypothesis, which no cached search can "
            "follow: add compat item 'beam' (or use the reference search), or leave 'positions' out"
        )


@torch.inference_mode()
def search_both(
    model: Captioner,
    batch: GraphBatch,
    beam: int = 5,
    max_words: int = 20,
    length_penalty: float = 0.0,
    n_best: int = 1,
    r2l_hypotheses: int = 1,
) -> SearchResult:
    """Captions of every video in both directions.

    Args:
        length_penalty: a in log-probability / length ** a; 0 ranks by log-probability alone.
        n_best: hypotheses to return per video, at most `beam`.
        r2l_hypotheses: how many finished R2L hypotheses the L2R decoder attends to, best first.

    Under compat `beam` this is `reference_search`; under compat `r2l_memory` the L2R decoder attends to the R2L
    hypothesis that was live last.

    Raises:
        ValueError: see `check_search`.
    """
    compat = model.config.compat
    check_search(compat, beam, max_words, length_penalty, n_best, r2l_hypotheses)
    memory = "last_live" if "r2l_memory" in compat else "best"
    if "beam" in compat:
        return reference_search_both(model, batch, beam, max_words, n_best, memory)
    training = model.training
    model.eval()
    try:
        memories = model.encode(batch)
        r2l_video, l2r_video = model.video_memories(memories)
        settings = (len(memories.r2l), beam, max_words, length_penalty)
        r2l = beam_search(model, model.r2l_decoder, [r2l_video], *settings)
        if memory == "last_live":
            ids = open_input(r2l.last_live).unsqueeze(1)
            ids = ids.masked_fill(torch.arange(ids.shape[2], device=ids.device) > r2l.last_length[:, None, None], PAD)
            context = r2l_memory(model, ids, r2l_video)
        else:
            n = r2l_hypotheses
            ids = closed_input(r2l.words[:, :n].flatten(0, 1)).unflatten(0, (-1, n))
            context = r2l_memory(model, ids, r2l_video, r2l.log_probability[:, :n] > -torch.inf)
        l2r = beam_search(model, model.l2r_decoder, [l2r_video, context], *settings)
    finally:
        model.train(training)
    return SearchResult(l2r.hypotheses(n_best), r2l.hypotheses(n_best))


def search(
    model: Captioner,
    batch: GraphBatch,
    beam: int = 5,
    max_words: int = 20,
    length_penalty: float = 0.0,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """The L2R captions of `search_both`: for every video its best hypotheses, best first."""
    return search_both(model, batch, beam, max_words, length_penalty, n_best).l2r
