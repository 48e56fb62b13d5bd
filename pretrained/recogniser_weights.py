"""Checkpoints of recognisers in the published layout, read and written: tensors and plain types only.

| entry | content |
|---|---|
| `context_state_dict` | prompts, pooling and temperature, as `Recogniser.learner` names them; no backbone |
| `optimizer_state_dict`, `lr_scheduler_state_dict`, `scaler_state_dict` | training state, may be absent |
| `epoch`, `training_history` | how far it came, {train, val} x {acc, loss} |
| `config` | all settings |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from model.recognition import Recogniser
from utility.checkpoint import read_plain, strip_prefixes, write_plain

LEARNER = "context_state_dict"
TRAINING = ("optimizer_state_dict", "lr_scheduler_state_dict", "scaler_state_dict")


@dataclass(frozen=True)
class RecogniserCheckpoint:
    """Content of a checkpoint file; what it lacks is empty or None. `training` has the published entries' names."""

    learner: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    epoch: int | None = None
    history: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)


def read_recogniser(path: Path | str) -> RecogniserCheckpoint:
    """Reads a published `.pt` or our `checkpoint.pth`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a recogniser's checkpoint, or one that only running its code could read.
    """
    content = read_plain(path)
    learner = content.get(LEARNER) if isinstance(content, Mapping) else None
    if not isinstance(learner, Mapping) or not all(isinstance(value, Tensor) for value in learner.values()):
        found = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{path} is not a recogniser's checkpoint: no tensors under {LEARNER}, it holds {found}")
    known = {LEARNER, "config", "epoch", "training_history", *TRAINING}
    return RecogniserCheckpoint(
        learner=strip_prefixes(learner),
        config=dict(content.get("config") or {}),
        epoch=content.get("epoch"),
        history=dict(content.get("training_history") or {}),
        training={name: content[name] for name in TRAINING if content.get(name) is not None},
        other={name: value for name, value in content.items() if name not in known},
    )


def write_recogniser(path: Path | str, checkpoint: RecogniserCheckpoint) -> None:
    """Writes the published layout; the file appears only when it is complete.

    Raises:
        TypeError: something other than tensors and plain types in it.
    """
    learner = {name: value.detach().cpu() for name, value in checkpoint.learner.items()}
    known = {"config": checkpoint.config, "epoch": checkpoint.epoch, "training_history": checkpoint.history}
    write_plain(path, {LEARNER: learner, **known, **checkpoint.training, **checkpoint.other})


def load_recogniser(
    model: Recogniser, path: Path | str, partial: bool = False
) -> tuple[RecogniserCheckpoint, list[str]]:
    """Reads a checkpoint and copies its learner into a model.

    Returns:
        the checkpoint, and what was not loaded, one line each (empty unless `partial`).

    Raises:
        FileNotFoundError, ValueError: as `read_recogniser`; missing, unexpected or differently shaped tensors without
            `partial`, or no tensor that fits.
    """
    checkpoint = read_recogniser(path)
    try:
        lines = model.load_learner(checkpoint.learner, partial)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    own = model.learner()
    if not any(name in own and own[name].shape == x.shape for name, x in checkpoint.learner.items()):
        raise ValueError(f"{path}: nothing in it fits {model.method.title}: {'; '.join(lines)}")
    return checkpoint, lines
