"""The folder of a recognition run, `models/METHOD/DATASET/RUN_ID`, and what is read back from one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dataset.action_pictures import ViewSettings
from model.recognition import Recogniser, Settings, build
from pretrained import recogniser_weights
from pretrained.backbones import Backbone, load_backbone
from utility.checkpoint import load_checkpoint
from utility.places import ROOT, located
from utility.whole_files import whole_file

CHECKPOINT, CONFIG, LOG, VALIDATION = "checkpoint.pth", "config.json", "training_log.json", "validation_results.json"


def models_root(given: str | None) -> Path:
    """Folder of all runs: beside the programs, wherever they are started from."""
    return Path(given).expanduser() if given else ROOT / "models"


def find_run(spec: str, root: str | None = None) -> Path:
    """Folder of a run from `METHOD/DATASET/RUN_ID` or a path to it or to a file in it.

    Raises:
        FileNotFoundError: no such run; the message names those that exist.
    """
    for path in (models_root(root) / spec, Path(spec).expanduser()):
        folder = path.parent if path.is_file() else path
        if (folder / CHECKPOINT).is_file() and (folder / CONFIG).is_file():
            return folder
    found = sorted(file.parent for file in models_root(root).glob(f"*/*/*/{CHECKPOINT}"))
    names = ", ".join(folder.relative_to(models_root(root)).as_posix() for folder in found[:8]) or "none yet"
    raise FileNotFoundError(
        f"no run {spec}: neither a folder below {models_root(root)} nor a path with {CHECKPOINT} and {CONFIG} in it. "
        f"Runs: {names}"
    )


@dataclass(frozen=True)
class Run:
    """A trained recogniser on disk.

    Attributes:
        method, corpus, classes: as trained.
        settings: of the recogniser, complete.
        backbone: {"spec": where it was, "hash": of its weights, "name"}.
        views: what it looks at.
    """

    folder: Path
    method: str
    corpus: str
    classes: list[str]
    settings: dict[str, Any]
    backbone: dict[str, Any]
    views: ViewSettings


def read_run(folder: Path) -> Run:
    """
    Raises:
        ValueError: config.json is not one of ours.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        views = ViewSettings(**config["views"])
        known = {name: config[name] for name in ("method", "corpus", "classes", "settings", "backbone")}
        return Run(folder, views=views, **known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} does not describe a recogniser: {error}") from error


def load_recogniser(run: Run, backbone_spec: str | None = None, device: Any = "cpu") -> tuple[Recogniser, Backbone]:
    """(recogniser in eval mode, its backbone).

    Raises:
        ValueError: another backbone than that of the training.
    """
    backbone = load_backbone(backbone_spec or located(run.backbone["spec"]))
    if backbone.hash != run.backbone["hash"]:
        raise ValueError(
            f"{run.folder} was trained with the backbone {run.backbone['name']} (hash {run.backbone['hash']}), "
            f"{backbone.name} has the hash {backbone.hash}: give that one with --backbone"
        )
    model = build(run.method, backbone.model, Settings(**run.settings))
    recogniser_weights.load_recogniser(model, run.folder / CHECKPOINT)
    return model.to(device).eval(), backbone


@dataclass(frozen=True)
class RunFolder:
    """Writes the files of a run; each is replaced only when the new one is whole."""

    path: Path

    def config(self, content: Mapping[str, Any]) -> None:
        self._json(CONFIG, content)

    def log(self, history: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        self._json(LOG, {**summary, "epochs": list(history)})

    def results(self, name: str, content: Mapping[str, Any]) -> None:
        self._json(name, content)

    def checkpoint(self, checkpoint: recogniser_weights.RecogniserCheckpoint) -> None:
        recogniser_weights.write_recogniser(self.path / CHECKPOINT, checkpoint)

    def best(self) -> dict[str, Tensor]:
        """Learnt tensors of the best epoch."""
        folder = self.path / "best" if (self.path / "best").is_dir() else self.path / "last"
        return load_checkpoint(folder, training=False).tensors

    def _json(self, name: str, content: Mapping[str, Any]) -> None:
        with whole_file(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
