"""The captioner: action graphs (and relations, objects) to captions, right-to-left and then left-to-right.

A batch is a dictionary of tensors (B videos, S slots, P nodes per slot):

    nodes [B, S, P, node_dim]   actions [B, S, action_dim]   temporal [B, S-1, P, P]
    slot_mask [B, S] bool       node_mask [B, S, P] bool
    boxes [B, S, P, 4]: left, top, right, bottom in 0..1     box_positions
    rel [B, R, rel_dim], rel_mask [B, R] bool                grid-rel and grid-obj-rel
    objects [B, O, object_dim], object_mask [B, O] bool      grid-obj-rel
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.captioner.config import CaptionerConfig
from model.captioner.decoders import Decoder, ProjectedMemory, causal_bias
from model.captioner.graph_encoder import GraphEncoder
from model.captioner.layers import Generator, Positions, RowEmbedding, RowEncoder, TokenEmbedding, mask_bias
from model.captioner.loss import caption_loss

PAD, START = 0, 1
"""Ids of the padding token and of the one token that both starts and ends a caption."""

GraphBatch = dict[str, Tensor]


@dataclass
class Memories:
    """What the decoders attend to. Shapes: rows [B, M, d], masks [B, M] bool"""

    r2l: Tensor
    r2l_mask: Tensor
    l2r: Tensor
    l2r_mask: Tensor


class Captioner(nn.Module):
    """Two graph encoders, optional relation and object encoders, and two decoders that share words and generator.

    Shapes:
        forward(batch of B videos, r2l [C, L], l2r [C, L], caption_video [C]) -> log-probabilities r2l, l2r [C, L-1, V]
    """

    def __init__(self, config: CaptionerConfig):
        super().__init__()
        self.config = config
        c = config
        sizes = (c.width, c.heads, c.feed_forward, c.layers, c.dropout)
        self.stg_encoder_big = GraphEncoder(c, c.heads_r2l)
        self.stg_encoder = GraphEncoder(c, c.heads_l2r)
        if c.mode == "grid-obj-rel":
            self.object_src_embed = RowEmbedding(c.object_dim, c.width)
        if c.mode != "grid":
            self.rel_src_embed = RowEmbedding(c.rel_dim, c.width)
        if c.mode == "grid-obj-rel" or (c.mode == "grid-rel" and c.attention < 3):
            self.encoder = RowEncoder(*sizes)
        if c.mode == "grid-obj-rel" or (c.mode == "grid-rel" and c.attention == 3):
            self.encoder_no_attention = RowEncoder(*sizes, attend=False)
        self.trg_embed = TokenEmbedding(c.vocab_size, c.width, published_scale="embedding_scale" in c.compat)
        self.pos_embed = Positions(c.width, c.dropout, "positions" in c.compat, "embedding_scale" in c.compat)
        self.r2l_decoder = Decoder(*sizes, num_memories=1)
        self.l2r_decoder = Decoder(*sizes, num_memories=2)
        self.generator = Generator(c.width, c.vocab_size)

    def encode(self, batch: GraphBatch) -> Memories:
        """Both memories of every video of the batch.

        Raises:
            ValueError: a tensor of the batch is missing or has another width than the model.
        """
        self._check(batch)
        graph = [batch[name] for name in ("nodes", "actions", "temporal", "slot_mask", "node_mask")]
        graph.append(batch.get("boxes"))
        mask = batch["slot_mask"]
        r2l, l2r = self.stg_encoder_big(*graph), self.stg_encoder(*graph)
        extra = self._encode_rows(batch)
        if not extra:
            return Memories(r2l, mask, l2r, mask)
        if "relation_sum" in self.config.compat:
            for rows, _ in extra:
                if rows.shape != l2r.shape:
                    raise ValueError(
                        f"compat relation_sum adds relation and object rows to the slots, but there are "
                        f"{rows.shape[1]} rows and {l2r.shape[1]} slots; bring the rows to that number or leave it out"
                    )
                l2r = l2r + rows
            return Memories(r2l, mask, l2r, mask)
        l2r = torch.cat([l2r, *(rows for rows, _ in extra)], dim=1)
        return Memories(r2l, mask, l2r, torch.cat([mask, *(row_mask for _, row_mask in extra)], dim=1))

    def _encode_rows(self, batch: GraphBatch) -> list[tuple[Tensor, Tensor]]:
        mode, attention = self.config.mode, self.config.attention
        if mode == "grid":
            return []
        rel, rel_mask = self.rel_src_embed(batch["rel"]), batch["rel_mask"]
        if mode == "grid-obj-rel":
            objects, object_mask = self.object_src_embed(batch["objects"]), batch["object_mask"]
            return [
                (self.encoder(objects, object_mask), object_mask),
                (self.encoder_no_attention(rel, rel_mask), rel_mask),
            ]
        if attention == 3:
            return [(self.encoder_no_attention(rel, rel_mask), rel_mask)]
        if attention == 2:
            rel = self.pos_embed(rel)
        return [(self.encoder(rel, rel_mask), rel_mask)]

    def _check(self, batch: GraphBatch) -> None:
        c = self.config
        widths = {"nodes": c.node_dim, "actions": c.action_dim} | ({"boxes": 4} if c.box_positions else {})
        if c.mode != "grid":
            widths["rel"] = c.rel_dim
        if c.mode == "grid-obj-rel":
            widths["objects"] = c.object_dim
        for name, width in widths.items():
            if name not in batch:
                needs = "the place of its nodes" if name == "boxes" else f"mode {c.mode!r}"
                raise ValueError(
                    f"{needs} needs {name!r} in the batch; it has {', '.join(sorted(batch))}: use features of the kind "
                    "that this captioner was trained with, or train another"
                )
            if batch[name].shape[-1] != width:
                raise ValueError(
                    f"{name} are {batch[name].shape[-1]} wide, but this captioner was built for {width}: "
                    "use features of the backbone that it was trained with, or train another"
                )

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Decoder input of tokens that begin at position `start`. Shapes: [B, L] -> [B, L, d]"""
        return self.pos_embed(self.trg_embed(ids), start)

    def video_memories(self, memories: Memories) -> tuple[ProjectedMemory, ProjectedMemory]:
        """Keys and values of the R2L and of the L2R decoder over the video."""
        pairs = (
            (self.r2l_decoder, memories.r2l, memories.r2l_mask),
            (self.l2r_decoder, memories.l2r, memories.l2r_mask),
        )
        r2l, l2r = (decoder.project(rows, mask_bias(mask, rows.dtype)[:, None, None]) for decoder, rows, mask in pairs)
        return r2l, l2r

    def r2l_hidden(self, ids: Tensor, video: ProjectedMemory, mask_padding: bool = True) -> Tensor:
        """Hidden states of the R2L decoder for whole inputs. Shapes: [C, L] -> [C, L, d]"""
        x = self.embed(ids)
        return self.r2l_decoder(x, self._target_bias(ids, mask_padding, x.dtype), [video])

    def r2l_memory(self, hidden: Tensor, mask: Tensor) -> ProjectedMemory:
        """R2L hidden states [C, M, d], True in `mask` [C, M] where the L2R decoder may look."""
        return self.l2r_decoder.project(hidden, mask_bias(mask, hidden.dtype)[:, None, None])

    def l2r_hidden(
        self, ids: Tensor, video: ProjectedMemory, r2l: ProjectedMemory, mask_padding: bool = True
    ) -> Tensor:
        """Hidden states of the L2R decoder for whole inputs. Shapes: [C, L] -> [C, L, d]"""
        x = self.embed(ids)
        return self.l2r_decoder(x, self._target_bias(ids, mask_padding, x.dtype), [video, r2l])

    @staticmethod
    def _target_bias(ids: Tensor, mask_padding: bool, dtype: torch.dtype) -> Tensor:
        return causal_bias(ids != PAD if mask_padding else torch.ones_like(ids, dtype=torch.bool), dtype)

    def decode(
        self, memories: Memories, r2l_input: Tensor, l2r_input: Tensor, caption_video: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Teacher-forced hidden states of both decoders; caption i belongs to video `caption_video[i]` (default: i)."""
        videos = self.video_memories(memories)
        if caption_video is not None:
            videos = tuple(video.select(caption_video) for video in videos)
        r2l = self.r2l_hidden(r2l_input, videos[0])
        return r2l, self.l2r_hidden(l2r_input, videos[1], self.r2l_memory(r2l, r2l_input != PAD))

    def forward(
        self, batch: GraphBatch, r2l: Tensor, l2r: Tensor, caption_video: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        hidden = self.decode(self.encode(batch), r2l[:, :-1], l2r[:, :-1], caption_video)
        return self.generator(hidden[0]), self.generator(hidden[1])

    def loss(
        self, batch: GraphBatch, r2l: Tensor, l2r: Tensor, caption_video: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Loss sum, its weight, and sum and count of each direction (see `caption_loss`)."""
        logprobs = self(batch, r2l, l2r, caption_video)
        c = self.config
        return caption_loss(*logprobs, r2l, l2r, c.label_smoothing, c.l2r_weight, "loss_mean" in c.compat)
