"""Checkpoints: a folder that appears only when it is complete and that is loaded without running any stored code.

| file | content |
|---|---|
| `model.safetensors` | the model's tensors |
| `config.json` | what is needed to build and use the model by itself |
| `vocabulary.json` | list of words, if the model has one |
| `tables.safetensors` | tensors that the model needs beside its weights, if any |
| `training.pt` | optimiser, schedule, counters, random states: tensors and plain types, read with `weights_only=True` |
| `metrics.json` | scores and their history |
"""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from utility.whole_files import recover, whole_file, whole_folder

MODEL, CONFIG, VOCABULARY, TABLES, TRAINING, METRICS = (
    "model.safetensors", "config.json", "vocabulary.json", "tables.safetensors", "training.pt", "metrics.json",
)  # fmt: skip
# Wrappers that training puts around a model, visible as prefixes of its keys.
PREFIXES = ("module.", "_orig_mod.")


@dataclass
class Checkpoint:
    """Content of a checkpoint folder; absent parts are None."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    training: dict[str, Any] | None
    vocabulary: list[str] | None
    metrics: dict[str, Any] | None
    tables: dict[str, Tensor] | None = None


def save_checkpoint(
    folder: Path | str,
    *,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    vocabulary: list[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    tables: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes a checkpoint folder, replacing one of that name only when the new one is on disk.

    Raises:
        TypeError: `training` holds something other than tensors and plain types.
        OSError: it could not be written, for instance to a full disk; an older one of that name is still whole.
    """
    folder = Path(folder)
    try:
        with whole_folder(folder) as temporary:
            save_file(_storable(tensors), temporary / MODEL)
            _write_json(temporary / CONFIG, dict(config))
            if vocabulary is not None:
                _write_json(temporary / VOCABULARY, list(vocabulary))
            if tables:
                save_file(_storable(tables), temporary / TABLES)
            if metrics is not None:
                _write_json(temporary / METRICS, dict(metrics))
            if training is not None:
                _check_plain(training, "training")
                torch.save(dict(training), temporary / TRAINING)
    except PermissionError:  # names its file; space is not what is wanting
        raise
    except (OSError, SafetensorError, RuntimeError) as error:  # torch and safetensors have errors of their own
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"{error} while writing the checkpoint {folder}; the one before it stays: free space and go on with "
            "--resume",
        ) from error


def load_checkpoint(folder: Path | str, training: bool = True) -> Checkpoint:
    """Reads a checkpoint folder onto the CPU.

    Args:
        training: whether to read the training state too.

    Raises:
        FileNotFoundError: no such folder, or not one of ours.
        ValueError: a file in it is damaged.
    """
    folder = Path(folder)
    recover(folder)
    if not is_checkpoint(folder):
        state = f"it lacks {MODEL} or {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(f"{folder} is not a checkpoint: {state}. Give the folder `best` or `last` of a run")
    try:
        return Checkpoint(
            tensors=load_file(folder / MODEL),
            config=_read_json(folder / CONFIG) or {},
            training=_read_training(folder / TRAINING) if training else None,
            vocabulary=_read_json(folder / VOCABULARY),
            metrics=_read_json(folder / METRICS),
            tables=load_file(folder / TABLES) if (folder / TABLES).is_file() else None,
        )
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ValueError(f"checkpoint {folder} is damaged: {error}") from error


def is_checkpoint(folder: Path | str) -> bool:
    """Whether the folder holds a complete checkpoint of ours."""
    folder = Path(folder)
    return (folder / MODEL).is_file() and (folder / CONFIG).is_file()


