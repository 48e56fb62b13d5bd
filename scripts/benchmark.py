"""How much faster and smaller than the published formulation, measured side by side.

    make benchmark                                  # or: python -m scripts.benchmark
    python -m scripts.benchmark --rows search training --repeats 3
    python -m scripts.benchmark --device cuda --full        # and the rates of a GPU: pictures/s, windows/s, clips/s

The published side of a row must reproduce the recorded outputs of the published system first (tests/golden).
Both sides run in one process with the same threads, precision, lengths and weights, in turn; a row is the median of the
repetitions with smallest and largest ratio. The table goes to standard error, results/benchmark.json holds the same.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utility.arguments import parse

ROWS = (
    "convolution",
    "search",
    "captions",
    "bytes",
    "reading",
    "extraction",
    "training",
    "loading",
    "tempme",
    "stop_step",
    "evaluation",
)


# Rates that a GPU is there for: measured by default on one, elsewhere by name.
RATE_ROWS = ("pictures", "files", "windows", "steps")


@dataclass
class BenchmarkArguments:
    """What is measured, and where."""

    rows: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"rows to measure, of: {', '.join(ROWS + RATE_ROWS)} (default: all; on a CPU without the last four)"
        },
    )
    device: str = field(default="cpu", metadata={"help": "device of the network rows: cpu, cuda, cuda:N or auto"})
    repeats: int = field(default=5, metadata={"help": "repetitions of which the median is taken"})
    threads: int = field(default=1, metadata={"help": "threads of both sides"})
    full: bool = field(
        default=False,
        metadata={"help": "search every video on the published side and load the whole corpus: no scaling"},
    )
    quick: bool = field(default=False, metadata={"help": "tiny sizes, to see that it runs; its numbers mean nothing"})
    output: str = field(default="results/benchmark.json", metadata={"help": "file of the results"})

    def __post_init__(self):
        unknown = [name for name in self.rows if name not in ROWS + RATE_ROWS]
        if unknown:
            raise ValueError(f"unknown row {', '.join(unknown)}; known are: {', '.join(ROWS + RATE_ROWS)}")
        if self.repeats < 1 or self.threads < 1:
            raise ValueError(f"--repeats {self.repeats}, --threads {self.threads}: both must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 if a side that is to be timed as published does not reproduce the published outputs."""
    (args,) = parse(BenchmarkArguments, argv, description=__doc__.splitlines()[0])

    # torch_geometric's warnings would stand in the middle of the table, also those of a process that we start.
    warnings.simplefilter("ignore", FutureWarning)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")

    # Only now: torch takes seconds to import, and --help should not wait for it.
    import torch

    from scripts.benchmarks import (
        extraction_proof,
        extraction_rows,
        inputs,
        network_rows,
        proof,
        rate_rows,
        retrieval_proof,
        retrieval_rows,
        storage_rows,
    )
    from utility.distributed import choose_device

    torch.set_num_threads(args.threads)
    try:
        device = choose_device(args.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # What is measured, and which proof its published side owes.
    known = {
        "convolution": (network_rows.graph_convolution, "graph_network"),
        "search": (network_rows.search, "search"),
        "captions": (network_rows.graph_to_captions, "search"),
        "bytes": (storage_rows.storage, None),
        "reading": (storage_rows.reading, None),
        "extraction": (extraction_rows.extraction, "extraction"),
        "training": (network_rows.training, "training"),
        "loading": (storage_rows.loading, None),
        "tempme": (retrieval_rows.tempme, "clip_towers"),
        "stop_step": (retrieval_rows.stop_step, "stop_sums"),
        "evaluation": (retrieval_rows.evaluation, "paired_evaluation"),
        "pictures": (rate_rows.pictures, "clip_towers"),
        "files": (rate_rows.files, "clip_towers"),
        "windows": (rate_rows.windows, None),
        "steps": (rate_rows.steps, "training"),
    }
    proofs = proof.PROOFS | retrieval_proof.PROOFS | {"extraction": extraction_proof.extraction}
    default = ROWS + RATE_ROWS * (device.type == "cuda")
    chosen = [name for name in ROWS + RATE_ROWS if name in (args.rows or default)]
    proved: dict[str, list[str]] = {}
    for owed in dict.fromkeys(known[name][1] for name in chosen):
        if owed is None:
            continue
        try:
            proved[owed] = proofs[owed](args.quick)
        except proof.NotPublished as error:
            print(error, file=sys.stderr)
            return 1
    setting = network_rows.Setting(inputs.QUICK if args.quick else inputs.PUBLISHED, device, args.repeats, args.full)
    found: list[dict[str, Any]] = []
    show(f"{'':62} {'published':>10} {'here':>10} {'ratio':>7} {'smallest-largest':>18} {'by CPU':>7}  {'aim':8}")
    for name in chosen:
        for row in known[name][0](setting):
            found.append(row.summary(aimed=not args.quick))
            show(table_line(found[-1]))
    result = {
        "machine": machine(device),
        "arguments": asdict(args),
        "sizes": asdict(setting.sizes),
        "reproduced_fixtures": proved,
        "rows": found,
    }
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(
        f"\n{result['machine']['processor']}, {args.threads} of {result['machine']['cores']} cores, load "
        f"{result['machine']['load']}, torch {result['machine']['torch']}, {device}; written to {output}"
    )
    return 0


def table_line(row: dict[str, Any]) -> str:
    """One row and, indented below it, what to know about it."""
    spread = f"{row['ratio_min']:.3g} - {row['ratio_max']:.3g}"
    aims = [f">= {row['target_ratio']:g}x"] if row["target_ratio"] is not None else []
    aims += [f"<= {row['target_value']:g} {row['unit']}"] if row["target_value"] is not None else []
    mark = {True: "", False: "  MISSED", None: ""}[row["met"]]
    values = "".join(f" {amount(row[side], row['unit']):>10}" for side in ("published", "ours"))
    line = f"{row['what']:62}{values} {row['ratio']:6.3g}x {spread:>18} {row['ratio_processor']:6.3g}x  "
    line += f"{', '.join(aims):8}{mark}"
    return f"{line}\n    {row['detail']}" if row["detail"] else line


def amount(value: float, unit: str) -> str:
    """A number of seconds or bytes in a unit that suits it."""
    scales = {"s": ((1, "s"), (1e-3, "ms"), (1e-6, "us")), "B": ((1e6, "MB"), (1e3, "kB"), (1, "B"))}[unit]
    scale, name = next((pair for pair in scales if value >= pair[0]), scales[-1])
    return f"{value / scale:.3g} {name}" if value < 1000 * scale else f"{value / scale:.0f} {name}"


def machine(device: Any) -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "processor": processor_name(),
        "cores": cores,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
    }
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
