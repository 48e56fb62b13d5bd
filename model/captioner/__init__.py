"""Graph captioner: graph network, bidirectional decoders, search."""

from model.captioner.captioner import PAD, START, Captioner, GraphBatch, Memories
from model.captioner.config import COMPAT, COMPAT_ELSEWHERE, CaptionerConfig, expand_compat
from model.captioner.loss import caption_loss, label_smoothed

__all__ = [
    "COMPAT",
    "COMPAT_ELSEWHERE",
    "PAD",
    "START",
    "Captioner",
    "CaptionerConfig",
    "GraphBatch",
    "Memories",
    "caption_loss",
    "expand_compat",
    "label_smoothed",
]
