"""Word prediction: a second task for towers that learn from nothing."""

from __future__ import annotations

from torch import Tensor, nn


class WordPrediction(nn.Module):
    """Says from the mean of a video's frame features which words its captions use.

    In our trials on MiniMotion a contrast alone stayed where it could tell most pairs apart, at colours, presumably
    because neither tower has anything to gain from a word that the other does not yet see. Words as targets give the
    vision tower a reason to look for each of them by itself. The extra weights serve the training only.

    Shapes:
        frames: [B, T, E]; mask: [B, T]; target: [B, V], each row sums to 1 (or is zero: such a video does not count)
        returns the cross entropy summed over videos (scalar)
    """

    def __init__(self, width: int, num_words: int):
        super().__init__()
        self.linear = nn.Linear(width, num_words)

    def forward(self, frames: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        weight = mask[..., None].to(frames.dtype)
        mean = (frames * weight).sum(1) / weight.sum(1).clamp(min=1)
        return -(target * self.linear(mean).float().log_softmax(-1)).sum()
