"""Reads a captioner that the published system saved (AKG `.ckpt`), without running anything that is stored in it.

The file is {"epoch", "vc_model": state dict, "config": dict} of torch.save (captioner reference, section 10). Its
configuration holds instances of one class, `config.FeatureConfig`, which torch's tensors-only unpickler refuses; here
that name stands for an inert record, and every other name is refused as before. The vocabulary is
`config["vocab"]["init_word2idx"]`, the class-level dictionary that the published loader filled in place.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.captioner import COMPAT, CaptionerConfig, config_from_state_dict
from utility.checkpoint import strip_prefixes
from utility.vocabulary import SPECIAL

# What the weights expect of the network around them. The offset of graphs in a batch concerns the training only, and
# the published program decodes one video at a time, so that no graphs can overlap.
TRAINED_WITH = tuple(name for name in COMPAT if name != "graph_offset")

# Names in the published configuration -> ours; sizes that tensors show are read off the tensors.
_SETTINGS = {
    "n_heads": "heads",
    "n_heads_big": "heads_r2l",
    "n_heads_small": "heads_l2r",
    "max_frames": "slots",
    "num_object": "nodes_per_slot",
    "dropout": "dropout",
    "no_skip": "no_skip",
}


class FeatureConfig:
    """The record that stands for the published class of that name: attributes, and no behaviour."""

    def __new__(cls, *arguments: Any) -> FeatureConfig:
        return object.__new__(cls)

    def __init__(self, *arguments: Any):
        pass


# The name under which a file asks for it.
FeatureConfig.__module__ = "config"


@dataclass(frozen=True)
class PublishedCaptioner:
    """What an AKG checkpoint holds.

    Attributes:
        tensors: by our names, which are the published ones without `module.`.
        words: the vocabulary by id, the special words first.
        config: sizes of the network, and the published behaviours that it was trained with.
        settings: the published configuration as plain types.
        epoch: when it was saved.
    """

    tensors: dict[str, Tensor]
    words: list[str]
    config: CaptionerConfig
    settings: dict[str, Any]
    epoch: int | None


def load_torch_file(path: Path | str) -> Any:
    """Content of a torch file of tensors and plain types, in which `config.FeatureConfig` may occur.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; what it names besides is said, and was not touched.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint file not found: {path}")
    try:
        with torch.serialization.safe_globals([FeatureConfig]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
        OverflowError, AssertionError,
    ) as error:  # fmt: skip
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            reason = f"it names {named[1]}, which is no part of a captioner; loading it would run code stored in it"
        else:
            reason = f"not a file of tensors and plain types ({[*str(error).splitlines(), 'it ends early'][0]})"
        raise ValueError(f"{path} is refused: {reason}") from error


def published_captioner(content: Any, source: str) -> PublishedCaptioner:
    """The captioner in the content of an AKG file, see `load_torch_file`.

    Args:
        source: what the content is, for messages.

    Raises:
        ValueError: a part is missing, or vocabulary and network do not match.
    """
    settings = plain(content.get("config", {}))
    state = content.get("vc_model")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise ValueError(f"{source} is not an AKG checkpoint: it has no state dict 'vc_model'")
    tensors = strip_prefixes(state)
    words = _words(settings, source)
    config = config_from_state_dict(tensors, **_changes(settings), compat=TRAINED_WITH)
    if config.vocab_size != len(words):
        raise ValueError(
            f"{source}: vocabulary and network do not match, {len(words)} words and {config.vocab_size} outputs"
        )
    epoch = content.get("epoch")
    return PublishedCaptioner(tensors, words, config, settings, epoch if isinstance(epoch, int) else None)


def plain(value: Any) -> Any:
    """Plain types: records become dictionaries, tensors are named by their shape."""
    if isinstance(value, FeatureConfig):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)


def _words(settings: Mapping[str, Any], source: str) -> list[str]:
    """Words by id. A vocabulary that was numbered anew after a load has kept its order, so the order is what counts."""
    vocab = settings.get("vocab")
    table = vocab.get("init_word2idx") if isinstance(vocab, Mapping) else None
    if not isinstance(table, Mapping) or not all(type(number) is int for number in table.values()):
        raise ValueError(f"{source} has no vocabulary: config['vocab']['init_word2idx'] must map words to ids")
    numbers = sorted(table.values())
    words = sorted(table, key=table.__getitem__)
    contiguous = numbers[2:] == list(range(numbers[2], numbers[2] + len(numbers) - 2)) if len(numbers) > 2 else False
    if tuple(words[:2]) != SPECIAL or numbers[:2] != [0, 1] or not contiguous:
        raise ValueError(
            f"{source}: the vocabulary must hold {SPECIAL[0]} 0, {SPECIAL[1]} 1 and words with consecutive ids; it has "
            f"{len(words)} entries and begins with {words[:3]}"
        )
    return words


def _changes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the published configuration says about the network and tensors do not show."""
    sections = (settings.get("transformer"), settings.get("loader"), settings)
    found: dict[str, Any] = {}
    for section in sections:
        if isinstance(section, Mapping):
            for name, ours in _SETTINGS.items():
                if isinstance(section.get(name), int | float):
                    found.setdefault(ours, section[name])
    return found
