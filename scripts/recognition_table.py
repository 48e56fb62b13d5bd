"""The six recognisers on MiniMotion's actions, against the backbone that only reads class names.

    python -m scripts.recognition_table
    python -m scripts.recognition_table --methods video_coop vita --shots full --seeds 0 --epochs 4

Trains every method over a frozen backbone (the demo's) with all training clips and with few per class, several times,
and prints a Markdown table of test top-1: mean, spread, seconds of a training. A finished run is not repeated.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scripts.train_models.settings import METHODS
from utility.arguments import parse

log = logging.getLogger(__name__)


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
    folder = Path(args.output_dir)
    rows: dict[str, dict[str, Any]] = {"zero-shot backbone": {"zero": zero_shot(args, dist)}}
    for method in args.methods:
        rows[method] = {
            shots: [one_run(args, folder, method, shots, seed) for seed in args.seeds] for shots in args.shots
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(rows, args.shots, len(args.seeds))))


def one_run(args: TableArguments, folder: Path, method: str, shots: str, seed: int) -> dict[str, float]:
    """{"top1", "seconds"} of one training, from its files where it is finished."""
    from scripts.train_models import train_recogniser

    run_id = f"{shots}-seed{seed}"
    done = folder / method / "MiniMotion" / run_id / "table_row.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    words = ["--dataset", "minimotion", "--models_root", folder, "--run_id", run_id, "--random_seed", seed]
    words += ["--device", args.device, "--early_stop_patience", 0]
    few = shots != "full"
    given = {
        "--backbone": args.backbone, "--data_root": args.data_root, "--limit": args.limit,
        "--K_train": shots if few else None, "--epochs": args.few_shot_epochs if few else args.epochs,
    }  # fmt: skip
    words += [word for name, value in given.items() if value is not None for word in (name, value)]
    start = time.perf_counter()
    status = train_recogniser.main(method, list(map(str, words)))
    if status:
        raise ValueError(f"{method} with {' '.join(map(str, words))} ended with status {status}")
    results = json.loads((done.parent / "test_results.json").read_text(encoding="utf-8"))
    row = {"top1": results["top1"], "seconds": time.perf_counter() - start}
    done.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def zero_shot(args: TableArguments, dist: Any) -> dict[str, float]:
    """The backbone's test accuracy from class names alone."""
    from dataset.action_videos import ActionPictures, EvaluationClips, ViewSettings
    from dataset.recognition_settings import RecognitionData
    from model.recognition import build
    from pretrained.backbones import load_backbone
    from scripts.train_models.evaluation import predict
    from scripts.train_models.session import default_backbone

    start = time.perf_counter()
    backbone = load_backbone(args.backbone or default_backbone())
    corpus = RecognitionData(dataset="minimotion", data_root=args.data_root).open()
    model = build("video_coop", backbone.model, {"ctx_len": 0, "temporal_pooling": "mean"}).to(dist.device).eval()
    texts = model.class_texts(corpus.classes, backbone.tokenizer)
    views = ViewSettings(backbone.resolution, temporal=1, spatial=1)
    clips = EvaluationClips(corpus.splits["test"][: args.limit], ActionPictures(views))
    found = predict(model, texts, clips, (backbone.mean, backbone.std), dist, 16)
    return {"top1": found.top1, "clips": len(found.names), "seconds": time.perf_counter() - start}


def table(rows: dict[str, dict[str, Any]], shots: Sequence[str], seeds: int) -> list[str]:
    """Lines of the Markdown table."""
    zero = rows["zero-shot backbone"]["zero"]
    heads = ["all clips" if s == "full" else f"{s} per class" for s in shots]
    lines = [f"Test top-1 in per cent, {zero['clips']} clips, mean and standard deviation of {seeds} trainings.", ""]
    lines += [f"| method | {' | '.join(heads)} | seconds, {heads[0]} |", "|---" * (len(shots) + 2) + "|"]
    alone = f"{100 * zero['top1']:.1f}"
    lines.append(f"| zero-shot backbone | {' | '.join([alone] * len(shots))} | |")
    for method, cells in rows.items():
        if method == "zero-shot backbone":
            continue
        shown = [_spread([100 * run["top1"] for run in cells[s]]) for s in shots]
        seconds = mean(run["seconds"] for run in cells[shots[0]])
        lines.append(f"| {method} | {' | '.join(shown)} | {seconds:.0f} |")
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