def chosen_checkpoint(folder: Path | str) -> Path:
    """The checkpoint that a folder means: itself, or the best of the run that it holds."""
    folder = Path(folder)
    return folder / "best" if not is_checkpoint(folder) and is_checkpoint(folder / "best") else folder


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool = False) -> list[str]:
    """Copies tensors into a module, naming everything that does not fit.

    Args:
        source: what the tensors are, for messages.
        partial: accept missing and unexpected names (never wrong shapes).

    Returns:
        Missing and unexpected names, `missing NAME` or `unexpected NAME`, empty unless `partial`.

    Raises:
        ValueError: missing or unexpected names without `partial`, or a different shape.
    """
    own = module.state_dict()
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in tensors and own[name].shape != tensors[name].shape
    ]
    missing = [f"missing {name}" for name in own if name not in tensors]
    unexpected = [f"unexpected {name}" for name in tensors if name not in own]
    if wrong or ((missing or unexpected) and not partial):
        listed = wrong + missing + unexpected
        shown = "; ".join(listed[:12]) + (f"; and {len(listed) - 12} more" if len(listed) > 12 else "")
        raise ValueError(f"{source} does not fit the model: {shown}")
    module.load_state_dict({name: value for name, value in tensors.items() if name in own}, strict=False)
    return missing + unexpected


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a weight file (safetensors, or a torch file read without running code), wrapper prefixes removed.

    A file that holds a training state is searched for its model under the usual names.

    Raises:
        FileNotFoundError, ValueError: absent; damaged, no tensors, or objects that only unpickling could build.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MODEL
    if path.suffix == ".safetensors" and path.is_file():
        try:
            content: Any = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be read as a safetensors file: {error}; get it again") from error
    else:
        content = read_plain(path)
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise ValueError(f"{path} holds no tensors")
    return strip_prefixes(tensors)


def read_plain(path: Path | str) -> Any:
    """Content of a torch file that holds tensors and plain types; nothing stored in it is run.

    Raises:
        FileNotFoundError, ValueError: absent; damaged, or objects that only unpickling could build.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weight file not found: {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a file of tensors: {error}. Loading it would have to run code stored in it"
        ) from error


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes `module.` and `_orig_mod.` as often as all keys begin with one of them."""
    stripped = dict(tensors)
    while stripped:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in stripped)), None)
        if prefix is None:
            break
        stripped = {key[len(prefix) :]: value for key, value in stripped.items()}
    return stripped


def export_pth(path: Path | str, tensors: Mapping[str, Tensor], extra: Mapping[str, Any] | None = None) -> None:
    """Writes `best_model.pth` and its like: `{"state_dict": tensors, **extra}`, tensors and plain types only."""
    write_plain(path, {"state_dict": {k: v.detach().cpu() for k, v in tensors.items()}, **(extra or {})})


def write_plain(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes a torch file of tensors and plain types, which appears only when it is complete.

    Raises:
        TypeError: something else is in it.
        OSError: it could not be written; an older one of that name is still whole.
    """
    path = Path(path)
    _check_plain(content, path.name)
    try:
        with whole_file(path) as temporary:
            torch.save(dict(content), temporary)
    except RuntimeError as error:  # torch's own word for a disk that takes no more
        raise OSError(errno.EIO, f"{error} while writing {path}; free space and run the same command again") from error


def file_hash(path: Path | str) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """First 16 hexadecimal digits of a SHA-256 over names, types, shapes and values, independent of order and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detached CPU copies, tied tensors separated (safetensors refuses shared memory)."""
    storable, seen = {}, set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        address = value.untyped_storage().data_ptr()
        storable[name] = value.clone() if address in seen else value
        seen.add(address)
    return storable


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise TypeError(f"{where}: key {key!r} is neither text nor a number")
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list | tuple | set):
        for item in value:
            _check_plain(item, where)
    elif type(value) not in (int, float, bool, str, bytes, type(None)) and not isinstance(value, Tensor):
        raise TypeError(f"{where} is a {type(value).__name__}: a checkpoint holds tensors and plain types only")


def _read_training(file: Path) -> dict[str, Any] | None:
    return torch.load(file, map_location="cpu", weights_only=True) if file.is_file() else None


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=_json_default) + "\n", encoding="utf-8")


def _json_default(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
