"""Flags of the extractors. Each program offers the groups that its stage uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataset.stage_arguments import StageArguments

SAMPLING_RULES = ("time", "reference")
# What `--compat reference` stands for here, by the names that the captioner's programs use too.
COMPAT = ("sampling", "i3d_bn", "square_crop")


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
        metadata={"help": f"reproduce published behaviour: reference (all), or some of {', '.join(COMPAT)}"},
    )

    def __post_init__(self):
        super().__post_init__()
        self.compat = [name for word in self.compat for name in word.split(",") if name]
        for name in self.compat:
            _one_of("compat", name, ("reference", *COMPAT))
        if "reference" in self.compat:
            self.compat = list(COMPAT)
        if "sampling" in self.compat:
            self.sampling = "reference"
        _one_of("sampling", self.sampling, SAMPLING_RULES)
        _one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        if self.rate <= 0:
            raise ValueError(f"--rate is {self.rate}; it must be positive")
        for name, least in (("slots", 1), ("batch_size", 1), ("decode_workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least {least}")


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

    patch: int = _flag(3, "tiles along one side: patch x patch nodes per slot")
    overlap: float = _flag(0.5, "how far a tile reaches into its neighbours, in tile widths (0 to 1)")

    def __post_init__(self):
        super().__post_init__()
        if self.nodes != "grid":
            raise ValueError(
                f"--nodes {self.nodes} needs {self.nodes} node features ({self.node_feature}), which no program of "
                "this version extracts. Import published ones with python graphs/transform_graph_to_geometric.py "
                f"--nodes {self.nodes} --import FILE, extract the actions with extractors/i3d_feature_extractor.py "
                f"--features published, and run the graph programs with --nodes {self.nodes}"
            )
        if self.patch < 1 or not 0 <= self.overlap <= 1:
            raise ValueError(
                f"--patch is {self.patch} and --overlap {self.overlap}; patch must be at least 1, overlap from 0 to 1"
            )


@dataclass
class ActionArguments:
    """The action network."""

    action_network: str = _flag(
        "rgb_imagenet.pt", "weights of the action network: a file, one in pretrained/, or a checkpoint folder", "--i3d"
    )
