"""Puts given prompts into the towers: text prompts around the words, frame and global prompts beside the patches.

These are made anew for every pass, around tensors that the caller computed, and own no parameters.
Shape letters: B videos or texts, K layers with prompts, T frames, P prompts per frame, g global prompts, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt


class TextPrompts(Prompt):
    """[start, first half, words, second half], overwritten with fresh ones before every later layer.

    Under a causal mask the second half cannot reach the end token, so `trailing` may be False: the same feature from
    fewer tokens.

    Shapes:
        prompts: [K, t, W]
    """

    def __init__(self, prompts: Tensor, trailing: bool = True):
        super().__init__()
        half = prompts.shape[1] // 2
        self.before_words, self.after_words = prompts[:, :half], prompts[:, half:] if trailing else prompts[:, :0]

    def start(self, tokens: Tokens) -> Tokens:
        words = tokens.frames
        first, last = (part[0].to(words.dtype).expand(len(words), -1, -1) for part in self._parts())
        frames = torch.cat([words[:, :1], first, words[:, 1:], last], 1)
        return tokens.replace(frames=frames, end=tokens.end + first.shape[1])

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        if not 0 < layer < len(self.before_words):
            return tokens
        words = tokens.frames
        first, last = (part[layer].to(words.dtype).expand(len(words), -1, -1) for part in self._parts())
        kept = words[:, 1 + first.shape[1] : words.shape[1] - last.shape[1]]
        return tokens.replace(frames=torch.cat([words[:, :1], first, kept, last], 1))

    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.before_words, self.after_words


class VideoPrompts(Prompt):
    """Prompts of every frame, fresh before each layer, and global prompts that see the whole video and travel on.

    Frame prompts are looked up by frame, so a row that holds several frames holds their groups in frame order.

    Shapes:
        frame_prompts: [K, B or 1, T, P, D]; global_prompts: [1, g, D]
    """

    def __init__(self, frame_prompts: Tensor, global_prompts: Tensor):
        super().__init__()
        self.frame_prompts, self.global_prompts = frame_prompts, global_prompts

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        if layer >= len(self.frame_prompts):
            return tokens
        frames, classes = tokens.frames, tokens.classes
        fresh = self.frame_prompts[layer].to(frames.dtype).expand(tokens.videos, -1, -1, -1)
        fresh = fresh.reshape(frames.shape[0], -1, frames.shape[-1])
        if layer == 0:
            video = self.global_prompts.to(frames.dtype).expand(tokens.videos, -1, -1)
            tokens = tokens.replace(video=video, prompts=0)
        rest = frames[:, classes + tokens.prompts :]
        return tokens.replace(frames=torch.cat([frames[:, :classes], fresh, rest], 1), prompts=fresh.shape[1])
