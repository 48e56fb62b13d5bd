"""Action graphs to memory rows: graph network, mean over the nodes of a slot, transformer over slots."""

import torch
from torch import Tensor, nn

from model.captioner.config import CaptionerConfig
from model.captioner.graph_convolution import TransC
from model.captioner.slot_edges import expand_edges
from model.captioner.video_encoder import STGraphEncoder


def pool_nodes(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the present nodes of each slot; over all nodes where none is present or no mask is given.

    Shapes:
        x [B, S, P, D], mask [B, S, P] bool -> [B, S, D]
    """
    if mask is None:
        return x.mean(dim=2)
    weight = (mask | ~mask.any(dim=2, keepdim=True)).to(x.dtype)
    return (weight.unsqueeze(2) @ x).squeeze(2) / weight.sum(dim=2, keepdim=True)


def _centre_and_size(boxes: Tensor) -> Tensor:
    """Left, top, right, bottom -> centre x and y, width and height, each about -1..1 for small things."""
    start, stop = boxes[..., :2], boxes[..., 2:]
    return torch.cat([start + stop - 1, 4 * (stop - start) - 1], dim=-1)


class GraphEncoder(nn.Module):
    """One of the captioner's two visual branches.

    Shapes:
        forward(nodes [B, S, P, node_dim], actions [B, S, A], temporal [B, S-1, P, P], slot_mask [B, S],
            node_mask [B, S, P], boxes [B, S, P, 4] in 0..1 or None) -> [B, S, width]
    """

    def __init__(self, config: CaptionerConfig, heads: int):
        super().__init__()
        self.pad_edges = "pad_edges" in config.compat
        self.root_offset = "graph_offset" in config.compat
        # Nine tiles without a place, averaged at the end, cannot say where in the picture something was.
        place = torch.empty(config.nodes_per_slot, config.node_dim)
        self.node_position = nn.Parameter(place.normal_(std=config.position_std)) if config.node_positions else None
        # Objects are cut out of the frame and brought to one size: their features know neither place nor size.
        self.box_position = nn.Linear(4, config.node_dim) if config.box_positions else None
        if self.box_position is not None:
            nn.init.normal_(self.box_position.weight, std=config.position_std)
        self.transc = TransC(
            config.node_dim,
            config.graph_width,
            config.action_dim,
            config.graph_heads,
            aggregation=config.aggregation,
            project_edge_dim=config.project_edge_dim,
            last_average=config.last_average,
            no_beta=config.no_beta,
            no_skip=config.no_skip,
        )
        self.stg_encoder = STGraphEncoder(
            config.graph_width,
            config.visual_width,
            config.visual_feed_forward,
            heads,
            config.visual_layers,
            config.visual_positions,
            config.width,
            config.dropout,
            config.position_std,
        )

    def placed(self, nodes: Tensor, boxes: Tensor | None) -> Tensor:
        """Node features that know their place, [B, S, P, node_dim]; `boxes` may be None for tiles."""
        if self.node_position is not None:
            nodes = nodes + self.node_position
        if self.box_position is not None:
            nodes = nodes + self.box_position(_centre_and_size(boxes))
        return nodes

    def graph(self, nodes: Tensor, actions: Tensor, temporal: Tensor, mask: Tensor) -> Tensor:
        """Graph network over nodes that know their place, [B, S, P, graph_width]."""
        # Published: one video at a time outside training, where no offset acts (reference section 2).
        root_offset = self.root_offset and self.training
        if not (self.pad_edges or root_offset):
            return self.transc(nodes, actions, temporal, mask)
        edge_index, edge_attr = expand_edges(actions, temporal, mask, self.pad_edges, root_offset)
        return self.transc.forward_edges(nodes.flatten(0, 2), edge_index, edge_attr).unflatten(0, nodes.shape[:3])

    def attention(
        self, nodes: Tensor, actions: Tensor, temporal: Tensor, mask: Tensor, boxes: Tensor | None = None
    ) -> Tensor:
        """What the graph network attends to, [B, 3 layers, S, P, 2P]; see `TransC.attention`."""
        return self.transc.attention(self.placed(nodes, boxes), actions, temporal, mask)

    def forward(
        self,
        nodes: Tensor,
        actions: Tensor,
        temporal: Tensor,
        slot_mask: Tensor,
        node_mask: Tensor,
        boxes: Tensor | None = None,
    ) -> Tensor:
        mask = torch.logical_and(node_mask, slot_mask[..., None])
        x = self.graph(self.placed(nodes, boxes), actions, temporal, mask)
        return self.stg_encoder(pool_nodes(x, None if self.pad_edges else mask), slot_mask)
