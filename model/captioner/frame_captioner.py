"""A captioner that looks at frames: nodes and temporal edges are made in every step, and a backbone's prompts learn.

Shape letters: B videos, S slots, P tiles per slot, R pixels of a tile's edge, D node width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from model.captioner.captioner import Captioner, GraphBatch, Memories
from model.captioner.config import CaptionerConfig
from model.retrieval.clip4clip import CLIP4Clip


class FrameCaptioner(Captioner):
    """The captioner with the backbone of its nodes. Batches have `tiles` in place of `nodes` and `temporal`.

    Its parameters are those of the captioner, and under `backbone.` those of the retrieval network. What of the latter
    has a gradient is the caller's choice (`tuning.choose_tuned`); batch norms keep the statistics of their training,
    and a backbone of which nothing learns computes as it does in an extractor.

    Args:
        config: of the captioner; `node_dim` is the backbone's embedding width.
        backbone: a network of `model.retrieval.methods.build_method`. A tile is a picture of its own
            (`encode_image`), as in the extractors.
        normalise: pixels [n, 3, R, R] uint8 -> what the backbone reads.
        similarity: (nodes [B, S, P, D], node_mask [B, S, P]) -> temporal edges [B, S-1, P, P], differentiable.
        chunk: tiles per pass of the backbone. Several passes are computed again for their gradient: memory of one.
        half: whether the backbone computes in bfloat16.

    Shapes:
        tiles [B, S, P, 3, R, R] uint8, those of empty slots are not looked at; others as in `Captioner`
    """

    def __init__(
        self,
        config: CaptionerConfig,
        backbone: CLIP4Clip,
        normalise: Callable[[Tensor], Tensor],
        similarity: Callable[[Tensor, Tensor], Tensor],
        chunk: int = 256,
        half: bool = False,
    ):
        super().__init__(config)
        width = backbone.clip.config.embed_dim
        if config.node_dim != width:
            raise ValueError(f"node_dim is {config.node_dim}, but the backbone makes nodes of {width}")
        if chunk < 1:
            raise ValueError(f"{chunk} tiles per pass of the backbone; it must be 1 or more")
        self.backbone = backbone
        self.normalise, self.similarity, self.chunk, self.half = normalise, similarity, chunk, half

    @property
    def learns(self) -> bool:
        """Whether any parameter of the backbone has a gradient."""
        return any(parameter.requires_grad for parameter in self.backbone.parameters())

    def train(self, mode: bool = True) -> "FrameCaptioner":
        super().train(mode)
        if not self.learns:
            self.backbone.eval()
        for module in self.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def encode(self, batch: GraphBatch) -> Memories:
        return super().encode(self.graph(batch) if "tiles" in batch else batch)

    def graph(self, batch: GraphBatch) -> GraphBatch:
        """The batch with nodes and temporal edges in place of its tiles."""
        nodes = self.nodes(batch["tiles"], batch["slot_mask"])
        with torch.autocast(nodes.device.type, enabled=False):
            temporal = self.similarity(nodes, batch["node_mask"])
        return {name: value for name, value in batch.items() if name != "tiles"} | {
            "nodes": nodes,
            "temporal": temporal,
        }

    def nodes(self, tiles: Tensor, slot_mask: Tensor) -> Tensor:
        """Node features [B, S, P, D], zero in empty slots, rounded as feature files round them."""
        parts = tiles[slot_mask].flatten(0, 1).split(self.chunk)
        again = len(parts) > 1 and torch.is_grad_enabled() and self.learns
        rows = torch.cat([checkpoint(self._look, x, use_reentrant=False) if again else self._look(x) for x in parts])
        nodes = rows.new_zeros(*tiles.shape[:3], rows.shape[-1])
        nodes[slot_mask] = _rounded(rows).unflatten(0, (-1, tiles.shape[2]))
        return nodes

    def _look(self, tiles: Tensor) -> Tensor:
        with torch.autocast(tiles.device.type, torch.bfloat16, enabled=self.half):
            return self.backbone.encode_image(self.normalise(tiles)).float()


def _rounded(nodes: Tensor) -> Tensor:
    """Half precision forwards, so that a stored node is the same one; the gradient passes as it is."""
    return nodes + (nodes.half().to(nodes.dtype) - nodes).detach()
