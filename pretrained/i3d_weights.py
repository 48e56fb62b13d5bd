"""Loads an action network: the published `rgb_imagenet.pt`, another file of that layout, or a checkpoint of ours."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.backbone.i3d import I3D
from pretrained import zoo
from utility.checkpoint import file_hash, is_checkpoint, load_checkpoint, load_tensors, read_tensors, tensors_hash

FOLDER = Path(__file__).resolve().parent
RECORD = zoo.find("rgb_imagenet")
PUBLISHED = {"width": 1.0, "pool": [2, 7, 7], "resize": 256, "size": 224, "length": 16}

# What `config["action_network"]` of a checkpoint must say.
CONFIG_KEYS = ("width", "pool", "resize", "size", "num_classes")


@dataclass(frozen=True)
class ActionNetwork:
    """An I3D in eval mode and what its clips must look like.

    Attributes:
        name: of the weights, for settings and messages.
        hash: first 16 digits of a SHA-256: of the file, or of the tensors of a checkpoint.
        resize: length in pixels to which the shorter edge of a frame is resized.
        size: edge in pixels of the centre crop that follows.
        length: frames per clip.
        trained_on: ids of the videos that it was trained on, None where unknown (published weights).
        corpus: name of the corpus that these belong to, None where unknown.
    """

    model: I3D
    name: str
    hash: str
    resize: int
    size: int
    length: int = 16
    trained_on: list[str] | None = None
    corpus: str | None = None


def load_i3d(spec: str | Path = RECORD.file, device: str | torch.device = "cpu") -> ActionNetwork:
    """Builds an action network from weights.

    Args:
        spec: path of a weight file with the published key names, name of one in `pretrained/`, or a checkpoint folder
            whose config has `action_network`: width, pool, resize, size, num_classes, optionally length, differences.

    Raises:
        FileNotFoundError: no such file or folder; for the published one the message says where to get it.
        ValueError: not weights of an RGB action network; the message lists what does not fit.
    """
    path = locate(spec)
    if path.is_dir():
        network = _from_checkpoint(path)
    else:
        network = _from_file(path)
    network.model.eval().requires_grad_(False).to(device)
    return network


def locate(spec: str | Path) -> Path:
    """The path that a name means: as given, else in `pretrained/`.

    Raises:
        FileNotFoundError: neither exists.
    """
    for path in (Path(spec).expanduser(), FOLDER / spec):
        if path.exists():
            return path
    if Path(spec).name != RECORD.file:
        raise FileNotFoundError(f"no action network {spec}; give a weight file, a checkpoint folder, or {RECORD.file}")
    raise FileNotFoundError(missing_message())


def missing_message() -> str:
    """Which file is missing, its size and checksum, where it belongs, and the command that gets it."""
    return f"{zoo.missing_message(RECORD)}\nor name others with --action_network FILE_OR_FOLDER"


def _from_file(path: Path) -> ActionNetwork:
    try:
        tensors = read_tensors(path)
    except ValueError as error:
        size = path.stat().st_size
        if path.name == RECORD.file and size != RECORD.size:
            raise ValueError(
                f"{path} has {size:,} bytes instead of {RECORD.size:,}; get it again: {RECORD.url}"
            ) from error
        raise
    first, last = tensors.get("Conv3d_1a_7x7.conv3d.weight"), tensors.get("logits.conv3d.weight")
    if first is None or last is None:
        raise ValueError(
            f"{path} does not hold an I3D: no {'Conv3d_1a_7x7' if first is None else 'logits'}.conv3d.weight among its "
            f"{len(tensors)} tensors"
        )
    if first.shape[1] != 3:
        raise ValueError(f"{path} is a network for {first.shape[1]} input channels (optical flow); give the RGB one")
    model = I3D(num_classes=last.shape[0], width=PUBLISHED["width"], pool=PUBLISHED["pool"])
    load_tensors(model, with_counters(model, tensors), str(path))
    return ActionNetwork(model, path.stem, file_hash(path), PUBLISHED["resize"], PUBLISHED["size"], PUBLISHED["length"])


def _from_checkpoint(folder: Path) -> ActionNetwork:
    if not is_checkpoint(folder):
        # The folder of a run: its best checkpoint, or its last where nothing chose a best.
        folder = next((folder / name for name in ("best", "last") if is_checkpoint(folder / name)), folder)
    checkpoint = load_checkpoint(folder, training=False)
    config = checkpoint.config.get("action_network")
    if not isinstance(config, dict):
        raise ValueError(f"{folder} is not a checkpoint of an action network: its config has no `action_network`")
    if missing := [key for key in CONFIG_KEYS if key not in config]:
        raise ValueError(f"{folder}: `action_network` of config.json lacks {', '.join(missing)}")
    sizes = {key: config[key] for key in ("num_classes", "width", "pool", "differences") if key in config}
    model = I3D(**sizes)
    # A network trained with captions (`model.retrieval.ActionText`) is stored with its text tower.
    own = {key.removeprefix("i3d."): value for key, value in checkpoint.tensors.items() if key.startswith("i3d.")}
    tensors = own or checkpoint.tensors
    load_tensors(model, tensors, str(folder))
    name = folder.parent.name if folder.name in ("best", "last") else folder.name
    length = config.get("length", PUBLISHED["length"])
    return ActionNetwork(
        model,
        name,
        tensors_hash(tensors),
        config["resize"],
        config["size"],
        length,
        checkpoint.config.get("trained_on"),
        checkpoint.config.get("corpus"),
    )


def with_counters(model: I3D, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with zeros for batch normalisation's counters where absent, as in the published file."""
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    return {**{name: torch.zeros_like(value) for name, value in counters.items()}, **tensors}
