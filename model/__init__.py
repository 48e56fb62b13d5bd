"""Networks only: no file access, no flags, no printing."""

from model.retrieval.clip4clip import CLIP4Clip

__all__ = ["CLIP4Clip"]
