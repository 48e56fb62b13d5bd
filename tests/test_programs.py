"""Every program: `--help` at once, every flag explained, the same flags in all stages."""

import json
import resource
import subprocess
import sys

import pytest
from launch import ENVIRONMENT, ROOT

from utility.feature_layout import STAGES

SECONDS = 2.0
FOLDERS = ("dataset", "extractors", "graphs", "pretrained", "scripts", "utility")
PROGRAMS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
STAGE_PROGRAMS = [
    *("extractors/extract.py", "extractors/grid_node_theta_1_feature_extractor.py"),
    "extractors/object_node_theta_1_feature_extractor.py",
    *("extractors/clip4clip_theta_2_feature_extractor.py", "extractors/i3d_feature_extractor.py"),
    *("graphs/grid_based_spatial_action_graph.py", "graphs/object_based_spatial_action_graph.py"),
    *("graphs/temporal_similarity_graph.py", "graphs/action_spatio_temporal_graph_feature_extractor.py"),
    *("graphs/transform_graph_to_geometric.py", "graphs/transform-graph-to-geometric.py"),
    "graphs/knowledge/relations.py",
]
SHARED = ["dataset", "data_root", "split", "nodes", "backbone", "features", "device", "resume", "limit", "dry_run"]

# Runs a program as `python PROGRAM --help` does, but writes its flags as JSON in place of the help.
ASK = """
import argparse, json, runpy, sys

def flags(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags(command)
        yield [action.option_strings or [action.dest], action.help]

def dump(parser, file=None):
    parser.format_help()  # a stray % in a help text shows only here
    print(json.dumps({"flags": list(flags(parser)), "torch": "torch" in sys.modules}))

argparse.ArgumentParser.print_help = dump
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ask(program):
    """(flags with their help texts, whether torch was imported, processor seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", ASK, program]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    # Processor time, because other tests run beside this one.
    return answer["flags"], answer["torch"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_at_once_and_explains_every_flag(program):
    flags, torch, seconds = ask(program)
    assert flags and not [names for names, text in flags if not (text or "").strip()]
    assert not torch, "--help imports torch"
    assert seconds < SECONDS
    if program in STAGE_PROGRAMS:
        known = {name for names, _ in flags for name in names}
        assert {f"--{name}" for name in SHARED} <= known


def test_the_stages_are_all_here():
    assert set(STAGE_PROGRAMS) < set(PROGRAMS)
    made_by = {word for word in " ".join(STAGES.values()).replace(";", " ").split() if word.endswith(".py")}
    assert made_by and all((ROOT / program).is_file() for program in made_by)
