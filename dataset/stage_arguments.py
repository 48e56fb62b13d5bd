"""The flags that every program between videos and graphs shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dataset.arguments import DataArguments
from utility.feature_layout import glob_escape, settings_hash

# Node features by the word of `--nodes`.
NODE_FEATURES = {"grid": "GBased", "object": "OBased"}


@dataclass
class StageArguments(DataArguments):
    """Which videos, which nodes of which backbone, where to compute, and what to do with what is there already."""

    KINDS: ClassVar[tuple[str, ...]] = tuple(NODE_FEATURES)

    nodes: str = field(default="grid", metadata={"help": "kind of nodes: grid or object"})
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "the backbone whose features are meant, as the extractors take it: its set of features is the "
            "default of --features (without both, the only set that there is)"
        },
    )
    device: str = field(default="auto", metadata={"help": "auto (a GPU if there is one), cpu, cuda or cuda:N"})
    resume: bool = field(
        default=True, metadata={"help": "continue with the videos not yet done; with 0 the stage starts anew"}
    )
    strict: bool = field(default=False, metadata={"help": "end with an error if any video failed or is missing"})

    def __post_init__(self):
        if self.nodes not in self.KINDS:
            raise ValueError(f"--nodes is {self.nodes!r}; it must be {' or '.join(self.KINDS)}")

    @property
    def node_feature(self) -> str:
        """`GBased` or `OBased`."""
        return NODE_FEATURES[self.nodes]


def start_anew(path: Path) -> None:
    """Removes a feature file, its unfinished parts and its manifests: what `--resume 0` means."""
    stem, name = glob_escape(path.stem), glob_escape(path.name)
    for pattern in (name, f"{name}.rank*.part", f"{stem}.manifest.jsonl", f"{stem}.manifest.rank*.jsonl"):
        for file in path.parent.glob(pattern):
            file.unlink(missing_ok=True)


def describe_settings(settings: dict) -> str:
    """One line for `--dry_run` and logs: the hash, then the settings by name."""
    parts = ", ".join(f"{key} {value}" for key, value in settings.items() if not isinstance(value, dict))
    return f"settings {settings_hash(settings)}" + (f": {parts}" if parts else "")
