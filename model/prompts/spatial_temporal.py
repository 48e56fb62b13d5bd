"""STOP's dynamic prompts: a perturbation of the pixels, and prompts between frames (Liu et al., STOP, 2025, as coded).

Shape letters: B videos, T frames, R pixels of an edge, n patches of a frame (a grid of g x g), D width, P prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.blocks import Attention
from model.prompts.fourier_convolution import convolve

STRENGTH = 0.05
"""Of the perturbation, and of the prompts between frames."""
DROPOUT = 0.5
TINY = 1e-12


@dataclass(frozen=True)
class Regions:
    """How cells of a frame are selected and frames weighted.

    Attributes:
        count: cells per frame that are selected.
        released: as in the released code. A cell is then a comb of pixels over the whole frame, not a patch; frame
            weights depend on what else is in the batch; frames that are not there count; the scorer has no gradient.
    """

    count: int = 6
    released: bool = False


class SpatialTemporalPrompt(nn.Module):
    """The module `visual.TemporalPrompt` of STOP's checkpoints, for any width, grid and number of prompts.

    Nothing is kept between its two calls: the caller hands the selected cells from one to the other.

    Args:
        width, heads: of the vision tower.
        grid: patches along an edge.
        prompts: P, prompts per frame.
        regions: see `Regions`.
        convolution: `nn.Conv3d` of a tensor; `fourier_convolution.convolve` by default, `direct_convolution` sums.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        grid: int,
        prompts: int = 4,
        regions: Regions | None = None,
        convolution: Callable[[nn.Conv3d, Tensor], Tensor] = convolve,
    ):
        super().__init__()
        self.grid, self.regions, self.convolution = grid, regions or Regions(), convolution
        if self.regions.count >= grid**2:
            raise ValueError(f"{self.regions.count} regions of {grid**2} cells: some must stay unselected")
        self.Conv = nn.Sequential(
            _same(3, 9, (3, 11, 11)), _same(9, 9, (3, 11, 11)), nn.PReLU(), _same(9, 9, (3, 11, 11)), nn.PReLU(),
            _same(9, 16, (3, 11, 11)),
        )  # fmt: skip
        self.MLP = nn.Sequential(nn.Linear(16, 16), nn.PReLU(), nn.Linear(16, 3))
        self.Cal_Net = _same(3, 1, (5, 11, 11))
        self.Attention = Attention(width, heads)
        self.InterConv = nn.Sequential(_same(1, 9, (3, 15, 25)), nn.PReLU(), _same(9, 1, (3, 15, 25)))
        self.InterMLP = nn.Sequential(nn.Linear(grid**2, 16), nn.PReLU(), nn.Linear(16, prompts))
        self.Cal_Net_Inter = _same(1, 1, (5, 11, 11))

    def pixels(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The video with its perturbation, doubled in the selected cells, and which cells these are.

        Shapes:
            video: [B, T, 3, R, R]; mask: [B, T] bool, None for frames that are all there
            returns [B, T, 3, R, R] and [B, T, n], 1 for selected cells and 0 for others
        """
        clip = video.transpose(1, 2)
        selected = self.select(self._score_cells(clip))
        added = F.dropout(self._run(self.Conv, clip, mask), DROPOUT, self.training).movedim(1, -1)
        added = self.MLP(added)
        for _ in range(2):
            added = F.dropout(added, DROPOUT, self.training)
        added = STRENGTH * added.movedim(-1, 2)
        return video + added * (1 + self._on_pixels(selected, video.shape[-1])), selected

    def between_frames(self, patches: Tensor, selected: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """Prompts of every frame made from all frames.

        Shapes:
            patches: [B, T, n, D] as they enter the first block; selected: [B, T, n] or None for no cell; mask: [B, T]
            returns [B, T, P, D]
        """
        seen = self._look_around(patches, mask)
        # Patches and channels are the two axes of a picture here.
        change = self._run(self.InterConv, seen, mask)[:, 0]
        weight = self._weigh_frames(self.convolution(self.Cal_Net_Inter, seen)[:, 0], selected, mask)
        prompts = self.InterMLP(change.mT).mT
        return STRENGTH * prompts * (1 + weight[..., None, None])

    def frame_weights(self, patches: Tensor, selected: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """How much each frame differs, from 0 to 1: [B, T]."""
        seen = self._look_around(patches, mask)
        return self._weigh_frames(self.convolution(self.Cal_Net_Inter, seen)[:, 0], selected, mask)

    def select(self, scores: Tensor) -> Tensor:
        """1 where a cell's score is above that of rank `count` + 1 in its frame, else 0: [B, T, n].

        Unless released, the gradient is that of a sigmoid of the distance to this score (straight through).
        """
        limit = scores.topk(self.regions.count + 1, -1).values[..., -1:]
        hard = (scores > limit).to(scores.dtype)
        if self.regions.released:
            return hard
        soft = (scores - limit).sigmoid()
        return hard + (soft - soft.detach())

    def _score_cells(self, clip: Tensor) -> Tensor:
        scores = self.convolution(self.Cal_Net, clip)[:, 0]
        return self._in_cells(scores).mean((-1, -2)).flatten(-2)

    def _in_cells(self, frames: Tensor) -> Tensor:
        """[..., R, R] as [..., g, g, R / g, R / g]."""
        edge, grid = frames.shape[-1], self.grid
        if self.regions.released:
            return (
                frames.unflatten(-1, (edge // grid, grid))
                .unflatten(-3, (edge // grid, grid))
                .movedim(-3, -4)
                .movedim(-1, -3)
            )
        return frames.unflatten(-1, (grid, edge // grid)).unflatten(-3, (grid, edge // grid)).transpose(-3, -2)

    def _on_pixels(self, cells: Tensor, edge: int) -> Tensor:
        """[B, T, n] spread over the pixels of each cell: [B, T, 1, R, R]."""
        side, cells = edge // self.grid, cells.unflatten(-1, (self.grid, self.grid))
        if self.regions.released:
            return cells.repeat(1, 1, side, side)[:, :, None]
        return cells.repeat_interleave(side, -1).repeat_interleave(side, -2)[:, :, None]

    def _look_around(self, patches: Tensor, mask: Tensor | None) -> Tensor:
        """Attention among all patches of all frames: [B, T, n, D] to [B, 1, T, n, D]."""
        flat, bias = patches.flatten(1, 2), None
        if mask is not None:
            absent = ~mask.repeat_interleave(patches.shape[2], 1)
            # A video without any frame looks at its zeros: a row of nothing but -inf would give NaN.
            absent = absent & mask.any(1, keepdim=True)
            bias = torch.zeros_like(absent, dtype=flat.dtype).masked_fill(absent, float("-inf"))[:, None, None]
        seen = self.Attention.mix(*self.Attention.project(flat), bias).unflatten(1, patches.shape[1:3])
        return _hide(seen[:, None], mask)

    def _run(self, layers: nn.Sequential, x: Tensor, mask: Tensor | None) -> Tensor:
        """Convolutions in a row; frames that are not there stay zero, as beyond the ends of a video."""
        for layer in layers:
            x = _hide(self.convolution(layer, x), mask) if isinstance(layer, nn.Conv3d) else layer(x)
        return x

    def _weigh_frames(self, change: Tensor, selected: Tensor | None, mask: Tensor | None) -> Tensor:
        """Mean change of a frame, selected patches twice, from 0 (smallest) to 1 (largest frame): [B, T]."""
        if selected is not None:
            change = change * (1 + selected[..., None])
        mean = change.mean((-1, -2))
        if self.regions.released:
            return (mean - mean.min()) / (mean.max() - mean.min())
        absent = torch.zeros_like(mean, dtype=torch.bool) if mask is None else ~mask
        low = mean.masked_fill(absent, float("inf")).amin(1, keepdim=True)
        high = mean.masked_fill(absent, float("-inf")).amax(1, keepdim=True)
        return ((mean - low) / (high - low).clamp(min=TINY)).masked_fill(absent, 0)


def direct_convolution(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """The sum over taps as PyTorch computes it."""
    return layer(x)


def _same(channels: int, out: int, kernel: tuple[int, int, int]) -> nn.Conv3d:
    return nn.Conv3d(channels, out, kernel, padding=tuple(k // 2 for k in kernel))


def _hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero in frames that are not there; x: [B, C, T, ...]."""
    return x if mask is None else x * mask[:, None, :, None, None].to(x.dtype)
