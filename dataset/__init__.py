"""Corpora: one reader per published layout, all returning a `dataset.corpus.Corpus`."""

from __future__ import annotations

from collections.abc import Callable

from dataset.activitynet import read_activitynet
from dataset.corpus import Corpus, CorpusError
from dataset.didemo import read_didemo
from dataset.folder import read_folder
from dataset.lsmdc import read_lsmdc
from dataset.minimotion import read_minimotion
from dataset.msrvtt import read_msrvtt
from dataset.msvd import read_msvd
from dataset.vatex import read_vatex

READERS: dict[str, Callable[..., Corpus]] = {
    "minimotion": read_minimotion,
    "msrvtt": read_msrvtt,
    "msvd": read_msvd,
    "activitynet": read_activitynet,
    "didemo": read_didemo,
    "lsmdc": read_lsmdc,
    "vatex": read_vatex,
    "folder": read_folder,
}

__all__ = ["READERS", "Corpus", "CorpusError"]
