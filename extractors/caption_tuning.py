"""A captioner that tunes its backbone, put together: network, tiles, frames, and what its checkpoint says of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dataset.caption_features import CaptionFeatures
from dataset.corpus import Corpus
from dataset.graph_features import GraphFeatures
from dataset.seen_videos import also_trained_on, overlap_sentence, seen_test_videos
from extractors.base import Sampling
from extractors.clip_features import GridNodes
from extractors.frame_graphs import KEPT_ARRAYS, FrameGraphs
from graphs.temporal import temporal_similarity
from model.captioner import CaptionerConfig
from model.captioner.frame_captioner import FrameCaptioner
from model.captioner.tuning import choose_tuned
from pretrained.captioners import StoredCaptioner
from pretrained.inner_backbone import TUNED
from pretrained.tuned_backbones import TunedBackbone, open_tunable, stored_tuned
from utility.distributed import Distributed, available_cores
from utility.feature_store import FeatureStore
from utility.images import to_clip
from utility.places import located
from utility.precision import choose_precision, recorded_precision
from utility.random_state import seed_all

log = logging.getLogger(__name__)


@dataclass
class Tuning:
    """A backbone through which a captioner makes its nodes.

    Attributes:
        tuned: the network and its history.
        tiles: cuts frames as the extractors do.
        sampling: which frames.
        precision: fp32 or bf16, of the backbone.
        chunk: tiles per pass of the backbone.
    """

    tuned: TunedBackbone
    tiles: GridNodes
    sampling: Sampling
    precision: str
    chunk: int

    @classmethod
    def begin(
        cls, kind: str, place: str | None, noted: str | None, nodes: Mapping[str, Any], precision: str, chunk: int
    ) -> Tuning:
        """The start of a training.

        Args:
            kind: prompts or lora.
            place: the backbone to start from; None: `noted`, which must be the one of the stored nodes.
            nodes: settings of the stored nodes, which say how frames are chosen and cut.

        Raises:
            ValueError: nodes that are no tiles, another backbone, or one without parameters of this kind.
            FileNotFoundError: no backbone there.
        """
        if nodes.get("stage") != "grid_nodes":
            raise ValueError(
                f"--tune cuts frames into tiles, the nodes of these features are {nodes.get('stage') or 'imported'}: "
                "give a --model_name with GBased, and features of the grid extractor"
            )
        if place is None and noted is None:
            raise ValueError("the features do not say where their backbone is: give it with --backbone")
        tuned = open_tunable(place or located(noted), kind)
        wanted = nodes["backbone"]
        if place is None and tuned.seen.hash != wanted["hash"]:
            raise ValueError(
                f"the features were made with the backbone {wanted['name']} ({wanted['hash']}); in {noted} there is "
                f"now {tuned.seen.name} ({tuned.seen.hash}). Name the backbone to start from with --backbone"
            )
        return cls._of(tuned, nodes, precision, chunk)

    @classmethod
    def stored(cls, captioner: StoredCaptioner, device: torch.device, chunk: int) -> Tuning:
        """That of a trained captioner which carries its backbone."""
        nodes = captioner.config["features"]["settings"]["nodes"]
        tuned = stored_tuned(captioner.backbone)
        return cls._of(tuned, nodes, recorded_precision(nodes["precision"], device), chunk)

    @classmethod
    def _of(cls, tuned: TunedBackbone, nodes: Mapping[str, Any], precision: str, chunk: int) -> Tuning:
        seen = replace(tuned.seen, model=tuned.model)
        tiles = GridNodes(seen, torch.device("cpu"), precision, patch=nodes["patch"], overlap=nodes["overlap"])
        return cls(tuned, tiles, Sampling.recorded(nodes), precision, chunk)

    def learn(self, kind: str, frozen: bool) -> str:
        """Chooses what learns; a sentence about it."""
        names = choose_tuned(self.tuned.model, kind, frozen)
        sizes = {name: p.numel() for name, p in self.tuned.model.named_parameters()}
        what = f"{sum(sizes[name] for name in names):,} of {sum(sizes.values()):,} parameters of the backbone"
        seen = self.tuned.seen
        return f"{kind}: {what} {'stay as they are' if frozen else 'learn'} ({self.tuned.method} on {seen.name})"

    def captioner(self, config: CaptionerConfig) -> FrameCaptioner:
        """The network to be trained or used."""
        seen = self.tuned.seen
        normalise = partial(to_clip, mean=seen.mean, std=seen.std)
        half = self.precision == "bf16"
        return FrameCaptioner(config, self.tuned.model, normalise, temporal_similarity, self.chunk, half)

    def features(
        self,
        ids: Sequence[str],
        stores: Mapping[str, FeatureStore],
        videos: Mapping[str, Path | None],
        cache_bytes: int,
        shuffle_seed: int | None,
        dist: Distributed,
    ) -> FrameGraphs:
        """Frames and stored arrays of these videos; arguments as in `GraphFeatures` and `FrameGraphs`."""
        graphs = GraphFeatures(
            ids=ids, cache_bytes=cache_bytes, shuffle_seed=shuffle_seed, arrays=KEPT_ARRAYS, **stores
        )
        threads = max(1, available_cores() // dist.world_size)
        return FrameGraphs(graphs, videos, self.tiles, self.sampling, cache_bytes, threads)

    def described(self, config: Mapping[str, Any], name: str, trained: Sequence[str]) -> dict[str, Any]:
        """A captioner's config with what there is to say of its backbone.

        Args:
            name: of the backbone.
            trained: ids of the training videos.
        """
        seen, features, corpus = self.tuned.seen, config["features"], config["corpus"]
        # The hash of what still learns is that of the stored tensors, and found when they are read.
        nodes = self.sampling.settings() | self.tiles.settings | {"backbone": {"name": name, "hash": None}}
        trained_on = also_trained_on(seen.trained_on, seen.corpus, corpus, list(trained))
        return {
            **config,
            "features": features | {"settings": features["settings"] | {"nodes": nodes}},
            TUNED: self.tuned.describe(name, corpus, trained_on),
        }

    def overlap_notes(self, corpus: Corpus) -> list[str]:
        """A sentence if the backbone saw videos of the test split."""
        seen = seen_test_videos(corpus, self.tuned.seen.trained_on, self.tuned.seen.corpus)
        return [overlap_sentence("backbone", len(seen), len(corpus.ids("test")))] if seen else []


def open_tuning(
    args: Any, files: CaptionFeatures, captioner: StoredCaptioner | None, device: torch.device
) -> Tuning | None:
    """What the flags ask for: a backbone that learns, or that of a trained captioner; None for stored nodes.

    A captioner that carries its backbone reads stored nodes where they were made by this very backbone.

    Args:
        args: has tune, tune_lr, tune_batch_size, backbone, precision, seed.
        captioner: the one that is evaluated, None in training.
    """
    if captioner is None:
        if args.tune == "none":
            return None
        seed_all(args.seed)
        nodes, noted = files.graphs.settings.get("nodes", {}), files.weights().get("backbone")
        precision = choose_precision(args.precision, device)
        tuning = Tuning.begin(args.tune, args.backbone, noted, nodes, precision, args.tune_batch_size)
        log.info("%s", tuning.learn(args.tune, frozen=args.tune_lr == 0))
        return tuning
    if captioner.backbone is None or files.seen_through(captioner.config["features"]):
        return None
    log.info("nodes are made from frames, through the backbone of the checkpoint")
    return Tuning.stored(captioner, device, args.tune_batch_size)
