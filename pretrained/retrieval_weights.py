"""Published checkpoints of CLIP4Clip, STOP and TempMe: read into our networks, and written so that theirs read them.

| method | file | content |
|---|---|---|
| CLIP4Clip | `pytorch_model.bin.N` | tensors `clip.*` and the header's |
| STOP, DGL | `ckpt.pth.tar` | `state_dict` with `module.clip.*`, counters, optimiser |
| TempMe | `best.pth` | tensors `clip.*` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.backbone.clip import CLIP, config_of
from model.prompts.token_merging import POSITION
from model.retrieval.methods import build_method
from utility.checkpoint import export_pth, load_tensors, read_tensors

DROPPED = ("visual.position_ids", "visual.frame_embedding")
"""Entries of published files that no published code reads."""
_LAYER = re.compile(r"resblocks\.(\d+)\.")


def load_retrieval(
    model: nn.Module, weights: Mapping[str, Tensor] | Path | str, source: str = "", partial: bool = False
) -> list[str]:
    """Puts published tensors into a network of `build_method`.

    Args:
        weights: tensors, or the file that holds them (read without running code).
        source: what the tensors are, for messages.
        partial: accept missing and unexpected names (never wrong shapes).

    Returns:
        Missing and unexpected names, `missing NAME` or `unexpected NAME`, empty unless `partial`.

    Raises:
        FileNotFoundError, ValueError: no such file; damaged; other shapes; without `partial`, other names.
    """
    if not isinstance(weights, Mapping):
        source, weights = source or str(weights), read_tensors(weights)
    tensors = {name: tensor.float() for name, tensor in weights.items() if not name.endswith(DROPPED)}
    return load_tensors(model, tensors, source or "the weights", partial)


def recognise(tensors: Mapping[str, Tensor]) -> str:
    """The method whose checkpoint this is: clip4clip, stop, dgl, tempme or unified.

    Raises:
        ValueError: no CLIP under `clip.`.
    """
    if "clip.visual.conv1.weight" not in tensors:
        raise ValueError(
            f"no clip.visual.conv1.weight among these {len(tensors)} tensors: not a checkpoint of CLIP4Clip, STOP or "
            "TempMe"
        )
    prompts, low_rank = "clip.visual.prompt_embeddings" in tensors, any("TVPt_" in name for name in tensors)
    if prompts and low_rank:
        return "unified"
    if prompts:
        return "stop" if any(".TemporalPrompt." in name for name in tensors) else "dgl"
    return "tempme" if low_rank else "clip4clip"


def settings_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of a checkpoint as far as shapes tell; what they do not tell keeps its published default.

    Not told: text prompts of STOP (8), frames of linear prompts, how much TempMe merges, and where it joins clips if
    they have no positions. With positions, clips are taken to be one at the end.
    """
    width = tensors["clip.visual.conv1.weight"].shape[0]
    width_of_adapter = next((x.shape[0] for name, x in tensors.items() if name.endswith(".LoRA.0.weight")), None)
    found: dict[str, Any] = {"adapter": width_of_adapter is not None}
    if width_of_adapter is not None:
        found["adapter_width"] = width_of_adapter
    if (embedding := tensors.get("clip.visual.prompt_embeddings")) is not None:
        found |= {"global_visual_prompt_length": embedding.shape[1]} | _prompt_settings(tensors, width)
    rank = next((x.shape[0] for name, x in tensors.items() if name.endswith("TVPt_LoRA_a")), None)
    if rank is not None:
        found |= {"lora_dim": rank} | _merge_settings(tensors)
    return found | _header_settings(tensors)


