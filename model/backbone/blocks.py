"""Transformer blocks of both CLIP towers, and the tokens that prompts rewrite between them.

Shape letters: N rows (frames, clips or texts), n tokens of a row, B videos, K rows of a video (N = B * K),
g video tokens, D width, h heads, d = D / h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or as it is if it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class LayerNorm(nn.LayerNorm):
    """Layer norm that computes in float32 (or wider) and returns the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_float32(x)
        weight, bias = self.weight.to(wide.dtype), self.bias.to(wide.dtype)
        return F.layer_norm(wide, self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


@dataclass
class Tokens:
    """What travels through a tower: passed along by the loop, never stored on a module.

    Shapes:
        frames: [B * K, n, D], ordered class tokens | prompts | patches (a text tower: one row per text)
        video:  [B, g, D], tokens that see every row of their video, or None
        size:   [B * K, n], how many patches each frame token stands for, or None when all are 1
        present: [B, K] bool, rows that video tokens may look at, or None for all
        end:    [B * K], position of the end token (text towers)
        bias:   added to the scores of frame tokens, broadcasts to [B * K, h, n, n]; whoever adds tokens extends it
    """

    frames: Tensor
    videos: int
    classes: int = 1
    prompts: int = 0
    video: Tensor | None = None
    size: Tensor | None = None
    size_bias: bool = True
    """Whether log(size) is added to the scores of a token as a key."""
    present: Tensor | None = None
    end: Tensor | None = None
    bias: Tensor | None = None
    shared: dict[str, Tensor] = field(default_factory=dict)
    """What another tower or the read-out of a method wants to see."""

    @property
    def rows(self) -> int:
        """Rows per video, K."""
        return self.frames.shape[0] // self.videos

    def replace(self, **changes) -> Tokens:
        """A copy with some fields changed."""
        # Written out: torch.compile of torch 2.6 knows no dataclasses.replace.
        fields = {
            "frames": self.frames, "videos": self.videos, "classes": self.classes, "prompts": self.prompts,
            "video": self.video, "size": self.size, "size_bias": self.size_bias, "present": self.present,
            "end": self.end, "bias": self.bias, "shared": self.shared,
        }  # fmt: skip
        return Tokens(**{**fields, **changes})


class Attention(nn.Module):
    """Multi-head attention with the parameter names of `torch.nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def packed(self, x: Tensor, rows: slice) -> Tensor:
        """Those rows of the packed query, key and value projection: [N, n, D] to [N, n, number of rows]."""
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def project(self, x: Tensor, parts: str = "qkv") -> tuple[Tensor, ...]:
        """Queries, keys, values, each [N, h, n, d], of the normed tokens x [N, n, D]; `parts` is "qkv", "q" or "kv"."""
        width = x.shape[-1]
        rows = {"qkv": slice(None), "q": slice(0, width), "kv": slice(width, None)}[parts]
        projected = self.packed(x, rows)
        heads = projected.unflatten(-1, (len(parts), self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        return heads.unbind(0)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attention output [N, n, D]; bias is added to the scores and broadcasts to [N, h, n, m]."""
        if bias is not None:
            bias = bias.to(q.dtype)
            if causal:
                length = q.shape[-2], k.shape[-2]
                bias = bias + torch.full(length, float("-inf"), dtype=q.dtype, device=q.device).triu(1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal and bias is None)
        return self.out_proj(out.transpose(-3, -2).flatten(-2))


class MLP(nn.Module):
    """Two layers; the output is as wide as the input unless `out` says otherwise."""

    def __init__(self, width: int, hidden: int, activation: str, out: int | None = None):
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.gelu = ACTIVATIONS[activation]()
        self.c_proj = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)) [+ side(x)].

    The side branch is optional, parallel to the MLP, and reads the stream itself. It is the attribute `LoRA`, because
    STOP's checkpoints call theirs so; a low-rank addition is something else (`model.prompts.lora`).
    """

    def __init__(self, width: int, heads: int, hidden: int, activation: str = "quick_gelu", eps: float = 1e-5):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden, activation)
        self.ln_2 = LayerNorm(width, eps=eps)
        self.LoRA: nn.Module | None = None

    def attend(
        self, q: Tensor, kv: Tensor | None = None, bias: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """q plus its attention over kv (itself by default), and the keys [N, h, m, d] that it looked at.

        Shapes:
            q: [N, n, D]; kv: [N, m, D], before the norm; bias: broadcasts to [N, h, n, m]
        """
        if kv is None:
            query, key, value = self.attn.project(self.ln_1(q))
        else:
            (query,) = self.attn.project(self.ln_1(q), "q")
            key, value = self.attn.project(self.ln_1(kv), "kv")
        return q + self.attn.mix(query, key, value, bias, causal), key

    def attend_video(
        self, frames: Tensor, video: Tensor, frame_bias: Tensor | None, video_bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frame tokens look at the video tokens and their own row, video tokens at everything of their video.

        The same numbers as two calls of `attend`, with every token projected once.

        Shapes:
            frames: [B * K, n, D]; video: [B, g, D]
            frame_bias: broadcasts to [B * K, h, n, g + n]; video_bias: to [B, h, g, g + K * n]
            returns frames, video, keys of the frame tokens [B * K, h, n, d]
        """
        q_f, k_f, v_f = self.attn.project(self.ln_1(frames))
        q_v, k_v, v_v = self.attn.project(self.ln_1(video))
        rows = frames.shape[0] // video.shape[0]
        own = [torch.cat([g.repeat_interleave(rows, 0), f], 2) for g, f in ((k_v, k_f), (v_v, v_f))]
        all_ = [
            torch.cat([g, f.unflatten(0, (-1, rows)).transpose(1, 2).flatten(2, 3)], 2)
            for g, f in ((k_v, k_f), (v_v, v_f))
        ]
        frames = frames + self.attn.mix(q_f, *own, frame_bias)
        return frames, video + self.attn.mix(q_v, *all_, video_bias), k_f

    def feed_forward(self, x: Tensor) -> Tensor:
        """x plus its MLP and, when there is one, the side branch; [N, n, D]."""
        out = x + self.mlp(self.ln_2(x))
        return out if self.LoRA is None else out + self.LoRA(x)


