"""Low-rank additions to the attention projections of a tower (Hu et al., LoRA, 2021), as TempMe places them.

Shape letters: N rows, n tokens, D width, r rank.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.blocks import Attention, Transformer


class LowRankAttention(Attention):
    """Attention whose packed projection is W x + b + B (A x), with one A for queries, keys and values.

    There is no factor and no dropout. B starts at zero, so the first step is the attention that it was made from. The
    parameters are named as in TempMe's checkpoints.

    Shapes:
        A, `TVPt_LoRA_a`: [r, D]; B, `TVPt_LoRA_b`: [3D, r]
    """

    def __init__(self, width: int, heads: int, rank: int):
        super().__init__(width, heads)
        self.TVPt_LoRA_a = nn.Parameter(torch.empty(rank, width))
        self.TVPt_LoRA_b = nn.Parameter(torch.zeros(3 * width, rank))
        nn.init.kaiming_uniform_(self.TVPt_LoRA_a, a=math.sqrt(5))

    @classmethod
    def around(cls, attention: Attention, rank: int) -> LowRankAttention:
        """The same attention with an addition of that rank; it shares the parameters that it was given."""
        wrapped = cls(attention.out_proj.in_features, attention.heads, rank).to(attention.in_proj_weight.device)
        wrapped.in_proj_weight, wrapped.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        wrapped.out_proj = attention.out_proj
        return wrapped

    def packed(self, x: Tensor, rows: slice) -> Tensor:
        # Two thin products instead of one sum of matrices: a frozen W then needs no gradient of its own size.
        return super().packed(x, rows) + F.linear(F.linear(x, self.TVPt_LoRA_a), self.TVPt_LoRA_b[rows])

    @torch.no_grad()
    def folded(self) -> Attention:
        """Plain attention with the weight W + B A, equal up to rounding."""
        plain = Attention(self.out_proj.in_features, self.heads).to(self.in_proj_weight)
        plain.load_state_dict({n: x for n, x in self.state_dict().items() if not n.startswith("TVPt_")})
        plain.in_proj_weight += self.TVPt_LoRA_b @ self.TVPt_LoRA_a
        return plain.requires_grad_(False)


def add_lora(tower: Transformer, rank: int) -> None:
    """Gives every block of a tower's transformer a low-rank addition; rank 0 gives none.

    Raises:
        ValueError: a negative rank, or blocks that have an addition already.
    """
    if rank < 0:
        raise ValueError(f"LoRA of rank {rank}: must be 0 (none) or more")
    for block in tower.resblocks if rank else ():
        if isinstance(block.attn, LowRankAttention):
            raise ValueError("this tower has low-rank additions already; fold them first (`fold_lora`)")
        block.attn = LowRankAttention.around(block.attn, rank)


def fold_lora(module: nn.Module) -> None:
    """Replaces every low-rank attention inside by a plain one with the sum as its weight: for inference."""
    for child in module.modules():
        for name, part in list(child.named_children()):
            if isinstance(part, LowRankAttention):
                setattr(child, name, part.folded())
