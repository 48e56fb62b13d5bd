"""The README files name what exists: commands that parse, files, Makefile targets, headings."""

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

import utility.arguments
from dataset.arguments import DataArguments

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "dataset/README.md", "pretrained/README.md")
# Commands of others, and shell words.
FOREIGN = {"apt-get", "cd", "conda", "source", "tensorboard"}


class Parsed(Exception):
    """The program got through its command line; nothing behind it needs to run."""


def commands() -> list[str]:
    """Lines of bash blocks, and whole commands in running text."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        found += [line for block in blocks for line in block.splitlines() if line.split("#")[0].strip()]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += re.findall(r"`((?:python|torchrun|make|pytest) [^`]+)`", prose)
    return sorted(set(found))


def program(words: list[str]) -> tuple[str, list[str]]:
    """(module, its words) of a python or torchrun command."""
    start = words.index("-m") if "-m" in words[:4] else next(n for n, word in enumerate(words) if word.endswith(".py"))
    if words[start] == "-m":
        return words[start + 1], words[start + 2 :]
    return words[start].removesuffix(".py").replace("/", "."), words[start + 1 :]


@pytest.fixture
def only_parse(monkeypatch, tmp_path):
    """Ends every program behind its command line."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)  # a program that ran on all the same would write here

    def parse(*args, **options):
        original(*args, **options)
        raise Parsed

    def parse_args(self, *args, **options):
        plain(self, *args, **options)
        raise Parsed

    original, plain = utility.arguments.parse, argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)

    def within(name: str):
        module = importlib.import_module(name)
        # Some programs have taken the function by its name already, others will when they start.
        for holder in list(sys.modules.values()):
            if getattr(holder, "__dict__", {}).get("parse") is original:
                monkeypatch.setattr(holder, "parse", parse)
        return module

    return within


@pytest.mark.parametrize("command", commands())
def test_command_parses(command, only_parse):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "pytest":
        paths = [word for word in words[1:] if word.startswith("tests/")]
        assert paths
        assert all((ROOT / path).exists() for path in paths)
    elif words[0] in ("python", "torchrun"):
        name, flags = program(words)
        module = only_parse(name)
        with pytest.raises(Parsed):
            module.main(flags)
    else:
        assert words[0] in FOREIGN or (ROOT / words[0]).is_file()


@pytest.mark.parametrize("command", [line for line in commands() if "main.py" in line and "--compat" in line])
def test_compat_items_of_a_captioning_command_go_together(command):
    from dataset.caption_settings import CaptionerArguments
    from graphs.captions import check_decoder
    from model.captioner.config import expand_compat

    _, flags = program(shlex.split(command, comments=True))
    args = utility.arguments.parse((CaptionerArguments, DataArguments), flags, sections=["published"])[0]
    check_decoder(expand_compat(args.compat), args.beam, args.max_words or 20, args.length_penalty, args.search)


def test_a_wrong_flag_is_noticed(only_parse):
    name, flags = program(shlex.split("python extractors/extract.py --dataset msvd --slotz 8"))
    with pytest.raises(SystemExit):
        only_parse(name).main(flags)


def tree_paths(text: str) -> list[Path]:
    """Every file and folder of the tree: names, then two blanks or more, then words; deeper names are indented."""
    section = text.partition("## The tree")[2].partition("\n## ")[0]
    paths, parent = [], Path()
    for line in "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL)).splitlines():
        if not line.strip():
            continue
        names = re.split(r"\s{2,}", line.strip())[0].split()
        folder = Path() if not line.startswith(" ") else parent
        if names[0].endswith("/") and not line.startswith(" "):
            parent = Path(names[0])
        within = folder / Path(names[0]).parent
        paths += [folder / names[0], *(within / name for name in names[1:])]
    return [path for path in paths if path != Path("results")]


def test_tree_names_what_exists():
    paths = tree_paths((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(paths) > 100
    assert [str(path) for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
