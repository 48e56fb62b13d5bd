"""STOP's adapter: a narrow branch beside the MLP of every block."""

from __future__ import annotations

from torch import Tensor, nn

from model.backbone.blocks import Transformer

SCALE = 0.1


class Adapter(nn.Sequential):
    """0.1 * up(PReLU(down(x))), added to a block's output, or zero while it is not `active`.

    Shapes:
        x: [..., D]; returns [..., D]
    """

    def __init__(self, width: int, hidden: int = 32, active: bool = True):
        super().__init__(nn.Linear(width, hidden), nn.PReLU(), nn.Linear(hidden, width))
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        return SCALE * super().forward(x) if self.active else x.new_zeros(())


def add_adapters(tower: Transformer, hidden: int = 32, active: bool = True) -> None:
    """Gives every block of a tower's transformer a side branch."""
    for block in tower.resblocks:
        block.LoRA = Adapter(tower.width, hidden, active)
