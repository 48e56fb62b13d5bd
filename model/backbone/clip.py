"""CLIP: a vision tower and a text tower with OpenAI's state-dict names, open to prompts at every layer.

Shape letters: N images, B texts, L word positions, n tokens, D vision width, W text width, E embedding width, R pixels.
Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021; the 3-D patch
layer is CLIP4Clip's (Luo et al., 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from model.backbone.blocks import LayerNorm, Tokens, Transformer
from model.backbone.clip_config import CLIPConfig, config_of, small_config

__all__ = ["CLIP", "CLIPConfig", "TextTower", "VisionTower", "config_of", "small_config"]


class Stem(nn.Sequential):
    """Stages of 3x3 convolutions with batch norm and ReLU: one of stride 2, and from the second stage on another one.

    Batch norm, because it made the difference on MiniMotion: told the shapes directly, a small tower named 0.56 of the
    test clips' six shapes after 400 steps, the same tower with group norm 0.20 (one run each).
    """

    def __init__(self, channels: Sequence[int]):
        layers: list[nn.Module] = []
        for stage, (before, after) in enumerate(pairwise((3, *channels))):
            for inputs, stride in ((before, 2), (after, 1))[: 1 if stage == 0 else 2]:
                conv = nn.Conv2d(inputs, after, 3, stride, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class VisionTower(nn.Module):
    """Pictures to projected tokens."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        width = config.vision_width
        self.config = config
        if config.stem:
            self.stem = Stem(config.stem)
        kernel = config.patch // 2 ** len(config.stem)
        self.conv1 = nn.Conv2d(config.stem[-1] if config.stem else 3, width, kernel, kernel, bias=False)
        if config.linear_patch == "3d":
            self.conv2 = nn.Conv3d(3, width, (3, kernel, kernel), (1, kernel, kernel), (1, 0, 0), bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(config.grid**2 + 1, width))
        self.ln_pre = LayerNorm(width)
        hidden = int(width * config.mlp_ratio)
        self.transformer = Transformer(width, config.vision_layers, config.vision_heads, hidden, config.activation)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))
        self.initialise()

    def initialise(self) -> None:
        """OpenAI's initial weights; a 3-D patch layer starts as the 2-D one."""
        scale = self.config.vision_width**-0.5
        for parameter in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(parameter, std=scale)
        self.transformer.initialise()
        if self.config.linear_patch == "3d":
            self.inflate_patch_layer()

    @torch.no_grad()
    def inflate_patch_layer(self) -> None:
        """Make the 3-D patch layer compute what the 2-D one does."""
        self.conv2.weight.zero_()
        self.conv2.weight[:, :, 1] = self.conv1.weight

    def patches(self, pixels: Tensor, videos: int) -> Tensor:
        """Patch features [N, grid**2, D] of pixels [N, 3, R, R], without class token and positions."""
        if self.config.stem:
            # Small convolutions are faster when the channels of a pixel lie together.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.config.linear_patch == "3d":
            clips = pixels.unflatten(0, (videos, -1)).transpose(1, 2)
            return self.conv2(clips).transpose(1, 2).flatten(0, 1).flatten(2).mT
        return self.conv1(self.stem(pixels) if self.config.stem else pixels).flatten(2).mT

    def embed(self, pixels: Tensor, videos: int | None = None, prompts: Sequence = ()) -> Tokens:
        """Tokens that enter the first block.

        Shapes:
            pixels: [N, 3, R, R] normalised, or their `patches` [N, grid**2, D]
        """
        size, known = self.config.resolution, pixels.ndim == 3
        wanted = (self.config.grid**2, self.config.vision_width) if known else (3, size, size)
        if pixels.shape[1:] != wanted:
            raise ValueError(f"pixels have shape {list(pixels.shape)}; this tower reads [N, 3, {size}, {size}]")
        count = pixels.shape[0]
        videos = count if videos is None else videos
        if videos and count % videos:
            raise ValueError(f"{count} frames do not divide into {videos} videos; give every video the same number")
        patches = pixels if known else self.patches(pixels, videos)
        first = self.class_embedding.to(patches.dtype).expand(count, 1, -1)
        frames = torch.cat([first, patches], 1) + self.positional_embedding.to(patches.dtype)
        tokens = Tokens(frames, videos)
        for prompt in prompts:
            tokens = prompt.start(tokens)
        video = None if tokens.video is None else self.ln_pre(tokens.video)
        return tokens.replace(frames=self.ln_pre(tokens.frames), video=video)

    def project(self, tokens: Tensor) -> Tensor:
        """Final norm and projection: [..., D] to [..., E]."""
        return self.ln_post(tokens) @ self.proj.to(tokens.dtype)

    def forward(self, pixels: Tensor, videos: int | None = None, prompts: Sequence = ()) -> Tokens:
        """Tokens after the last block, not yet projected.

        Shapes:
            pixels: [N, 3, R, R] normalised; the frames of a video are neighbours
        """
        return self.transformer(self.embed(pixels, videos, prompts), prompts)


