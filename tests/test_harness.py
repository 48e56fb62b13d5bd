"""The test harness itself: golden fixtures of another folder, topics without a runner, and skips on CI."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def run_pytest(*arguments, cwd=TESTS.parent, **environment):
    """Exit code and output of a pytest of its own; `CI` is set only when asked for."""
    variables = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfs", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=variables | environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def foreign_run(tmp_path_factory):
    """A run over another folder: one topic that nobody knows, one unknown kind of a known topic."""
    folder = tmp_path_factory.mktemp("golden")
    for name, kind in {"alchemy/gold": "alchemy/gold", "graphs/odd": "graphs/odd", "graphs/none": None}.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"kind": kind} if kind else {}))
    return run_pytest(TESTS / "golden", "--golden", folder)


def test_topic_without_runner_fails_as_not_implemented(foreign_run):
    code, output = foreign_run
    assert code == 1
    assert "test_golden[alchemy/gold]" in output
    assert "not implemented: alchemy" in output


def test_unknown_kind_fails_and_names_the_known_ones(foreign_run):
    assert "unknown kind 'graphs/odd'; known ones of this topic: graphs/frame_sampling" in foreign_run[1]
    assert "test_golden[graphs/none]" in foreign_run[1]


def test_folder_without_fixtures_is_refused(tmp_path):
    code, output = run_pytest(TESTS / "golden", "--golden", tmp_path)
    assert code != 0
    assert "no golden fixtures" in output


def test_every_open_topic_has_a_fixture():
    patterns = [line.strip() for line in (TESTS / "golden" / "open_topics.txt").read_text().splitlines()]
    for pattern in patterns:
        if pattern and not pattern.startswith("#"):
            assert list((TESTS / "golden").glob(f"{pattern}.json")), f"{pattern} matches no fixture: delete the line"


SKIPPING = """
import pytest
def test_skips(): pytest.skip("no moon tonight")
@pytest.mark.xfail
def test_expected_failure(): assert False
"""


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skip_fails_on_ci_only(tmp_path, ci, code):
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result, output = run_pytest("-p", "conftest", tmp_path, cwd=tmp_path, CI=ci, PYTHONPATH=str(TESTS))
    assert result == code, output
    assert ("skipped on CI (no moon tonight)" in output) == (ci == "true")


def test_skip_of_a_whole_file_fails_on_ci(tmp_path):
    (tmp_path / "test_skipping.py").write_text("import pytest\npytest.importorskip('no_such_package_at_all')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result, output = run_pytest("-p", "conftest", tmp_path, cwd=tmp_path, CI="true", PYTHONPATH=str(TESTS))
    assert result != 0, output
    assert "skipped on CI" in output


def test_files_of_tests_have_names_of_their_own():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    # Without packages, pytest imports them all as top-level modules: of two with one name it runs the first.
    assert sorted(names) == sorted(set(names))
