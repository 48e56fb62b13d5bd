"""Videos inside an LMDB archive: key = the file's name without ending, value = the encoded file, as STOP packs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dataset.corpus import Corpus, CorpusError, listed


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
                temporary = file.with_suffix(".part")
                temporary.write_bytes(content)
                temporary.replace(file)
            found[name] = file
    if names and not found:
        raise CorpusError(f"--lmdb_dataset {archive} holds none of the {len(names)} videos: {listed(names)}")
    return found


def with_archive(corpus: Corpus, archive: Path, folder: Path) -> Corpus:
    """The corpus with the videos that are not on disk taken from an archive."""
    return replace(corpus, videos=corpus.videos | unpack(archive, folder, corpus.missing))
