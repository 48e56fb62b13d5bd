"""Prompts that live in single layers, and their copies in the other tower (ViLT-CLIP: Wang et al., AAAI 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt
from model.prompts.placing import insert, remove


class LayerPrompts(Prompt):
    """Own prompts of one tower: each of its layers may see those of several layers; they leave after the block.

    Args:
        modality: `text` or `vision`, whose tower this is; names the parameters.
        owners: layers that have prompts of their own.
        uses: {layer: indices of the owners whose prompts enter there}.

    Shapes:
        {modality}_attention_context.i: [count, width], N(0, 1), for i in owners
    """

    def __init__(self, modality: str, owners: Sequence[int], uses: Mapping[int, Sequence[int]], count: int, width: int):
        super().__init__()
        self.name = f"{modality}_attention_context"
        self.uses = {layer: tuple(indices) for layer, indices in uses.items() if indices}
        vectors = nn.ParameterDict({str(i): nn.Parameter(torch.randn(count, width)) for i in owners})
        self.register_module(self.name, vectors)
        self.count = count

    def vectors(self, owner: int) -> Tensor:
        """Prompts [count, width] of a layer."""
        return getattr(self, self.name)[str(owner)]

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        for owner in self.uses.get(layer, ()):
            tokens = insert(tokens, self.vectors(owner))
        return tokens

    def after(self, layer: int, tokens: Tokens) -> Tokens:
        return remove(tokens, self.count * len(self.uses.get(layer, ())))


class PromptMap(Prompt):
    """Linear copies of one tower's layer prompts for the layers of the other tower.

    Args:
        source: the prompts that are mapped.
        name: of the maps, `text_to_vision` or `vision_to_text`.
        owners: indices that have a map.
        uses: {layer of the reading tower: indices of the prompts that enter there}.
        width: of the source; target: of the reading tower.

    Shapes:
        {name}_translations.i: weight [target, width], bias [target], for i in owners
    """

    def __init__(
        self,
        source: LayerPrompts,
        name: str,
        owners: Sequence[int],
        uses: Mapping[int, Sequence[int]],
        width: int,
        target: int,
    ):
        super().__init__()
        # In a tuple, so that the source's parameters stay the source's.
        self.source = (source,)
        self.name = f"{name}_translations"
        self.uses = {layer: tuple(indices) for layer, indices in uses.items() if indices}
        self.register_module(self.name, nn.ModuleDict({str(i): nn.Linear(width, target) for i in owners}))

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        for owner in self.uses.get(layer, ()):
            tokens = insert(tokens, getattr(self, self.name)[str(owner)](self.source[0].vectors(owner)))
        return tokens

    def after(self, layer: int, tokens: Tokens) -> Tokens:
        return remove(tokens, self.source[0].count * len(self.uses.get(layer, ())))
