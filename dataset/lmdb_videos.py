"""Videos inside an LMDB archive: key = the file's name without ending, value = the encoded file, as STOP packs them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.corpus import Corpus, CorpusError, listed

if TYPE_CHECKING:  # comes with torch, which readers of corpora need not wait for
    from utility.distributed import Distributed


def unpack(archive: Path, folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Copies the wanted videos out of an archive, those already there excepted; their files by id.

    A decoder wants to seek in a file, and every process and epoch would copy the same bytes again.

    Raises:
        FileNotFoundError: no such archive.
        CorpusError: it cannot be opened, or holds none of the videos.
    """
    import lmdb  # only this flag needs it

    if not archive.exists():
        raise FileNotFoundError(f"--lmdb_dataset {archive}: there is no such file or folder")
    try:
        environment = lmdb.open(str(archive), subdir=archive.is_dir(), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise CorpusError(f"--lmdb_dataset {archive} cannot be opened: {error}") from error
    names, found = list(names), {}
    folder.mkdir(parents=True, exist_ok=True)
    with environment, environment.begin() as transaction:
        for name in names:
            # One flat folder, whatever ids look like; the container tells its kind by itself.
            file = folder / f"{name.replace('/', '_')}.video"
            if not file.is_file():
                content = transaction.get(name.encode())
                if content is None:
                    continue
                temporary = file.with_suffix(f".{os.getpid()}.part")
                temporary.write_bytes(content)
                temporary.replace(file)
            found[name] = file
    if names and not found:
        raise CorpusError(f"--lmdb_dataset {archive} holds none of the {len(names)} videos: {listed(names)}")
    return found


def with_archive(corpus: Corpus, archive: Path, folder: Path, dist: Distributed) -> Corpus:
    """The corpus with the videos that are not on disk taken from an archive."""
    found: dict[str, Path] = {}
    # One process unpacks, the others find everything there (or unpack it for themselves on another machine).
    for turn in (dist.is_main, not dist.is_main):
        if turn:
            found = unpack(archive, folder, corpus.missing)
        dist.barrier()
    return replace(corpus, videos=corpus.videos | found)
