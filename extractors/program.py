"""What the extraction programs have in common: start, open the corpus, run, report, exit status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dataset.arguments import features_dir, open_corpus
from dataset.corpus import Corpus, listed
from dataset.seen_videos import note_training, overlap_sentence, seen_test_videos
from dataset.stage_arguments import describe_settings
from extractors.arguments import ExtractionArguments
from extractors.base import Extractor, Sampling
from extractors.runner import Summary, run
from pretrained.backbones import backbone_tag
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, feature_path, refuse_other_settings
from utility.places import portable
from utility.precision import choose_precision
from utility.program import run_stage

log = logging.getLogger(__name__)


@dataclass
class Opened:
    """Extractors with their weights.

    Attributes:
        networks: what they look through: a `pretrained.backbones.Backbone` as "backbone", a
            `pretrained.i3d_weights.ActionNetwork` as "action_network".
        weights: what the flags named, by the same words; where it is is noted in the feature files.
    """

    extractors: list[Extractor]
    networks: dict[str, Any]
    weights: dict[str, str]


# (device, precision) -> extractors
Build = Callable[[torch.device, str], Opened]
After = Callable[[ExtractionArguments, Distributed], int]


def run_program(args: ExtractionArguments, build: Build, after: After | None = None) -> int:
    """Runs an extraction program; returns its exit status.

    Args:
        build: opens the weights, on the device of this process.
        after: what follows the extraction, given the flags with `features` set to the folder of the files.

    Returns:
        0; 1 if nothing could be done, or with `--strict` if anything failed or is missing; 2 for what the user must
        change; 130 after Ctrl-C.
    """
    advice = f"Less than --batch_size {args.batch_size} gives the same features"
    return run_stage(lambda dist: _run(args, build, after, dist), args.device, advice)


def _run(args: ExtractionArguments, build: Build, after: After | None, dist: Distributed) -> int:
    corpus = open_corpus(args)
    opened = build(dist.device, choose_precision(args.precision, dist.device))
    extractors = opened.extractors
    folder = features_folder(args, corpus, opened.networks.get("backbone"))
    for sentence in overlaps(opened.networks, args):
        log.warning("%s", sentence)
    sampling = Sampling(args.sampling, args.rate, args.slots)
    for line in corpus.summary():
        log.info("%s", line)
    if args.dry_run:
        for extractor in extractors:
            log.info("%s", plan_line(extractor, sampling, folder, corpus, args.resume))
        return 0
    log.info("%s -> %s", ", ".join(e.feature for e in extractors), folder)
    if dist.is_main:
        note_training(folder, corpus.name, opened.networks)
    notes = {"weights": {kind: portable(place) for kind, place in opened.weights.items()}}
    summaries = run(corpus, extractors, sampling, folder, dist, args.decode_workers, args.resume, notes)
    for summary in summaries:
        log.info("%s", summary.line())
    report_failures(summaries)
    status = exit_status(summaries, args.strict)
    if after is not None and any(summary.done + summary.before for summary in summaries):
        status = after(replace(args, features=str(folder.resolve())), dist) or status
    return status


def features_folder(args: ExtractionArguments, corpus: Corpus, backbone: Any) -> Path:
    """`--features`, else a folder named after the backbone (the one loaded or `--backbone`), else the only one.

    Raises:
        FileNotFoundError: none of these.
    """
    tag = backbone.tag if backbone is not None else backbone_tag(args.backbone) if args.backbone else None
    try:
        return features_dir(args, corpus, tag)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there are no features in {corpus.root / 'features'} yet: name the set with --features NAME or its "
            "backbone with --backbone, or run the grid extractor first"
        ) from error


def overlaps(networks: Mapping[str, Any], args: ExtractionArguments) -> list[str]:
    """A sentence for every network that saw videos of the test split, whatever --split and --limit choose."""
    corpus = open_corpus(replace(args, split=None, limit=None))
    seen = {kind: seen_test_videos(corpus, network.trained_on, network.corpus) for kind, network in networks.items()}
    total = len(corpus.ids("test"))
    return [overlap_sentence(kind, len(videos), total) for kind, videos in seen.items() if videos]


def plan_line(extractor: Extractor, sampling: Sampling, folder: Path, corpus: Corpus, resume: bool = True) -> str:
    """For `--dry_run`: what would be made and what is there.

    Raises:
        SettingsMismatch: what is there was made with other settings, and the run itself would refuse them.
    """
    path = feature_path(folder, corpus.name, extractor.feature)
    settings = {**sampling.settings(), **extractor.settings}
    stored: set[str] = set()
    if path.exists() and resume:
        refuse_other_settings(path, settings)
        stored = set(FeatureStore(path).ids)
    present = [name for name, file in corpus.videos.items() if file is not None]
    todo = sum(name not in stored for name in present)
    return f"would extract {todo} of {len(corpus.videos)} videos into {path}; {describe_settings(settings)}"


def report_failures(summaries: list[Summary]) -> None:
    failed = {name: cause for summary in summaries for name, cause in summary.failed.items()}
    if failed:
        shown = "; ".join(f"{name} ({cause})" for name, cause in list(failed.items())[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        log.warning("could not be read: %s%s", shown, more)
    missing = sorted({name for summary in summaries for name in summary.missing})
    if missing:
        log.warning("without a video file: %s", listed(missing))


def exit_status(summaries: list[Summary], strict: bool) -> int:
    """1 if a stage has nothing at all, or with `strict` anything failed or missing."""
    nothing = any(summary.done + summary.before == 0 for summary in summaries)
    flaws = any(summary.failed or summary.missing for summary in summaries)
    return int(nothing or (strict and flaws))
