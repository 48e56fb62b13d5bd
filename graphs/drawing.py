"""Pictures of action graphs: frames with their nodes, edges over them, and a timeline.

S slots of which the first n are filled, P nodes per slot, D node width, A action width. Boxes are left, top, right,
bottom in pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from graphs.parts import node_mask
from utility.images import grid_boxes

Arrays = Mapping[str, np.ndarray]

COLORS = {"spatial": "#2ec4b6", "temporal": "#ff6b35", "node": "#ffffff", "ink": "#2b2d33", "grey": "#8a8d94"}
GAP = 0.2  # between two frames, in widths of a frame
WIDEST, THINNEST = 3.2, 0.4  # lines, in points
STEPS = 24  # straight pieces of a curved line


def node_boxes(graph: Arrays, height: int, width: int, patch: int = 3, overlap: float = 0.5) -> np.ndarray:
    """Where the nodes of a graph are in its frames: stored boxes of objects, else the tiles of a grid.

    Returns:
        [S, P, 4]

    Raises:
        ValueError: nodes that are neither objects nor so many tiles.
    """
    slots, nodes = graph["nodes"].shape[:2]
    if "boxes" in graph:
        return np.asarray(graph["boxes"], np.float64) * [width, height, width, height]
    if nodes != patch**2:
        raise ValueError(f"{nodes} nodes per slot without boxes are no {patch} x {patch} tiles; give the right patch")
    tiles = grid_boxes(height, width, patch, overlap)[:, [1, 0, 3, 2]].numpy().astype(np.float64)
    return np.broadcast_to(tiles, (slots, *tiles.shape))


def likeness(graph: Arrays) -> np.ndarray:
    """How alike every slot and the next are: the mean over present nodes of their best cosine in the next slot.

    Returns:
        [S-1]; NaN where a slot of the two has no node.
    """
    mask = node_mask(graph)
    nodes = np.where(mask[..., None], np.asarray(graph["nodes"], np.float64), 0)
    unit = nodes / np.maximum(np.linalg.norm(nodes, axis=-1, keepdims=True), 1e-12)
    cosine = unit[:-1] @ unit[1:].transpose(0, 2, 1)
    cosine[~(mask[:-1, :, None] & mask[1:, None, :])] = -np.inf
    best = cosine.max(axis=-1)
    found = np.isfinite(best)
    total = np.where(found, best, 0).sum(axis=-1)
    return np.where(found.any(axis=-1), total / np.maximum(found.sum(axis=-1), 1), np.nan)


def thickness(weights: np.ndarray) -> np.ndarray:
    """Widths of lines in points: the smallest weight is the thinnest line, the largest the widest.

    Weights that differ by less than a fifth of their mean stay near the middle: no more is seen than is there.
    """
    weights = np.asarray(weights, np.float64)
    if not weights.size:
        return weights
    low, high = weights.min(), weights.max()
    span = max(high - low, 0.2 * abs(weights.mean()), 1e-12)
    return THINNEST + (0.5 + (weights - (low + high) / 2) / span) * (WIDEST - THINNEST)


def strongest_links(temporal: np.ndarray, links: int) -> tuple[np.ndarray, np.ndarray]:
    """The strongest edges to the next slot of every node.

    Shapes:
        temporal [S-1, P, P], 0 where there is no edge
        returns  [E, 3] int (slot, node, node of the next slot) and weights [E]
    """
    order = np.argsort(-temporal, axis=-1, kind="stable")[..., :links]
    slot, node, _ = np.indices(order.shape)
    places = np.stack([slot, node, order], axis=-1).reshape(-1, 3)
    weights = temporal[tuple(places.T)]
    return places[weights > 0], weights[weights > 0]


def draw_frames(
    axes: Axes, frames: np.ndarray | torch.Tensor, graph: Arrays, boxes: np.ndarray, links: int = 2
) -> None:
    """The filled slots side by side: tiles or objects, edges inside a slot, the strongest edges to the next slot.

    Inside a slot all pairs carry one action vector, so their lines are as wide as that vector is long; without actions
    they are all thin.

    Args:
        frames: uint8 [n, 3, H, W], of the filled slots.
        boxes: [S, P, 4], of `node_boxes`.
        links: edges to the next slot that are drawn of every node, the strongest ones.
    """
    height, width = frames.shape[-2:]
    step = width * (1 + GAP)
    mask = node_mask(graph)[: len(frames)]
    boxes = boxes[: len(frames)]
    # Tiles overlap by half: their middles say more than nine outlines.
    centres = np.stack([boxes[..., [0, 2]].mean(-1), boxes[..., [1, 3]].mean(-1)], axis=-1)
    centres[..., 0] += step * np.arange(len(frames))[:, None]
    for slot, frame in enumerate(frames):
        left = slot * step
        axes.imshow(np.asarray(frame).transpose(1, 2, 0), extent=(left, left + width, height, 0), zorder=1)
        _slot_label(axes, graph, slot, left, height, bool(mask[slot].any()))
        style = {"linewidth": 1.6, "alpha": 0.95} if "boxes" in graph else {"linewidth": 0.5, "alpha": 0.35}
        for number in np.flatnonzero(mask[slot]):
            x, y, right, bottom = boxes[slot, number]
            frame_of = Rectangle(
                (left + x, y), right - x, bottom - y, fill=False, color=COLORS["node"], zorder=2, **style
            )
            axes.add_patch(frame_of)
            if "scores" in graph:
                score = f"{float(graph['scores'][slot, number]):.2f}"
                backing = {"facecolor": COLORS["ink"], "alpha": 0.6, "pad": 0.8, "edgecolor": "none"}
                place = {"x": left + x + 0.01 * width, "y": y + 0.015 * height, "va": "top", "zorder": 6}
                axes.text(s=score, fontsize=7, color=COLORS["node"], bbox=backing, **place)
    _spatial_lines(axes, graph, centres, mask)
    _temporal_lines(axes, graph, centres, len(frames), links)
    axes.scatter(*centres[mask].T, s=16, color=COLORS["node"], edgecolor=COLORS["ink"], linewidth=0.7, zorder=5)
    axes.set(xlim=(-0.04 * width, step * (len(frames) - 1) + 1.04 * width), ylim=(1.16 * height, -0.04 * height))
    axes.set_aspect("equal")
    axes.axis("off")


def _slot_label(axes: Axes, graph: Arrays, slot: int, left: float, height: int, present: bool) -> None:
    words = f"slot {slot}"
    if "frame_time" in graph:
        words += f", {float(graph['frame_time'][slot]):.2f} s"
    if not present:
        words += "\nno objects"
    axes.text(left, 1.03 * height, words, ha="left", va="top", fontsize=9, color=COLORS["ink"])


def _spatial_lines(axes: Axes, graph: Arrays, centres: np.ndarray, mask: np.ndarray) -> None:
    widths = np.full(len(mask), 2 * THINNEST)
    if "actions" in graph:
        length = np.linalg.norm(np.asarray(graph["actions"], np.float64)[: len(mask)], axis=-1)
        widths = THINNEST + length / max(length.max(), 1e-12) * (0.6 * WIDEST - THINNEST)
    for slot, present in enumerate(mask):
        points = centres[slot][present]
        one, other = np.triu_indices(len(points), k=1)
        lines = np.stack([points[one], points[other]], axis=1)
        style = {"linewidth": widths[slot], "color": COLORS["spatial"], "alpha": 0.55, "zorder": 3}
        axes.add_collection(LineCollection(list(lines), **style))


def _temporal_lines(axes: Axes, graph: Arrays, centres: np.ndarray, filled: int, links: int) -> None:
    places, weights = strongest_links(np.asarray(graph["temporal"], np.float64)[: max(filled - 1, 0)], links)
    if not len(places):
        return
    slot, node, target = places.T
    lines = curves(centres[slot, node], centres[slot + 1, target])
    style = {"linewidth": thickness(weights), "color": COLORS["temporal"], "alpha": 0.7, "zorder": 4}
    axes.add_collection(LineCollection(list(lines), **style))


def curves(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Lines that leave and arrive level, so that many beside each other stay apart.

    Shapes:
        start, stop [E, 2] -> [E, STEPS, 2]
    """
    t = np.linspace(0, 1, STEPS)
    ease = t * t * (3 - 2 * t)
    x = start[:, :1] + t * (stop[:, :1] - start[:, :1])
    y = start[:, 1:] + ease * (stop[:, 1:] - start[:, 1:])
    return np.stack([x, y], axis=-1)


