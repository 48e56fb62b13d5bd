"""Where a recogniser looks: what the class token of a frame has taken from its patches, through all layers.

Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020; recognition reference, 4.6.
Shape letters: N frames, h heads, n tokens (class token, prompts, patches), g patches along a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from model.backbone.blocks import Transformer
from model.recognition.recogniser import Recogniser

KINDS = ("full", "cls")
TINY = 1e-10  # under a logarithm


def attention_maps(model: Recogniser, pixels: Tensor, kind: str = "full") -> Tensor:
    """Maps [B, V, T, g, g] of the frames of videos [B, V, T, 3, R, R], prompts included in the pass; see `rollout`."""
    with torch.no_grad(), attention_weights(model.clip.visual.transformer) as layers:
        model.encode_views(pixels.flatten(0, 1))
    # The tower may have worked through the frames in several parts, one after the other.
    depth = len(model.clip.visual.transformer.resblocks)
    whole = [torch.cat(layers[k::depth]) for k in range(depth)]
    return rollout(whole, kind, model.clip.config.grid**2).unflatten(0, pixels.shape[:3])


def rollout(
    attentions: Sequence[Tensor], kind: str = "full", patches: int | None = None, recorded: bool = False
) -> Tensor:
    """Maps of frames from the attention weights of all layers; the largest value of each map is 1.

    Args:
        attentions: [N, h, n, n] of each layer, the first layer first.
        kind: `full`: the product of the layers' weights, heads averaged, an identity added for the skip connections;
            `cls`: only what the class token itself looks at, layers multiplied.
        patches: how many of the last tokens are patches; default: all but the first. Weights of prompts are cut out.
        recorded: multiply the first layer by the second and so on, as the published system does; the composition of
            layers is the other way round.

    Shapes:
        returns [N, g, g]

    Raises:
        ValueError: unknown kind, no layer, patches that make no square.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown rollout {kind!r}; known: {', '.join(KINDS)}")
    if not attentions:
        raise ValueError("rollout needs the attention weights of at least one layer")
    count = attentions[0].shape[-1] - 1 if patches is None else patches
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"{count} patches make no square; `patches` says how many of the tokens are patches")
    layers = [_without_prompts(weights, count).float().mean(1) for weights in attentions]
    if kind == "cls":
        seen = sum((layer[:, 0, 1:] + TINY).log() for layer in layers).exp()
    else:
        steps = [layer + torch.eye(count + 1, device=layer.device) for layer in layers]
        steps = [step / step.sum(-1, keepdim=True) for step in steps]
        product = steps[0]
        for step in steps[1:]:
            product = product @ step if recorded else step @ product
        seen = product[:, 0, 1:]
    return (seen / seen.amax(-1, keepdim=True)).unflatten(-1, (side, side))


@contextmanager
def attention_weights(transformer: Transformer) -> Iterator[list[Tensor]]:
    """A list that gets the weights [N, h, n, m] of every block that runs inside the context."""
    found: list[Tensor] = []
    attentions = [block.attn for block in transformer.resblocks]

    def noting(attention):
        plain = attention.mix

        def mix(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, causal: bool = False) -> Tensor:
            scores = q @ k.mT * q.shape[-1] ** -0.5
            found.append((scores if bias is None else scores + bias).softmax(-1))
            return plain(q, k, v, bias, causal)

        return mix

    for attention in attentions:
        attention.mix = noting(attention)
    try:
        yield found
    finally:
        for attention in attentions:
            del attention.mix


def _without_prompts(weights: Tensor, patches: int) -> Tensor:
    places = [0, *range(weights.shape[-1] - patches, weights.shape[-1])]
    return weights[..., places, :][..., places]
