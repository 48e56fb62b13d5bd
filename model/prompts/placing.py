"""Puts prompt tokens into the rows of a tower and takes them out again.

Shape letters: N rows, n tokens of a row, k tokens put in, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from model.backbone.blocks import Tokens


def insert(tokens: Tokens, vectors: Tensor) -> Tokens:
    """Adds prompt tokens: in a vision tower behind the class tokens and earlier prompts, in a text tower at the end.

    Words see them as they see the start token, which is visible to every word.

    Shapes:
        vectors: [k, D], or [N, k, D] with other ones in every row
    """
    rows, count = tokens.frames.shape[0], vectors.shape[-2]
    vectors = vectors.to(tokens.frames.dtype).expand(rows, -1, -1)
    prompts = tokens.prompts + count
    if tokens.end is not None:
        frames = torch.cat([tokens.frames, vectors], 1)
        return tokens.replace(frames=frames, prompts=prompts, bias=_widened(tokens.bias, count))
    place = tokens.classes + tokens.prompts
    size = tokens.size
    if size is not None:
        size = torch.cat([size[:, :place], size.new_ones(rows, count), size[:, place:]], 1)
    frames = torch.cat([tokens.frames[:, :place], vectors, tokens.frames[:, place:]], 1)
    return tokens.replace(frames=frames, prompts=prompts, size=size)


def remove(tokens: Tokens, count: int) -> Tokens:
    """Takes the last `count` prompt tokens out of every row; the inverse of `insert`."""
    if not count:
        return tokens
    prompts = tokens.prompts - count
    if tokens.end is not None:
        return tokens.replace(frames=tokens.frames[:, :-count], prompts=prompts, bias=_narrowed(tokens.bias, count))
    place = tokens.classes + prompts
    size = tokens.size
    if size is not None:
        size = torch.cat([size[:, :place], size[:, place + count :]], 1)
    frames = torch.cat([tokens.frames[:, :place], tokens.frames[:, place + count :]], 1)
    return tokens.replace(frames=frames, prompts=prompts, size=size)


def _widened(bias: Tensor | None, count: int) -> Tensor | None:
    if bias is None or not count:
        return bias
    bias = torch.cat([bias, bias[..., :1].expand(*bias.shape[:-1], count)], -1)
    # What the new rows see is of no account: they are taken out after the block. They must see something.
    return bias if bias.shape[-2] == 1 else pad(bias, (0, 0, 0, count))


def _narrowed(bias: Tensor | None, count: int) -> Tensor | None:
    if bias is None:
        return None
    return bias[..., :-count] if bias.shape[-2] == 1 else bias[..., :-count, :-count]
