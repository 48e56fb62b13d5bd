"""Graph transformer over action graphs: three TransformerConv layers, in two equal forms.

Shape suffixes: B videos, S slots, P nodes per slot, D width, H heads, c width of a head, A action width,
r width of a temporal edge (1, or the projected width), N nodes, E edges.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.geometric import MeanAggregation, TransformerConv


def previous_slot(x: Tensor) -> Tensor:
    """`x` [B, S, ...] moved one slot later, zeros (False) in the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def incoming(mask: Tensor) -> Tensor:
    """Edges that reach a node, from its slot and from the one before: [B, S, P] bool -> [B, S, P, 2P] bool."""
    source = torch.cat([mask, previous_slot(mask)], dim=-1)
    return mask[..., None] & source[..., None, :]


class SlotTransformerConv(TransformerConv):
    """TransformerConv with a second, dense forward for graphs of slots.

    Inside a slot all pairs of present nodes are joined and share one edge vector; node p of slot t-1 points to node q
    of slot t with a small edge of its own. The incoming edges of a node are therefore those of two slots, and
    attention over them is a [P, 2P] problem per slot and head, without gather or scatter. `forward` is
    torch_geometric's, on an edge list; `slots` equals it to rounding, in values and gradients.

    Shapes:
        slots(x_BSPD, action_BSA, link_BSPPr, mask_BSP) -> [B, S, P, out]
        forward(x [N, D], edge_index [2, E], edge_attr [E, A]) -> [N, out]

    Source: Shi et al., Masked Label Prediction (2021), https://arxiv.org/abs/2009.03509
    """

    def slots(self, x_BSPD: Tensor, action_BSA: Tensor, link_BSPPr: Tensor, mask_BSP: Tensor) -> Tensor:
        """Messages of the dense form.

        Args:
            action_BSA: edge vector of all pairs inside a slot.
            link_BSPPr: first r components of the edge from node p of slot t-1 (third axis) to node q of slot t
                (fourth axis), stored at slot t; the remaining components are zero.
            mask_BSP: True where a node is present. Absent nodes send and receive nothing.
        """
        B, S, P, _ = x_BSPD.shape
        H, c, r = self.heads, self.out_channels, link_BSPPr.shape[-1]
        v_BSPHc = self.lin_value(x_BSPD).view(B, S, P, H, c)
        edge_BS1Hc = self.lin_edge(action_BSA).view(B, S, 1, H, c)
        v_BSHJc = torch.cat([v_BSPHc + edge_BS1Hc, previous_slot(v_BSPHc)], dim=2).transpose(2, 3)

        alpha_BSHPJ = self.attention(x_BSPD, edge_BS1Hc, link_BSPPr, mask_BSP)
        if isinstance(self.aggr_module, MeanAggregation):
            alpha_BSHPJ = alpha_BSHPJ / incoming(mask_BSP).unsqueeze(2).sum(dim=-1, keepdim=True).clamp(min=1)

        link_sum_BSHPr = torch.einsum("bshqp,bspqr->bshqr", alpha_BSHPJ[..., P:], link_BSPPr)
        message_BSHPc = alpha_BSHPJ.to(v_BSHJc.dtype) @ v_BSHJc
        message_BSHPc = message_BSHPc + torch.einsum("bshqr,hcr->bshqc", link_sum_BSHPr, self._link_weight(r))
        message_BSPHc = message_BSHPc.transpose(2, 3)
        message = message_BSPHc.flatten(3) if self.concat else message_BSPHc.mean(dim=3)
        return self._join(message, self.lin_skip(x_BSPD))

    def attention(self, x_BSPD: Tensor, edge_BS1Hc: Tensor, link_BSPPr: Tensor, mask_BSP: Tensor) -> Tensor:
        """Attention of each node over the nodes of its slot and of the one before, [B, S, H, P, 2P].

        Args:
            edge_BS1Hc: projected edge vectors of the slots.
            link_BSPPr, mask_BSP: as for `slots`.
        """
        B, S, P, _ = x_BSPD.shape
        H, c, r = self.heads, self.out_channels, link_BSPPr.shape[-1]
        q_BSHPc = self.lin_query(x_BSPD).view(B, S, P, H, c).transpose(2, 3)
        k_BSPHc = self.lin_key(x_BSPD).view(B, S, P, H, c)
        k_BSHJc = torch.cat([k_BSPHc + edge_BS1Hc, previous_slot(k_BSPHc)], dim=2).transpose(2, 3)

        # W_e is linear and link edges live in its first r columns: multiply queries and weights with these, not edges.
        link_query_BSHPr = torch.einsum("bshqc,hcr->bshqr", q_BSHPc, self._link_weight(r))
        link_score_BSHPP = torch.einsum("bshqr,bspqr->bshqp", link_query_BSHPr, link_BSPPr)
        score_BSHPJ = (q_BSHPc @ k_BSHJc.transpose(-1, -2) + F.pad(link_score_BSHPP, (P, 0))) / math.sqrt(c)
        present_BS1PJ = incoming(mask_BSP).unsqueeze(2)
        score_BSHPJ = score_BSHPJ.masked_fill(~present_BS1PJ, torch.finfo(score_BSHPJ.dtype).min)
        return score_BSHPJ.softmax(dim=-1) * present_BS1PJ

    def _link_weight(self, r: int) -> Tensor:
        return self.lin_edge.weight[:, :r].view(self.heads, self.out_channels, r)

    def _join(self, message: Tensor, root: Tensor) -> Tensor:
        if self.lin_beta is None:
            return message + root
        beta = self.lin_beta(torch.cat([message, root, message - root], dim=-1)).sigmoid()
        return beta * root + (1 - beta) * message


