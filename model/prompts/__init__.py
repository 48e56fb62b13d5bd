"""Prompts: modules that rewrite the tokens of a tower between its blocks."""

from model.prompts.base import Prompt
from model.prompts.frame_tokens import FrameTokens
from model.prompts.layer_prompts import LayerPrompts, PromptMap
from model.prompts.summary_to_text import SummaryToText
from model.prompts.summary_token import SummaryToken
from model.prompts.temporal_pool import TemporalPool
from model.prompts.text_context import TextContext
from model.prompts.visual_context import VisualContext

__all__ = [
    "FrameTokens",
    "LayerPrompts",
    "Prompt",
    "PromptMap",
    "SummaryToText",
    "SummaryToken",
    "TemporalPool",
    "TextContext",
    "VisualContext",
]
