"""Flags of the extractors. Each program offers the groups that its stage uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dataset.stage_arguments import StageArguments

SAMPLING_RULES = ("time", "reference")
OBJECT_FEATURES = ("auto", "detector", "backbone")


def _flag(default, text: str, *aliases: str):
    return field(default=default, metadata={"help": text, **({"aliases": list(aliases)} if aliases else {})})


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"--{name} is {value!r}; it must be one of {', '.join(known)}")


@dataclass
class ExtractionArguments(StageArguments):
    """Which frames, how fast, how exactly."""

    sampling: str = _flag(
        "time", "which frames: time (what is on screen at 0, 1/rate, 2/rate, ... seconds) or reference (published rule)"
    )
    rate: float = _flag(1.0, "sampled frames per second, for --sampling time")
    slots: int = _flag(20, "sampled frames per video at most; more are thinned evenly")
    batch_size: int = _flag(256, "pictures per forward pass of a network (an action clip counts its frames)")
    precision: str = _flag(
        "auto", "arithmetic of the networks: fp32, bf16, or auto (bf16 where the device multiplies it)"
    )
    decode_workers: int = _flag(2, "threads per process that decode the next videos; 0: decode between the batches")
    compat: list[str] = field(
        default_factory=list,
        metadata={
            "help": "reproduce published behaviour: reference (all of it), or some of sampling; i3d_bn, of actions; "
            "square_crop, of objects"
        },
    )

    def __post_init__(self):
        super().__post_init__()
        self.compat = [name for word in self.compat for name in word.split(",") if name]
        for name in self.compat:
            _one_of("compat", name, ("reference", *self.switches))
        if "reference" in self.compat:
            self.compat = list(self.switches)
        if "sampling" in self.compat:
            self.sampling = "reference"
        _one_of("sampling", self.sampling, SAMPLING_RULES)
        _one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        if self.rate <= 0:
            raise ValueError(f"--rate is {self.rate}; it must be positive")
        for name, least in (("slots", 1), ("batch_size", 1), ("decode_workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least {least}")

    @property
    def switches(self) -> tuple[str, ...]:
        """The published behaviours that this program can bring back."""
        return ("sampling",)


@dataclass
class ActionStageArguments(ExtractionArguments):
    """The same for the program of action features."""

    @property
    def switches(self) -> tuple[str, ...]:
        return ("sampling", "i3d_bn")


@dataclass
class BackboneArguments(ExtractionArguments):
    """The same for programs that look through a CLIP."""

    backbone: str = _flag(
        "ViT-B-16-quickgelu",
        "the CLIP whose vision tower makes the features: an open_clip or OpenAI model whose weights are in "
        "pretrained/, a weight file, a CLIP4Clip checkpoint, a Hugging Face CLIP folder, or a checkpoint folder of "
        "this project",
    )


@dataclass
class GridArguments(BackboneArguments):
    """The same with the tiles of a frame."""

    KINDS: ClassVar[tuple[str, ...]] = ("grid",)

    patch: int = _flag(3, "tiles along one side: patch x patch nodes per slot")
    overlap: float = _flag(0.5, "how far a tile reaches into its neighbours, in tile widths (0 to 1)")

    def __post_init__(self):
        super().__post_init__()
        if self.patch < 1 or not 0 <= self.overlap <= 1:
            raise ValueError(
                f"--patch is {self.patch} and --overlap {self.overlap}; patch must be at least 1, overlap from 0 to 1"
            )


@dataclass
class AllArguments(GridArguments):
    """The same for all stages in one pass."""

    KINDS: ClassVar[tuple[str, ...]] = ("grid", "object", "both")

    nodes: str = _flag("grid", "kind of nodes: grid, object, or both")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of nodes that are meant."""
        return ("grid", "object") if self.nodes == "both" else (self.nodes,)

    @property
    def switches(self) -> tuple[str, ...]:
        return ("sampling", "i3d_bn") + ("square_crop",) * ("object" in self.kinds)


@dataclass
class ObjectArguments(BackboneArguments):
    """The same for the program of object nodes."""

    KINDS: ClassVar[tuple[str, ...]] = ("object",)

    nodes: str = _flag("object", "kind of nodes: object")

    @property
    def switches(self) -> tuple[str, ...]:
        return ("sampling", "square_crop")


@dataclass
class DetectorArguments:
    """The object detector, and what is kept of what it finds."""

    detector: str = _flag(
        "fasterrcnn_resnet50_fpn",
        "what finds objects: a weight file of torchvision's Faster R-CNN (by path, or by name in pretrained/), an "
        ".onnx file, or motion, which needs no weights",
    )
    detector_size: int | None = _flag(
        None, "pixels of a frame's longer edge for the detector (default: Faster R-CNN 1024, ONNX 640, motion 192)"
    )
    max_objects: int = _flag(9, "objects per frame at most, the best ones: nodes per slot")
    min_score: float = _flag(0.5, "smallest score of an object")
    object_features: str = _flag(
        "auto", "features of the objects: detector (its own), backbone (what CLIP sees of each), auto (its own if any)"
    )

    def __post_init__(self):
        _one_of("object_features", self.object_features, OBJECT_FEATURES)
        for name, least in (("detector_size", 16), ("max_objects", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} is {value}; it must be at least {least}")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"--min_score is {self.min_score}; it must be from 0 to 1")


@dataclass
class ActionArguments:
    """The action network."""

    action_network: str = _flag(
        "rgb_imagenet.pt", "weights of the action network: a file, one in pretrained/, or a checkpoint folder", "--i3d"
    )
