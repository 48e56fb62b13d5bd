"""CLIP4Clip: text-to-video retrieval with CLIP's towers and one of four similarity headers (Luo et al., 2021).

Shape letters: B videos, A texts, T frames, L word positions, E embedding width, R pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.backbone.blocks import at_least_float32
from model.backbone.clip import CLIP
from model.retrieval.groups import in_groups, rest_frozen_norms
from model.retrieval.headers import CrossEncoder, FrameLSTM, FrameTransformer
from model.retrieval.losses import Gather, alone, symmetric_cross_entropy, symmetric_cross_entropy_sum
from model.retrieval.words import WordPrediction

HEADERS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")
LOGIT_SCALE = (0.1, math.log(100))
"""Allowed values of a temperature's logarithm that trains."""


class CLIP4Clip(nn.Module):
    """Both towers and a header. State-dict names are those of the published checkpoints.

    Args:
        clip: the backbone; its parameters are named `clip.*`.
        header: `meanP` (mean of frame features), `seqLSTM`, `seqTransf` (frames see each other before the mean) or
            `tightTransf` (a cross encoder reads text and frames together; no cosine).
        header_layers: blocks of seqTransf and tightTransf.
        header_heads: attention heads there, by default one per 64 channels.
        num_words: size of the vocabulary of an auxiliary `WordPrediction` (parameters `words.*`); 0 for none.
        word_weight: its weight beside the contrast.

    Raises:
        ValueError: unknown header, or a text tower whose width is not the embedding width (seqTransf, tightTransf).
    """

    def __init__(
        self,
        clip: CLIP,
        header: str = "meanP",
        header_layers: int = 4,
        header_heads: int | None = None,
        num_words: int = 0,
        word_weight: float = 0.0,
    ):
        super().__init__()
        if header not in HEADERS:
            raise ValueError(f"unknown similarity header {header!r}; known: {', '.join(HEADERS)}")
        width, text_width = clip.config.embed_dim, clip.config.text_width
        if header in ("seqTransf", "tightTransf") and width != text_width:
            raise ValueError(
                f"{header} starts from text blocks: text width {text_width} must equal embedding width {width}"
            )
        self.clip = clip
        self.header = header
        heads = header_heads or max(1, width // 64)
        positions = clip.config.context_length
        if header in ("seqLSTM", "seqTransf"):
            # seqLSTM never reads the table; published checkpoints hold it.
            self.frame_position_embeddings = nn.Embedding(positions, width)
        if header == "seqLSTM":
            self.lstm_visual = FrameLSTM(width)
            self.frame_position_embeddings.requires_grad_(False)
        elif header == "seqTransf":
            self.transformerClip = FrameTransformer(width, header_layers, heads)
        elif header == "tightTransf":
            self.cross = CrossEncoder(width, header_layers, heads, positions)
            self.similarity_dense = nn.Linear(width, 1)
        self.initialise_header()
        self.words = WordPrediction(width, num_words) if num_words else None
        self.word_weight = word_weight

    @torch.no_grad()
    def initialise_header(self) -> None:
        """Published start: copies of the first text blocks and of the text positions, other weights N(0, 0.02)."""
        for name, module in self.named_modules():
            if not name.startswith("clip") and isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)
        if self.header == "seqTransf":
            blocks, positions = self.transformerClip.resblocks, self.frame_position_embeddings
        elif self.header == "tightTransf":
            blocks, positions = self.cross.transformer.resblocks, self.cross.embeddings["position_embeddings"]
        else:
            return
        positions.weight.copy_(self.clip.positional_embedding)
        for own, text in zip(blocks, self.clip.transformer.resblocks, strict=False):
            own.load_state_dict(text.state_dict())

    def encode_text(self, ids: Tensor, chunk: int = 0) -> Tensor:
        """Text features [A, E] of ids [A, L], not normalised; `chunk` as in `encode_video`."""
        return in_groups(self, self.clip.encode_text, chunk, ids)

    def encode_video(self, frames: Tensor, mask: Tensor | None = None, chunk: int = 0) -> Tensor:
        """Frame features, neither normalised nor passed through the header; masked frames give zeros.

        Args:
            chunk: encode that many videos at a time and, for the gradient, compute each group again in the backward
                pass: memory of one group, numbers of the whole batch. 0 encodes all at once.

        Shapes:
            frames: [B, T, 3, R, R], or features [B, T, E] that this tower has made; mask: [B, T]; returns [B, T, E]
        """
        features = frames if frames.ndim == 3 else in_groups(self, self._encode_frames, chunk, frames)
        return features if mask is None else features * mask[..., None].to(features.dtype)

    def _encode_frames(self, frames: Tensor) -> Tensor:
        features = self.clip.encode_image(frames.flatten(0, 1), videos=frames.shape[0])
        return features.unflatten(0, frames.shape[:2])

    def train(self, mode: bool = True) -> CLIP4Clip:
        """Batch norms of a stem that does not train keep the statistics of their training."""
        super().train(mode)
        rest_frozen_norms(self)
        return self

    def pool(self, frames: Tensor, mask: Tensor) -> Tensor:
        """One unit vector per video: header, each frame to unit length, mean over frames present, unit length.

        A clip without a frame becomes the zero vector.

        Shapes:
            frames: [B, T, E]; mask: [B, T]; returns [B, E]
        """
        frames = self._fuse(at_least_float32(frames), mask)
        weight = mask[..., None].to(frames.dtype)
        mean = (normalize(frames, dim=-1) * weight).sum(1) / weight.sum(1).clamp(min=1)
        return normalize(mean, dim=-1)

    def _fuse(self, frames: Tensor, mask: Tensor) -> Tensor:
        if self.header == "seqLSTM":
            return self.lstm_visual(frames, mask)
        if self.header == "seqTransf":
            table, count = self.frame_position_embeddings.weight, frames.shape[1]
            if count > table.shape[0]:
                raise ValueError(f"{count} frames: this header has positions for {table.shape[0]}; use fewer frames")
            return self.transformerClip.fuse(frames, mask, table[:count])
        if self.header == "tightTransf":
            raise ValueError("tightTransf has no vector per video; use `similarity`")
        return frames

    def similarity(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """Logits of every text with every video.

        Shapes:
            text: [A, E] or [A, 1, E] from `encode_text`; frames: [B, T, E] from `encode_video`; mask: [B, T]
            returns [A, B]
        """
        text = at_least_float32(text.reshape(text.shape[0], -1))
        if self.header == "tightTransf":
            return self.similarity_dense(self.cross(text, at_least_float32(frames), mask)).squeeze(-1)
        return self._cosines(normalize(text, dim=-1), self.pool(frames, mask))

    @torch.no_grad()
    def similarity_matrix(self, text: Tensor, frames: Tensor, mask: Tensor, block: int = 64) -> Tensor:
        """`similarity` of many texts and videos, block by block, every video pooled once; [A, B]."""
        if self.header == "tightTransf":
            parts = zip(frames.split(block), mask.split(block), strict=True)
            columns = [torch.cat([self.similarity(t, f, m) for t in text.split(block)]) for f, m in parts]
            return torch.cat(columns, 1)
        pooled = [self.pool(f, m) for f, m in zip(frames.split(block), mask.split(block), strict=True)]
        return self._cosines(normalize(at_least_float32(text), dim=-1), torch.cat(pooled))

    def _cosines(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Scaled products of unit vectors, in float32 also under autocast: bfloat16 would tie close candidates."""
        with torch.autocast(rows.device.type, enabled=False):
            return self.clip.logit_scale.exp() * at_least_float32(rows) @ at_least_float32(columns).T

    def loss(self, logits: Tensor) -> Tensor:
        """Mean of both directions' cross entropies of a square matrix, pairs on the diagonal."""
        return symmetric_cross_entropy(logits)

    def contrast(
        self, text: Tensor, frames: Tensor, mask: Tensor, gather: Gather = alone, rank: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Loss summed over this process's pairs against those of all processes.

        Args:
            gather: joins rows of all processes, each with the same number (`utility.distributed.Distributed.gather`).
            rank: which part of the joined rows is ours.

        Shapes:
            text: [b, E]; frames: [b, T, E]; mask: [b, T]; returns the sum (scalar) and logits [b, all videos]
        """
        count = text.shape[0]
        if self.header == "tightTransf":
            all_frames, all_mask, all_text = gather(frames), gather(mask.float()).to(mask.dtype), gather(text)
            rows = self.similarity(text, all_frames, all_mask)
            columns = self.similarity(all_text, frames, mask).T
        else:
            text, video = normalize(at_least_float32(text), dim=-1), self.pool(frames, mask)
            rows, columns = self._cosines(text, gather(video)), self._cosines(video, gather(text))
        return symmetric_cross_entropy_sum(rows, columns, rank * count), rows

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Features of pictures [N, 3, R, R] by themselves, not normalised: [N, E]."""
        return self.clip.encode_image(pixels)

    def is_new(self, name: str) -> bool:
        """Whether a parameter belongs to the method, not to CLIP."""
        return not name.startswith("clip.")

    def is_computed(self, name: str) -> bool:
        """Whether a parameter takes part in the similarity; one that does not has no gradient."""
        unused = {
            "frame_position_embeddings.weight": self.header == "seqLSTM",
            "clip.logit_scale": self.header == "tightTransf",
            "clip.visual.conv1.weight": self.clip.config.linear_patch == "3d",
        }
        return not unused.get(name, False)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps a temperature that trains within `LOGIT_SCALE`; called after every step."""
        if self.clip.logit_scale.requires_grad:
            self.clip.logit_scale.clamp_(*LOGIT_SCALE)

    def forward(
        self,
        ids: Tensor,
        frames: Tensor,
        mask: Tensor,
        gather: Gather = alone,
        rank: int = 0,
        chunk: int = 0,
        words: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`contrast` of texts [b, L] and videos [b, T, 3, R, R], for training under DistributedDataParallel.

        With `words` [b, V], the targets of `WordPrediction`, its weighted loss is added.
        """
        video = self.encode_video(frames, mask, chunk)
        loss, rows = self.contrast(self.encode_text(ids, chunk), video, mask, gather, rank)
        if words is not None and self.words is not None:
            loss = loss + self.word_weight * self.words(video, mask, words)
        return loss, rows
