"""Finds a trained captioner wherever it may come from: a run, a checkpoint folder, an export, or a published file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrained.akg import load_torch_file, published_captioner
from utility.checkpoint import Checkpoint, chosen_checkpoint, export_pth, load_checkpoint, strip_prefixes

PROGRAM = "captioner"
PUBLISHED_WORDS = 20  # longest caption of the published system


def load_captioner(place: Path | str) -> Checkpoint:
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
    return checkpoint


def export_captioner(path: Path | str, checkpoint: Checkpoint) -> None:
    """Writes `best_model.pth`: {"state_dict", "config", "vocabulary", "tables"}, which `load_captioner` reads back."""
    parts = {"config": checkpoint.config, "vocabulary": checkpoint.vocabulary, "tables": checkpoint.tables}
    export_pth(path, checkpoint.tensors, parts)


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
