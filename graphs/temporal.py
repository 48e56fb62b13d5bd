"""The temporal part of an action graph: how alike the nodes of one slot and of the next are.

S slots, P nodes per slot, D node width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def temporal_similarity(nodes: Tensor, node_mask: Tensor) -> Tensor:
    """exp(cos(x_k, y_l)) / sum over l' of exp(cos(x_k, y_l')), for node k of slot t and node l of slot t+1.

    Sum and entries run over pairs of present nodes, all other entries are 0; a row with at least one pair sums to 1.
    This is a softmax with temperature 1 over cosine similarities. A present node whose features are all zero is as far
    from every node as an orthogonal one.

    Shapes:
        nodes:     [..., S, P, D] float; half precision is computed in float32
        node_mask: [..., S, P] bool
        returns    [..., S-1, P, P] float32 (float64 for float64 nodes), rows are the nodes of the earlier slot
    """
    if nodes.dtype not in (torch.float32, torch.float64):
        nodes = nodes.float()
    node_mask = node_mask.bool()
    # Absent rows may hold anything, NaN included, and 0 * NaN is NaN.
    unit = F.normalize(nodes.masked_fill(~node_mask[..., None], 0), dim=-1)
    cosine = unit[..., :-1, :, :] @ unit[..., 1:, :, :].transpose(-1, -2)
    pairs = node_mask[..., :-1, :, None] & node_mask[..., 1:, None, :]
    # A finite stand-in for -inf keeps rows without any pair free of NaN; they are cleared below.
    lowest = torch.finfo(cosine.dtype).min
    return cosine.masked_fill(~pairs, lowest).softmax(dim=-1).masked_fill(~pairs, 0)
