"""The retrieval methods on MiniMotion, each tuned several times from one small CLIP.

    make demo && python -m scripts.retrieval_table
    python -m scripts.retrieval_table --methods "CLIP4Clip, meanP" TempMe --seeds 0 --epochs 1

Trains every method with the trainer's own code, scores held-out clips in both directions, counts what trains and what a
video costs, and prints a Markdown table. A finished training is not repeated; the last thing measured is how fast the
finished networks encode videos.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from scripts.table_cells import spread
from utility.arguments import given_names, parse

log = logging.getLogger(__name__)

# The same clips, frames, batches and crops for all: what differs is the method.
COMMON = (
    "--frame_sampling", "time", "--feature_framerate", 4, "--max_frames", 4, "--cache_frames", 8, "--cache_size", 96,
    "--random_frames", 1, "--crop_min", 0.6, "--crop_each_frame", 1, "--augmentation", "none", "--every_sentence", 0,
    "--optim", "AdamW", "--batch_size", 24, "--coef_lr", 1, "--weight_decay", 0.05, "--word_weight", 0,
    "--freeze_token_embedding", 1, "--cross_num_hidden_layers", 2,
)  # fmt: skip
WHOLE = ("--method", "clip4clip", "--lr", 3e-4)
PROMPTS = ("--lr", 3e-3)
# At the rate of the others two of three trainings of STOP fell into one answer for all clips.
PIXEL_PROMPTS = ("--lr", 1e-3)
METHODS: dict[str, tuple[Any, ...]] = {
    "CLIP4Clip, meanP": WHOLE,
    "CLIP4Clip, seqLSTM": (*WHOLE, "--sim_header", "seqLSTM"),
    "CLIP4Clip, seqTransf": (*WHOLE, "--sim_header", "seqTransf"),
    "CLIP4Clip, tightTransf": (*WHOLE, "--sim_header", "tightTransf"),
    "STOP": ("--method", "stop", *PIXEL_PROMPTS),
    "DGL": ("--method", "dgl", *PROMPTS),
    "TempMe": ("--method", "tempme", *PROMPTS),
    "TempMe-STOP, joint": ("--method", "unified", *PIXEL_PROMPTS),
    "TempMe-STOP, stop_only": ("--method", "unified", "--training_mode", "stop_only", *PIXEL_PROMPTS),
    "TempMe-STOP, tempme_only": ("--method", "unified", "--training_mode", "tempme_only", *PROMPTS),
}
SCORES = ("R@1", "R@5", "R@10", "median")


@dataclass
class TableArguments:
    """What is compared."""

    backbone: str = field(
        default="results/demo/clip4clip/best", metadata={"help": "where every training starts; default: the demo's"}
    )
    data_root: str | None = field(default=None, metadata={"help": "MiniMotion's folder; default dataset/MiniMotion"})
    methods: list[str] = field(default_factory=lambda: list(METHODS), metadata={"help": "rows of the table"})
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2], metadata={"help": "one training each; they draw first values and order"}
    )
    epochs: int = field(default=3, metadata={"help": "of every training"})
    clips: int = field(default=200, metadata={"help": "test clips that are searched, the first of the split"})
    limit: int | None = field(default=600, metadata={"help": "only the first so many clips of every split"})
    speed_repeats: int = field(default=3, metadata={"help": "measurements of a network's speed; 0: none"})
    output_dir: str = field(default="results/retrieval_table", metadata={"help": "folder of runs and tables"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})

    def __post_init__(self):
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ValueError(f"--methods {', '.join(map(repr, unknown))}: known are {', '.join(map(repr, METHODS))}")
        if not self.seeds or self.clips < 2 or self.speed_repeats < 0:
            raise ValueError("--seeds needs one at least, --clips two, --speed_repeats is 0 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(TableArguments, argv, prog="scripts.retrieval_table", description=__doc__.split("\n")[0])

    from utility.program import run_program

    return run_program(lambda dist: run(args, dist), args.device)


def run(args: TableArguments, dist: Any) -> None:
    folder = Path(args.output_dir)
    rows: dict[str, list[dict[str, Any]]] = {}
    for method in args.methods:
        rows[method] = [one_run(args, folder, method, seed, dist) for seed in args.seeds]
        _write(folder, rows)
    for method in args.methods if args.speed_repeats else ():
        videos = speed(args, folder, method, args.seeds[0], dist)
        for row in rows[method]:
            row["videos_per_second"] = videos
    _write(folder, rows)
    print((folder / "table.md").read_text(encoding="utf-8"), end="")


def one_run(args: TableArguments, folder: Path, method: str, seed: int, dist: Any) -> dict[str, Any]:
    """One training and what its network finds, from its file where it is finished.

    Returns:
        `val_before`, `val_after` (R@1 of validation captions), `t2v` and `v2t` (`SCORES` on the held-out clips),
        `parameters`, `multiply_adds`, `clips`, `seconds` of the training.
    """
    from model.retrieval.cost import multiply_adds, parameter_counts
    from utility.caption_evaluation import write_json
    from utility.checkpoint import load_checkpoint

    place = run_folder(folder, method, seed)
    done = place / "table_row.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    words = ("--output_dir", place, "--epochs", args.epochs, "--eval_epochs", args.epochs, "--seed", seed)
    words = ("--backbone", args.backbone, *COMMON, *METHODS[method], *words, "--save_matrix")
    session = open_session(args, folder, dist, *words)
    before = session.validation()(session.model.eval(), args.epochs - 1)["score"]
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        status = session.run()
    seconds = time.perf_counter() - start
    if status:
        raise ValueError(f"{method} with seed {seed} ended with status {status}")
    unreadable = json.loads((place / "test_retrieval.json").read_text(encoding="utf-8"))["unreadable"]
    names = [name for name in session.corpus.references("test") if name not in unreadable]
    similarity, owner = (np.load(place / f"test_{name}.npy") for name in ("similarity", "video_of_text"))
    row = {
        "val_before": before,
        "val_after": load_checkpoint(place / "last").metrics["history"][-1]["val/score"],
        **held_out(similarity, owner, contents(session.corpus.root, names), args.clips),
        "parameters": parameter_counts(session.model),
        "multiply_adds": multiply_adds(session.model, session.args.max_frames, session.args.max_words),
        "seconds": seconds,
    }
    write_json(done, row)
    return row


def open_session(args: TableArguments, folder: Path, dist: Any, *words: Any) -> Any:
    """The trainer with these words, as `python train_unified_model.py` would start it."""
    from train_unified_model import FLAGS, Session

    words = ("--datatype", "minimotion", "--cache_dir", folder / "frames", "--device", args.device, *words)
    given = {"--data_root": args.data_root, "--limit": args.limit}
    argv = [str(word) for word in (*words, *(w for name, v in given.items() if v is not None for w in (name, v)))]
    method, settings, tower, launch, _ = parse(FLAGS, argv, prog="train_unified_model.py")
    return Session(method, settings, tower, given_names(FLAGS, argv), launch, dist)


def contents(root: Path, names: Sequence[str]) -> list[str]:
    """What every clip shows: objects with colour, shape and action, and how they relate."""
    from dataset.minimotion import read_attributes

    videos = read_attributes(root)["videos"]
    return [json.dumps([videos[name]["objects"], videos[name]["relation"]], sort_keys=True) for name in names]


def held_out(similarity: np.ndarray, owner: np.ndarray, content: Sequence[str], clips: int) -> dict[str, Any]:
    """Both directions over the first so many clips: recalls, and the median rank among clips of other content.

    Shapes:
        similarity: [texts, V]; owner: [texts], the video of each; content: [V]
    """
    from utility.retrieval_metrics import group_maximum, ranks_by_content, retrieval_scores

    kept = owner < clips
    similarity, owner = similarity[kept][:, :clips], owner[kept]
    content = np.unique(np.array(content[:clips]), return_inverse=True)[1]
    found = retrieval_scores(similarity, owner)
    grouped = group_maximum(similarity, owner).T
    rank = {
        "t2v": ranks_by_content(similarity, owner, content),
        "v2t": ranks_by_content(grouped, np.arange(len(grouped)), content),
    }
    ways = {
        way: {name: found[way][name] for name in SCORES[:3]} | {"median": median(rank[way].tolist())} for way in rank
    }
    return {**ways, "clips": similarity.shape[1], "texts": similarity.shape[0]}


def speed(args: TableArguments, folder: Path, method: str, seed: int, dist: Any) -> float:
    """Videos per second from kept frames to features, the median of several measurements."""
    from utility.retrieval_evaluation import Rules
    from utility.retrieval_report import SplitReport

    place = run_folder(folder, method, seed)
    session = open_session(args, folder, dist, "--do_eval", 1, "--resume", place)
    report = SplitReport(session.model.eval(), session.pixels, dist, session.args.batch_size_val, Rules())
    clips = session.data.clips("test")
    return median(report.speed(clips)["videos_per_second"] for _ in range(args.speed_repeats))


def run_folder(folder: Path, method: str, seed: int) -> Path:
    return folder / method.lower().replace(", ", "_").replace(" ", "_") / f"seed{seed}"


def table(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Lines of the Markdown table."""
    first = next(iter(rows.values()))[0]
    seeds = max(len(runs) for runs in rows.values())
    lines = [
        f"{first['clips']} held-out clips and their {first['texts']} captions, mean and standard deviation of {seeds} "
        "trainings.",
        "",
        "| method | text to video: R@1 | R@5 | R@10 | median | video to text: R@1 | R@5 | R@10 | median "
        "| validation R@1, before and after | trains | multiply-adds | videos/s |",
        "|---" * 13 + "|",
    ]
    for method, runs in rows.items():
        cells = [spread([run[way][name] for run in runs], 1) for way in ("t2v", "v2t") for name in SCORES]
        rises = f"{mean(run['val_before'] for run in runs):.1f} to {spread([run['val_after'] for run in runs], 1)}"
        trains = f"{runs[0]['parameters']['trainable']:,}"
        cost = f"{runs[0]['multiply_adds']['video'] / 1e6:.0f} M"
        fast = f"{runs[0]['videos_per_second']:.0f}" if "videos_per_second" in runs[0] else ""
        lines.append(f"| {' | '.join([method, *cells, rises, trains, cost, fast])} |")
    return lines


def _write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """`table.json` and `table.md`"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text("\n".join(table(rows)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
