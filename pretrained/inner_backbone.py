"""The retrieval checkpoint inside that of a captioner which tuned its backbone.

Such a captioner's config holds under `tuned` what the config of a retrieval run holds, and its tensors `backbone.*` are
that run's. Whoever wants a backbone or a retrieval network takes this part, whoever wants the captioner the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.captioner.tuning import BACKBONE
from utility.checkpoint import CONFIG, Checkpoint

TUNED = "tuned"


def is_tuned(folder: Path) -> bool:
    """Whether a checkpoint folder is that of a captioner with its backbone inside."""
    return TUNED in json.loads((folder / CONFIG).read_text(encoding="utf-8"))


def retrieval_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the retrieval checkpoint inside; any other config as it is."""
    return dict(config.get(TUNED, config))


def retrieval_part(checkpoint: Checkpoint) -> Checkpoint:
    """The retrieval checkpoint inside, without a training to continue; any other checkpoint as it is."""
    if TUNED not in checkpoint.config:
        return checkpoint
    inner = {name: value for name, value in checkpoint.tensors.items() if name.startswith(BACKBONE)}
    tensors = {name.removeprefix(BACKBONE): value for name, value in inner.items()}
    return Checkpoint(tensors, retrieval_config(checkpoint.config), None, None, None)
