"""Graph captioner: graph network, bidirectional decoders, search."""

from model.captioner.beam_search import search, search_both
from model.captioner.captioner import PAD, START, Captioner, GraphBatch, Memories
from model.captioner.config import COMPAT, COMPAT_ELSEWHERE, CaptionerConfig, expand_compat
from model.captioner.hypothesis import Hypothesis, SearchResult
from model.captioner.loss import caption_loss, label_smoothed
from model.captioner.published import config_from_state_dict
from model.captioner.reference_search import reference_search, reference_search_both

__all__ = [
    "COMPAT",
    "COMPAT_ELSEWHERE",
    "PAD",
    "START",
    "Captioner",
    "CaptionerConfig",
    "GraphBatch",
    "Hypothesis",
    "Memories",
    "SearchResult",
    "caption_loss",
    "config_from_state_dict",
    "expand_compat",
    "label_smoothed",
    "reference_search",
    "reference_search_both",
    "search",
    "search_both",
]
