"""Retrieval checkpoints on disk: our runs, their exports, and the files that the published trainers write."""

from __future__ import annotations

import logging
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.methods import build_method
from pretrained import zoo
from pretrained.backbones import describe
from pretrained.inner_backbone import is_tuned, retrieval_part
from pretrained.retrieval_weights import DROPPED, clip_config_of, recognise, settings_of
from utility.checkpoint import (
    Checkpoint,
    export_pth,
    is_checkpoint,
    load_checkpoint,
    load_tensors,
    read_tensors,
    strip_prefixes,
)

log = logging.getLogger(__name__)

BEST, LAST = "best_model.pth", "last_model.pth"
# Files that a folder may hold beside or in place of `best` and `last`, the wanted kind first.
EXPORTS = {
    "best": (BEST, "ckpt.best.pth.tar", "ckpt.pth.tar", LAST),
    "last": (LAST, "ckpt.pth.tar", "ckpt.best.pth.tar", BEST),
}
ARCHITECTURES = {
    "clip4clip": "CLIP4Clip",
    "stop": "STOP",
    "dgl": "DGL",
    "tempme": "TempMe",
    "unified": "UnifiedTempMeSTOP",
}


@dataclass
class StoredRun:
    """A checkpoint, and where it is.

    Attributes:
        checkpoint: `training` is None where there is nothing to continue. The config of a published file holds what
            the shapes of its tensors tell.
        source: the file or checkpoint folder that was read.
        folder: the folder of the run.
        published: not ours: names need not all match.
    """

    checkpoint: Checkpoint
    source: Path
    folder: Path
    published: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return self.checkpoint.config


