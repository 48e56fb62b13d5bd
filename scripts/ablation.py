"""What every part of a captioner brings: the same training with it and without it, several times.

    python scripts/ablation.py                                  # after `make demo`: all rows, three seeds
    python scripts/ablation.py --rows GBased nodes-zeroed --seeds 0 1 --epochs 2 --limit 400

Trains every model name on MiniMotion through main.py, then captioners of graphs of which a part is taken away, and
prints a Markdown table: mean and spread of the scores, and on top of it what did not help and what was not missed.
Tiles, objects and relations are made first where the features have none. A finished run is never repeated: a line of
`runs.jsonl` in the output folder says that it is. Processes with other --seeds may share that folder as soon as the
features are made.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.ablation_rows import ROWS, Row
from utility.arguments import parse

log = logging.getLogger(__name__)
RUNS, TABLE = "runs.jsonl", "table.md"


@dataclass
class AblationArguments:
    """What is compared, and how long each training is."""

    data_root: str | None = field(default=None, metadata={"help": "MiniMotion's folder; default dataset/MiniMotion"})
    features: str = field(
        default="results/demo/features", metadata={"help": "features of it: a name, or a folder (with a / in it)"}
    )
    backbone: str | None = field(
        default=None, metadata={"help": "backbone of the features, for what is made first; default: as they note it"}
    )
    rows: list[str] = field(default_factory=lambda: list(ROWS), metadata={"help": f"which of {', '.join(ROWS)}"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "one training of every row each"})
    epochs: int = field(default=3, metadata={"help": "passes over the training captions, the same for every row"})
    limit: int | None = field(default=None, metadata={"help": "only the first so many videos of every split"})
    batch_size: int | None = field(default=None, metadata={"help": "captions per step; default: main.py's"})
    output_dir: str = field(
        default="results/ablation", metadata={"help": "folder of runs, of altered graphs, of runs.jsonl and table.md"}
    )
    only_table: bool = field(default=False, metadata={"help": "train nothing, show the table of what is finished"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})

    def __post_init__(self):
        if unknown := [name for name in self.rows if name not in ROWS]:
            raise ValueError(f"--rows {' '.join(unknown)}: known are {', '.join(ROWS)}")
        if self.epochs < 1:
            raise ValueError(f"--epochs is {self.epochs}; it must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(AblationArguments, argv, prog="ablation.py", description=__doc__.split("\n")[0])

    from utility.program import run_program

    return run_program(lambda dist: run(args), args.device)


def run(args: AblationArguments) -> None:
    """Trains what is not finished, then prints and writes the table of all finished runs."""
    from scripts.ablation_table import table

    folder = Path(args.output_dir)
    if not args.only_table:
        for seed in args.seeds:  # all rows of a seed first: a table of fewer seeds is whole at any time
            for name in args.rows:
                one_run(args, ROWS[name], seed)
    runs = finished(folder)
    if not runs:
        raise ValueError(f"{folder / RUNS} holds no finished run; leave out --only_table")
    lines = table(runs)
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def finished(folder: Path) -> list[dict[str, Any]]:
    """The finished runs: {"row", "seed", "settings", "scores", "seconds"} each."""
    path = folder / RUNS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def one_run(args: AblationArguments, row: Row, seed: int) -> None:
    """One training with its scores, unless it is finished.

    Raises:
        ValueError: runs of other settings are there.
        RuntimeError: the training failed; its message is above.
    """
    import main as captioner_program
    from dataset.arguments import DataArguments, open_corpus
    from dataset.caption_features import CaptionFeatures
    from scripts.ablation_features import features_of
    from scripts.ablation_scores import measure
    from scripts.demo import Stages

    folder = Path(args.output_dir)
    corpus = open_corpus(DataArguments(dataset="minimotion", data_root=args.data_root))
    features, hashes = features_of(args, row, corpus)
    settings = {name: getattr(args, name) for name in ("epochs", "limit", "batch_size")} | {"features": hashes}
    for done in finished(folder):
        refuse_other_settings(done, settings, folder)
        if (done["row"], done["seed"]) == (row.name, seed):
            log.info("%s, seed %d: finished", row.name, seed)
            return
    output = folder / row.name / f"seed{seed}"
    given = {"--limit": args.limit, "--batch_size": args.batch_size}
    words = [
        "--model_name", f"{corpus.name}_{row.features}+videomask", "--do_train", "--dataset", "minimotion",
        "--data_root", corpus.root, "--features", features, "--epochs", args.epochs, "--seed", seed, *row.flags,
        *(word for flag, value in given.items() if value is not None for word in (flag, value)),
        "--output_dir", output, "--tokenizer", "nltk", "--device", args.device, "--resume",
    ]  # fmt: skip
    start = time.perf_counter()
    Stages.run("main.py", captioner_program.main, *words)
    seconds = time.perf_counter() - start
    rel = CaptionFeatures(Path(features), corpus.name, row.features).stores.get("rel")
    line = {"row": row.name, "seed": seed, "settings": settings, "scores": measure(output, corpus, rel)}
    with open(folder / RUNS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line | {"seconds": round(seconds, 1)}) + "\n")


def refuse_other_settings(done: dict[str, Any], settings: dict[str, Any], folder: Path) -> None:
    """A table of runs that differ in two ways would tell nothing.

    Raises:
        ValueError: a finished run was made with other settings; features that only one of both has may differ.
    """
    old, new = ({**given["features"], **given} for given in (done["settings"], settings))
    names = [name for name in sorted({*old, *new} - {"features"}) if name in old and name in new]
    changed = [f"{name} was {old[name]!r}, now {new[name]!r}" for name in names if old[name] != new[name]]
    if changed:
        raise ValueError(
            f"{folder} holds runs with other settings ({'; '.join(changed)}): go on with these, or give another "
            "--output_dir"
        )


if __name__ == "__main__":
    sys.exit(main())
