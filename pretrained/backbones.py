"""Loads the CLIP that everything else looks through, from any of the places where one may come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.backbone.clip import CLIP, CLIPConfig, config_of
from model.prompts.lora import fold_lora
from model.retrieval.methods import build_method
from model.retrieval.prompted import PromptedRetrieval
from pretrained import zoo
from pretrained.clip_weights import ClipWeights, read_weights
from pretrained.inner_backbone import retrieval_config, retrieval_part
from pretrained.retrieval_weights import load_retrieval, recognise, settings_of
from utility.checkpoint import (
    Checkpoint,
    chosen_checkpoint,
    file_hash,
    is_checkpoint,
    load_checkpoint,
    load_tensors,
    tensors_hash,
)
from utility.clip_text import ClipTokenizer

CONFIG_KEY = "backbone"
"""Where the config of a checkpoint describes its CLIP, see `describe`."""


@dataclass(frozen=True)
class Backbone:
    """A CLIP in eval mode and what its pictures must look like.

    Attributes:
        model: its `encode_image` takes every picture, a whole frame or a tile, by itself. That of a retrieval method
            with prompts or merging takes it for a video of one frame: prompts are computed from it and its tokens are
            merged, nothing is joined, and the feature is the one that the method compares with texts. So a feature
            depends neither on the other frames that were sampled nor on the batch.
        name: of the weights, for messages.
        tag: the same, usable as a folder name: features of different backbones live side by side.
        resolution: edge of its pictures in pixels.
        mean, std: per channel, of values in [0, 1].
        hash: first 16 digits of a SHA-256 over the weights.
        trained_on: ids of the videos that it was trained on, {corpus: ids} if these are several, None where unknown
            (published weights).
        corpus: name of the corpus that it was last trained on, to which a plain list belongs; None where unknown.
        left_out: tensors of the file that are no part of a CLIP.
    """

    model: CLIP | PromptedRetrieval
    name: str
    tag: str
    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    hash: str
    trained_on: list[str] | dict[str, list[str]] | None = None
    corpus: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def clip(self) -> CLIP:
        """The CLIP inside: without prompts and merging, its low-rank additions folded in."""
        if isinstance(self.model, CLIP):
            return self.model
        plain = CLIP(self.model.config)
        own = plain.state_dict()
        plain.load_state_dict({k: v for k, v in self.model.clip.state_dict().items() if k in own})
        return plain.eval().to(next(self.model.parameters()).device)

    def tokenizer(self, texts: Sequence[str], context: int | None = None) -> Tensor:
        """Ids [B, context] of texts; by default as long as the text tower allows."""
        return _tokenizer().pack(texts, context or self.model.config.context_length)[0]


@lru_cache(1)
def _tokenizer() -> ClipTokenizer:
    return ClipTokenizer()


def load_backbone(spec: str | Path, device: str | torch.device = "cpu") -> Backbone:
    """Builds a CLIP from weights.

    Args:
        spec: one of
            a name of `pretrained.zoo` (`ViT-B-32-quickgelu`, the published `ViT-B/32`), its file in `pretrained/`;
            a checkpoint folder of ours (a run's folder means its `best`);
            a Hugging Face CLIP folder; an OpenAI `.pt`; a CLIP4Clip `pytorch_model.bin.N`; a STOP `ckpt.pth.tar`; a
            checkpoint of TempMe;
            `ARCHITECTURE:FILE`, for open_clip files, which do not tell their activation.

    Raises:
        MissingWeights: a known file that is not in `pretrained/`; the message says how to get it.
        FileNotFoundError, ValueError: nothing of that name; not a CLIP; an architecture that the weights do not fit.
    """
    spec = str(spec)
    path = Path(spec).expanduser()
    if path.is_dir():
        folder = chosen_checkpoint(path)
        if _is_ours(folder):
            backbone = backbone_of(retrieval_part(load_checkpoint(folder, training=False)), folder)
        else:
            backbone = _from_weights(folder, path.name)
    elif path.is_file():
        backbone = _from_weights(path, _file_name(path), record=zoo.find(path.name))
    elif record := zoo.find(spec):
        if record.kind != "clip":
            raise ValueError(f"{spec} is not a CLIP; known ones: {', '.join(zoo.names('clip'))}")
        backbone = _from_weights(zoo.locate(record), record.name, record.architecture, record)
    else:
        backbone = _from_pair(spec)
    backbone.model.eval().to(device)
    return backbone


def backbone_tag(spec: str | Path) -> str:
    """The `tag` of a backbone without reading its weights, which need not be here.

    What is neither a file, a folder nor a known name is taken for a tag.
    """
    spec = str(spec)
    path = Path(spec).expanduser()
    if path.is_dir():
        folder = chosen_checkpoint(path)
        name = _own_name(folder, _load_config(folder)[CONFIG_KEY]) if _is_ours(folder) else path.name
    elif path.is_file():
        name = _file_name(path)
    elif record := zoo.find(spec):
        name = record.name
    else:
        architecture, separator, file = spec.partition(":")
        name = _pair_name(architecture, Path(file)) if separator else spec
    return _tag(name)


def describe(config: CLIPConfig, name: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """What `config["backbone"]` of a checkpoint says, so that `load_backbone` can use the folder by itself."""
    return {"name": name, "clip": asdict(config), "mean": list(mean), "std": list(std)}


def _file_name(path: Path) -> str:
    return path.stem if path.suffix in (".pt", ".pth") else path.name


def _pair_name(architecture: str, path: Path) -> str:
    return f"{architecture}.{path.stem}"


def _own_name(folder: Path, described: Mapping[str, Any]) -> str:
    return described.get("name", folder.parent.name if folder.name in ("best", "last") else folder.name)


def _from_pair(spec: str) -> Backbone:
    architecture, separator, file = spec.partition(":")
    if separator and _architectures(architecture):
        for path in (Path(file).expanduser(), zoo.FOLDER / file):
            if path.is_file():
                return _from_weights(path, _pair_name(architecture, path), architecture)
        raise FileNotFoundError(f"weight file not found: {file} (for {architecture}), here or in pretrained/")
    if _architectures(spec):
        raise zoo.MissingWeights(
            f"no weights are recorded for {spec}; name their file too: {spec}:FILE. Recorded: "
            f"{', '.join(zoo.names('clip'))}"
        )
    raise FileNotFoundError(
        f"no backbone {spec}: neither a file or folder nor a known name ({', '.join(zoo.names('clip'))}). "
        "Own ones come from train_unified_model.py and are given by their folder"
    )


def _architectures(name: str) -> dict[str, Any] | None:
    """open_clip's description of an architecture, None if it has none of that name."""
    import open_clip  # seconds to import, and only names need it

    return open_clip.get_model_config(name)


def _is_ours(folder: Path) -> bool:
    return is_checkpoint(folder) and CONFIG_KEY in _load_config(folder)


def _load_config(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return retrieval_config(content) if isinstance(content, dict) else {}


def backbone_of(checkpoint: Checkpoint, folder: Path) -> Backbone:
    """The backbone of a checkpoint's content, on the CPU, in the mode that new modules have.

    Args:
        folder: where it comes from, for its name and for messages.
    """
    described = checkpoint.config[CONFIG_KEY]
    config = CLIPConfig(**described["clip"])
    prefixed = {k.removeprefix("clip."): v for k, v in checkpoint.tensors.items() if k.startswith("clip.")}
    if prefixed and recognise(checkpoint.tensors) != "clip4clip":
        method, settings = checkpoint.config.get("method"), checkpoint.config.get("method_settings")
        model = _prompted(config, prefixed, str(folder), method, settings)
    else:
        model = CLIP(config)
        load_tensors(model, prefixed or checkpoint.tensors, str(folder))
    name = _own_name(folder, described)
    return Backbone(
        model=model,
        name=name,
        tag=_tag(name),
        resolution=config.resolution,
        mean=tuple(described["mean"]),
        std=tuple(described["std"]),
        hash=weights_hash(checkpoint.tensors),
        trained_on=checkpoint.config.get("trained_on"),
        corpus=checkpoint.config.get("corpus"),
        left_out=tuple(name for name in checkpoint.tensors if prefixed and not name.startswith("clip.")),
    )


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """The `hash` of a backbone of ours with these tensors: a header beside the CLIP does not count."""
    return tensors_hash({k.removeprefix("clip."): v for k, v in tensors.items() if k.startswith("clip.")} or tensors)


def _prompted(
    config: CLIPConfig,
    tensors: Mapping[str, Tensor],
    source: str,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> PromptedRetrieval:
    """A method with prompts or merging around its CLIP, additions folded; what is not given, shapes tell."""
    named = {f"clip.{name}": tensor for name, tensor in tensors.items()}
    model = build_method(method or recognise(named), CLIP(config), settings_of(named) | dict(settings or {}))
    load_retrieval(model, named, source)
    fold_lora(model)
    return model


def _from_weights(path: Path, name: str, architecture: str | None = None, record: zoo.Record | None = None) -> Backbone:
    if record is not None and (record.file == path.name) and record.size not in (None, path.stat().st_size):
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes instead of {record.size:,}: an incomplete or other file. Get it "
            f"again with: python -m pretrained.zoo get {record.name}"
        )
    weights = read_weights(path)
    activation = _activation(weights, path, architecture)
    config = config_of(weights.tensors, activation, **(weights.heads or _heads(architecture)))
    if any("prompt_embeddings" in name or "TVPt_" in name for name in weights.tensors):
        model = _prompted(config, weights.tensors, str(path))
    else:
        model = CLIP(config)
        load_tensors(model, weights.tensors, str(path))
    return Backbone(
        model=model,
        name=name,
        tag=_tag(name),
        resolution=model.config.resolution,
        mean=weights.mean or (record.mean if record else zoo.CLIP_MEAN),
        std=weights.std or (record.std if record else zoo.CLIP_STD),
        hash=tensors_hash(weights.tensors) if path.is_dir() else file_hash(path),
        left_out=weights.left_out,
    )


def _activation(weights: ClipWeights, path: Path, architecture: str | None) -> str:
    """The activation that file and architecture agree on: the wrong one loads without a complaint and sees worse."""
    described = (_architectures(architecture) or {}) if architecture else None
    wanted = None if described is None else "quick_gelu" if described.get("quick_gelu") else "gelu"
    if weights.activation is None and wanted is None:
        raise ValueError(
            f"{path} does not tell whether it needs gelu or quick_gelu; name its open_clip architecture: "
            "ViT-B-32:FILE (gelu) or ViT-B-32-quickgelu:FILE"
        )
    if None not in (weights.activation, wanted) and weights.activation != wanted:
        plain = architecture.removesuffix("-quickgelu")
        right = f"{plain}-quickgelu" if weights.activation == "quick_gelu" else plain
        raise ValueError(
            f"{path} needs {weights.activation}, {architecture} has {wanted}: use {right} "
            "(OpenAI's weights, and what was trained from them, need the -quickgelu architectures)"
        )
    return weights.activation or wanted


def _heads(architecture: str | None) -> dict[str, int]:
    """Attention heads of an architecture, empty where none is named."""
    described = _architectures(architecture) if architecture else None
    if not described:
        return {}
    vision, text = described["vision_cfg"], described["text_cfg"]
    return {"vision_heads": vision["width"] // vision.get("head_width", 64), "text_heads": text["heads"]}


def _tag(name: str) -> str:
    return name.replace("/", "-").replace(":", "-").replace(" ", "_")
