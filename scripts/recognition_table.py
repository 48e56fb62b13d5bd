"""The six recognisers on MiniMotion's actions, against the backbone that only reads class names.

    python -m scripts.recognition_table
    python -m scripts.recognition_table --methods video_coop vita --shots full --seeds 0 --epochs 4

Trains every method over a frozen backbone (the demo's) with all training clips and with few per class, several times,
and prints a Markdown table of test top-1: mean and spread, what learns, what it took. A finished training is not
repeated, and one that was stopped is resumed: the same command goes on.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from scripts.table_cells import spread
from scripts.train_models.settings import METHODS
from utility.arguments import parse

ZERO = "zero-shot backbone"
SPENT = ("processor_seconds", "videos_per_second")


@dataclass
class TableArguments:
    """What is compared."""

    backbone: str | None = field(default=None, metadata={"help": "the frozen CLIP; default: the demo's"})
    data_root: str | None = field(default=None, metadata={"help": "MiniMotion's folder; default dataset/MiniMotion"})
    methods: list[str] = field(default_factory=lambda: list(METHODS), metadata={"help": "which of the six"})
    shots: list[str] = field(
        default_factory=lambda: ["full", "4", "16"], metadata={"help": "training clips per class: full, or numbers"}
    )
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2], metadata={"help": "one training each; they draw first values and order"}
    )
    epochs: int | None = field(default=None, metadata={"help": "of a full training; default: the trainer's"})
    few_shot_epochs: int = field(default=40, metadata={"help": "of a training with few clips"})
    limit: int | None = field(default=None, metadata={"help": "only the first so many clips of every split"})
    finished: bool = field(default=False, metadata={"help": "print what is finished, train nothing"})
    output_dir: str = field(default="results/recognition_table", metadata={"help": "folder of runs and table.json"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})

    def __post_init__(self):
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ValueError(f"--methods {' '.join(unknown)}: known are {', '.join(METHODS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(TableArguments, argv, prog="scripts.recognition_table", description=__doc__.split("\n")[0])

    from utility.program import run_program

    return run_program(lambda dist: run(args, dist), args.device)


def run(args: TableArguments, dist: Any) -> None:
    """
    Raises:
        ValueError: `finished`, and nothing is.
    """
    folder = Path(args.output_dir)
    rows: dict[str, dict[str, Any]] = {ZERO: {"zero": zero_shot(args, folder, dist)}}
    # The first seed of everything comes first, so that a table that is stopped compares all methods.
    for shots, seed, method in itertools.product(args.shots, args.seeds, args.methods):
        row = one_run(args, folder, method, shots, seed)
        if row is None:
            continue
        rows.setdefault(method, {}).setdefault(shots, []).append(row)
        (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(rows, args.shots)))


def one_run(args: TableArguments, folder: Path, method: str, shots: str, seed: int) -> dict[str, float] | None:
    """What `row_of` says of one training, from its files where it is done; None if it is not, with `finished`."""
    from scripts.train_models import train_recogniser
    from utility.caption_evaluation import write_json

    run_id = f"{shots}-seed{seed}"
    done = folder / method / "MiniMotion" / run_id / "table_row.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    if args.finished:
        return None
    words = ["--dataset", "minimotion", "--models_root", folder, "--run_id", run_id, "--random_seed", seed, "--resume"]
    words += ["--device", args.device, "--early_stop_patience", 0]
    # Trainings read the same clips.
    words += ["--use_cache", "--save_to_cache", "--cache_dir", folder / "decoded"]
    few = shots != "full"
    given = {
        "--backbone": args.backbone, "--data_root": args.data_root, "--limit": args.limit,
        "--K_train": shots if few else None, "--epochs": args.few_shot_epochs if few else args.epochs,
    }  # fmt: skip
    words += [word for name, value in given.items() if value is not None for word in (name, value)]
    resumed = (done.parent / "last").is_dir()
    start, work = time.perf_counter(), time.process_time()
    status = train_recogniser.main(method, list(map(str, words)))
    if status:
        raise ValueError(f"{method} with {' '.join(map(str, words))} ended with status {status}")
    row = row_of(done.parent) | {
        "seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - work, "resumed": resumed,
    }  # fmt: skip
    write_json(done, row)
    return row


def row_of(folder: Path) -> dict[str, float]:
    """{"top1", "trainable", "videos_per_second"} of a finished run, on the test split."""
    results = json.loads((folder / "test_results.json").read_text(encoding="utf-8"))
    return {
        "top1": results["top1"],
        "trainable": results["cost"]["trainable"],
        "videos_per_second": results["videos_per_second"],
    }


def zero_shot(args: TableArguments, folder: Path, dist: Any) -> dict[str, float]:
    """The backbone's test accuracy from class names alone."""
    done = folder / "zero_shot.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    if args.finished:
        raise ValueError(f"--finished: nothing is finished in {folder}")
    from dataset.action_pictures import ActionPictures, ViewSettings
    from dataset.action_videos import EvaluationClips
    from dataset.recognition_settings import RecognitionData
    from model.recognition import build
    from pretrained.backbones import load_backbone
    from scripts.train_models.evaluation import predict
    from scripts.train_models.inputs import Inputs
    from scripts.train_models.session import default_backbone
    from utility.caption_evaluation import write_json

    start = time.perf_counter()
    backbone = load_backbone(args.backbone or default_backbone())
    corpus = RecognitionData(dataset="minimotion", data_root=args.data_root).open()
    model = build("video_coop", backbone.model, {"ctx_len": 0, "temporal_pooling": "mean"}).to(dist.device).eval()
    texts = model.class_texts(corpus.classes, backbone.tokenizer)
    views = ViewSettings(backbone.resolution, temporal=1, spatial=1)
    clips = EvaluationClips(corpus.splits["test"][: args.limit], ActionPictures(views))
    found = predict(model, texts, clips, Inputs(model, (backbone.mean, backbone.std)), dist, 16)
    row = {"top1": found.top1, "clips": len(found.names), "seconds": time.perf_counter() - start}
    write_json(done, row)
    return row


