"""The graph of a single file for its picture: made by the extractors, or as a captioner reads it.

A program's part: it calls the extractors, which nothing else in this package does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from extractors.action_features import ActionVectors
from extractors.base import Sampling, extract_file
from extractors.clip_features import GridNodes
from extractors.in_memory import FileCaptioner
from extractors.object_program import open_objects
from graphs.parts import graph_part, spatial_part, temporal_part
from pretrained.backbones import Backbone, load_backbone
from pretrained.i3d_weights import load_i3d
from utility.precision import choose_precision
from utility.video import VideoReader

CANDIDATES_PER_SECOND = 8.0  # of which --slots are taken, evenly
THUMBNAIL = 8


@dataclass
class Seen:
    """A graph with the frames of its filled slots [n, 3, H, W] uint8, how its tiles lie, and what to write above."""

    graph: dict[str, np.ndarray]
    frames: Tensor
    title: str
    patch: int = 3
    overlap: float = 0.5


class Thumbnails(nn.Module):
    """In the place of a CLIP where there are no weights: a picture is its own 8 x 8 thumbnail, brightness removed.

    Shapes:
        encode_image(pixels [u, 3, R, R]) -> [u, 192]
    """

    config = SimpleNamespace(embed_dim=3 * THUMBNAIL**2)

    def encode_image(self, pixels: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(1)
        return small - small.mean(dim=1, keepdim=True)


def thumbnails() -> Backbone:
    """The backbone that needs no weights."""
    even = (0.5, 0.5, 0.5)
    return Backbone(Thumbnails(), "thumbnails", "thumbnails", 4 * THUMBNAIL, even, even, "1")


def look(args: Any, objects: Any, dist: Any) -> Seen:
    """The graph of the file that the flags of `graphs.draw` describe.

    Raises:
        VideoError: the video cannot be read or sampled.
        FileNotFoundError, ValueError: weights that are absent, or are none.
    """
    device = dist.device
    precision = choose_precision("auto", device)
    backbone = load_backbone(args.backbone, device) if args.backbone else thumbnails()
    if args.nodes == "object":
        stage = SimpleNamespace(backbone=args.backbone, batch_size=256, compat=[])
        extractors = open_objects(stage, objects, device, precision, backbone).extractors
    else:
        extractors = [GridNodes(backbone, device, precision, patch=args.patch, overlap=args.overlap)]
    if args.action_network:
        extractors.append(ActionVectors(load_i3d(args.action_network, device), device, precision))
    found = extract_file(args.video, extractors, Sampling(rate=CANDIDATES_PER_SECOND, slots=args.slots))
    nodes = found[extractors[0].feature]
    actions = found.get("actions") or {"actions": np.zeros((args.slots, 1), np.float32)}
    graph = graph_part(nodes, spatial_part(nodes, actions), temporal_part(nodes, device))
    if not args.action_network:
        del graph["actions"]
    seen_by = extractors[0].settings.get("backbone") or extractors[0].settings["detector"]
    how = f"{'objects' if args.nodes == 'object' else 'tiles'}, compared by {seen_by['name']}"
    return Seen(graph, _frames(args.video, graph), f"{Path(args.video).name} ({how})", args.patch, args.overlap)


def look_with(checkpoint: str, video: str, device: str = "auto") -> Seen:
    """The graph that a trained captioner reads of a file, its caption above it.

    Raises:
        VideoError: the video cannot be read or sampled.
        FileNotFoundError, ValueError: no captioner of files.
    """
    captioner = FileCaptioner(checkpoint, device=device)
    nodes = captioner.config["features"]["settings"]["nodes"]
    graph = captioner.arrays(video)
    said = captioner.caption(video).caption
    title = f"{Path(video).name}: “{said}”"
    return Seen(graph, _frames(video, graph), title, nodes.get("patch", 3), nodes.get("overlap", 0.5))


def _frames(video: str, graph: dict[str, np.ndarray]) -> Tensor:
    with VideoReader(video) as reader:
        return reader.frames(graph["frame_index"][graph["slot_mask"]])
