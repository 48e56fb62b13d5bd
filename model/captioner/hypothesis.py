"""What a search returns, and how the R2L result becomes a memory of the L2R decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.captioner.captioner import PAD, START, Captioner
from model.captioner.decoders import ProjectedMemory

R2L_MEMORIES = ("best", "last_live")


@dataclass(frozen=True)
class Hypothesis:
    """A caption: word ids without start and end token, its log-probability (end token included) and its rank score."""

    words: tuple[int, ...]
    log_probability: float
    score: float


@dataclass(frozen=True)
class SearchResult:
    """Best hypotheses first, one list per video and direction; `r2l` words are in R2L order."""

    l2r: list[list[Hypothesis]]
    r2l: list[list[Hypothesis]]


def closed_input(words: Tensor) -> Tensor:
    """Decoder input of finished captions: start token, words, end token, padding, as in training.

    Shapes:
        words [B, T] int64, padded behind the last word -> [B, longest + 2]
    """
    length = (words != PAD).sum(dim=-1, keepdim=True)
    ids = words.new_full((len(words), words.shape[1] + 2), PAD)
    ids[:, 0] = START
    ids[:, 1:-1] = words
    ids.scatter_(1, length + 1, START)
    return ids[:, : int(length.max()) + 2]


def open_input(words: Tensor) -> Tensor:
    """Decoder input of unfinished captions: start token and words."""
    return torch.cat([words.new_full((len(words), 1), START), words], dim=1)


def r2l_memory(model: Captioner, ids: Tensor, video: ProjectedMemory, present: Tensor | None = None) -> ProjectedMemory:
    """Keys and values of the L2R decoder over R2L hidden states of n captions per video.

    Shapes:
        ids [B, n, L] decoder inputs, present [B, n] bool (False: no such caption) -> memory of B rows, n * L columns
    """
    B, n, _ = ids.shape
    rows = torch.arange(B, device=ids.device).repeat_interleave(n)
    hidden = model.r2l_hidden(ids.flatten(0, 1), video.select(rows) if n > 1 else video)
    mask = ids != PAD
    if present is not None:
        mask = mask & present[..., None]
    return model.r2l_memory(hidden.unflatten(0, (B, n)).flatten(1, 2), mask.flatten(1))
