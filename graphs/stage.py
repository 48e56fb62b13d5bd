"""How every graph stage runs over a corpus: what is done is skipped, every video leaves a line in the manifest."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dataset.arguments import features_dir, open_corpus
from dataset.stage_arguments import StageArguments, describe_settings, start_anew
from pretrained.backbones import backbone_tag
from utility import program
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, FeatureWriter, feature_path, find_feature, refuse_other_settings
from utility.manifest import Manifest, manifest_path

log = logging.getLogger(__name__)


@dataclass
class Stage:
    """One graph stage: what it reads, what it writes, and what it does with one video.

    Attributes:
        name: for manifest and messages.
        sources: features that it reads, as suffixes of the node feature ("" = nodes) or plain names.
        target: the feature that it writes, likewise.
        settings: settings of the sources, in their order -> settings of the target.
        compute: arrays of the sources, in their order, and the device -> arrays of the target.
    """

    name: str
    sources: Sequence[str]
    target: str
    settings: Callable[..., dict[str, Any]]
    compute: Callable[..., Mapping[str, np.ndarray]]

    def features(self, node_feature: str) -> list[str]:
        """Names of the source features for this kind of nodes."""
        return [_full_name(node_feature, name) for name in self.sources]

    def target_feature(self, node_feature: str) -> str:
        """Name of the feature that it writes for this kind of nodes."""
        return _full_name(node_feature, self.target)


def _full_name(node_feature: str, name: str) -> str:
    return node_feature + name if not name or name.startswith("_") else name


def run_program(stage: Stage, args: StageArguments) -> int:
    """Opens what the flags name and runs the stage.

    Returns:
        Exit status: 0; 1 if nothing could be done (or anything failed, with `--strict`); 2 for the user to change.
    """
    return program.run_stage(lambda dist: run_stage(stage, args, dist), args.device)


def tag_of(args: StageArguments) -> str | None:
    """The set of features that `--backbone` stands for where `--features` does not name one."""
    return backbone_tag(args.backbone) if args.backbone else None


def run_stage(stage: Stage, args: StageArguments, dist: Distributed) -> int:
    """Runs a stage over the videos that the flags name; returns the exit status."""
    corpus = open_corpus(args)
    folder = features_dir(args, corpus, tag_of(args))
    feature = stage.target_feature(args.node_feature)
    target = feature_path(folder, corpus.name, feature)
    sources = {
        name: FeatureStore(find_feature(folder, corpus.name, name)) for name in stage.features(args.node_feature)
    }
    settings = stage.settings(*(source.settings for source in sources.values()))
    ids = corpus.ids()
    if args.dry_run:
        ready = sum(all(name in source for source in sources.values()) for name in ids)
        if args.resume and target.exists():
            refuse_other_settings(target, settings)
        log.info("would make %s of %d videos (%d have all it needs)", target, len(ids), ready)
        log.info("from %s; %s", ", ".join(str(source.path) for source in sources.values()), describe_settings(settings))
        return 0
    if not args.resume and dist.is_main:
        start_anew(target)
    dist.barrier()
    manifest = Manifest(manifest_path(folder, corpus.name, feature), dist)
    causes = Causes(folder, corpus.name)
    with FeatureWriter(target, settings, dist) as writer:
        todo = [name for name in ids if name not in writer.done]
        done_before = len(ids) - len(todo)
        if dist.is_main:
            manifest.record_stored((name for name in ids if name in writer.done), stage.name)
        counts = {"done": 0, "missing": 0}
        for name in tqdm(dist.shard(todo), desc=stage.name, unit="video", disable=None if dist.is_main else True):
            cause = next((causes.of(source, name) for source in sources if name not in sources[source]), None)
            status = "missing" if cause else "done"
            started = time.perf_counter()
            if cause is None:
                writer.write(name, _compute(stage, name, sources.values(), dist.device))
            manifest.record(name, stage.name, status, cause, None if cause else time.perf_counter() - started)
            counts[status] += 1
        counts = {key: dist.all_sum(value) for key, value in counts.items()}
        writer.finish()
    manifest.merge()
    log.info(
        "%s: %d made, %d there already, %d without the features that it needs -> %s",
        stage.name,
        counts["done"],
        done_before,
        counts["missing"],
        target,
    )
    nothing = counts["done"] + done_before == 0
    return int(nothing or (args.strict and counts["missing"] > 0))


def _compute(stage: Stage, name: str, sources: Iterable[FeatureStore], device: torch.device) -> dict[str, np.ndarray]:
    try:
        return dict(stage.compute(*(source[name] for source in sources), device))
    except ValueError as error:
        raise type(error)(f"video {name!r}: {error}") from error


class Causes:
    """Why the stages before did not deliver a video; their manifests are read when first asked for, and once."""

    def __init__(self, folder: Path, corpus: str):
        self.folder, self.corpus = folder, corpus
        self._entries: dict[str, dict[str, dict[str, Any]]] = {}

    def of(self, feature: str, name: str) -> str:
        """In words, for the manifest."""
        if feature not in self._entries:
            self._entries[feature] = Manifest(manifest_path(self.folder, self.corpus, feature)).latest()
        entry = self._entries[feature].get(name) or {}
        why = f" ({entry['status']}: {entry['cause']})" if entry.get("cause") else ""
        return f"no {feature} features{why}"
