"""Corpora: one reader per published layout, all returning a `dataset.corpus.Corpus`."""

from __future__ import annotations

from collections.abc import Callable

from dataset.corpus import Corpus, CorpusError
from dataset.folder import read_folder
from dataset.minimotion import read_minimotion
from dataset.msrvtt import read_msrvtt
from dataset.msvd import read_msvd

READERS: dict[str, Callable[..., Corpus]] = {
    "minimotion": read_minimotion,
    "msrvtt": read_msrvtt,
    "msvd": read_msvd,
    "folder": read_folder,
}

__all__ = ["READERS", "Corpus", "CorpusError"]
