"""How every graph stage runs over a corpus: what is done is skipped, every video leaves a line in the manifest."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.arguments import features_dir, open_corpus
from dataset.stage_arguments import StageArguments, describe_settings, start_anew
from utility.arguments import parse
from utility.distributed import Distributed, start
from utility.feature_store import FeatureStore, FeatureWriter, feature_path, find_feature
from utility.logs import setup_logging
from utility.manifest import Manifest, manifest_path

log = logging.getLogger(__name__)


@dataclass
class Stage:
    """One graph stage: what it reads, what it writes, and what it does with one video.

    Attributes:
        name: for manifest and messages.
        sources: features that it reads, as suffixes of the node feature ("" = nodes) or plain names.
        target: suffix of the feature that it writes.
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
        return [node_feature + name if not name or name.startswith("_") else name for name in self.sources]


def run_program(stage: Stage, description: str, argv: Sequence[str] | None = None, **defaults: Any) -> int:
    """Parses the shared flags, opens what they name and runs the stage.

    Args:
        defaults: values of flags for this program where the command line does not give them.

    Returns:
        Exit status: 0; 1 if nothing could be done (or anything failed, with `--strict`); 2 for the user to change.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    words = [f"--{name}={value}" for name, value in defaults.items()] + words
    (args,) = parse(StageArguments, words, description=description)
    dist = start(args.device)
    setup_logging(dist)
    try:
        return run_stage(stage, args, dist)
    except (FileNotFoundError, ValueError) as error:
        log.error("%s", error)
        return 2
    finally:
        dist.stop()


def run_stage(stage: Stage, args: StageArguments, dist: Distributed) -> int:
    """Runs a stage over the videos that the flags name; returns the exit status."""
    corpus = open_corpus(args)
    folder = features_dir(args, corpus)
    feature = args.node_feature + stage.target
    target = feature_path(folder, corpus.name, feature)
    sources = [FeatureStore(find_feature(folder, corpus.name, name)) for name in stage.features(args.node_feature)]
    settings = stage.settings(*(source.settings for source in sources))
    ids = corpus.ids()
    if args.dry_run:
        ready = sum(all(name in source for source in sources) for name in ids)
        log.info("would make %s of %d videos (%d have all it needs)", target, len(ids), ready)
        log.info("from %s; %s", ", ".join(str(source.path) for source in sources), describe_settings(settings))
        return 0
    if not args.resume and dist.is_main:
        start_anew(target)
    dist.barrier()
    manifest = Manifest(manifest_path(folder, corpus.name, feature), dist)
    with FeatureWriter(target, settings, dist) as writer:
        todo = [name for name in ids if name not in writer.done]
        done_before = len(ids) - len(todo)
        counts = {"done": 0, "missing": 0}
        for name in dist.shard(todo):
            status = _one(stage, name, sources, writer, manifest, dist.device, folder, corpus.name, args.node_feature)
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


def _one(
    stage: Stage,
    name: str,
    sources: Sequence[FeatureStore],
    writer: FeatureWriter,
    manifest: Manifest,
    device: torch.device,
    folder: Path,
    corpus: str,
    node_feature: str,
) -> str:
    started = time.perf_counter()
    for feature, source in zip(stage.features(node_feature), sources, strict=True):
        if name not in source:
            cause = f"no {feature} features{_why(folder, corpus, feature, name)}"
            manifest.record(name, stage.name, "missing", cause)
            return "missing"
    try:
        arrays = stage.compute(*(source[name] for source in sources), device)
    except ValueError as error:
        raise type(error)(f"video {name!r}: {error}") from error
    writer.write(name, dict(arrays))
    manifest.record(name, stage.name, "done", seconds=time.perf_counter() - started)
    return "done"


def _why(folder: Path, corpus: str, feature: str, name: str) -> str:
    """What the manifest of the stage before says about a video that it did not deliver."""
    entry = Manifest(manifest_path(folder, corpus, feature)).latest().get(name)
    return f" ({entry['status']}: {entry['cause']})" if entry and entry["cause"] else ""
