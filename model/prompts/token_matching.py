"""Bipartite matching of similar tokens and their size-weighted mean (Bolya et al., ToMe, 2023, as TempMe uses it).

Shape letters: N rows, n tokens, d channels of the metric, D width, r tokens to merge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.backbone.blocks import at_least_float32


@dataclass(frozen=True)
class Matching:
    """Which tokens are merged into which.

    Tokens of alternating places are sources and destinations. Merged tokens come out as: sources that stay, in their
    order, then all destinations in theirs.

    Attributes:
        odd_sources: sources are tokens 1, 3, ..., otherwise 0, 2, ...
        kept: [N, sources - r], sources that stay, ascending.
        merged: [N, r], sources that go; `into`: [N, r], the destination of each.
    """

    odd_sources: bool
    kept: Tensor
    merged: Tensor
    into: Tensor

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Sources and destinations of [N, n, ...]."""
        return tokens[:, int(self.odd_sources) :: 2], tokens[:, int(not self.odd_sources) :: 2]

    def merge(self, tokens: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Means weighted by size, and the sums of sizes.

        Shapes:
            tokens: [N, n, D]; size: [N, n]; returns [N, n - r, D] and [N, n - r]
        """
        sources, targets = self.split(tokens)
        source_size, target_size = (
            part.to(torch.promote_types(part.dtype, torch.float32)) for part in self.split(size)
        )
        going = source_size.gather(1, self.merged)
        rows, count = targets.shape[:2]
        place = (self.into + count * torch.arange(rows, device=tokens.device)[:, None]).flatten()
        weighted = at_least_float32(_rows(sources, self.merged)) * going[..., None]
        # Only the destinations that receive something change, but which ones differs from row to row.
        total = (at_least_float32(targets) * target_size[..., None]).flatten(0, 1)
        total = total.index_add(0, place, weighted.flatten(0, 1)).view_as(targets)
        grown = target_size.flatten().index_add(0, place, going.flatten()).view_as(target_size)
        mean = (total / grown[..., None]).to(tokens.dtype)
        return (
            torch.cat([_rows(sources, self.kept), mean], 1),
            torch.cat([source_size.gather(1, self.kept), grown], 1),
        )


@torch.no_grad()
def match(metric: Tensor, count: int, odd_sources: bool) -> Matching:
    """Every source chooses the destination of the largest cosine; the `count` best pairs are merged.

    Ties go to the token that comes first. There is no gradient.

    Shapes:
        metric: [N, n, d]

    Raises:
        ValueError: more than half of the tokens.
    """
    if not 0 <= count <= metric.shape[1] // 2:
        raise ValueError(f"{count} of {metric.shape[1]} tokens cannot be merged: at most half of them")
    metric = F.normalize(at_least_float32(metric), dim=-1)
    sources, targets = metric[:, int(odd_sources) :: 2], metric[:, int(not odd_sources) :: 2]
    best, into = (sources @ targets.mT).max(-1)
    order = best.sort(dim=-1, descending=True, stable=True).indices
    merged, kept = order[:, :count], order[:, count:].sort(dim=-1).values
    return Matching(odd_sources, kept, merged, into.gather(1, merged))


def _rows(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens [N, m, D] at places [N, k]: [N, k, D]."""
    start = tokens.shape[1] * torch.arange(len(tokens), device=tokens.device)[:, None]
    return tokens.reshape(-1, tokens.shape[-1])[places + start]
