"""What MSVD and MSR-VTT cost on this machine: hours, memory and disk of every stage, from measured units.

    make costs                            # or: python -m scripts.costs
    python -m scripts.costs --device cuda

Every unit (a picture through CLIP, a window through I3D, a caption of a training step, ...) is measured at the
published size with random weights, each in a process of its own with one thread, in processor seconds; the hours are
units times seconds over the processes that share the work. On a GPU they are seconds of the wall clock, and the
processor's cores decode the videos meanwhile. Prints a Markdown table on standard output and writes results/costs.json.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utility.arguments import parse

TOWERS = ("B/32", "B/16")


@dataclass(frozen=True)
class Published:
    """A corpus as published: clips, their average filled slots at one per second, training captions, splits, epochs."""

    clips: int
    slots: float
    captions: int
    train: int
    val: int
    test: int
    epochs: int
    pair_epochs: int = 5


# Hours of video, 5.3 and 41.2: Xu et al., MSR-VTT (CVPR 2016), table 1.
CORPORA = {
    "MSVD": Published(1970, 9.7, 48774, 1200, 100, 670, 30),
    "MSR-VTT": Published(10000, 14.8, 130260, 6513, 497, 2990, 25),
}


@dataclass
class CostArguments:
    """Where it is measured."""

    device: str = field(default="cpu", metadata={"help": "cpu, cuda, cuda:N or auto"})
    processes: int | None = field(
        default=None,
        metadata={
            "help": "processes (torchrun) that share a corpus on the machine meant (default: 2; on GPUs, one each, 1)"
        },
    )
    quick: bool = field(default=False, metadata={"help": "tiny sizes, to see that it runs; its numbers mean nothing"})
    output: str = field(default="results/costs.json", metadata={"help": "file of the results"})

    def __post_init__(self):
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"--processes {self.processes}; it must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures the units and prints what the corpora cost."""
    (args,) = parse(CostArguments, argv, description=__doc__.splitlines()[0])
    warnings.simplefilter("ignore", FutureWarning)

    # Only now: torch takes seconds to import, and --help should not wait for it.
    import torch

    from scripts.benchmark import machine
    from scripts.benchmarks import inputs
    from scripts.benchmarks.cost_units import stored_bytes
    from utility.distributed import available_cores, choose_device

    torch.set_num_threads(1)
    try:
        device = choose_device(args.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    on_gpu = device.type == "cuda"
    processes = args.processes or (1 if on_gpu else 2)
    decoders = max(1, available_cores() // processes) if on_gpu else None
    units = measure_units(args.quick, device)
    sizes = inputs.QUICK if args.quick else inputs.PUBLISHED
    found = {corpus: stages(units, published, processes, decoders) for corpus, published in CORPORA.items()}
    disk = {corpus: published.clips * stored_bytes(sizes) for corpus, published in CORPORA.items()}
    result = {
        "machine": machine(device),
        "arguments": asdict(args),
        "units": units,
        "stages": found,
        "feature_bytes": disk,
    }
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(found, units, disk, "of a GPU" if on_gpu else "of a process"))
    return 0


def measure_units(quick: bool, device: Any) -> dict[str, dict[str, float]]:
    """{unit: seconds, bytes}; each in a process of its own, so that its peak of memory is its own."""
    from scripts.benchmarks import cost_units
    from scripts.benchmarks.storage_rows import in_own_process

    calls = {f"picture {tower}": (cost_units.picture, tower) for tower in TOWERS}
    calls |= {f"pair {tower}": (cost_units.pair, tower) for tower in TOWERS}
    calls |= {name: (getattr(cost_units, name),) for name in ("window", "clip", "graph", "caption", "search")}
    units = {}
    for name, (function, *words) in calls.items():
        units[name] = in_own_process(function, *words, quick, device)
        print(f"{name}: {units[name]['seconds']:.3g} s, {units[name]['bytes'] / 2**30:.2f} GiB", file=sys.stderr)
    return units


def stages(
    units: Mapping[str, Mapping[str, float]], corpus: Published, processes: int, decoders: int | None = None
) -> dict[str, dict[str, float]]:
    """{stage: hours, bytes of one process} of a corpus, and of all stages one after the other.

    Args:
        decoders: cores of a process that decode while a GPU computes; None where the same cores do both.
    """
    second = {name: unit["seconds"] for name, unit in units.items()}
    amount = {name: unit["bytes"] for name, unit in units.items()}
    decode = corpus.clips * corpus.slots / 20 * second["clip"]
    found: dict[str, tuple[float, float]] = {}
    for tower in TOWERS:
        pairs = corpus.train * corpus.pair_epochs
        found[f"CLIP4Clip {tower}, {corpus.pair_epochs} epochs"] = (
            pairs * second[f"pair {tower}"],
            amount[f"pair {tower}"],
        )
    for tower in TOWERS:
        pictures = corpus.clips * corpus.slots * 10 * second[f"picture {tower}"]  # nine tiles and the whole frame
        windows = corpus.clips * corpus.slots * second["window"]
        shared = ("clip",) if decoders is None else ()  # what decoding takes is no memory of a GPU
        most = max(amount[name] for name in (f"picture {tower}", "window", *shared))
        networks = pictures + windows
        found[f"features {tower}"] = decode + networks if decoders is None else max(decode / decoders, networks), most
    found["graphs"] = corpus.clips * second["graph"], amount["graph"] if decoders is None else 0.0
    found[f"captioner, {corpus.epochs} epochs"] = corpus.captions * corpus.epochs * second["caption"], amount["caption"]
    found["captions of the test split"] = corpus.test * second["search"], amount["search"]
    for tower in TOWERS:
        passed = [
            cost for stage, cost in found.items() if not any(other in stage for other in TOWERS if other != tower)
        ]
        found[f"all of it {tower}"] = sum(seconds for seconds, _ in passed), max(memory for _, memory in passed)
    return {stage: {"hours": seconds / 3600 / processes, "bytes": memory} for stage, (seconds, memory) in found.items()}


def table(
    found: Mapping[str, Mapping[str, Mapping[str, float]]],
    units: Mapping[str, Mapping[str, float]],
    disk: Mapping[str, float],
    whose: str = "of a process",
) -> str:
    """The stages of both corpora as Markdown."""
    lines = [f"| stage | MSVD, hours | MSR-VTT, hours | memory {whose}, GiB |", "|---|---|---|---|"]
    columns = list(found.values())
    for rows in zip(*(column.items() for column in columns), strict=True):
        names = list(dict.fromkeys(name.partition(",")[0] for name, _ in rows))
        epochs = " / ".join(dict.fromkeys(name.partition(", ")[2].partition(" ")[0] for name, _ in rows))
        title = names[0] + (f", {epochs} epochs" if epochs else "")
        hours = " | ".join(number(row["hours"]) for _, row in rows)
        lines.append(f"| {title} | {hours} | {rows[0][1]['bytes'] / 2**30:.1f} |")
    features = ", ".join(f"{corpus} {size / 1e9:.1f} GB" for corpus, size in disk.items())
    runs = {"captioner": units["caption"], **{f"CLIP4Clip {t}": units[f"pair {t}"] for t in TOWERS}}
    # The best holds the weights, the last also two moments of each.
    checkpoints = ", ".join(f"{name} {4 * unit['weights'] / 1e9:.1f} GB" for name, unit in runs.items())
    lines += ["", f"Disk: features and graphs {features}; a run's two checkpoints: {checkpoints}."]
    return "\n".join(lines)


def number(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}"


if __name__ == "__main__":
    sys.exit(main())
