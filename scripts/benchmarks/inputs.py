"""Sizes, random graphs, captions and networks that the rows are measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.captioner import PAD, START, Captioner, CaptionerConfig
from utility.vocabulary import Vocabulary

NEVER = -50.0  # bias of a word that no search takes unless it must


@dataclass(frozen=True)
class Sizes:
    """The published sizes; MSR-VTT's training split for loading."""

    slots: int = 20
    nodes: int = 9
    node_dim: int = 512
    action_dim: int = 1024
    vocab_size: int = 10000
    max_words: int = 20
    beam: int = 5
    videos: int = 16  # searched together
    published_videos: int = 4  # of these, how many the published search is timed on
    batches: tuple[int, int] = (1, 8)
    train_videos: int = 4
    captions: int = 5
    corpus_videos: int = 6513
    corpus_captions: int = 20
    micro_batch: int = 32
    share: int = 16  # loading uses one video in so many
    pictures: int = 256  # per forward pass of an extractor, its default
    clip_frames: int = 625  # at 25 frames per second
    clip_size: tuple[int, int] = (240, 320)
    least_seconds: float = 0.2
    small: bool = False

    def config(self, **changes) -> CaptionerConfig:
        sizes = (self.node_dim, self.action_dim, self.vocab_size, self.slots, self.nodes)
        changes = {"node_positions": False} | changes  # the published nodes have no place
        return CaptionerConfig.small(*sizes, **changes) if self.small else CaptionerConfig(*sizes, **changes)


PUBLISHED = Sizes()
QUICK = Sizes(
    slots=4, nodes=3, node_dim=8, action_dim=16, vocab_size=40, max_words=5, beam=3, videos=3, published_videos=2,
    batches=(1, 2), train_videos=2, captions=2, corpus_videos=24, corpus_captions=4, micro_batch=4, share=2,
    pictures=16, clip_frames=40, clip_size=(48, 64), least_seconds=0.0, small=True,
)  # fmt: skip


def graphs(sizes: Sizes, count: int, seed: int = 0) -> dict[str, Tensor]:
    """A batch of full graphs whose numbers half precision holds exactly."""
    rng = torch.Generator().manual_seed(seed)
    shape = (count, sizes.slots, sizes.nodes)

    def half(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng).half().float()

    return {
        "nodes": half(*shape, sizes.node_dim),
        "actions": half(count, sizes.slots, sizes.action_dim).abs().clamp(min=1e-3).half().float(),
        "temporal": half(count, sizes.slots - 1, sizes.nodes, sizes.nodes).softmax(dim=-1),
        "slot_mask": torch.ones(shape[:2], dtype=torch.bool),
        "node_mask": torch.ones(shape, dtype=torch.bool),
    }


def stored(batch: dict[str, Tensor], row: int) -> dict[str, np.ndarray]:
    """One graph of a batch as the arrays of a graph file."""
    arrays = {name: tensor[row].numpy() for name, tensor in batch.items()}
    frames = np.arange(len(arrays["slot_mask"]))
    return arrays | {"frame_index": frames.astype(np.int32), "frame_time": frames.astype(np.float32)}


def captioner(sizes: Sizes, device: torch.device, *, endless: bool = False, compat: tuple[str, ...] = ()) -> Captioner:
    """A captioner with weights of unit gain, so that its words are as unequal as those of a trained one.

    Args:
        endless: the end token is taken only where nothing else is allowed, so that every search runs all its steps.
    """
    torch.manual_seed(0)
    model = Captioner(sizes.config(compat=compat))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(std=1 / math.sqrt(module.weight.shape[1]))
        if endless:
            model.generator.linear.bias[[PAD, START]] = NEVER
    return model.to(device)


def sentences(sizes: Sizes, videos: int, seed: int = 0) -> dict[str, list[str]]:
    """{video: raw captions} of 5 to 15 words, frequent words far more frequent than rare ones."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 16, (videos, sizes.corpus_captions))
    words = np.minimum(rng.zipf(1.3, int(lengths.sum())), sizes.vocab_size).tolist()
    captions, start = {}, 0
    for video, row in enumerate(lengths.tolist()):
        captions[f"video{video}"] = texts = []
        for length in row:
            texts.append(" ".join(f"word{word}" for word in words[start : start + length]))
            start += length
    return captions


def caption_ids(sizes: Sizes, rows: int, device: torch.device, seed: int = 0) -> Tensor:
    """Full-length captions [rows, max_words + 2] between two <S>."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(START + 1, sizes.vocab_size, (rows, sizes.max_words + 2), generator=rng)
    ids[:, 0] = ids[:, -1] = START
    return ids.to(device)


def vocabulary(captions: dict[str, list[str]]) -> Vocabulary:
    return Vocabulary.build(text for texts in captions.values() for text in texts)
