"""Which layers own prompts and which layers read whose (ViLT; recognition reference, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Lists = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Transfers:
    """For one tower: layers that own prompts, and {layer: indices} of own and of mapped prompts that enter there.

    Attributes:
        owners: layers with prompts of their own.
        maps: layers whose mapped list is not empty; they carry the linear map of that index.
        own: {layer: indices of this tower's prompts}.
        mapped: {layer: indices of the other tower's prompts}, only where the other tower uses own ones in that layer.
    """

    owners: tuple[int, ...]
    maps: tuple[int, ...]
    own: dict[int, tuple[int, ...]]
    mapped: dict[int, tuple[int, ...]]


def default_lists(layers: int) -> tuple[list, list]:
    """(text, vision) lists: text leads in the first 5/12 of the layers, vision in the next 5/12, then nobody."""
    lead = max(1, layers * 5 // 12)
    text, vision = [], []
    for layer in range(layers):
        first, second = layer < lead, lead <= layer < 2 * lead
        text.append([[layer] if first else [], [layer] if second else []])
        vision.append([[layer] if second else [], [layer] if first else []])
    return text, vision


def read_transfers(text: Lists, vision: Lists, text_layers: int, vision_layers: int) -> tuple[Transfers, Transfers]:
    """Checked (text, vision).

    Raises:
        ValueError: lists that do not fit the towers, indices without a prompt or without a map.
    """
    for name, lists, layers in (("text", text, text_layers), ("vision", vision, vision_layers)):
        if any(len(pair) != 2 for pair in lists):
            raise ValueError(f"modality_transfer_{name}: every layer needs two lists, own and mapped prompts")
        used = [layer for layer, pair in enumerate(lists) if any(pair)]
        if used and used[-1] >= layers:
            raise ValueError(
                f"modality_transfer_{name} has prompts for layer {used[-1]}, "
                f"the {name} tower has layers 0 to {layers - 1}"
            )
    return _read("text", text, vision), _read("vision", vision, text)


def coupled_layers(text: Transfers, vision: Transfers) -> list[int]:
    """Layers in which anything enters one of the towers."""
    return sorted({*text.owners, *text.maps, *vision.owners, *vision.maps})


def _read(name: str, lists: Lists, other: Lists) -> Transfers:
    owners = tuple(layer for layer, (own, _) in enumerate(lists) if own)
    maps = tuple(layer for layer, (_, mapped) in enumerate(lists) if mapped)
    leaders = {layer for layer, (own, _) in enumerate(other) if own}
    found = Transfers(
        owners,
        maps,
        {layer: tuple(lists[layer][0]) for layer in owners},
        {layer: tuple(lists[layer][1]) for layer in maps if layer in leaders},
    )
    for layer, indices in found.own.items():
        _check(name, layer, indices, set(owners), f"own prompts exist for layers {list(owners)}")
    for layer, indices in found.mapped.items():
        _check(
            name, layer, indices, leaders & set(maps),
            f"maps exist for layers {list(maps)}, the other tower's prompts for layers {sorted(leaders)}",
        )  # fmt: skip
    return found


def _check(name: str, layer: int, indices: Sequence[int], allowed: set[int], known: str) -> None:
    wrong = [index for index in indices if index not in allowed]
    if wrong:
        raise ValueError(f"modality_transfer_{name}, layer {layer}: no prompts {wrong}; {known}")
