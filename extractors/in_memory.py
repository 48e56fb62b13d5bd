"""A video file to a caption without files in between: every stage in memory, by the functions that the stages use."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.captioning import GRAPH_ARRAYS
from dataset.corpus import find_videos
from extractors.action_features import ActionVectors
from extractors.base import Extractor, Sampling, extract_file
from extractors.clip_features import GridNodes
from extractors.file_relations import ROW_ARRAYS, FileRelations
from graphs.captions import decoder
from graphs.parts import graph_part, spatial_part, temporal_part
from model.captioner import Captioner, CaptionerConfig
from pretrained.backbones import load_backbone
from pretrained.i3d_weights import load_i3d
from utility.caption_evaluation import write_json
from utility.checkpoint import load_checkpoint, load_tensors
from utility.distributed import choose_device
from utility.feature_layout import flatten
from utility.places import located
from utility.precision import recorded_precision
from utility.video import VideoError
from utility.vocabulary import Vocabulary

# What may differ between the features of the training and those made here: it moves rounding, or describes a corpus.
FREE_SETTINGS = ("precision", "backbone_trained_on_test_ids")


@dataclass(frozen=True)
class FileCaption:
    """What became of one file: a caption, or the stage and cause of a failure."""

    path: str
    caption: str | None
    seconds: float
    stage: str | None = None
    cause: str | None = None

    def record(self) -> dict[str, Any]:
        if self.caption is not None:
            return {"file": self.path, "caption": self.caption, "seconds": round(self.seconds, 3)}
        return {"file": self.path, "caption": None, "stage": self.stage, "cause": self.cause}


class FileCaptioner:
    """A trained captioner with the networks that its features came from.

    Args:
        checkpoint: folder of the captioner.
        backbone, action_network: where they are now; by default as the checkpoint says.
        beam, max_words, length_penalty, search: as in `graphs.captions.decoder`; max_words as in training by default.
        compat: published behaviours of the network, in place of those of the training.

    Raises:
        FileNotFoundError: a checkpoint or weights are not where they should be.
        ValueError: other networks than those of the training, or features that cannot be made from a file.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        backbone: str | None = None,
        action_network: str | None = None,
        device: str = "auto",
        beam: int = 5,
        max_words: int | None = None,
        length_penalty: float = 0.0,
        search: str = "sound",
        compat: Sequence[str] = (),
    ):
        self.device = choose_device(device)
        stored = load_checkpoint(checkpoint, training=False)
        if stored.config.get("program") != "captioner" or stored.vocabulary is None:
            raise ValueError(f"{checkpoint} is not a checkpoint of a captioner")
        self.config = stored.config
        config = CaptionerConfig.from_dict(stored.config["captioner"] | ({"compat": tuple(compat)} if compat else {}))
        if config.mode not in ("grid", "grid-rel"):
            raise ValueError(
                f"{checkpoint} is a {stored.config['model_name']} captioner: beside the graph it reads features that a "
                "single file does not have. Extract them for the folder and use --do_eval"
            )
        self.vocabulary = Vocabulary.from_list(stored.vocabulary)
        settings = stored.config["features"]["settings"]
        self.sampling = Sampling(**_sampling(settings["nodes"]))
        self.extractors = self._extractors(settings, stored.config.get("weights", {}), backbone, action_network)
        self.relations = None
        if config.mode == "grid-rel":
            self.relations = FileRelations(stored, self.extractors[0].backbone, self.device)
        self._check_settings(settings)
        model = Captioner(config).to(self.device)
        load_tensors(model, stored.tensors, str(checkpoint))
        self._decode = decoder(model.eval(), beam, max_words or stored.config["max_words"], length_penalty, search)

    def caption(self, path: Path | str) -> FileCaption:
        """The caption of a video file, or why it has none."""
        start = time.perf_counter()
        try:
            arrays = self.arrays(path)
        except VideoError as error:
            return FileCaption(str(path), None, time.perf_counter() - start, error.stage, error.cause)
        batch = {}
        for name in (*GRAPH_ARRAYS, *(() if self.relations is None else ROW_ARRAYS)):
            value = torch.from_numpy(np.ascontiguousarray(arrays[name]))[None].to(self.device)
            batch[name] = value if value.dtype == torch.bool else value.float()
        (words,) = self._decode(batch)
        return FileCaption(str(path), self.vocabulary.decode(words), time.perf_counter() - start)

    def arrays(self, path: Path | str) -> dict[str, np.ndarray]:
        """What the captioner reads of a file: its compact action graph, and relation rows where it was trained on them.

        Raises:
            VideoError: the video cannot be read or sampled.
        """
        frames = [] if self.relations is None else [self.relations.frames]
        features = extract_file(path, [*self.extractors, *frames], self.sampling)
        nodes, actions = (_as_stored(features[extractor.feature]) for extractor in self.extractors)
        graph = graph_part(nodes, spatial_part(nodes, actions), temporal_part(nodes, self.device))
        return graph if self.relations is None else graph | self.relations.arrays(features["theta2"])

    def _extractors(
        self, settings: dict[str, Any], weights: dict[str, Any], backbone: str | None, action_network: str | None
    ) -> list[Extractor]:
        nodes, actions = settings["nodes"], settings["actions"]
        if nodes.get("stage") != "grid_nodes":
            raise ValueError(
                f"The captioner was trained on {nodes.get('stage')}, which cannot be made from a single file; it needs "
                "grid nodes (GBased)"
            )
        clip = self._load("backbone", load_backbone, backbone, weights, nodes["backbone"])
        network = self._load("action_network", load_i3d, action_network, weights, actions["action_network"])
        return [
            GridNodes(
                clip,
                self.device,
                recorded_precision(nodes["precision"], self.device),
                patch=nodes["patch"],
                overlap=nodes["overlap"],
            ),
            ActionVectors(
                network,
                self.device,
                recorded_precision(actions["precision"], self.device),
                statistics="clip" if actions["i3d_bn"] == "clip_statistics" else "running",
            ),
        ]

    def _load(
        self,
        kind: str,
        load: Callable[[str, torch.device], Any],
        given: str | None,
        recorded: dict[str, str],
        trained: dict[str, str],
    ) -> Any:
        """The network of the flag, else of the path that the training noted, else of its name, if it is the same."""
        noted = located(recorded[kind]) if kind in recorded else trained["name"]
        try:
            network = load(given or noted, self.device)
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
        return network

    def _check_settings(self, settings: dict[str, Any]) -> None:
        made = list(zip(self.extractors, ("nodes", "actions"), (settings["nodes"], settings["actions"]), strict=True))
        if self.relations is not None:
            made.append((self.relations.frames, "whole frames", self.relations.settings))
        for extractor, part, trained in made:
            was = flatten(trained)
            now = flatten({**self.sampling.settings(), **extractor.settings})
            changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key) and key not in FREE_SETTINGS]
            if changed:
                listed = "; ".join(f"{key} was {was.get(key)!r}, is {now.get(key)!r}" for key in changed)
                raise ValueError(f"The captioner was trained on {part} that this version makes otherwise: {listed}")


