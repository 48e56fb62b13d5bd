"""Graph transformer over action graphs: three TransformerConv layers, in two equal forms.

Shape suffixes: B videos, S slots, P nodes per slot, D width, H heads, c width of a head, A action width,
r width of a temporal edge (1, or the projected width), N nodes, E edges (in suffixes: rows of edges, 1 + r).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.geometric import MeanAggregation, TransformerConv


def previous_slot(x: Tensor) -> Tensor:
    """`x` [B, S, ...] moved one slot later, zeros (False) in the first."""
    return F.pad(x, (*[0, 0] * (x.ndim - 2), 1, -1))


def incoming(mask: Tensor) -> Tensor:
    """Edges that reach a node, from its slot and from the one before: [B, S, P] bool -> [B, S, P, 2P] bool."""
    source = torch.cat([mask, previous_slot(mask)], dim=-1)
    return mask[..., None] & source[..., None, :]


def _sources(rows_BSPHc: Tensor, edge_BSEHc: Tensor) -> Tensor:
    """Rows of a slot, of the slot before, and of edges, head by head: [B, S, H, P + P + E, c]."""
    parts = (rows_BSPHc, previous_slot(rows_BSPHc), edge_BSEHc)
    return torch.cat([part.transpose(2, 3) for part in parts], dim=3)


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
        edge_BSEHc = self.edge_rows(action_BSA, link_BSPPr.shape[-1])
        v_BSHJc = _sources(self.lin_value(x_BSPD).view(B, S, P, self.heads, self.out_channels), edge_BSEHc)

        alpha_BSHPJ = self.attention(x_BSPD, edge_BSEHc, link_BSPPr, mask_BSP)
        if isinstance(self.aggr_module, MeanAggregation):
            alpha_BSHPJ = alpha_BSHPJ / incoming(mask_BSP).unsqueeze(2).sum(dim=-1, keepdim=True).clamp(min=1)

        # The edges of a slot are one vector and links are sums of r columns: 1 + r more sources with summed weights.
        own_BSHPP, before_BSHPP = alpha_BSHPJ.split(P, dim=-1)
        link_sum_BSHPr = torch.einsum("bshqp,bspqr->bshqr", before_BSHPP, link_BSPPr)
        weight_BSHPJ = torch.cat([alpha_BSHPJ, own_BSHPP.sum(dim=-1, keepdim=True), link_sum_BSHPr], dim=-1)
        message_BSPHc = (weight_BSHPJ.to(v_BSHJc.dtype) @ v_BSHJc).transpose(2, 3)
        message = message_BSPHc.flatten(3) if self.concat else message_BSPHc.mean(dim=3)
        return self._join(message, self.lin_skip(x_BSPD))

    def edge_rows(self, action_BSA: Tensor, r: int) -> Tensor:
        """The projected edge vector of each slot, and the first r columns of the projection: [B, S, 1 + r, H, c].

        The projection is linear, so that these 1 + r rows stand for all its edges.
        """
        B, S, A = action_BSA.shape
        unit_rA = torch.eye(r, A, dtype=action_BSA.dtype, device=action_BSA.device)
        rows = self.lin_edge(torch.cat([action_BSA.flatten(0, 1), unit_rA]))
        slot, column = rows.unflatten(-1, (self.heads, self.out_channels)).split([B * S, r])
        return torch.cat([slot.unflatten(0, (B, S)).unsqueeze(2), column.expand(B, S, -1, -1, -1)], dim=2)

    def attention(self, x_BSPD: Tensor, edge_BSEHc: Tensor, link_BSPPr: Tensor, mask_BSP: Tensor) -> Tensor:
        """Attention of each node over the nodes of its slot and of the one before, [B, S, H, P, 2P].

        Args:
            edge_BSEHc: `edge_rows` of the slots.
            link_BSPPr, mask_BSP: as for `slots`.
        """
        B, S, P, _ = x_BSPD.shape
        H, c, r = self.heads, self.out_channels, link_BSPPr.shape[-1]
        q_BSHPc = self.lin_query(x_BSPD).view(B, S, P, H, c).transpose(2, 3)
        k_BSHJc = _sources(self.lin_key(x_BSPD).view(B, S, P, H, c), edge_BSEHc)
        own, before, edge, column_BSHPr = (q_BSHPc @ k_BSHJc.transpose(-1, -2)).split([P, P, 1, r], dim=-1)
        link = torch.einsum("bshqr,bspqr->bshqp", column_BSHPr, link_BSPPr)
        score_BSHPJ = torch.cat([own + edge, before + link], dim=-1) / math.sqrt(c)
        present_BS1PJ = incoming(mask_BSP).unsqueeze(2)
        score_BSHPJ = score_BSHPJ.masked_fill(~present_BS1PJ, torch.finfo(score_BSHPJ.dtype).min)
        return score_BSHPJ.softmax(dim=-1) * present_BS1PJ

    def _join(self, message: Tensor, root: Tensor) -> Tensor:
        if self.lin_beta is None:
            return message + root
        # The gate sees message, root and their difference; without building the three side by side.
        of_message, of_root, of_difference = self.lin_beta.weight.chunk(3, dim=-1)
        gate = F.linear(message, of_message + of_difference) + F.linear(root, of_root - of_difference)
        return torch.lerp(message, root, gate.sigmoid().to(message.dtype))


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
            edge = conv.edge_rows(actions, link.shape[-1])
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
