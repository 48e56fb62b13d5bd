"""Text-to-video and video-to-text retrieval: heads and losses over the CLIP backbone."""

from model.retrieval.clip4clip import CLIP4Clip

__all__ = ["CLIP4Clip"]
