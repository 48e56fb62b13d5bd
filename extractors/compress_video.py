"""Smaller videos: shorter edge and frame rate reduced, H.264 without sound, sub-folders kept.

    python extractors/compress_video.py --input_root dataset/MSVD/videos --output_root dataset/MSVD/videos_small
    python extractors/compress_video.py --input_root in --output_root out --fps 3 --short_side 224 --workers 8

Finished outputs are skipped, so that the same command continues after a stop. A video that cannot be read is recorded
in `compress_video.manifest.jsonl` beside the outputs (`python -m utility.manifest status out` prints it) and stops
nothing.

Exit status: 0; 1 if nothing could be done, or with --strict if any video failed; 2 for what the user must change; 130
after Ctrl-C.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset.corpus import VIDEO_SUFFIXES
from utility.arguments import parse
from utility.whole_files import whole_file

STAGE = "compress_video"
# These hold H.264 and keep their suffix; everything else becomes .mp4.
KEPT_SUFFIXES = (".mp4", ".mov", ".mkv")


def _flag(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class CompressArguments:
    """What to make smaller, and how small."""

    input_root: str = field(metadata={"help": "folder of videos; every video below it is taken"})
    output_root: str = field(metadata={"help": "folder of the results, with the sub-folders of the input"})
    fps: float = _flag(3.0, "frames per second of the results")
    short_side: int = _flag(224, "pixels of the shorter edge of the results, even; the other edge keeps the proportion")
    crf: int = _flag(23, "quality of H.264, 0 (lossless) to 51 (worst)")
    workers: int = _flag(1, "processes")
    limit: int | None = _flag(None, "only the first so many videos, by name")
    dry_run: bool = _flag(False, "say what would be done, and do nothing")
    strict: bool = _flag(False, "exit with status 1 if any video failed")

    def __post_init__(self):
        if self.fps <= 0:
            raise ValueError(f"--fps is {self.fps}; it must be positive")
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"--short_side is {self.short_side}; it must be a positive even number, as H.264 needs")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"--crf is {self.crf}; it must be between 0 and 51")
        for name in ("workers", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Job:
    """One video to compress; `name` is its path below the input root."""

    name: str
    source: Path
    target: Path
    fps: float
    short_side: int
    crf: int


def target_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter edge `short_side` and the other one proportional, cut to an even number."""
    long_side = short_side * max(height, width) // min(height, width) // 2 * 2
    return (long_side, short_side) if height > width else (short_side, long_side)


def compress(job: Job) -> tuple[str, str | None, float]:
    """Makes one video smaller; returns (name, cause of the failure or None, seconds)."""
    from utility.sampling import sample_frames
    from utility.video import VideoError, VideoReader
    from utility.video_writer import VideoWriter, leftovers

    started = time.monotonic()
    for file in leftovers(job.target):
        file.unlink(missing_ok=True)
    try:
        with VideoReader(job.source) as video:
            size = target_size(video.info.height, video.info.width, job.short_side)
            shown = sample_frames(video.times, video.info.fps, slots=None, rate=job.fps).index.tolist()
            repeats = Counter(shown)
            with VideoWriter(job.target, Fraction(job.fps), crf=job.crf, preset="medium") as writer:
                for index, frame in video.stream(repeats, size):
                    picture = frame.permute(1, 2, 0).numpy()
                    for _ in range(repeats[index]):
                        writer.write(picture)
    except VideoError as error:
        return job.name, f"{error.stage}: {error.cause}", time.monotonic() - started
    return job.name, None, time.monotonic() - started


