"""What each graph stage stores about one video: arrays in, arrays out, under the names of the feature files.

S slots, P nodes per slot, D node width, A action width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from graphs.spatial import slot_nodes
from graphs.temporal import temporal_similarity

Arrays = Mapping[str, np.ndarray]

# What a graph takes over from its nodes as it is, where present.
COPIED = ("nodes", "frame_index", "frame_time", "boxes", "scores")
# Settings that say where in a video the slots are: nodes and actions must agree in them.
SAMPLING_KEYS = ("sampling", "slots", "rate", "sampler_version")


class PartMismatch(ValueError):
    """Features of one video that were not made for each other."""


def node_mask(nodes: Arrays) -> np.ndarray:
    """Present nodes [S, P] bool: the stored mask within filled slots; of a grid, all nodes of the filled slots."""
    slots, per_slot = nodes["nodes"].shape[:2]
    filled = torch.from_numpy(np.asarray(nodes["slot_mask"], bool)) if "slot_mask" in nodes else torch.ones(slots) > 0
    mask = slot_nodes(filled, per_slot).numpy()
    return mask & np.asarray(nodes["node_mask"], bool) if "node_mask" in nodes else mask.copy()


def spatial_part(nodes: Arrays, actions: Arrays) -> dict[str, np.ndarray]:
    """The spatial action graph, as what it is: one action vector per slot beside the nodes that share it.

    Shapes:
        nodes:   nodes [S, P, D], slot_mask [S], optionally node_mask [S, P]
        actions: actions [S, A], optionally slot_mask [S]
        returns  actions [S, A] (zero in empty slots), slot_mask [S], node_mask [S, P]

    Raises:
        PartMismatch: other slots in nodes and actions.
    """
    mask = node_mask(nodes)
    vectors = np.asarray(actions["actions"])
    filled = np.asarray(nodes["slot_mask"], bool) if "slot_mask" in nodes else mask.any(axis=1)
    if vectors.ndim != 2 or len(vectors) != len(mask):
        raise PartMismatch(
            f"actions are {list(vectors.shape)} for nodes with {len(mask)} slots; extract both with the same --slots"
        )
    for name, own in (("slot_mask", filled), ("frame_index", nodes.get("frame_index"))):
        other = actions.get(name)
        if own is not None and other is not None and not np.array_equal(own.astype(int), other.astype(int)):
            raise PartMismatch(
                f"{name} of nodes and actions differ ({own.astype(int).tolist()} and {other.astype(int).tolist()}); "
                "extract both with the same sampling"
            )
    return {"actions": np.where(filled[:, None], vectors, 0), "slot_mask": filled, "node_mask": mask}


def temporal_part(nodes: Arrays, device: torch.device | str = "cpu") -> dict[str, np.ndarray]:
    """The temporal similarity graph: {"temporal": [S-1, P, P] float32}."""
    features = torch.from_numpy(np.asarray(nodes["nodes"])).to(device).float()
    mask = torch.from_numpy(node_mask(nodes)).to(device)
    return {"temporal": temporal_similarity(features, mask).cpu().numpy()}


def graph_part(nodes: Arrays, spatial: Arrays, temporal: Arrays) -> dict[str, np.ndarray]:
    """The compact action graph: nodes, both parts, and where the slots are in the video.

    Raises:
        PartMismatch: the parts were made from other nodes.
    """
    mask = node_mask(nodes)
    slots, per_slot = mask.shape
    if not np.array_equal(mask, np.asarray(spatial["node_mask"], bool)):
        raise PartMismatch("the spatial part was made from other nodes (its node_mask differs); make it again")
    shape = (slots - 1, per_slot, per_slot)
    if temporal["temporal"].shape != shape:
        raise PartMismatch(
            f"the temporal part is {list(temporal['temporal'].shape)}, these nodes need {list(shape)}; make it again"
        )
    arrays = {name: np.asarray(nodes[name]) for name in COPIED if name in nodes}
    arrays["nodes"] = np.where(mask[..., None], arrays["nodes"], 0).astype(arrays["nodes"].dtype)
    return {
        **arrays,
        "actions": np.asarray(spatial["actions"]),
        "temporal": np.asarray(temporal["temporal"]),
        "slot_mask": np.asarray(spatial["slot_mask"], bool),
        "node_mask": mask,
    }


def object_rows(nodes: Arrays) -> dict[str, np.ndarray]:
    """The objects of a video as one list, for the captioner's object path: {"objects": [n, 4 + D]}.

    A row is the box (left, top, right, bottom as shares of the frame), then the features; rows come slot by slot, in a
    slot by descending score. A video without objects has no row.

    Raises:
        PartMismatch: nodes without boxes.
    """
    if "boxes" not in nodes:
        raise PartMismatch("these nodes have no boxes, so they are no objects; extract object nodes")
    mask = node_mask(nodes)
    rows = [np.asarray(nodes[name])[mask].astype(np.float32) for name in ("boxes", "nodes")]
    return {"objects": np.concatenate(rows, axis=1)}


def object_rows_settings(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of object rows, from those of their nodes."""
    return {"stage": "object_rows", "columns": "box, features", "nodes": dict(nodes)}


def spatial_settings(nodes: Mapping[str, Any], actions: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a spatial part, from those of its sources.

    Raises:
        PartMismatch: nodes and actions were sampled differently.
    """
    for key in SAMPLING_KEYS:
        if key in nodes and key in actions and nodes[key] != actions[key]:
            raise PartMismatch(
                f"nodes were extracted with {key} {nodes[key]!r}, actions with {actions[key]!r}; "
                "extract one of them again"
            )
    return {"stage": "spatial_action_graph", "nodes": dict(nodes), "actions": dict(actions)}


def temporal_settings(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a temporal part, from those of its nodes."""
    return {"stage": "temporal_similarity_graph", "temperature": 1.0, "nodes": dict(nodes)}


def graph_settings(nodes: Mapping[str, Any], spatial: Mapping[str, Any], temporal: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a whole graph, from those of nodes and parts: what nodes and actions are, each once.

    Raises:
        PartMismatch: a part was made from nodes with other settings.
    """
    for name, part in (("spatial", spatial), ("temporal", temporal)):
        old = part["nodes"]
        if changed := [key for key in sorted({*nodes, *old}) if nodes.get(key) != old.get(key)]:
            raise PartMismatch(
                f"the {name} part was made from nodes with other settings ({', '.join(changed)}); make it again"
            )
    return {
        "stage": "action_graph",
        "temperature": temporal["temperature"],
        "nodes": dict(nodes),
        "actions": spatial["actions"],
    }
