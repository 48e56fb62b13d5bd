"""Action graphs of which a part is taken away or mixed up, and features of the wrong video: what a captioner loses
without the right ones, it has used.

Letters in shapes: S slots, P nodes per slot, D node width, A action width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utility.feature_store import FeatureStore, FeatureWriter

Arrays = Mapping[str, np.ndarray]


def shuffled_edges(graph: Arrays, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What the edges of a video carry, dealt anew among its own edges: which action is where is lost, not which occur.

    Inside slots all pairs of nodes are joined alike, so there the action vectors change slots; between slots the
    weights change pairs of nodes.

    Shapes:
        graph: actions [S, A], temporal [S-1, P, P], slot_mask [S], node_mask [S, P], and what stays as it is
    """
    filled = np.flatnonzero(graph["slot_mask"])
    actions, temporal = graph["actions"].copy(), graph["temporal"].copy()
    actions[filled] = actions[rng.permutation(filled)]
    present = np.asarray(graph["node_mask"], bool)
    joined = present[:-1, :, None] & present[1:, None, :]
    temporal[joined] = rng.permutation(temporal[joined])
    return {**graph, "actions": actions, "temporal": temporal}


def zeroed_actions(graph: Arrays, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """No action vector in any slot; nodes, weights between slots and masks stay."""
    return {**graph, "actions": np.zeros_like(graph["actions"])}


def zeroed_nodes(graph: Arrays, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Nothing is known of any node but that it is there; actions and weights between slots stay."""
    return {**graph, "nodes": np.zeros_like(graph["nodes"])}


ALTERATIONS: dict[str, Callable[[Arrays, np.random.Generator], dict[str, np.ndarray]]] = {
    "edges shuffled": shuffled_edges,
    "actions zeroed": zeroed_actions,
    "nodes zeroed": zeroed_nodes,
}


def write_altered(source: FeatureStore, path: Path, alteration: str, seed: int = 0) -> FeatureStore:
    """The same graphs under another path, each altered; goes on where it stopped.

    Args:
        alteration: one of `ALTERATIONS`; it becomes part of the settings.
        seed: with the place of a video among the ids, seed of its draws.

    Raises:
        SettingsMismatch: other graphs are there.
    """
    change = ALTERATIONS[alteration]
    settings = {**source.settings, "altered": alteration, "alteration_seed": seed}
    with FeatureWriter(path, settings, notes=source.notes) as writer:
        for number, name in enumerate(tqdm(source.ids, desc=alteration, unit="video", disable=None)):
            if name not in writer.done:
                writer.write(name, change(source[name], np.random.default_rng([seed, number])))
        writer.finish()
    return FeatureStore(path)


def write_dealt(source: FeatureStore, path: Path, groups: Iterable[Sequence[str]], seed: int = 0) -> FeatureStore:
    """The same features under another path, dealt anew: every video has those of another one of its group.

    Args:
        groups: ids that share a split; a video alone in its group keeps what it has.
        seed: of the deal; it becomes part of the settings.

    Raises:
        SettingsMismatch: other features are there.
    """
    # What chose the features does not know this choice.
    settings = {key: value for key, value in source.settings.items() if key != "table"}
    settings |= {"altered": "of another video", "alteration_seed": seed}
    rng = np.random.default_rng(seed)
    with FeatureWriter(path, settings, notes=source.notes) as writer:
        for group in groups:
            order = rng.permutation([name for name in group if name in source])
            for name, other in zip(order, np.roll(order, 1), strict=True):
                if name not in writer.done:
                    writer.write(str(name), source[other], source.attributes(other))
        writer.finish()
    return FeatureStore(path)
