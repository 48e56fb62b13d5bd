"""Pictures of a knowledge graph: what surrounds an entity, why a video got its rows, and a map of the entities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.relation_rows import Choice

INK, GREY, PAPER = "#1f2933", "#9aa5b1", "#fbfaf6"
OUT, INTO, BOTH = "#6b46c1", "#c05621", "#2b6cb0"
THINNEST, WIDEST = 0.8, 4.0  # lines, in points
PARTS = (("similarity", "#2b6cb0"), ("both_ends", "#2f855a"), ("kge", "#c05621"))


@dataclass(frozen=True)
class Neighbour:
    """A triple of an entity.

    Attributes:
        name: the other end.
        relation: of the triple.
        support: captions that state it.
        outward: whether the entity is the head.
    """

    name: str
    relation: str
    support: int
    outward: bool


def entity_number(graph: KnowledgeGraph, entity: str) -> int:
    """
    Raises:
        ValueError: the graph has no such entity; the message names frequent ones.
    """
    if entity not in graph.entities:
        order = torch.argsort(graph.entity_support, descending=True, stable=True)[:8].tolist()
        raise ValueError(
            f"the graph has no entity {entity!r}; frequent ones are {', '.join(graph.entities[i] for i in order)}"
        )
    return graph.entities.index(entity)


def neighbours(graph: KnowledgeGraph, entity: str, most: int = 12) -> list[Neighbour]:
    """The triples of an entity, the most often stated first.

    Raises:
        ValueError: the graph has no such entity.
    """
    number = entity_number(graph, entity)
    rows = torch.nonzero((graph.triples[:, [0, 2]] == number).any(1)).flatten()
    rows = rows[torch.argsort(graph.support[rows], descending=True, stable=True)][:most]
    found = []
    for row in rows.tolist():
        head, relation, tail = graph.texts(row)
        outward = head == entity
        found.append(Neighbour(tail if outward else head, relation, int(graph.support[row]), outward))
    return found


def nearest_entities(vectors: Tensor, graph: KnowledgeGraph, entity: str, count: int = 8) -> list[tuple[str, float]]:
    """The entities whose embeddings point most in the direction of this one's, with their cosines.

    Shapes:
        vectors [E, W]

    Raises:
        ValueError: the graph has no such entity.
    """
    number = entity_number(graph, entity)
    unit = normalize(vectors.float(), dim=-1)
    cosine = unit @ unit[number]
    cosine[number] = -torch.inf
    best = torch.topk(cosine, min(count, len(cosine) - 1)).indices.tolist()
    return [(graph.entities[i], float(cosine[i])) for i in best]


def draw_neighbourhood(graph: KnowledgeGraph, entity: str, most: int = 12) -> Figure:
    """An entity in the middle, around it what it does and what is done to it; lines as wide as often stated."""
    found = neighbours(graph, entity, most)
    # What an entity does to its like ("square follow square") leads to another of that name.
    found = [replace(one, name=f"another {entity}") if one.name == entity else one for one in found]
    names = list(dict.fromkeys(one.name for one in found))
    figure = Figure(figsize=(8.2, 6.2), facecolor=PAPER)
    axes = _empty(figure.add_axes((0.01, 0.01, 0.98, 0.92)))
    axes.set_xlim(-1.5, 1.5)
    axes.set_ylim(-1.15, 1.15)
    places = {name: _around(i, len(names)) for i, name in enumerate(names)}
    largest = math.log1p(max((one.support for one in found), default=1))
    for name, place in places.items():
        own = [one for one in found if one.name == name]
        for i, one in enumerate(own):
            aside = i - (len(own) - 1) / 2
            _arrow(axes, place, one, aside, THINNEST + (WIDEST - THINNEST) * math.log1p(one.support) / largest)
    for name, place in {entity: (0.0, 0.0), **places}.items():
        _label(axes, place, name, bold=name == entity)
    axes.set_title(
        f"what “{entity}” does (violet), and what is done to it (orange); numbers: captions", color=INK, fontsize=11
    )
    return figure


def _around(i: int, count: int) -> tuple[float, float]:
    angle = math.pi / 2 - 2 * math.pi * (i + 0.5 * (count % 2 == 0)) / max(count, 1)
    return 1.22 * math.cos(angle), 0.98 * math.sin(angle)


def _arrow(axes: Axes, place: tuple[float, float], one: Neighbour, aside: float, width: float) -> None:
    color = OUT if one.outward else INTO
    start, end = ((0.0, 0.0), place) if one.outward else (place, (0.0, 0.0))
    bend = 0.24 * aside if one.outward else -0.24 * aside
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>", "color": color, "lw": width, "shrinkA": 20, "shrinkB": 24, "mutation_scale": 13,
            "connectionstyle": f"arc3,rad={bend}",
        },
    )  # fmt: skip
    # On the bent line, which is a parabola, and not at the height of the labels beside it.
    dx, dy = end[0] - start[0], end[1] - start[1]
    way = 0.56 + 0.12 * aside
    out = 2 * way * (1 - way) * bend
    middle = (way * place[0] + out * dy, way * place[1] - out * dx)
    text = f"{one.relation} {one.support}"
    box = {"boxstyle": "round,pad=0.15", "fc": PAPER, "ec": "none"}
    axes.text(*middle, text, color=color, fontsize=9, style="italic", ha="center", va="center", bbox=box, zorder=3)


def _label(axes: Axes, place: tuple[float, float], text: str, bold: bool = False) -> None:
    weight = "bold" if bold else "normal"
    box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": INK if bold else GREY, "lw": 1.6 if bold else 1.0}
    axes.text(*place, text, color=INK, fontsize=11, weight=weight, ha="center", va="center", bbox=box, zorder=4)


def _empty(axes: Axes) -> Axes:
    axes.set_axis_off()
    return axes


def draw_choice(choices: Sequence[Choice], frames: np.ndarray | None = None, shown: int = 4) -> Figure:
    """Why a video got its rows: the score of every entity and triple, cut into its parts.

    Args:
        frames: uint8 [n, H, W, 3], of which `shown` are drawn above.

    Raises:
        ValueError: no choices.
    """
    if not choices:
        raise ValueError("no entities and no triples were chosen: nothing to draw")
    entities = [choice for choice in choices if choice.kge is None]
    triples = [choice for choice in choices if choice.kge is not None]
    rows = len(choices) + 2
    top = 0 if frames is None else 1.7
    height = 0.26 * rows + 1.0 + top
    figure = Figure(figsize=(8.2, height), facecolor=PAPER)
    if frames is not None:
        for i, number in enumerate(np.linspace(0, len(frames) - 1, shown).astype(int)):
            axes = _empty(figure.add_axes((0.03 + 0.95 / shown * i, 1 - 1.6 / height, 0.9 / shown, 1.5 / height)))
            axes.imshow(frames[number])
    axes = figure.add_axes((0.3, 0.62 / height, 0.66, (height - top - 0.95) / height))
    axes.set_facecolor(PAPER)
    places = [*range(len(entities)), *range(len(entities) + 1, len(entities) + 1 + len(triples))]
    for place, choice in zip(places, [*entities, *triples], strict=True):
        ends = {True: 0.0, False: 0.0}  # positive parts to the right, negative ones to the left
        for name, color in PARTS:
            value = getattr(choice, name)
            if value:
                axes.barh(place, value, left=ends[value > 0], color=color, height=0.72)
                ends[value > 0] += value
        axes.plot(choice.score, place, "D", color=INK, markersize=4)
    texts = [choice.text if choice.seen else f"{choice.text} (proposed)" for choice in [*entities, *triples]]
    axes.set_yticks(places, texts, fontsize=9.5, color=INK)
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, lw=0.8)
    axes.tick_params(axis="x", labelsize=9, colors=INK)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    legend = {"similarity": "video and text", "both_ends": "both ends chosen", "kge": "embedding"}
    for name, color in PARTS:
        axes.plot([], [], "s", color=color, label=legend[name])
    axes.plot([], [], "D", color=INK, markersize=4, label="score")
    figure.legend(loc="lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def draw_map(vectors: Tensor, graph: KnowledgeGraph, labelled: int = 40) -> Figure:
    """The entities in the plane of their two main directions; dots as large as often stated.

    Violet entities mostly act, orange ones are mostly acted on, blue ones do both.

    Shapes:
        vectors [E, W]
    """
    plane, share = _plane(vectors)
    heads = torch.zeros(len(graph.entities)).index_add_(0, graph.triples[:, 0], graph.support.float())
    tails = torch.zeros(len(graph.entities)).index_add_(0, graph.triples[:, 2], graph.support.float())
    active = heads / (heads + tails).clamp(min=1)
    colors = [OUT if a > 0.75 else INTO if a < 0.25 else BOTH for a in active.tolist()]
    sizes = 12 + 26 * graph.entity_support.clamp(min=1).float().log()
    figure = Figure(figsize=(8.2, 6.0), facecolor=PAPER)
    axes = figure.add_axes((0.03, 0.03, 0.94, 0.89))
    axes.set_facecolor(PAPER)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.1)
    axes.scatter(*plane.T, s=sizes.numpy(), c=colors, alpha=0.75, linewidths=0)
    order = torch.argsort(graph.entity_support, descending=True, stable=True)[:labelled].tolist()
    names = [graph.entities[i] for i in order]
    for i, offset in _free_places(plane[order], names).items():
        axes.annotate(names[i], plane[order[i]], xytext=offset, textcoords="offset points", fontsize=9, color=INK)
    axes.set_title(
        f"entities by their embeddings, first two directions ({share:.0%} of the variance)", color=INK, fontsize=11
    )
    return figure


def _plane(vectors: Tensor) -> tuple[np.ndarray, float]:
    """The first two principal components [E, 2], and their share of the variance."""
    centred = vectors.double() - vectors.double().mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    # A direction and its opposite are the same: the larger end is drawn to the right, and up.
    points = u[:, :2] * s[:2]
    points = points * torch.sign(points[points.abs().argmax(0), torch.arange(points.shape[1])])
    return points.numpy(), float((s[:2] ** 2).sum() / (s**2).sum().clamp(min=1e-12))


def _free_places(points: np.ndarray, names: Sequence[str]) -> dict[int, tuple[float, float]]:
    """Where labels fit beside their points, in points of print; the first ones have the choice, some find no place."""
    low, high = points.min(0), points.max(0)
    scale = np.array([480.0, 330.0]) / np.maximum(high - low, 1e-9)
    taken: list[tuple[float, float, float]] = []  # left, right, bottom
    found = {}
    for i, point in enumerate((points - low) * scale):
        width = 5.2 * len(names[i])
        for offset in ((5, 4), (5, -11), (-5 - width, 4), (-5 - width, -11), (5, 13), (5, -20)):
            left, bottom = point + offset
            if all(left > right or left + width < start or abs(bottom - y) > 10 for start, right, y in taken):
                taken.append((left, left + width, bottom))
                found[i] = offset
                break
    return found
