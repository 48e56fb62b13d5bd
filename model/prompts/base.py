"""The four places at which a prompt may change the tokens of a tower."""

from torch import Tensor, nn

from model.backbone.blocks import Tokens


class Prompt(nn.Module):
    """A module that changes the tokens at some of four places; the others leave them as they are.

    Keys that `merge` sees are those of the frame tokens, [B * K, h, n, d], after `before` of the same layer.
    """

    def start(self, tokens: Tokens) -> Tokens:
        """Once, on the embedded tokens; in the vision tower before the first norm."""
        return tokens

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        """Before block `layer`."""
        return tokens

    def merge(self, layer: int, tokens: Tokens, keys: Tensor) -> Tokens:
        """After the attention of block `layer` and its residual, before its MLP."""
        return tokens

    def after(self, layer: int, tokens: Tokens) -> Tokens:
        """After block `layer`."""
        return tokens