def _sampling(nodes: dict[str, Any]) -> dict[str, Any]:
    rate = nodes["rate"]
    return {"rule": nodes["sampling"], "slots": nodes["slots"], **({} if rate is None else {"rate": rate})}


def _as_stored(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    half = ("nodes", "actions")
    return {name: value.astype(np.float16) if name in half else value for name, value in arrays.items()}


def expand(paths: Iterable[str]) -> Iterator[Path]:
    """Files as given, folders as the videos below them in order of their names."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(file for files in find_videos(path).values() for file in files)
        else:
            yield path


def caption_files(captioner: FileCaptioner, paths: Sequence[str], as_json: bool, output: Path | None = None) -> int:
    """Caption files, print what was said (and nothing else on standard output), and keep it in `output`.

    Returns:
        Exit status: 0 if any file was captioned, else 1.
    """
    results = []
    for path in expand(paths):
        result = captioner.caption(path)
        results.append(result)
        if result.caption is None:
            print(f"{result.path}: {result.stage}: {result.cause}", file=sys.stderr)
        elif not as_json:
            print(f"{result.path}\t{result.caption}", flush=True)
    if not results:
        print(f"no video file in {', '.join(paths)}", file=sys.stderr)
    content = {
        "model_name": captioner.config["model_name"],
        "captions": [result.record() for result in results],
    }
    if as_json:
        print(json.dumps(content, indent=1, ensure_ascii=False))
    if output is not None:
        write_json(output / "captions.json", content)
    return 0 if any(result.caption is not None for result in results) else 1
