"""Starting a run from what another one learnt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrained.recogniser_weights import load_recogniser
from scripts.train_models.run_folder import CHECKPOINT, CONFIG, find_run, read_run
from utility.checkpoint import is_checkpoint, load_checkpoint
from utility.training_run import TrainState

log = logging.getLogger(__name__)


def continue_from(
    spec: str, root: str | None, model: Any, optimizer: Any, lr: float, fresh: bool, epochs: int,
    description: Mapping[str, Any],
) -> TrainState:  # fmt: skip
    """Loads what fits of another run into the model, and says what did.

    Where all of it fits, corpus and backbone are the same, and unless `fresh`, moments of the optimiser and the number
    of epochs trained come along, so that rates go on where they stopped; the rate itself is always this run's. Else
    the new run counts from 0.

    Args:
        spec: METHOD/DATASET/RUN_ID, a run's folder, or a recogniser's checkpoint file, published ones too.
        description: of this run, as its config.json holds it.

    Raises:
        FileNotFoundError: no such run.
        ValueError: nothing fits, or no epoch is left to train.
    """
    path = Path(spec).expanduser()
    of_run = path.name == CHECKPOINT and path.with_name(CONFIG).is_file()
    folder = None if path.is_file() and not of_run else find_run(spec, root)
    checkpoint, left = load_recogniser(model, path if folder is None else folder / CHECKPOINT, partial=True)
    own, stored = model.learner(), checkpoint.learner
    loaded = [name for name in own if name in stored and stored[name].shape == own[name].shape]
    log.info("continuing from %s: loaded %s", folder or path, ", ".join(loaded))
    if left:
        log.warning("not loaded: %s", "; ".join(left))
    if left or fresh or folder is None or not is_checkpoint(folder / "last") or not _alike(folder, description):
        log.info("epochs and rates start from the beginning")
        return TrainState()
    training = load_checkpoint(folder / "last").training or {}
    state = TrainState(**training["state"])
    if state.epoch >= epochs:
        raise ValueError(
            f"--continue_from {spec}: that run has trained {state.epoch} epochs, and --epochs is {epochs}. Give more, "
            "or --use_fresh_lr_scheduler to count from the beginning"
        )
    try:
        optimizer.load_state_dict(training["optimizer"])
    except ValueError:
        log.warning("the optimiser's moments belong to other parameters (learn_just_pooling?) and start anew")
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = lr
    # The best of the other run is that of another run; this one finds its own.
    return TrainState(epoch=state.epoch, history=state.history)


def _alike(folder: Path, description: Mapping[str, Any]) -> bool:
    """Whether the run in a folder has the corpus and the backbone of the one described."""
    run = read_run(folder)
    same_backbone = run.backbone["hash"] == description["backbone"]["hash"]
    if not same_backbone:
        log.warning("%s learnt over another backbone, %s", folder, run.backbone["name"])
    return same_backbone and run.corpus == description["corpus"]