def open_run(path: Path | str, kind: str = "best", training: bool = False) -> StoredRun:
    """Reads a checkpoint onto the CPU.

    Args:
        path: a run's folder, a checkpoint folder (`best`, `last`), `best_model.pth`, `last_model.pth`, or a published
            `ckpt.pth.tar` or `pytorch_model.bin.N`. Of a captioner that tuned its backbone, that backbone.
        kind: which one of a run's folder: "best" or "last" (the other where there is only that).
        training: whether to read the training state too.

    Raises:
        FileNotFoundError, ValueError: absent; damaged or of another kind.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _open_folder(path, kind, training)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: there is no such file or folder")
    content = _load(path)
    tensors = content.get("state_dict")
    if isinstance(tensors, Mapping) and isinstance(content.get("config"), Mapping):
        tensors = strip_prefixes({k: v for k, v in tensors.items() if isinstance(v, Tensor)})
        state = content.get("training") if training else None
        checkpoint = retrieval_part(Checkpoint(tensors, dict(content["config"]), state, None, None))
        return StoredRun(checkpoint, path, path.parent)
    tensors = {name: value.float() for name, value in read_tensors(path).items() if not name.endswith(DROPPED)}
    method = recognise(tensors)
    clip = {name: value for name, value in tensors.items() if name.startswith("clip.")}
    config = {
        "method": method,
        "method_settings": settings_of(tensors),
        "backbone": describe(clip_config_of(clip), path.name, zoo.CLIP_MEAN, zoo.CLIP_STD),
    }
    return StoredRun(Checkpoint(tensors, config, None, None, None), path, path.parent, published=True)


def build_stored(run: StoredRun) -> nn.Module:
    """The network of a checkpoint, in eval mode."""
    config = run.config
    settings = config.get("method_settings")
    if settings is None:
        header = config["header"]
        settings = {"sim_header": header["name"], "cross_num_hidden_layers": header["layers"]}
    model = build_method(config["method"], CLIP(CLIPConfig(**config["backbone"]["clip"])), settings)
    load_weights(model, run)
    return model.eval()


def load_weights(model: nn.Module, run: StoredRun, partial: bool | None = None) -> None:
    """Copies a run's tensors into a model; what served its training only is left out.

    Args:
        partial: accept tensors that are missing or left over, and list them; by default for published files.
    """
    partial = run.published if partial is None else partial
    tensors = {name: value for name, value in run.checkpoint.tensors.items() if not name.startswith("words.")}
    differing = load_tensors(model, tensors, str(run.source), partial=partial)
    if differing:
        shown = "; ".join(differing[:12]) + (f"; and {len(differing) - 12} more" if len(differing) > 12 else "")
        log.warning("%s: %d tensors differ from the model's: %s", run.source, len(differing), shown)


def carry_best(run: StoredRun, folder: Path, copies: bool = True) -> None:
    """Prepares the continuation of a run in a folder: into another one its best checkpoint goes along.

    Where none is there the best score is forgotten, because nothing could be loaded for it.

    Args:
        copies: whether this process is the one that writes.
    """
    if is_checkpoint(run.folder / "best"):
        if copies and run.folder.resolve() != folder.resolve():
            shutil.copytree(run.folder / "best", folder / "best", dirs_exist_ok=True)
            if (run.folder / BEST).is_file():
                shutil.copy2(run.folder / BEST, folder / BEST)
    elif run.checkpoint.training["state"]["best_score"] is not None:
        log.warning("no best checkpoint beside %s: the best epoch is chosen anew from here on", run.source)
        run.checkpoint.training["state"] |= {"best_score": None, "best_epoch": 0, "epochs_since_best": 0}


@dataclass
class RunExport:
    """Called whenever a run is saved: writes its exports and logs, once per epoch, what the published trainers say.

    Attributes:
        config: of the checkpoint.
        epochs: of the whole training.
    """

    folder: Path
    model: nn.Module
    config: Mapping[str, Any]
    epochs: int
    told: int = 0

    def __call__(self, kind: str, training: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> None:
        """Writes `best_model.pth` (weights) or `last_model.pth` (with all that resuming needs) beside the checkpoints.

        Args:
            kind: "best" or "last".
            summary: counters and history, as `utility.training_run.TrainingRun.summary` gives them.
        """
        extra = {
            "epoch": summary["epoch"],
            "global_step": summary["step"],
            "arch": ARCHITECTURES[self.config["method"]],
            "best_acc1": summary["best_score"],
            "best_epoch": summary["best_epoch"],
            "config": dict(self.config),
        }
        if training is not None:
            extra["training"] = training
        export_pth(self.folder / (BEST if kind == "best" else LAST), self.model.state_dict(), extra)
        if kind == "last" and summary["history"] and summary["epoch"] > self.told:
            self._tell(summary)

    def _tell(self, summary: Mapping[str, Any]) -> None:
        self.told = summary["epoch"]
        loss = summary["history"][-1].get("train/loss", float("nan"))
        log.info("Epoch %d/%d Finished, Train Loss: %.6f", self.told, self.epochs, loss)
        if summary["best_score"] is not None:
            log.info("The best R1 is: %.4f, best_e=%d", summary["best_score"], summary["best_epoch"])


def _open_folder(path: Path, kind: str, training: bool) -> StoredRun:
    if is_checkpoint(path):
        folder = path.parent if path.name in ("best", "last") else path
        return StoredRun(retrieval_part(load_checkpoint(path, training)), path, folder)
    if is_checkpoint(path / "best") and is_tuned(path / "best"):
        kind = "best"  # a captioner's run: its training cannot be continued here
    for name in (kind, "last" if kind == "best" else "best"):
        if is_checkpoint(path / name):
            return StoredRun(retrieval_part(load_checkpoint(path / name, training)), path / name, path)
    numbered = sorted(path.glob("pytorch_model.bin.*"), key=_number)
    for file in (*(path / name for name in EXPORTS[kind]), *numbered[-1:]):
        if file.is_file():
            return open_run(file, kind, training)
    raise FileNotFoundError(
        f"{path} holds no checkpoint: neither best/ or last/ nor {', '.join(EXPORTS[kind])} or pytorch_model.bin.N"
    )


def _number(path: Path) -> int:
    match = re.search(r"(\d+)$", path.name)
    return int(match[1]) if match else -1


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: {error}. Loading it would have to run code stored in it"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content
