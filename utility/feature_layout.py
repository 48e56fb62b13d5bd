"""Names inside and around feature files: paths, group names of video ids, the hash of settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOT_EXTRACTED = "no program of this version"
# Which program makes a feature.
STAGES = {
    "GBased": "extractors/grid_node_theta_1_feature_extractor.py",
    "OBased": "extractors/object_node_theta_1_feature_extractor.py",
    "OFeat": "extractors/object_node_theta_1_feature_extractor.py",
    "theta2": "extractors/clip4clip_theta_2_feature_extractor.py",
    "actions": "extractors/i3d_feature_extractor.py",
    "GBased_spatial": "graphs/grid_based_spatial_action_graph.py",
    "OBased_spatial": "graphs/object_based_spatial_action_graph.py",
    "GBased_temporal": "graphs/temporal_similarity_graph.py",
    "OBased_temporal": "graphs/temporal_similarity_graph.py",
    "GBased_graph": "graphs/action_spatio_temporal_graph_feature_extractor.py",
    "OBased_graph": "graphs/action_spatio_temporal_graph_feature_extractor.py",
    "rel": "python -m graphs.knowledge.relations",
}


def feature_path(features_dir: Path | str, corpus: str, feature: str) -> Path:
    """`{features_dir}/{corpus}_{feature}.hdf5`"""
    return Path(features_dir) / f"{corpus}_{feature}.hdf5"


def find_feature(features_dir: Path | str, corpus: str, feature: str, made_by: str | None = None) -> Path:
    """The feature file of a corpus: the exact name, or the only `*_{feature}.hdf5` in the folder.

    Args:
        made_by: the program that makes this feature, for the message.

    Raises:
        FileNotFoundError: there is none, or there are several of other corpora.
    """
    exact = feature_path(features_dir, corpus, feature)
    if exact.is_file():
        return exact
    others = sorted(Path(features_dir).glob(f"*_{feature}.hdf5"))
    if len(others) == 1:
        return others[0]
    stage = made_by or STAGES.get(feature, "extractors/extract.py")
    parts = sorted(exact.parent.glob(glob_escape(exact.name) + ".rank*.part"))
    if parts:
        state = f"only unfinished parts are there ({parts[0].name}): run the stage again, it continues"
    elif others:
        state = f"there are several others ({', '.join(p.name for p in others)})"
    else:
        state = "it was not made yet"
    raise FileNotFoundError(f"features {feature!r} of {corpus} not found: {exact}; {state}. They are made by {stage}")


def settings_hash(settings: dict[str, Any]) -> str:
    """Short hash of a settings dictionary, independent of the order of its keys."""
    return hashlib.sha256(to_json(settings).encode()).hexdigest()[:16]


def escape(video_id: str) -> str:
    """The HDF5 group name of a video id: what HDF5 or UTF-8 cannot carry is written %XX or %uXXXX."""
    if not video_id or "\0" in video_id:
        raise ValueError(f"a video id must not be empty or contain NUL: {video_id!r}")
    if video_id == ".":
        return "%2E"
    name = video_id.replace("%", "%25").replace("/", "%2F")
    return re.sub("[\ud800-\udfff]", lambda match: f"%u{ord(match[0]):04X}", name)


def unescape(name: str) -> str:
    """Inverse of `escape`."""
    return re.sub("%(?:u([0-9A-F]{4})|([0-9A-F]{2}))", lambda match: chr(int(match[1] or match[2], 16)), name)


def to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def changed_settings(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What differs between settings as they are stored and as a program has them, "" if nothing does."""
    old, new = flatten(dict(stored)), flatten(json.loads(to_json(given)))
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed)


def glob_escape(name: str) -> str:
    """The name as a literal glob pattern."""
    return re.sub(r"([*?[])", r"[\1]", name)