def draw_timeline(axes: Axes, graph: Arrays) -> None:
    """Over the seconds of the video: length of each slot's action vector, and how alike neighbouring slots are."""
    filled = np.asarray(graph["slot_mask"], bool)
    time = np.asarray(graph["frame_time"], np.float64)[filled]
    width = 0.3 * float(np.diff(time).min()) if len(time) > 1 else 0.3
    alike = likeness(graph)[: len(time) - 1]
    line = ((time[:-1] + time[1:]) / 2, alike, "o-")
    style = {"color": COLORS["temporal"], "markersize": 4, "linewidth": 1.4}
    range_of = (min(0.0, np.nanmin(alike, initial=0.0)), 1.05)
    axes.set_xticks(time, [f"{second:.2f}" for second in time])
    axes.set_xlabel("seconds", fontsize=9)
    axes.set_xlim(time[0] - 2 * width, time[-1] + 2 * width)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if "actions" in graph:
        strength = np.linalg.norm(np.asarray(graph["actions"], np.float64)[filled], axis=-1)
        axes.bar(time, strength, width, color=COLORS["spatial"], alpha=0.8)
        axes.set_ylabel("length of\naction vector", color=COLORS["ink"], fontsize=9)
        axes.set_ylim(0, 1.25 * max(strength.max(), 1e-9))
        axes = axes.twinx()
        axes.spines[["top"]].set_visible(False)
        axes.tick_params(labelsize=8)
    axes.plot(*line, **style)
    axes.set_ylim(*range_of)
    axes.set_ylabel("likeness to\nthe next slot", color=COLORS["ink"], fontsize=9)