class Transformer(nn.Module):
    """Blocks with prompts between them.

    A prompt is an object with `start(tokens)`, `before(layer, tokens)`, `merge(layer, tokens, keys)` and
    `after(layer, tokens)`, each returning tokens (`model.prompts.Prompt` has them as no-ops).
    """

    def __init__(self, width: int, layers: int, heads: int, hidden: int, activation: str, eps: float = 1e-5):
        super().__init__()
        self.width = width
        self.resblocks = nn.ModuleList(Block(width, heads, hidden, activation, eps) for _ in range(layers))

    def initialise(self) -> None:
        """OpenAI CLIP's initial weights."""
        layers = max(1, len(self.resblocks))
        for block in self.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=self.width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=self.width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * self.width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=self.width**-0.5 * (2 * layers) ** -0.5)

    def forward(
        self,
        tokens: Tokens,
        prompts: Sequence = (),
        causal: bool = False,
        depth: int | None = None,
        checkpointing: bool = False,
    ) -> Tokens:
        """All blocks, or the first `depth`. `causal` and `tokens.bias` are for rows without video tokens.

        With `checkpointing` the backward pass computes every block again: memory of one block, the same gradients.
        """
        for layer, block in enumerate(list(self.resblocks)[:depth]):
            # Everything that the step reads is bound here: it runs a second time when the loop is long over.
            step = partial(self._layer, layer, block, prompts, causal)
            again = checkpointing and torch.is_grad_enabled()
            tokens = checkpoint(step, tokens, use_reentrant=False) if again else step(tokens)
        return tokens

    def _layer(self, layer: int, block: Block, prompts: Sequence, causal: bool, tokens: Tokens) -> Tokens:
        for prompt in prompts:
            tokens = prompt.before(layer, tokens)
        tokens, keys = self._attend(block, tokens, causal)
        for prompt in prompts:
            tokens = prompt.merge(layer, tokens, keys)
        video = None if tokens.video is None else block.feed_forward(tokens.video)
        tokens = tokens.replace(frames=block.feed_forward(tokens.frames), video=video)
        for prompt in prompts:
            tokens = prompt.after(layer, tokens)
        return tokens

    @staticmethod
    def _attend(block: Block, tokens: Tokens, causal: bool) -> tuple[Tokens, Tensor]:
        size = None if tokens.size is None or not tokens.size_bias else tokens.size.log()
        if tokens.video is None:
            bias = tokens.bias
            if size is not None:
                bias = size[:, None, None] if bias is None else bias + size[:, None, None]
            frames, keys = block.attend(tokens.frames, bias=bias, causal=causal)
            return tokens.replace(frames=frames), keys
        if causal or tokens.bias is not None:
            raise ValueError("video tokens and a mask over frame tokens exclude one another")
        frame_bias = video_bias = None
        if size is not None:
            extra = tokens.video.shape[1]
            frame_bias = F.pad(size, (extra, 0))[:, None, None]
            video_bias = F.pad(size.reshape(tokens.videos, -1), (extra, 0))[:, None, None]
        if tokens.present is not None:
            absent = ~tokens.present.repeat_interleave(tokens.frames.shape[1], 1)
            absent = F.pad(absent, (tokens.video.shape[1], 0))[:, None, None]
            video_bias = torch.zeros_like(absent, dtype=tokens.frames.dtype) if video_bias is None else video_bias
            video_bias = video_bias.masked_fill(absent, float("-inf"))
        frames, video, keys = block.attend_video(tokens.frames, tokens.video, frame_bias, video_bias)
        return tokens.replace(frames=frames, video=video), keys
