"""The triples of a corpus on disk, and their extraction, which a kill does not undo."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from graphs.knowledge.extraction import Extractor, Triple
from utility.feature_layout import changed_settings, settings_hash, to_json
from utility.record_log import DamagedLog, RecordLog, read_header, read_records
from utility.whole_files import whole_file

log = logging.getLogger(__name__)

STAGE = "python -m graphs.knowledge.triples"


class OtherSettings(ValueError):
    """A stage finds results that were made with other settings."""


@dataclass(frozen=True)
class VideoTriples:
    """What the captions of one video state, a triple as often as captions state it."""

    video: str
    captions: int
    triples: list[Triple]


def caption_settings(corpus: str, captions: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Which captions: corpus, numbers and a hash over ids and texts."""
    digest = hashlib.sha256(to_json({name: list(texts) for name, texts in captions.items()}).encode())
    return {
        "corpus": corpus,
        "split": "train",
        "videos": len(captions),
        "captions": sum(map(len, captions.values())),
        "hash": digest.hexdigest()[:16],
    }


def same_settings(stored: Mapping[str, Any], wanted: Mapping[str, Any], source: Path) -> None:
    """
    Raises:
        OtherSettings: naming what differs.
    """
    if changed := changed_settings(stored, wanted):
        raise OtherSettings(
            f"{source} was made with other settings ({changed}). Use the old settings, choose another --knowledge "
            "name for the new ones, or start anew with --resume 0"
        )


def extract_corpus(
    path: Path, extractor: Extractor, captions: Mapping[str, Sequence[str]], settings: Mapping[str, Any]
) -> float:
    """Writes the triples of all captions to `path`; what a killed run has done is not done again.

    Returns:
        Captions per second of this run, 0 if there was nothing to do.

    Raises:
        OtherSettings: results of other captions or another extractor are there.
    """
    settings = {**settings, **extractor.settings}
    if path.exists():
        same_settings(read_settings(path), settings, path)
        log.info("%s is there already", path)
        return 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _check_part(part, settings)
    records = RecordLog(part, to_json(settings).encode())
    try:
        done = {key.decode("utf-8", "surrogatepass") for key, _, _ in read_records(part)}
        if len(done) > 1:
            log.info("%d of %d videos are done already", len(done) - 1, len(captions))
        todo = {name: texts for name, texts in captions.items() if name not in done}
        start, count = time.perf_counter(), sum(map(len, todo.values()))
        with tqdm(total=count, desc="triples", unit="caption", disable=None, mininterval=1.0) as bar:
            for name, texts in todo.items():
                triples = [triple for text in texts for triple in extractor.extract(text)]
                entry = {"video": name, "captions": len(texts), "triples": triples}
                records.append(name.encode("utf-8", "surrogatepass"), json.dumps(entry).encode())
                bar.update(len(texts))
    finally:
        records.close()
    _finish(path, part, captions, settings)
    return count / (time.perf_counter() - start) if count else 0.0


def _check_part(part: Path, settings: Mapping[str, Any]) -> None:
    if not part.exists():
        return
    try:
        same_settings(json.loads(read_header(part)), settings, part)
    except DamagedLog as error:
        log.warning("%s: starting anew", error)
        part.unlink()


def _finish(path: Path, part: Path, order: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Writes the file in the order of the corpus, whatever order the runs had."""
    entries = {key.decode("utf-8", "surrogatepass"): body for key, body, _ in read_records(part) if key}
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        file.write(to_json({"settings": settings, "settings_hash": settings_hash(dict(settings))}).encode() + b"\n")
        file.writelines(entries[name] + b"\n" for name in order)
    part.unlink()


def read_settings(path: Path) -> dict[str, Any]:
    """What the triples of a file depend on.

    Raises:
        FileNotFoundError: no such file; the message names the program.
        ValueError: not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no triples in {path}; they are made by {STAGE}")
    with open(path, encoding="utf-8") as file:
        try:
            return json.loads(file.readline())["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a file of triples ({STAGE}): its first line has no settings") from error


def read_triples(path: Path) -> Iterator[VideoTriples]:
    """The videos of a file of triples, in its order.

    Raises:
        FileNotFoundError, ValueError: as `read_settings`, and a damaged line by its number.
    """
    read_settings(path)
    with open(path, encoding="utf-8") as file:
        next(file)
        for number, line in enumerate(file, 2):
            try:
                entry = json.loads(line)
                yield VideoTriples(entry["video"], entry["captions"], [Triple(*triple) for triple in entry["triples"]])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not the triples of a video ({error})") from error