class TextTower(nn.Module):
    """The text half of CLIP, its modules at the top level as in OpenAI's state dicts, and the temperature."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        width = config.text_width
        self.config = config
        self.transformer = Transformer(
            width, config.text_layers, config.text_heads, int(width * config.mlp_ratio), config.activation
        )
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        self.transformer.initialise()

    def embed_text(
        self, ids: Tensor, prompts: Sequence = (), bias: Tensor | None = None, positions_last: bool = False
    ) -> Tokens:
        """Word tokens that enter the first text block; the end token is the largest id of a row.

        With `positions_last` the positions are added after the prompts' `start`: tokens that it puts in get positions
        too and move those of the words behind them.

        Raises:
            ValueError: more tokens than this tower has positions for.
        """
        table = self.positional_embedding
        if ids.ndim != 2 or ids.shape[1] > self.config.context_length:
            raise ValueError(f"ids have shape {list(ids.shape)}; allowed: [B, L <= {self.config.context_length}]")
        words = self.token_embedding(ids)
        if not positions_last:
            words = words + table[: ids.shape[1]]
        tokens = Tokens(words, ids.shape[0], end=ids.argmax(-1), bias=bias)
        for prompt in prompts:
            tokens = prompt.start(tokens)
        length = tokens.frames.shape[1]
        if not positions_last:
            return tokens
        if length > len(table):
            raise ValueError(
                f"{ids.shape[1]} words and {length - ids.shape[1]} context tokens: this text tower has {len(table)} "
                "positions; use a shorter context or shorter names"
            )
        return tokens.replace(frames=tokens.frames + table[:length])

    def text_tokens(self, ids: Tensor, prompts: Sequence = ()) -> Tensor:
        """All word positions after the last block, normed and projected: [B, L, E]."""
        return self.project_text(self.transformer(self.embed_text(ids, prompts), prompts, causal=True).frames)

    def encode_text(
        self,
        ids: Tensor,
        prompts: Sequence = (),
        causal: bool = True,
        final_norm: bool = True,
        bias: Tensor | None = None,
        depth: int | None = None,
    ) -> Tensor:
        """Feature at the end token of every text, not normalised; `depth`: after so many blocks instead of all.

        Shapes:
            ids: [B, L]; bias: added to the attention scores, broadcasts to [B, h, L, L]
            returns [B, E]
        """
        tokens = self.transformer(self.embed_text(ids, prompts, bias), prompts, causal, depth)
        rows = torch.arange(tokens.frames.shape[0], device=tokens.frames.device)
        return self.project_text(tokens.frames[rows, tokens.end], final_norm)

    def project_text(self, tokens: Tensor, final_norm: bool = True) -> Tensor:
        """Final norm and projection: [..., W] to [..., E]."""
        tokens = self.ln_final(tokens) if final_norm else tokens
        return tokens @ self.text_projection.to(tokens.dtype)


class CLIP(TextTower):
    """Both towers. With no prompt they compute what OpenAI's code and open_clip compute."""

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        self.visual = VisionTower(config)

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], activation: str = "quick_gelu", **changes) -> CLIP:
        """A float32 model with the sizes and weights of a state dict.

        Heads are taken to be one per 64 channels unless `vision_heads` or `text_heads` says otherwise.

        Raises:
            ValueError: the tensors are not a CLIP with a transformer vision tower, or some are missing or left over.
        """
        model = cls(config_of(tensors, activation, **changes))
        dropped = {"input_resolution", "context_length", "vocab_size", "attn_mask", "visual.position_ids"}
        tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        if missing or unexpected:
            raise ValueError(f"weights do not fit; missing: {sorted(missing)}, unexpected: {sorted(unexpected)}")
        return model

    def image_tokens(self, pixels: Tensor, prompts: Sequence = (), videos: int | None = None) -> Tensor:
        """All tokens after the last block, normed and projected: [N, n, E], class token first."""
        return self.visual.project(self.visual(pixels, videos, prompts).frames)

    def encode_image(self, pixels: Tensor, prompts: Sequence = (), videos: int | None = None) -> Tensor:
        """Class-token feature of every picture, not normalised.

        Shapes:
            pixels: [N, 3, R, R] normalised; `videos`: how many videos the N frames belong to, in order (default N)
            returns [N, E]
        """
        return self.visual.project(self.visual(pixels, videos, prompts).frames[:, 0])
