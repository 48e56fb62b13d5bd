"""Golden fixtures: what the published systems compute, recomputed by the classes that our programs use.

A fixture is TOPIC/NAME.json, naming its `kind`, with arrays in TOPIC/NAME.npz. A kind is checked by the function that
a module runners_*.py of this folder lists for it: RUNNERS = {"topic/kind": function(spec, arrays, folder)}. It gets the
JSON, the open .npz (None without one) and the folder of both, and asserts.

    pytest tests/golden                                  the fixtures of this folder
    pytest tests/golden -k clip4clip                     of one topic
    pytest tests/golden --golden DIR [-k TOPIC]          those below another folder of the same layout

A kind without a runner fails: `not implemented: TOPIC` when the whole topic has none, `unknown kind` otherwise.
Fixtures that open_topics.txt lists belong to what is not built yet. They are deselected in a run that names neither
them nor another folder, so that `make test` speaks about what exists; with --golden, or with -k naming the topic or
the fixture, they run, and fail.
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # for the runners and `import fill`, whatever pytest's import mode


def load_runners() -> tuple[dict[str, callable], dict[str, str]]:
    """({kind: runner}, {module: traceback}): one module that cannot be imported must not silence the others."""
    runners, errors = {}, {}
    for path in sorted(HERE.glob("runners_*.py")):
        try:
            found = importlib.import_module(path.stem).RUNNERS
        except Exception:
            errors[path.stem] = traceback.format_exc()
            continue
        twice = sorted(runners.keys() & found.keys())
        if twice:
            raise ValueError(f"{path.name} lists {twice}, which another module lists already")
        runners.update(found)
    return runners, errors


RUNNERS, IMPORT_ERRORS = load_runners()


def find_runner(kind: str | None) -> callable:
    if kind in RUNNERS:
        return RUNNERS[kind]
    topic = str(kind).partition("/")[0]
    known = sorted(name for name in RUNNERS if name.startswith(f"{topic}/"))
    broken = f" (cannot be imported: {', '.join(IMPORT_ERRORS)})" if IMPORT_ERRORS else ""
    if not known:
        pytest.fail(f"not implemented: {topic}{broken}", pytrace=False)
    pytest.fail(f"unknown kind {kind!r}; known ones of this topic: {', '.join(known)}{broken}", pytrace=False)


def test_golden(fixture_path):
    spec = json.loads(fixture_path.read_text(encoding="utf-8"))
    runner = find_runner(spec.get("kind"))
    arrays_path = fixture_path.with_suffix(".npz")
    if not arrays_path.exists():
        runner(spec, None, fixture_path.parent)
        return
    with np.load(arrays_path, allow_pickle=False) as arrays:
        runner(spec, arrays, fixture_path.parent)


@pytest.mark.parametrize("module", [path.stem for path in sorted(HERE.glob("runners_*.py"))])
def test_runner_module_imports(module):
    if module in IMPORT_ERRORS:
        pytest.fail(IMPORT_ERRORS[module], pytrace=False)
