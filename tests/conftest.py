"""What all tests share: real clips, golden fixtures, no unnoticed skips.

Two ways of running them:

    pytest tests/golden --golden DIR    runs the golden runners over the fixtures below DIR
    CI=true pytest                      a skip is a failure unless tests/allowed_skips.txt lists it
"""

import fnmatch
import os
import sys
from pathlib import Path

import pytest

# Tests share few cores with one another, and sums in a fixed order are the same on every run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

SHARED_DATA = ROOT.parent / "shared" / "data"
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_addoption(parser):
    parser.addoption(
        "--golden",
        metavar="DIR",
        default=None,
        help="folder with golden fixtures (TOPIC/NAME.json and .npz) to run instead of tests/golden",
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real clips and annotations, which is kept beside the checkout and never inside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real clips (../shared/data) are not beside this checkout")
    return SHARED_DATA


def read_allowed_skips(path: Path = ALLOWED_SKIPS) -> list[tuple[str, str]]:
    """[(pattern of test ids, beginning of the reason)] from lines `PATTERN | REASON`."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition("|") for line in lines if line and not line.startswith("#")]
    return [(pattern.strip(), reason.strip()) for pattern, _, reason in pairs]


def forbid_skip(report) -> None:
    """Turns a skip report into a failure when it is not an allowed one."""
    if os.environ.get("CI", "").lower() != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    for pattern, allowed in read_allowed_skips():
        if allowed and fnmatch.fnmatchcase(report.nodeid, pattern) and reason.startswith(allowed):
            return
    report.outcome = "failed"
    report.longrepr = f"skipped on CI ({reason}), and tests/allowed_skips.txt does not list it"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    forbid_skip(report)
    return report
