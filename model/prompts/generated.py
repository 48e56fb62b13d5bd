"""Deep prompts of both towers from one table, the same for every video and text (DGL and STOP).

Shape letters: K layers with prompts, T frames, P prompts per frame, t text prompts, D vision width, W text width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.backbone.blocks import MLP, Tokens, Transformer
from model.backbone.clip import CLIP

NEW = (
    "PromptTransformer", "unified_prompt_mlp", "unified_prompt_embedding", "prompt_proj", "prompt_embeddings",
    "visual_prompt_embedding",
)  # fmt: skip
"""Parts of the names of the parameters made here."""


class DeepPrompts:
    """Makes the prompts; its parameters are attributes of the CLIP, under the published names.

    Args:
        clip: gets the parameters.
        kind: `transformer`: a block over text and frame prompts of a layer together; `linear`: a few frame prompts that
            are repeated for every frame, and two linear maps of them to text prompts.
        layers: K; frames: T; per_frame: P; text: t.
    """

    def __init__(self, clip: CLIP, kind: str, layers: int, frames: int, per_frame: int, text: int):
        width, text_width = clip.config.vision_width, clip.config.text_width
        self.clip, self.kind, self.layers, self.frames, self.per_frame, self.text = (
            clip, kind, layers, frames, per_frame, text,
        )  # fmt: skip
        if kind == "linear" and text != 2 * per_frame:
            raise ValueError(
                f"{text} text prompts and {per_frame} per frame: with linear prompts, which map each frame prompt to "
                "one before and one after the words, there must be twice as many"
            )
        if kind == "transformer":
            clip.unified_prompt_embedding = nn.Embedding(text + per_frame * frames, width * layers)
            clip.PromptTransformer = Transformer(width, 1, clip.config.vision_heads, 4 * width, "quick_gelu")
            clip.unified_prompt_mlp = MLP(width, 2 * width, "quick_gelu", text_width)
            nn.init.normal_(clip.unified_prompt_embedding.weight, std=0.02)
            clip.PromptTransformer.initialise()
        else:
            clip.visual_prompt_embedding = nn.Parameter(torch.empty(1, per_frame, layers * width))
            clip.prefix_text_prompt_proj_layer = nn.Linear(width, text_width)
            clip.postfix_text_prompt_proj_layer = nn.Linear(width, text_width)
            start_prompts(clip.visual_prompt_embedding, clip.config.patch, width)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Text prompts [K, t, W] and frame prompts [K, T, P, D]."""
        clip = self.clip
        if self.kind == "transformer":
            table = clip.unified_prompt_embedding.weight.unflatten(1, (self.layers, -1)).transpose(0, 1)
            out = clip.PromptTransformer(Tokens(table, self.layers)).frames
            frames = out[:, self.text :].unflatten(1, (self.frames, self.per_frame))
            return clip.unified_prompt_mlp(out[:, : self.text]), frames
        table = clip.visual_prompt_embedding[0].unflatten(1, (self.layers, -1)).transpose(0, 1)
        maps = (clip.prefix_text_prompt_proj_layer, clip.postfix_text_prompt_proj_layer)
        text = torch.cat([project(table) for project in maps], 1)
        return text, table[:, None].expand(-1, self.frames, -1, -1)


@torch.no_grad()
def start_prompts(prompts: Tensor, patch: int, width: int) -> None:
    """Uniform within the bound that a patch layer of these sizes would start with."""
    bound = math.sqrt(6 / (3 * patch**2 + width))
    prompts.uniform_(-bound, bound)
