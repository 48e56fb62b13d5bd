"""OpenKE's text files: the form in which knowledge graphs are exchanged.

| file | content, after a line with the number of rows |
|---|---|
| `entity2id.txt`, `relation2id.txt` | name TAB id |
| `train2id.txt`, `valid2id.txt`, `test2id.txt` | head, tail, relation, in this order |

Source: Han et al., OpenKE: An Open Toolkit for Knowledge Embedding, EMNLP 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from graphs.knowledge.knowledge_graph import SPLITS, KnowledgeGraph

FILES = {"train": "train2id.txt", "val": "valid2id.txt", "test": "test2id.txt"}
NAMES = {"entities": "entity2id.txt", "relations": "relation2id.txt"}


def write_openke(graph: KnowledgeGraph, folder: Path | str) -> None:
    """Writes the five files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, file in NAMES.items():
        _write(folder / file, [f"{name}\t{number}" for number, name in enumerate(getattr(graph, kind))])
    for split, file in FILES.items():
        _write(
            folder / file, [f"{head}\t{tail}\t{relation}" for head, relation, tail in graph.of_split(split).tolist()]
        )


def read_openke(folder: Path | str) -> KnowledgeGraph:
    """The graph of the five files; every triple counts as stated once, as the files know no supports.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming file, line, and what is wrong with it.
    """
    folder = Path(folder)
    names = {kind: _names(folder / file) for kind, file in NAMES.items()}
    rows, split = [], []
    limits = (len(names["entities"]), len(names["entities"]), len(names["relations"]))
    for number, name in enumerate(SPLITS):
        path = folder / FILES[name]
        for line, words in _rows(path):
            ids = _ids(path, line, words, limits)
            rows.append((ids[0], ids[2], ids[1]))
            split.append(number)
    triples = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    support = torch.zeros(limits[0], dtype=torch.int64)
    support.index_add_(0, triples[:, [0, 2]].reshape(-1), torch.ones(2 * len(triples), dtype=torch.int64))
    return KnowledgeGraph(
        **names,
        triples=triples,
        split=torch.tensor(split, dtype=torch.int64),
        support=torch.ones(len(triples), dtype=torch.int64),
        entity_support=support,
        settings={"imported": "OpenKE"},
    )


def _write(path: Path, rows: Sequence[str]) -> None:
    path.write_text("\n".join([str(len(rows)), *rows]) + "\n", encoding="utf-8")


def _rows(path: Path) -> list[tuple[int, str]]:
    """(line number, text) of the rows of a file; their number must be that of its first line."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; a folder of OpenKE files has {', '.join((*NAMES.values(), *FILES.values()))}"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not lines or not lines[0].strip().isdecimal() or int(lines[0]) != len(rows):
        first = lines[0] if lines else ""
        raise ValueError(f"{path}: the first line is {first!r}, it must be the number of rows, {len(rows)}")
    return rows


def _names(path: Path) -> list[str]:
    """Names in the order of their ids, which must be 0, 1, 2, ..."""
    names: dict[int, str] = {}
    for line, text in _rows(path):
        name, _, number = text.rpartition("\t")
        if not name or not number.strip().isdecimal() or int(number) in names:
            raise ValueError(f"{path}, line {line}: expected a name, a tab and a new id, found {text!r}")
        names[int(number)] = name
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"{path}: ids must be 0 to {len(names) - 1}, each once")
    return [names[number] for number in range(len(names))]


def _ids(path: Path, line: int, text: str, limits: Sequence[int]) -> list[int]:
    words = text.split()
    good = len(words) == 3 and all(
        word.isdecimal() and int(word) < limit for word, limit in zip(words, limits, strict=True)
    )
    if not good:
        raise ValueError(
            f"{path}, line {line}: expected head, tail and relation below {', '.join(map(str, limits))}, found {text!r}"
        )
    return [int(word) for word in words]
