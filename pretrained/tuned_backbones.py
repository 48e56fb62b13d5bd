"""Backbones that learn from captions: where they start, and how they come back out of a captioner's checkpoint.

| starts from | `--tune prompts` | `--tune lora` |
|---|---|---|
| a CLIP, a run of clip4clip | a new `stop` | a new `unified` of which only the low-rank additions are computed |
| a retrieval checkpoint that has such parameters | these | these |

New methods read the class token, as CLIP does. New low-rank additions have no effect yet: the first nodes are CLIP's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.backbone.clip import CLIP
from model.retrieval.methods import build_method
from model.retrieval.prompted import PromptedRetrieval
from model.retrieval.settings import MethodSettings
from pretrained.backbones import Backbone, backbone_of, describe, load_backbone
from pretrained.retrieval_runs import StoredRun, build_stored, open_run
from utility.checkpoint import Checkpoint, chosen_checkpoint, is_checkpoint

CLASS_TOKEN = "average_frame_cls_token"
NEW_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    # Nine tiles a frame through convolutions over all their pixels would cost more than the tower itself.
    "prompts": ("stop", {"visual_output_type": CLASS_TOKEN, "pixel_prompt": False}),
    "lora": ("unified", {"training_mode": "tempme_only", "merge": False, "video_readout": CLASS_TOKEN}),
}
MAX_WORDS = 32


@dataclass
class TunedBackbone:
    """A retrieval network that a captioner looks through, and what a retrieval checkpoint of it would say.

    Attributes:
        seen: as an extractor sees it. While it learns, its hash is that of the weights it started from.
        config: of the retrieval checkpoint that it comes from; empty for plain weights.
    """

    model: PromptedRetrieval
    method: str
    seen: Backbone
    config: dict[str, Any]

    def describe(self, name: str, corpus: str, trained_on: Any) -> dict[str, Any]:
        """The config of a retrieval checkpoint of it, so that the trainer, the search and `load_backbone` can use it.

        Args:
            trained_on: as `dataset.seen_videos.also_trained_on` gives it.
        """
        settings, clip = asdict(self.model.settings), self.model.config
        frames = {"rule": "time", "rate": 1.0, "frames": self.model.settings.max_frames, "slice_framepos": 2}
        config = {
            "sampling": frames,
            "preprocessing": {"crop": "centre square", "interpolation": "bicubic", "size": clip.resolution},
            "max_words": min(MAX_WORDS, clip.context_length),
        } | self.config
        if "arguments" in config:
            config["arguments"] = config["arguments"] | settings | {"method": self.method}
        return config | {
            "program": "retrieval",
            "method": self.method,
            "method_settings": settings,
            "backbone": describe(clip, name, self.seen.mean, self.seen.std),
            "header": {"name": self.model.header, "layers": self.model.settings.cross_num_hidden_layers},
            "corpus": corpus,
            "trained_on": trained_on,
        }


def open_tunable(place: Path | str, kind: str) -> TunedBackbone:
    """The network in which prompts or low-rank additions can learn.

    New parameters are drawn from torch's generator.

    Args:
        place: a backbone, as `load_backbone` takes it.
        kind: "prompts" or "lora".

    Raises:
        FileNotFoundError, ValueError: as `load_backbone`.
    """
    seen = load_backbone(place)
    plain = isinstance(seen.model, CLIP)
    ours = is_checkpoint(chosen_checkpoint(Path(place).expanduser()))
    run = open_run(chosen_checkpoint(Path(place).expanduser()) if ours else place) if ours or not plain else None
    if not plain:
        # Not the network of `seen`, whose additions are folded in.
        return TunedBackbone(build_stored(run), run.config["method"], seen, dict(run.config))
    config = dict(run.config) if run is not None and "method" in run.config else {}
    method, changes = NEW_METHODS[kind]
    frames = config.get("method_settings", {}).get("max_frames", MethodSettings.max_frames)
    regions = min(MethodSettings.regions, max(1, seen.model.config.grid**2 // 2))
    settings = MethodSettings(max_frames=frames, regions=regions, **changes)
    return TunedBackbone(build_method(method, seen.model, settings), method, seen, config)


def stored_tuned(checkpoint: Checkpoint) -> TunedBackbone:
    """The network of a retrieval checkpoint, in eval mode, nothing folded."""
    source = Path("the checkpoint")
    model = build_stored(StoredRun(checkpoint, source, source))
    return TunedBackbone(model, checkpoint.config["method"], backbone_of(checkpoint, source), dict(checkpoint.config))
