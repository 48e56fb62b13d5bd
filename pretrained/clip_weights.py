"""Readers of published CLIP weights: every one returns tensors under OpenAI's names, in float32."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utility.checkpoint import read_tensors

# OpenAI's archives carry these beside the weights; no other file does.
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class ClipWeights:
    """Tensors of a CLIP and what their shapes cannot tell.

    Attributes:
        activation: `quick_gelu` or `gelu`; None where the file does not tell.
        heads: {"vision_heads": n, "text_heads": n}, empty where one per 64 channels is right.
        mean, std: of the pictures that it was trained on, None where the file does not tell.
        left_out: names of tensors that are no part of a CLIP (a similarity header, for instance).
    """

    tensors: dict[str, Tensor]
    activation: str | None
    heads: dict[str, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    left_out: tuple[str, ...] = ()


def read_weights(path: Path) -> ClipWeights:
    """Weights of a file or of a Hugging Face folder, whichever of the published layouts it has.

    | layout | known by | activation |
    |---|---|---|
    | OpenAI `.pt` (TorchScript) | its archive, or the entry `input_resolution` | quick_gelu |
    | CLIP4Clip `pytorch_model.bin.N` | names `clip.visual...` | quick_gelu (it starts from OpenAI's) |
    | open_clip | OpenAI's names, nothing else | not told: the architecture's name decides |
    | Hugging Face folder or file | `config.json`, names `vision_model...` | `hidden_act` |

    Raises:
        FileNotFoundError: no such file, or a folder without weights.
        ValueError: not a CLIP.
    """
    if path.is_dir():
        return _hugging_face(path)
    tensors = _torch_script(path)
    activation = None if tensors is None else "quick_gelu"
    tensors = read_tensors(path) if tensors is None else tensors
    if any(name in tensors for name in OPENAI_ENTRIES):
        activation = "quick_gelu"
    left_out: tuple[str, ...] = ()
    if "clip.visual.conv1.weight" in tensors:
        left_out = tuple(name for name in tensors if not name.startswith("clip."))
        tensors = {name.removeprefix("clip."): x for name, x in tensors.items() if name.startswith("clip.")}
        activation = "quick_gelu"
    if any(name.startswith("vision_model.") for name in tensors):
        raise ValueError(f"{path} has Hugging Face's names; give the folder that also holds its config.json")
    if "visual.conv1.weight" not in tensors:
        shown = ", ".join(list(tensors)[:4])
        raise ValueError(
            f"{path} does not hold a CLIP: no visual.conv1.weight among its {len(tensors)} tensors ({shown}, ...)"
        )
    tensors = {name: x.float() for name, x in tensors.items() if name not in OPENAI_ENTRIES}
    return ClipWeights(tensors, activation, {}, left_out=left_out)


def _torch_script(path: Path) -> dict[str, Tensor] | None:
    """Tensors of a TorchScript archive, None if the file is something else."""
    if not path.is_file():
        raise FileNotFoundError(f"weight file not found: {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format deprecated; OpenAI's files have no other
        try:
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
        except RuntimeError:
            return None


def _hugging_face(folder: Path) -> ClipWeights:
    config_file = folder / "config.json"
    file = next((folder / n for n in ("model.safetensors", "pytorch_model.bin") if (folder / n).is_file()), None)
    if file is None or not config_file.is_file():
        raise FileNotFoundError(
            f"{folder} is neither a checkpoint folder (model.safetensors and config.json) nor a Hugging Face CLIP "
            "folder (config.json with model.safetensors or pytorch_model.bin)"
        )
    config = json.loads(config_file.read_text(encoding="utf-8"))
    if config.get("model_type") != "clip":
        raise ValueError(f"{folder} holds a {config.get('model_type', 'model of unknown type')}, not a clip")
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    # What config.json leaves out has transformers' default value.
    activations = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    if len(activations) > 1 or not activations <= {"quick_gelu", "gelu"}:
        raise ValueError(
            f"{config_file}: hidden_act is {sorted(activations)}; both towers must have quick_gelu or gelu"
        )
    heads = {"vision_heads": vision.get("num_attention_heads", 12), "text_heads": text.get("num_attention_heads", 8)}
    pictures = _read_preprocessing(folder)
    tensors = hugging_face_names(read_tensors(file))
    return ClipWeights(tensors, activations.pop(), heads, pictures.get("image_mean"), pictures.get("image_std"))


def _read_preprocessing(folder: Path) -> dict[str, Any]:
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {name: tuple(content[name]) for name in ("image_mean", "image_std") if content.get(name)}


_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "logit_scale": "logit_scale",
}
_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def hugging_face_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `CLIPModel` state dict under OpenAI's names, projections transposed and joined.

    Raises:
        ValueError: tensors that a CLIPModel does not have.
    """
    renamed: dict[str, Tensor] = {}
    packed: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if name.endswith("position_ids"):
            continue
        if layer := _LAYER.fullmatch(name):
            tower = "visual." if layer[1] == "vision" else ""
            block = f"{tower}transformer.resblocks.{layer[2]}."
            if layer[3] in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                packed.setdefault(f"{block}attn.in_proj_{layer[4]}", {})[layer[3][-6]] = tensor
            elif layer[3] in _PARTS:
                renamed[f"{block}{_PARTS[layer[3]]}.{layer[4]}"] = tensor
            else:
                unknown.append(name)
        elif name in ("visual_projection.weight", "text_projection.weight"):
            renamed["visual.proj" if name.startswith("visual") else "text_projection"] = tensor.T.contiguous()
        elif name in _NAMES:
            renamed[_NAMES[name]] = tensor
        elif stem in _NAMES:
            renamed[f"{_NAMES[stem]}.{last}"] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"not the tensors of a Hugging Face CLIPModel: {', '.join(unknown[:8])}")
    renamed |= {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in packed.items()}
    return {name: tensor.float() for name, tensor in renamed.items()}
