"""Finds a trained captioner wherever it may come from: a run, a checkpoint folder, an export, or a published file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from model.captioner.tuning import BACKBONE
from pretrained.akg import load_torch_file, published_captioner
from pretrained.backbones import weights_hash
from pretrained.inner_backbone import TUNED, retrieval_part
from utility.checkpoint import Checkpoint, chosen_checkpoint, export_pth, load_checkpoint, strip_prefixes

PROGRAM = "captioner"
PUBLISHED_WORDS = 20  # longest caption of the published system


@dataclass
class StoredCaptioner(Checkpoint):
    """A captioner's checkpoint without its training state.

    Attributes:
        backbone: the retrieval checkpoint of a backbone that was tuned with it, whose tensors are not among `tensors`;
            the config's features then name this backbone.
    """

    backbone: Checkpoint | None = None

    @property
    def all_tensors(self) -> dict[str, Tensor]:
        """Those of the captioner and, under `backbone.`, those of the backbone."""
        inner = {} if self.backbone is None else self.backbone.tensors
        return self.tensors | {BACKBONE + name: value for name, value in inner.items()}


def load_captioner(place: Path | str) -> StoredCaptioner:
    """The captioner that a path means, without its training state.

    Args:
        place: a checkpoint folder; the folder of a run, which means its `best`; an export (`best_model.pth`); or an AKG
            `.ckpt`, whose config has no "features": how these were made is not stored in it.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: something else than a captioner.
    """
    path = Path(place)
    if path.is_file():
        content = load_torch_file(path)
        if isinstance(content, Mapping) and "vc_model" in content:
            checkpoint = _published(content, str(path))
        elif isinstance(content, Mapping) and {"state_dict", "config", "vocabulary"} <= set(content):
            tensors = strip_prefixes(content["state_dict"])
            parts = (content["config"], None, content["vocabulary"], None, content.get("tables"))
            checkpoint = Checkpoint(tensors, *parts)
        else:
            held = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
            raise ValueError(
                f"{path} is neither an export of ours nor an AKG checkpoint: it holds {held}. Give a checkpoint "
                "folder, best_model.pth, or a file with 'vc_model' and 'config'"
            )
    else:
        checkpoint = load_checkpoint(chosen_checkpoint(path), training=False)
    if checkpoint.config.get("program") != PROGRAM or checkpoint.vocabulary is None:
        raise ValueError(f"{path} is not a checkpoint of a captioner")
    return _parted(checkpoint)


def export_captioner(path: Path | str, checkpoint: StoredCaptioner) -> None:
    """Writes `best_model.pth`: {"state_dict", "config", "vocabulary", "tables"}, which `load_captioner` reads back."""
    parts = {"config": checkpoint.config, "vocabulary": checkpoint.vocabulary, "tables": checkpoint.tables}
    export_pth(path, checkpoint.all_tensors, parts)


def _parted(checkpoint: Checkpoint) -> StoredCaptioner:
    """Captioner and backbone apart, and the backbone's name and hash where the features' settings have their places."""
    parts = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    if TUNED not in checkpoint.config:
        return StoredCaptioner(**parts)
    backbone = retrieval_part(checkpoint)
    parts["tensors"] = {k: v for k, v in checkpoint.tensors.items() if not k.startswith(BACKBONE)}
    config = copy.deepcopy(checkpoint.config)
    config["features"]["settings"]["nodes"]["backbone"] = {
        "name": backbone.config["backbone"]["name"],
        "hash": weights_hash(backbone.tensors),
    }
    return StoredCaptioner(**parts | {"config": config}, backbone=backbone)


def _published(content: Mapping[str, Any], source: str) -> Checkpoint:
    found = published_captioner(content, source)
    config = {
        "program": PROGRAM,
        "model_name": None,
        "captioner": found.config.to_dict(),
        "max_words": PUBLISHED_WORDS,
        "features": None,
        "weights": {},
        "published": {"system": "AKG", "epoch": found.epoch, "settings": found.settings},
    }
    return Checkpoint(found.tensors, config, None, found.words, None)