def find_jobs(args: CompressArguments) -> tuple[list[Job], dict[str, str]]:
    """(jobs, {name: why it cannot be done}) for every video below the input root, in the order of their names.

    Raises:
        FileNotFoundError: the input root is not a folder.
        ValueError: input and output are the same folder.
    """
    source_root, target_root = Path(args.input_root), Path(args.output_root)
    if not source_root.is_dir():
        raise FileNotFoundError(f"--input_root {source_root} is not a folder; give the folder that holds the videos")
    if source_root.resolve() == target_root.resolve():
        raise ValueError(f"--output_root {target_root} is the input itself; give another folder")
    jobs, refused, taken = [], {}, {}
    for source in sorted(source_root.rglob("*")):
        if source.suffix.lower() not in VIDEO_SUFFIXES or source.name.startswith(".") or not source.is_file():
            continue
        if target_root.resolve() in source.resolve().parents:
            continue
        relative = source.relative_to(source_root)
        target = target_root / relative
        if target.suffix.lower() not in KEPT_SUFFIXES:
            target = target.with_suffix(".mp4")
        if args.limit is not None and len(jobs) == args.limit:
            break
        if target in taken:
            refused[str(relative)] = f"its output {target.name} is already that of {taken[target]}; rename one of them"
            continue
        taken[target] = str(relative)
        jobs.append(Job(str(relative), source, target, args.fps, args.short_side, args.crf))
    return jobs, refused


def check_settings(args: CompressArguments) -> None:
    """Notes what the outputs depend on beside them; a dry run only compares.

    Raises:
        ValueError: the folder holds videos that were made with other settings.
    """
    path = Path(args.output_root) / f"{STAGE}.settings.json"
    settings = {"fps": args.fps, "short_side": args.short_side, "crf": args.crf}
    if path.is_file():
        before = json.loads(path.read_text())
        changed = [f"--{name} {before.get(name)}" for name in settings if before.get(name) != settings[name]]
        if changed:
            raise ValueError(
                f"the videos in {path.parent} were made with {', '.join(changed)}; "
                "use the same settings, another --output_root, or empty the folder"
            )
    if not args.dry_run:
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(settings) + "\n")


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[tuple[str, str | None, float]]:
    """The results of `compress`, in the order in which they are ready."""
    if workers == 1:
        yield from map(compress, jobs)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    from utility.processes import ignore_interrupts

    # a forked process would inherit the locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, ignore_interrupts) as pool:
        futures = [pool.submit(compress, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError(
                "a process that compresses was killed, perhaps for lack of memory; what is finished stays, the same "
                "command continues, with fewer processes by --workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run(args: CompressArguments) -> int:
    """Compresses everything that is not finished yet; returns the exit status."""
    from tqdm import tqdm

    from utility.manifest import SUFFIX, Manifest

    jobs, refused = find_jobs(args)
    if not jobs:
        raise FileNotFoundError(
            f"no videos below {args.input_root}; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    todo = [job for job in jobs if not (job.target.is_file() and job.target.stat().st_size > 0)]
    check_settings(args)
    if args.dry_run:
        print(f"would compress {len(todo)} of {len(jobs)} videos into {args.output_root}")
        return 0
    manifest = Manifest(Path(args.output_root) / f"{STAGE}{SUFFIX}")
    for name, cause in refused.items():
        manifest.record(name, STAGE, "failed", cause)
    failures = dict(refused)
    if todo:
        for name, cause, seconds in tqdm(run_jobs(todo, args.workers), total=len(todo), unit="video"):
            manifest.record(name, STAGE, "failed" if cause else "done", cause, seconds)
            if cause:
                failures[name] = cause
    skipped, total = len(jobs) - len(todo), len(jobs) + len(refused)
    done = total - skipped - len(failures)
    print(f"{total} videos: {done} compressed, {skipped} were finished, {len(failures)} failed")
    for name, cause in sorted(failures.items()):
        print(f"failed: {name}: {cause}")
    return 1 if len(failures) == total or (failures and args.strict) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(CompressArguments, argv, prog=STAGE, description="Makes videos smaller.")
    try:
        return run(args)
    except (OSError, ValueError) as error:
        print(f"{STAGE}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is finished stays, the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
