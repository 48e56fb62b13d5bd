"""Collects one test per golden fixture, and leaves out those of open topics in a default run."""

import fnmatch
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def golden_folder(config) -> Path:
    given = config.getoption("--golden")
    return Path(given).resolve() if given else HERE


def find_fixtures(folder: Path) -> dict[str, Path]:
    """{"TOPIC/NAME": path of the JSON} of every fixture below the folder."""
    return {f"{path.parent.name}/{path.stem}": path for path in sorted(folder.glob("*/*.json"))}


def open_patterns() -> list[str]:
    lines = [line.strip() for line in (HERE / "open_topics.txt").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def is_open(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in open_patterns())


def pytest_generate_tests(metafunc):
    if "fixture_path" not in metafunc.fixturenames:
        return
    folder = golden_folder(metafunc.config)
    fixtures = find_fixtures(folder)
    if not fixtures:
        raise pytest.UsageError(f"no golden fixtures (TOPIC/NAME.json) below {folder}; give their folder with --golden")
    metafunc.parametrize("fixture_path", list(fixtures.values()), ids=list(fixtures))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--golden") or any("[" in argument for argument in config.args):
        return
    asked_for = config.getoption("keyword") or ""
    kept, left_out = [], []
    for item in items:
        path = item.callspec.params.get("fixture_path") if hasattr(item, "callspec") else None
        name = f"{path.parent.name}/{path.stem}" if path is not None else ""
        skipped = bool(name) and is_open(name) and path.parent.name not in asked_for and path.stem not in asked_for
        (left_out if skipped else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