class TransC(nn.Module):
    """The graph network: a projection, then x <- relu(x + conv(x)) three times.

    `forward` takes the compact slot form, `forward_edges` any graph as an edge list; parameters and state-dict keys are
    the same for both. Options as published: `project_edge_dim` (edge vectors pass a linear layer and a relu first),
    `last_average` (the third convolution averages heads of full width), `no_beta`, `no_skip`.

    Shapes:
        forward(nodes [B, S, P, node_dim], actions [B, S, A], temporal [B, S-1, P, P], mask [B, S, P]) -> [B, S, P, D]
        forward_edges(x [N, node_dim], edge_index [2, E], edge_attr [E, A]) -> [N, D]
    """

    def __init__(
        self,
        node_dim: int,
        graph_width: int,
        edge_dim: int,
        heads: int = 4,
        *,
        aggregation: str = "mean",
        project_edge_dim: int | None = None,
        last_average: bool = False,
        no_beta: bool = False,
        no_skip: bool = False,
    ):
        super().__init__()
        self.no_skip = no_skip
        self.lp = nn.Linear(node_dim, graph_width)
        self.lp_edge_attr = nn.Linear(edge_dim, project_edge_dim) if project_edge_dim else None
        for number in (1, 2, 3):
            average = last_average and number == 3
            conv = SlotTransformerConv(
                graph_width,
                graph_width if average else graph_width // heads,
                heads,
                concat=not average,
                beta=not no_beta,
                edge_dim=project_edge_dim or edge_dim,
                aggr=aggregation,
            )
            setattr(self, f"conv{number}", conv)

    def forward(self, nodes: Tensor, actions: Tensor, temporal: Tensor, mask: Tensor) -> Tensor:
        actions, link = self._edges(actions, temporal)
        x = self.lp(nodes)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self._residual(x, conv.slots(x, actions, link, mask))
        return x

    def attention(self, nodes: Tensor, actions: Tensor, temporal: Tensor, mask: Tensor) -> Tensor:
        """What every layer attends to, averaged over heads, to look at: [B, 3, S, P, 2P] (own slot, slot before)."""
        actions, link = self._edges(actions, temporal)
        x, seen = self.lp(nodes), []
        for conv in (self.conv1, self.conv2, self.conv3):
            edge = conv.lin_edge(actions).unflatten(-1, (1, conv.heads, conv.out_channels))
            seen.append(conv.attention(x, edge, link, mask).mean(dim=2))
            x = self._residual(x, conv.slots(x, actions, link, mask))
        return torch.stack(seen, dim=1)

    def _edges(self, actions: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """Edge vectors of the slots, and those from the slot before, zeros in the first."""
        if self.lp_edge_attr is None:
            link = temporal.unsqueeze(-1)
        else:
            actions = self.lp_edge_attr(actions).relu()
            link = (temporal.unsqueeze(-1) * self.lp_edge_attr.weight[:, 0] + self.lp_edge_attr.bias).relu()
        first = link.new_zeros(len(link), 1, *link.shape[2:])
        return actions, torch.cat([first, link], dim=1)

    def forward_edges(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """The same over an edge list, for graphs of any form."""
        if self.lp_edge_attr is not None:
            edge_attr = self.lp_edge_attr(edge_attr).relu()
        x = self.lp(x)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self._residual(x, conv(x, edge_index, edge_attr))
        return x

    def _residual(self, x: Tensor, update: Tensor) -> Tensor:
        return update.relu() if self.no_skip else (x + update).relu()
