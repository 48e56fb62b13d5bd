"""Who may import whom, and what `model` leaves to others (local imports inside functions included)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"main", "train_unified_model", "scripts"}
# package -> packages of ours that it may import, beside itself
ARROWS = {
    "model": set(),
    "utility": set(),
    "dataset": {"utility"},
    "pretrained": {"utility", "model"},
    "graphs": {"utility", "model", "dataset", "pretrained"},
    "extractors": {"utility", "model", "dataset", "pretrained", "graphs"},
    # programs parse, build and call
    "scripts": {"utility", "model", "dataset", "pretrained", "graphs", "extractors", *PROGRAMS},
    "main": {"utility", "model", "dataset", "pretrained", "graphs", "extractors", *PROGRAMS},
    "train_unified_model": {"utility", "model", "dataset", "pretrained", "graphs", "extractors", *PROGRAMS},
}
# A program beside the functions that it draws with: it calls the extractors, and nothing of its package imports it.
PROGRAM_FILES = {"graphs/draw.py": {"extractors"}, "graphs/first_look.py": {"extractors"}}
OURS = set(ARROWS) | {"tests"}


def sources(package):
    single = ROOT / f"{package}.py"
    return [single] if single.is_file() else sorted((ROOT / package).rglob("*.py"))


def imported(text, package):
    """(line, first part of the name) of every import, wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package if node.level else node.module.split(".")[0]
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            yield node.lineno, name.value.split(".")[0] if isinstance(name, ast.Constant) else "any"


def called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def forbidden(text, package):
    allowed = ARROWS[package] | {package}
    # A name that only running would tell may be any of ours; programs may import all of them.
    wrong = (OURS - allowed) | (set() if package in PROGRAMS else {"any"})
    return [(line, name) for line, name in imported(text, package) if name in wrong]


@pytest.mark.parametrize("package", ARROWS)
def test_arrows(package):
    files = sources(package)
    assert files
    wrong = {
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in files
        for line, name in forbidden(file.read_text(encoding="utf-8"), package)
        if name not in PROGRAM_FILES.get(str(file.relative_to(ROOT)), ())
    }
    assert not wrong


def test_every_package_of_ours_has_its_arrows():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
    assert folders - {"tests"} == set(ARROWS)


@pytest.mark.parametrize(
    "text",
    [
        "import dataset",
        "def f():\n    from dataset.corpus import Corpus",
        "if TYPE_CHECKING:\n    import dataset.corpus as c",
        "import importlib\nimportlib.import_module('dataset.corpus')",
        "import_module(name)",
    ],
)
def test_the_check_itself_sees_hidden_imports(text):
    assert forbidden(text, "utility") and not forbidden("from utility import x\nfrom . import y", "utility")


# `model` holds torch modules only: no file access, no flags, no printing, no choice of a device.
FOREIGN_MODULES = {"argparse", "io", "json", "logging", "os", "pathlib", "pickle", "shutil", "sys", "tempfile"}
FOREIGN_CALLS = {"cuda", "input", "load", "open", "print", "save"}


@pytest.mark.parametrize("file", sources("model"), ids=lambda file: str(file.relative_to(ROOT)))
def test_models_compute_and_nothing_else(file):
    text = file.read_text(encoding="utf-8")
    assert not [(line, name) for line, name in imported(text, "model") if name in FOREIGN_MODULES]
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [(node.lineno, called(node)) for node in calls if called(node) in FOREIGN_CALLS]
