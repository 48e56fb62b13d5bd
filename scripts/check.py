"""What is installed and what is here: versions, devices, optional packages, Java, weights, data sets.

    make check        # or: python -m scripts.check

Lines that begin with `-` name what is absent and what it would be good for; `!` marks something required that does not
work, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where the module of a distribution has another name.
MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml"}
# (module, how to get it, what it is for)
OPTIONAL = (
    ("torch_scatter", "make extensions", "torch_geometric takes its scatter kernels; results are the same"),
    ("torch_sparse", "make extensions", "torch_geometric takes its sparse kernels; results are the same"),
    ("wandb", "pip install wandb", "curves on Weights & Biases, once WANDB_API_KEY is set"),
    ("HanTa", "make install", "what kind of word each word of a caption is, for triples"),
    ("lemminflect", "make install", "base forms of a caption's words, for triples"),
)
IMPORTS = (("model", "CLIP4Clip"), ("dataset", "READERS"))


@dataclass(frozen=True)
class Line:
    """One finding; `state` is "ok", "absent" or "broken"."""

    name: str
    text: str
    state: str = "ok"

    def __str__(self) -> str:
        mark = {"ok": " ", "absent": "-", "broken": "!"}[self.state]
        return f"{mark} {self.name:24} {self.text}"


def required_packages() -> Iterator[Line]:
    """The direct dependencies of requirements.txt: imported, and not older than it asks."""
    from packaging.version import Version

    yield Line("python", f"{platform.python_version()} ({sys.executable})")
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8").partition("# development")[0]
    for name, least in re.findall(r"^([\w-]+)>=([\w.]+)", requirements, re.MULTILINE):
        try:
            module = importlib.import_module(MODULES.get(name, name))
            version = metadata.version(name)
        except Exception as error:  # whatever a broken package raises is the finding
            yield Line(name, f"{reason(error)}; make install", "broken")
            continue
        if Version(version) < Version(least):
            yield Line(name, f"{version}, at least {least} is needed; make install", "broken")
            continue
        more = f", FFmpeg {module.ffmpeg_version_info}" if name == "av" else ""
        yield Line(name, version + more)


def optional_packages() -> Iterator[Line]:
    for name, command, purpose in OPTIONAL:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            absent = "not installed" if error.name == name else reason(error)
            yield Line(name, f"{absent} ({command}): {purpose}", "absent")
        except Exception as error:  # for instance compiled for another torch
            yield Line(name, f"installed, but does not work: {reason(error)} ({command})", "absent")
        else:
            yield Line(name, f"{metadata.version(name)}: {purpose}")


def imports() -> Iterator[Line]:
    for module, name in IMPORTS:
        statement = f"from {module} import {name}"
        try:
            getattr(importlib.import_module(module), name)
        except Exception as error:  # any is the finding
            yield Line(statement, reason(error), "broken")
        else:
            yield Line(statement, "works")


def devices() -> Iterator[Line]:
    import torch

    from utility.precision import best_precision

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    best = best_precision(torch.device("cpu"))
    yield Line("cpu", f"{cores} cores, {torch.get_num_threads()} threads, --precision auto is {best}")
    if not torch.cuda.is_available():
        version = torch.version.cuda
        why = "this torch was built without CUDA" if version is None else f"torch's CUDA {version} finds none"
        yield Line("cuda", f"no GPU: {why}", "absent")
        return
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        best = best_precision(torch.device("cuda", number))
        name = torch.cuda.get_device_name(number)
        yield Line(f"cuda:{number}", f"{name}, {memory:.0f} GiB, --precision auto is {best}")


def java() -> Iterator[Line]:
    from utility.caption_tokens import java_problem

    if problem := java_problem():
        yield Line("java", f"{problem}: METEOR will be missing, captions are tokenised by nltk", "absent")
        return
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60)
    yield Line("java", (said.stderr or said.stdout).splitlines()[0])


def weights() -> Iterator[Line]:
    from pretrained import zoo

    for record in zoo.RECORDS:
        path = zoo.FOLDER / record.file
        if not path.is_file():
            yield Line(record.name, f"not here: python -m pretrained.zoo get {record.name}", "absent")
        elif record.size not in (None, path.stat().st_size):
            wrong = f"{path.stat().st_size:,} bytes instead of {record.size:,}"
            yield Line(record.name, f"{record.file}: {wrong}; python -m pretrained.zoo get {record.name}", "absent")
        else:
            yield Line(record.name, f"{record.file}, {path.stat().st_size:,} bytes")


def data_sets() -> Iterator[Line]:
    from dataset import READERS
    from dataset.arguments import FOLDERS, NAMES

    for key, folder in FOLDERS.items():
        try:
            corpus = READERS[key](ROOT / "dataset" / folder)
        except (OSError, ValueError) as error:
            yield Line(NAMES[key], f"not here: {reason(error)}", "absent")
            continue
        here = sum(path is not None for path in corpus.videos.values())
        splits = ", ".join(f"{split} {len(names)}" for split, names in corpus.splits.items() if names)
        captions = sum(map(len, corpus.captions.values()))
        found = f"{here} of {len(corpus.videos)} videos are here ({splits}), {captions} captions"
        yield Line(NAMES[key], found, "ok" if here else "absent")


def reason(error: Exception) -> str:
    """The first line of an error, the repository's folder left out of its paths."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0]
    return words.replace(f"{ROOT}{os.sep}", "")


SECTIONS: tuple[tuple[str, Callable[[], Iterator[Line]]], ...] = (
    ("Required", required_packages),
    ("Imports", imports),
    ("Devices", devices),
    ("Optional", optional_packages),
    ("Java", java),
    ("Weights", weights),
    ("Data sets", data_sets),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is here; returns 1 if something required does not work."""
    argparse.ArgumentParser(prog="python -m scripts.check", description=__doc__.splitlines()[0]).parse_args(argv)
    broken = []
    for title, section in SECTIONS:
        print(title)
        try:
            for line in section():
                print(line, flush=True)
                broken += [line.name] * (line.state == "broken")
        except (ImportError, OSError) as error:  # a required package that was named above
            print(Line(title.lower(), f"cannot be checked: {reason(error)}", "broken"))
            broken.append(title.lower())
    print(f"required and broken: {', '.join(broken)}" if broken else "everything required works")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
