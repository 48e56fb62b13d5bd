"""The feature files that a captioner's model name asks for, and what is known about how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset.corpus import Corpus
from dataset.seen_videos import overlap_notes
from utility.feature_layout import flatten
from utility.feature_store import FeatureStore, find_feature
from utility.places import portable


class CaptionFeatures:
    """The stores behind one model name.

    Args:
        folder: folder of the feature files.
        corpus: name of the corpus, their prefix.
        features: `GBased`, `GBased+rel`, ... (see `dataset.caption_settings`).

    Attributes:
        stores: "graphs", and "rel" and "objects" where the model name has them.

    Raises:
        FileNotFoundError: a file is absent; the message says which program makes it.
    """

    def __init__(self, folder: Path, corpus: str, features: str):
        self.folder, self.corpus = folder, corpus
        self.node_feature, *extra = features.split("+")
        names = {"graphs": f"{self.node_feature}_graph"}
        names |= {"rel": "rel"} if "rel" in extra else {}
        names |= {"objects": "OFeat"} if "OFeat" in extra else {}
        self.stores = {key: FeatureStore(find_feature(folder, corpus, name)) for key, name in names.items()}

    @property
    def graphs(self) -> FeatureStore:
        """The store of action graphs."""
        return self.stores["graphs"]

    def describe(self) -> dict[str, Any]:
        """What a checkpoint keeps about its features."""
        return {
            "settings": self.graphs.settings,
            "settings_hash": self.graphs.settings_hash,
            "notes": self.graphs.notes,
            "others": {key: store.settings for key, store in self.stores.items() if key != "graphs"},
        }

    def seen_through(self, trained: Mapping[str, Any]) -> bool:
        """Whether the nodes come from the backbone of those described by a checkpoint."""
        now, then = (part.get("nodes", {}).get("backbone") for part in (self.graphs.settings, trained["settings"]))
        return now == then

    def check_same(self, trained: Mapping[str, Any], nodes: bool = True) -> None:
        """Refuse features other than those described by a checkpoint.

        Args:
            nodes: whether those of the nodes count; they do not where nodes are made from frames.

        Raises:
            ValueError: names what differs.
        """
        now = self.describe()
        old = flatten({"graphs": trained["settings"], **trained.get("others", {})})
        new = flatten({"graphs": now["settings"], **now["others"]})
        changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        changed = [key for key in changed if nodes or not key.startswith("graphs.nodes.")]
        if changed:
            listed = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed[:6])
            raise ValueError(
                f"The captioner was trained on other features than {self.graphs.path}: {listed}. Extract features with "
                "the old settings, or choose them with --features"
            )

    def overlap_notes(self, corpus: Corpus, nodes: bool = True) -> list[str]:
        """A sentence for every network (or knowledge graph) behind the features that saw videos of the test split.

        Args:
            nodes: whether those behind the nodes count.
        """
        settings = self.graphs.settings if nodes else {k: v for k, v in self.graphs.settings.items() if k != "nodes"}
        hashes = {
            kind: settings.get(part, {}).get(kind, {}).get("hash")
            for kind, part in (("backbone", "nodes"), ("detector", "nodes"), ("action_network", "actions"))
        }
        if "rel" in self.stores:
            hashes["knowledge_graph"] = self.stores["rel"].settings.get("graph")
        return overlap_notes(self.graphs.path.parent, corpus, hashes)

    def weights(self, **given: str | None) -> dict[str, str]:
        """Where the networks are (see `utility.places`): as given, else as the features note it.

        Args:
            given: places by kind: backbone, detector, action_network.
        """
        places = {kind: portable(place) for kind, place in given.items() if place}
        sources = {
            "backbone": (self.node_feature, "theta2"),
            "detector": ("OBased" if "objects" in self.stores else self.node_feature,),
            "action_network": ("actions",),
        }
        for kind, feature in ((kind, feature) for kind, features in sources.items() for feature in features):
            try:
                store = FeatureStore(find_feature(self.folder, self.corpus, feature))
            except FileNotFoundError:
                continue
            noted = store.notes.get("weights", {}).get(kind)
            places |= {kind: noted} if noted and kind not in places else {}
        return places
