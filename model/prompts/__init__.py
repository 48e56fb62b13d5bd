"""Prompts: modules that rewrite the tokens of a tower between its blocks."""

from model.prompts.base import Prompt

__all__ = ["Prompt"]