def _prompt_settings(tensors: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    found: dict[str, Any] = {"text_prompt_length": 8, "local_each_frame_prompt_length": 4}
    inter = tensors.get("clip.visual.TemporalPrompt.InterMLP.2.weight")
    found["temporal_prompt"] = "DGL" if inter is None else "group2-2"
    if inter is not None:
        found["local_each_frame_prompt_length"] = inter.shape[0]
    if (table := tensors.get("clip.unified_prompt_embedding.weight")) is not None:
        per_frame = found["local_each_frame_prompt_length"]
        found |= {
            "shared_latent_space": "transformer",
            "unified_transformer_layers": table.shape[1] // width,
            "max_frames": (table.shape[0] - found["text_prompt_length"]) // per_frame,
        }
    else:
        table = tensors["clip.visual_prompt_embedding"]
        found |= {
            "shared_latent_space": "linear",
            "unified_transformer_layers": table.shape[2] // width,
            "local_each_frame_prompt_length": table.shape[1],
            "text_prompt_length": 2 * table.shape[1],
        }
    return found


def _merge_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    clips = {int(_LAYER.search(name)[1]): x.shape[1] for name, x in tensors.items() if name.endswith(POSITION)}
    if not clips:
        return {"frame_pos": False}
    layers = sorted(clips)
    rows = [*(clips[layer] for layer in layers), 1]
    factors = [before // after for before, after in pairwise(rows)]
    return {
        "max_frames": rows[0],
        "merge_layer": "-".join(map(str, layers)),
        "merge_frame_num": "-".join(map(str, factors)),
    }


def _header_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    known = {"lstm_visual.": "seqLSTM", "transformerClip.": "seqTransf", "cross.transformer.": "tightTransf"}
    for prefix, header in known.items():
        layers = {_LAYER.search(n)[1] for n in tensors if n.startswith(prefix) and _LAYER.search(n)}
        if any(name.startswith(prefix) for name in tensors):
            return {"sim_header": header} | ({"cross_num_hidden_layers": len(layers)} if layers else {})
    return {"sim_header": "meanP"}


def clip_config_of(tensors: Mapping[str, Tensor], **changes):
    """Sizes of the CLIP under `clip.`."""
    return config_of({name.removeprefix("clip."): tensor for name, tensor in tensors.items()}, **changes)


def open_published(
    path: Path | str, settings: Mapping[str, Any] | None = None, partial: bool = False
) -> tuple[str, nn.Module, list[str]]:
    """A network with the weights of a published checkpoint.

    Args:
        settings: what its shapes do not tell (see `settings_of`).

    Returns:
        Name of the method, the network in eval mode, and what `load_retrieval` returns.

    Raises:
        FileNotFoundError, ValueError: as `load_retrieval`; settings that the tensors do not fit.
    """
    tensors = read_tensors(path)
    method = recognise(tensors)
    model = build_method(method, CLIP(clip_config_of(tensors)), settings_of(tensors) | dict(settings or {}))
    left = load_retrieval(model, tensors, str(path), partial)
    return method, model.eval(), left


def published_tensors(method: str, model: nn.Module) -> dict[str, Tensor]:
    """The network's tensors under the names of the published checkpoint, entries that nothing reads included."""
    tensors = {name: x.detach().cpu() for name, x in model.state_dict().items() if not name.startswith("words.")}
    if method in ("stop", "dgl", "unified"):
        count = tensors["clip.visual.positional_embedding"].shape[0]
        tensors["clip.visual.position_ids"] = torch.arange(count)[None]
        tensors = {f"module.{name}": x for name, x in tensors.items()}
    return tensors


def export_published(path: Path | str, method: str, model: nn.Module, extra: Mapping[str, Any] | None = None) -> None:
    """Writes the checkpoint file that the published code of a method reads.

    Args:
        extra: counters and scores beside the tensors (STOP and TempMe-STOP only), tensors and plain types.
    """
    tensors = published_tensors(method, model)
    if method in ("clip4clip", "tempme"):
        if extra:
            raise ValueError(f"a published checkpoint of {method} holds tensors only; not {', '.join(extra)}")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensors, path)
        return
    arch = "UnifiedTempMeSTOP" if method == "unified" else "CLIp4Clip"
    export_pth(path, tensors, {"epoch": 0, "global_step": 0, "arch": arch, "best_acc1": 0.0} | dict(extra or {}))
