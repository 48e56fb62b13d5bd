"""A video file to a caption without files in between: every stage in memory, by the functions that the stages use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.graph_features import BOXES, GRAPH_ARRAYS, padded_rows
from extractors.action_features import ActionVectors
from extractors.base import Extractor, Sampling, extract_file
from extractors.clip_features import GridNodes
from extractors.file_relations import ROW_ARRAYS, FileRelations
from extractors.object_features import ObjectNodes
from graphs.captions import searcher
from graphs.parts import graph_part, object_rows, spatial_part, temporal_part
from model.captioner import Captioner, CaptionerConfig
from pretrained.backbones import backbone_of, load_backbone
from pretrained.captioners import load_captioner
from pretrained.detectors import load_detector
from pretrained.i3d_weights import load_i3d
from utility.caption_evaluation import caption_records
from utility.checkpoint import Checkpoint, load_tensors
from utility.device_memory import memory_advice
from utility.distributed import choose_device
from utility.feature_layout import flatten
from utility.places import located
from utility.precision import recorded_precision
from utility.video import VideoError
from utility.vocabulary import Vocabulary

# What the captioner's network reads, where it was trained on it.
BATCH_ARRAYS = (*GRAPH_ARRAYS, BOXES, "objects", "object_mask", *ROW_ARRAYS)
# What may differ between the features of the training and those made here: it moves rounding only.
FREE_SETTINGS = ("precision",)
# How the published system makes features; its checkpoints do not say with which networks.
PUBLISHED_FEATURES = {
    "nodes": {
        "stage": "grid_nodes", "sampling": "reference", "rate": None, "patch": 3, "overlap": 0.5, "precision": "fp32",
    },
    "actions": {"stage": "actions", "i3d_bn": "clip_statistics", "precision": "fp32"},
}  # fmt: skip


@dataclass(frozen=True)
class FileCaption:
    """What became of one file: a caption, or the stage and cause of a failure.

    Attributes:
        n_best: where more than one was asked for, the best captions with their scores, best first.
    """

    path: str
    caption: str | None
    seconds: float
    stage: str | None = None
    cause: str | None = None
    n_best: list[dict[str, Any]] | None = None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.caption is None:
            return {"file": self.path, "caption": None, "stage": self.stage, "cause": self.cause}
        more = {} if self.n_best is None else {"n_best": self.n_best}
        return {"file": self.path, "caption": self.caption, "seconds": round(self.seconds, 3), **more}


class FileCaptioner:
    """A trained captioner with the networks that its features came from.

    Args:
        checkpoint: a captioner, as `pretrained.captioners.load_captioner` takes it.
        places: where networks are now, by kind (backbone, detector, action_network); else as the checkpoint says (a
            published one does not).
        beam, max_words, length_penalty, search, n_best, r2l_hypotheses: as in `graphs.captions.searcher`; max_words as
            in training by default.
        compat: published behaviours of the network, beside those of the training.

    Raises:
        FileNotFoundError: a checkpoint or weights are not where they should be.
        ValueError: other networks than those of the training, or features that cannot be made from a file.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        places: Mapping[str, str | None] | None = None,
        device: str = "auto",
        beam: int = 5,
        max_words: int | None = None,
        length_penalty: float = 0.0,
        search: str = "sound",
        compat: Sequence[str] = (),
        n_best: int = 1,
        r2l_hypotheses: int = 1,
    ):
        self.device = choose_device(device)
        stored = load_captioner(checkpoint)
        self.config = stored.config
        config = CaptionerConfig.from_dict(stored.config["captioner"], compat)
        self.vocabulary = Vocabulary.from_list(stored.vocabulary)
        features = stored.config["features"] or _published_features(config)
        self._settings = {part: features["settings"][part] for part in ("nodes", "actions")}
        if "objects" in features.get("others", {}):
            self._settings["objects"] = features["others"]["objects"].get("nodes", {})
        for settings in self._settings.values():
            _refuse_foreign(settings)
        self.sampling = Sampling.recorded(self._settings["nodes"])
        self._networks: dict[tuple[str, str], Any] = {}
        self._places = {kind: place for kind, place in (places or {}).items() if place}
        self._noted = stored.config.get("weights", {})
        if stored.backbone is not None:
            inner = backbone_of(stored.backbone, Path(checkpoint))
            inner.model.eval().to(self.device)
            self._networks["backbone", inner.hash] = inner
        self.extractors = {part: self._extractor(settings) for part, settings in self._settings.items()}
        self.relations = None if config.mode == "grid" else self._file_relations(stored)
        if stored.config["features"]:
            self._check_settings()
        self.model = Captioner(config).to(self.device).eval()
        load_tensors(self.model, stored.tensors, str(checkpoint))
        self.n_best = n_best
        longest = max_words or stored.config["max_words"]
        self._search = searcher(self.model, beam, longest, length_penalty, search, n_best, r2l_hypotheses)

    def caption(self, path: Path | str) -> FileCaption:
        """The caption of a video file, or why it has none.

        Raises:
            OutOfDeviceMemory: one video is too much for the device.
        """
        start = time.perf_counter()
        with memory_advice(f"on {self.device} with the single file {path}", "Use a smaller --beam, or --device cpu"):
            try:
                arrays = self.arrays(path)
            except VideoError as error:
                return FileCaption(str(path), None, time.perf_counter() - start, error.stage, error.cause)
            batch = {}
            for name in (name for name in BATCH_ARRAYS if name in arrays):
                value = torch.from_numpy(np.ascontiguousarray(arrays[name]))[None].to(self.device)
                batch[name] = value if value.dtype == torch.bool else value.float()
            (found,) = self._search(batch)
        records = caption_records(found, self.vocabulary)
        seconds = time.perf_counter() - start
        return FileCaption(str(path), records[0]["caption"], seconds, n_best=records if self.n_best > 1 else None)

    def arrays(self, path: Path | str) -> dict[str, np.ndarray]:
        """What the captioner reads of a file: its compact action graph, and object and relation rows where it was
        trained on them, rounded as the feature files round them.

        Raises:
            VideoError: the video cannot be read or sampled.
        """
        extractors = [*self.extractors.values(), *([] if self.relations is None else [self.relations.frames])]
        found = extract_file(path, extractors, self.sampling)
        features = {part: _as_stored(found[extractor.feature]) for part, extractor in self.extractors.items()}
        nodes = features["nodes"]
        arrays = graph_part(nodes, spatial_part(nodes, features["actions"]), temporal_part(nodes, self.device))
        if "objects" in features:
            rows = _as_stored(object_rows(features["objects"]))["objects"]
            arrays["objects"], arrays["object_mask"] = padded_rows(rows)
        return arrays if self.relations is None else arrays | self.relations.arrays(found["theta2"])

    def _file_relations(self, stored: Checkpoint) -> FileRelations:
        """Relations through the backbone of the nodes; where nodes have none or their own, through that of the rows."""
        backbone = getattr(self.extractors["nodes"], "backbone", None) if stored.backbone is None else None
        made = stored.config["features"].get("others", {}).get("rel", {})
        if backbone is None and "theta2" in made:
            backbone = self._network("backbone", load_backbone, made["theta2"])
        return FileRelations(stored, backbone, self.device)

    def _extractor(self, settings: dict[str, Any]) -> Extractor:
        """What makes the features that these settings describe."""
        stage = settings["stage"]
        precision = recorded_precision(settings["precision"], self.device)
        if stage == "actions":
            statistics = "clip" if settings["i3d_bn"] == "clip_statistics" else "running"
            network = self._network("action_network", load_i3d, settings)
            return ActionVectors(network, self.device, precision, statistics=statistics)
        if stage == "grid_nodes":
            tiles = {"patch": settings["patch"], "overlap": settings["overlap"]}
            return GridNodes(self._network("backbone", load_backbone, settings), self.device, precision, **tiles)
        seen = settings["preprocessing"]
        kept = (seen["size"], settings["max_objects"], settings["min_score"])
        detector = self._network("detector", lambda spec, device: load_detector(spec, device, *kept), settings)
        backbone = self._network("backbone", load_backbone, settings) if "backbone" in settings else None
        return ObjectNodes(detector, backbone, self.device, precision, square_crop=seen["square_crop"])

    def _network(
        self, kind: str, load: Callable[[str, torch.device], Any], settings: Mapping[str, Mapping[str, str]]
    ) -> Any:
        """The network of the user's place, else of the place noted at training, else of its name, if it is the same.

        Features that look through the same network share it.
        """
        if kind not in settings:
            if kind not in self._places:
                raise ValueError(
                    f"A published checkpoint does not say which {kind} its features were made with: give it with "
                    f"--{kind} PATH"
                )
            return load(self._places[kind], self.device)
        trained = settings[kind]
        if (kind, trained["hash"]) in self._networks:
            return self._networks[kind, trained["hash"]]
        noted = located(self._noted[kind]) if kind in self._noted else trained["name"]
        try:
            network = load(self._places.get(kind, noted), self.device)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}. The captioner needs the {kind} {trained['name']} ({trained['hash']}): give it with "
                f"--{kind} PATH"
            ) from error
        if network.hash != trained["hash"]:
            raise ValueError(
                f"The captioner was trained with the {kind} {trained['name']} ({trained['hash']}), this is "
                f"{network.name} ({network.hash}). Give the right one with --{kind} PATH"
            )
        self._networks[kind, trained["hash"]] = network
        return network

    def _check_settings(self) -> None:
        made = [(extractor, part, self._settings[part]) for part, extractor in self.extractors.items()]
        if self.relations is not None:
            made.append((self.relations.frames, "whole frames", self.relations.settings))
        for extractor, part, trained in made:
            was = flatten(trained)
            now = flatten({**self.sampling.settings(), **extractor.settings})
            changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key) and key not in FREE_SETTINGS]
            if changed:
                listed = "; ".join(f"{key} was {was.get(key)!r}, is {now.get(key)!r}" for key in changed)
                raise ValueError(f"The captioner was trained on {part} that this version makes otherwise: {listed}")


def _refuse_foreign(settings: Mapping[str, Any]) -> None:
    stage = settings.get("stage")
    if stage not in ("actions", "grid_nodes", "object_nodes"):
        raise ValueError(
            f"The captioner was trained on {stage or 'imported features'}, which cannot be made from a single file: it "
            "needs grid nodes (GBased) or object nodes (OBased) of the extractors. Score a split with --do_eval"
        )


def _published_features(config: CaptionerConfig) -> dict[str, Any]:
    """What a published checkpoint would say about its features.

    Raises:
        ValueError: it reads more than the graph, and what that was is not stored in it.
    """
    if config.mode != "grid":
        raise ValueError(
            f"A published checkpoint of mode {config.mode} does not carry the relations and objects that it reads "
            "beside the graph: extract features for the folder and use --do_eval"
        )
    return {"settings": PUBLISHED_FEATURES | {"nodes": PUBLISHED_FEATURES["nodes"] | {"slots": config.slots}}}


def _as_stored(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    half = ("nodes", "actions", "scores", "objects")
    return {name: value.astype(np.float16) if name in half else value for name, value in arrays.items()}
