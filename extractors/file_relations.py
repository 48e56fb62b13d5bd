"""Relation rows of a single file: chosen from the table that a captioner's checkpoint carries."""

from __future__ import annotations

import numpy as np
import torch

from dataset.graph_features import padded_rows
from extractors.clip_features import WholeFrames
from graphs.knowledge.relation_rows import RelationTable, video_vector
from pretrained.backbones import Backbone
from utility.checkpoint import Checkpoint
from utility.precision import recorded_precision

ROW_ARRAYS = ("rel", "rel_mask")


class FileRelations:
    """What a `+rel` captioner needs beside the graph of a file.

    Args:
        stored: checkpoint of the captioner.
        backbone: that of its nodes.

    Attributes:
        frames: extractor of the whole frames, to be run in the decoding pass of the other extractors.
        settings: those of the whole frames of the training.

    Raises:
        ValueError: relations that were not made by the programs of this project, or through another backbone.
    """

    def __init__(self, stored: Checkpoint, backbone: Backbone, device: torch.device):
        name = stored.config["model_name"]
        made = stored.config["features"].get("others", {}).get("rel", {})
        if "relations" not in stored.config or not stored.tables or "theta2" not in made:
            raise ValueError(
                f"the {name} captioner was trained on relations whose table it does not carry (imported ones): extract "
                "features for the folder and use --do_eval"
            )
        self.settings = made["theta2"]
        if self.settings["backbone"]["hash"] != backbone.hash:
            theirs = self.settings["backbone"]
            raise ValueError(
                f"the relations of the {name} captioner were chosen through the backbone {theirs['name']} "
                f"({theirs['hash']}), its nodes come from {backbone.name} ({backbone.hash}): a single file needs one "
                "for both"
            )
        self.table = RelationTable.from_parts(stored.config["relations"], stored.tables)
        self.frames = WholeFrames(backbone, device, recorded_precision(self.settings["precision"], device))

    def arrays(self, frames: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """rel [20, D] and rel_mask [20], as the features of the training held them."""
        # Half precision, in which the feature files hold frames.
        vector = video_vector(frames["frames"].astype(np.float16), frames["slot_mask"])
        rows, mask = padded_rows(self.table.choose(vector)[0].numpy())
        return {"rel": rows, "rel_mask": mask}