def draw_graph(
    frames: np.ndarray | torch.Tensor,
    graph: Arrays,
    boxes: np.ndarray | None = None,
    title: str = "",
    links: int = 2,
) -> Figure:
    """Frames with nodes and edges above a timeline.

    Args:
        frames: uint8 [n, 3, H, W], the frames of the filled slots in their order.
        graph: arrays of a compact action graph, with or without `actions`.
        boxes: [S, P, 4]; by default `node_boxes` of a 3 x 3 grid.

    Raises:
        ValueError: other frames than filled slots, or none.
    """
    filled = int(np.asarray(graph["slot_mask"], bool).sum())
    if len(frames) != filled or not filled:
        raise ValueError(f"{len(frames)} frames for a graph with {filled} filled slots; give the frame of each of them")
    height, width = frames.shape[-2:]
    if boxes is None:
        boxes = node_boxes(graph, height, width)
    across = filled + (filled - 1) * GAP
    inches = min(18.0, max(7.0, 3.4 * across * min(1.0, width / height)))
    tall = inches * 0.97 / across * height / width * 1.2
    figure = Figure(figsize=(inches, tall + 2.0), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[tall, 1.1])
    draw_frames(above, frames, graph, boxes, links)
    draw_timeline(below, graph)
    lines = [Line2D([], [], color=COLORS[kind], linewidth=2.5) for kind in ("spatial", "temporal")]
    inside = "same slot: all carry its action" if "actions" in graph else "same slot"
    alike = "most alike node" if links == 1 else f"{links} most alike nodes"
    words = [inside, f"next slot: the {alike} of each, the stronger the wider"]
    figure.legend(lines, words, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11, color=COLORS["ink"])
    return figure


def draw_attention(attention: Sequence[np.ndarray] | np.ndarray, slot: int, title: str = "") -> Figure:
    """How much each node of a slot attends to the nodes of its slot and of the one before, layer by layer.

    Args:
        attention: [L, S, P, 2P] (columns: own slot, then the slot before), averaged over heads.
    """
    layers = [np.asarray(layer)[slot] for layer in attention]
    nodes = layers[0].shape[0]
    figure = Figure(figsize=(4.2 * len(layers), 3.0), layout="constrained")
    highest = max(float(layer.max()) for layer in layers)
    for number, (axes, layer) in enumerate(zip(np.atleast_1d(figure.subplots(1, len(layers))), layers, strict=True), 1):
        image = axes.imshow(layer, vmin=0, vmax=highest, cmap="viridis", aspect="auto")
        axes.axvline(nodes - 0.5, color="white", linewidth=1.5)
        axes.set_title(f"layer {number}", fontsize=10)
        axes.set_xticks([(nodes - 1) / 2, nodes + (nodes - 1) / 2], [f"nodes of slot {slot}", f"of slot {slot - 1}"])
        axes.set_yticks(range(nodes))
        axes.tick_params(labelsize=8, length=0)
        if number == 1:
            axes.set_ylabel(f"node of slot {slot}", fontsize=9)
    figure.colorbar(image, ax=figure.axes, shrink=0.85, label="attention")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