def table(rows: dict[str, dict[str, Any]], shots: Sequence[str]) -> list[str]:
    """Lines of the Markdown table; in brackets how many trainings a cell has where others have more."""
    zero = rows[ZERO]["zero"]
    heads = ["all clips" if s == "full" else f"{s} per class" for s in shots]
    more = ["learnt", f"processor seconds, {heads[0]}", "videos/s"]
    trained = {method: cells for method, cells in rows.items() if method != ZERO}
    seeds = max((len(runs) for cells in trained.values() for runs in cells.values()), default=0)
    lines = [f"Test top-1 in per cent, {zero['clips']} clips, mean and standard deviation of {seeds} trainings.", ""]
    lines += [f"| method | {' | '.join([*heads, *more])} |", "|---" * (len(shots) + 4) + "|"]
    alone = f"{100 * zero['top1']:.1f}"
    lines.append(f"| {ZERO} | {' | '.join([alone] * len(shots))} | 0 | | |")
    for method, cells in trained.items():
        shown = [_cell([100 * run["top1"] for run in cells.get(s, [])], seeds) for s in shots]
        # A resumed training took longer than what was measured of it.
        first = cells.get(shots[0], [])
        first = [run for run in first if not run.get("resumed")] or first
        spent = [f"{mean(run[name] for run in first):.0f}" if first else "" for name in SPENT]
        learnt = next(iter(cells.values()))[0]["trainable"]
        lines.append(f"| {method} | {' | '.join(shown)} | {learnt:,} | {' | '.join(spent)} |")
    return lines


def _cell(values: Sequence[float], most: int) -> str:
    if not values:
        return ""
    return spread(values, 1) + (f" ({len(values)})" if len(values) < most else "")


if __name__ == "__main__":
    sys.exit(main())
