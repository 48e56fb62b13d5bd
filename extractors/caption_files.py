"""Files and folders to captions on standard output and in a file, shared by all processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dataset.corpus import find_videos
from extractors.in_memory import FileCaption, FileCaptioner
from utility.caption_evaluation import write_json
from utility.distributed import Distributed


def expand(paths: Iterable[str]) -> Iterator[Path]:
    """Files as given, folders as the videos below them in order of their names."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(file for files in find_videos(path).values() for file in files)
        else:
            yield path


def caption_files(
    captioner: FileCaptioner,
    paths: Sequence[str],
    as_json: bool,
    output: Path | None = None,
    dist: Distributed | None = None,
) -> int:
    """Caption files, print what was said (and nothing else on standard output), and keep it in `output`.

    Several processes share the files; the first one prints and keeps.

    Returns:
        Exit status: 0 if any file was captioned, else 1.
    """
    dist = dist or Distributed()
    results = []
    for result in _in_turn(captioner, list(expand(paths)), dist):
        results.append(result)
        if dist.is_main:
            _tell(result, as_json)
    status = 0 if any(result.caption is not None for result in results) else 1
    if not dist.is_main:
        return status
    if not results:
        print(f"no video file in {', '.join(paths)}", file=sys.stderr)
    content = {
        "model_name": captioner.config["model_name"],
        "captions": [result.record() for result in results],
    }
    if as_json:
        print(json.dumps(content, indent=1, ensure_ascii=False))
    if output is not None:
        write_json(output / "captions.json", content)
    return status


def _in_turn(captioner: FileCaptioner, files: list[Path], dist: Distributed) -> Iterator[FileCaption]:
    """What became of every file, in their order; as it comes where there is one process."""
    own = (captioner.caption(path) for path in dist.shard(files))
    if dist.world_size == 1:
        yield from own
        return
    parts = dist.gather_objects(list(own))
    yield from (parts[i % dist.world_size][i // dist.world_size] for i in range(len(files)))


def _tell(result: FileCaption, as_json: bool) -> None:
    if result.caption is None:
        print(f"{result.path}: {result.stage}: {result.cause}", file=sys.stderr)
    elif not as_json and result.n_best is None:
        print(f"{result.path}\t{result.caption}", flush=True)
    elif not as_json:
        for found in result.n_best:
            print(f"{result.path}\t{found['caption']}\t{found['score']:.4f}", flush=True)
