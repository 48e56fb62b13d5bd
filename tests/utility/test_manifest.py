import json
import subprocess
import sys

import pytest
from launch import ENVIRONMENT, launch

from utility.manifest import Manifest, main, manifest_path, status_table


def test_the_last_record_of_a_video_counts(tmp_path):
    manifest = Manifest(manifest_path(tmp_path, "MSVD", "GBased"))
    assert manifest.path == tmp_path / "MSVD_GBased.manifest.jsonl"
    assert manifest.latest() == {}
    manifest.record("vid1", "GBased", "failed", "decode: after 28 frames", seconds=0.5, settings_hash="ab")
    manifest.record("vid2", "GBased", "missing", "no video file")
    manifest.record("vid1", "GBased", "done", seconds=1.25)
    latest = Manifest(manifest.path).latest()
    assert latest["vid1"]["status"] == "done" and latest["vid1"]["seconds"] == 1.25
    assert latest["vid2"]["cause"] == "no video file"
    first = json.loads(manifest.path.read_text().splitlines()[0])
    assert first["settings_hash"] == "ab" and first["cause"] == "decode: after 28 frames"


def test_unknown_statuses_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'ok'.*done, failed, missing"):
        Manifest(tmp_path / "x.manifest.jsonl").record("a", "s", "ok")


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    manifest = Manifest(tmp_path / "X_GBased.manifest.jsonl")
    manifest.record("a", "GBased", "done")
    with open(manifest.path, "a") as file:
        file.write('{"video": "b", "sta')
    manifest.record("lone\udc80", "GBased", "done")
    assert set(manifest.latest()) == {"a", "lone\udc80"}


SCRIPT = """
import sys
from utility.distributed import start
from utility.manifest import Manifest
dist = start("cpu")
manifest = Manifest(sys.argv[1], dist)
manifest.record(f"v{dist.rank}", "GBased", "done")
dist.barrier()
if dist.is_main:
    print("before", sorted(manifest.latest()))
dist.barrier()
manifest.merge()
dist.stop()
"""


def test_processes_keep_their_own_files_until_they_are_merged(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = tmp_path / "X_GBased.manifest.jsonl"
    output = launch(script, path, processes=2)[0]
    assert "before ['v0', 'v1']" in output
    assert set(Manifest(path).latest()) == {"v0", "v1"}
    assert [p.name for p in tmp_path.glob("*.jsonl")] == [path.name]


def test_the_status_command_prints_a_table_and_each_cause_once(tmp_path):
    for feature in ("GBased", "theta2"):
        manifest = Manifest(manifest_path(tmp_path / "tiny", "MSVD", feature))
        manifest.record("vid1", feature, "done", seconds=2.0)
        manifest.record("vid2", feature, "failed", "open: the file is empty", seconds=0.1)
        manifest.record("vid3", feature, "missing", "no video file")
    command = [sys.executable, "-m", "utility.manifest", "status", str(tmp_path)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["stage", "done", "failed", "missing", "seconds"]
    assert [line.split() for line in lines[1:3]] == [
        ["tiny/MSVD_GBased", "1", "1", "1", "2.1"],
        ["tiny/MSVD_theta2", "1", "1", "1", "2.1"],
    ]
    assert lines[3:] == [
        "",
        "failed in tiny/MSVD_GBased, tiny/MSVD_theta2",
        "     1  open: the file is empty: vid2",
        "",
        "missing in tiny/MSVD_GBased, tiny/MSVD_theta2",
        "     1  no video file: vid3",
    ]


def test_causes_are_counted_per_stage(tmp_path):
    """Those that differ in a number are one; what follows from a failure in the stage before is one, too."""
    causes = {"a": "open: empty", "b": "decode: after 28 frames", "c": "decode: after 7 frames", "d": "open: empty"}
    nodes = Manifest(manifest_path(tmp_path, "X", "GBased"))
    graphs = Manifest(manifest_path(tmp_path, "X", "GBased_spatial"))
    for video, cause in causes.items():
        nodes.record(video, "GBased", "failed", cause)
        graphs.record(video, "spatial", "missing", f"no GBased features (failed: {cause})")
    nodes.record("e", "GBased", "failed", "open: gone")
    assert status_table(tmp_path).splitlines()[4:] == [
        "failed in X_GBased",
        "     2  open: empty: a, d",
        "     2  decode: after N frames: b, c",
        "     1  open: gone: e",
        "",
        "missing in X_GBased_spatial",
        "     4  no GBased features: a, b, c, d",
    ]


def test_long_lists_are_cut_unless_asked_for(tmp_path):
    manifest = Manifest(manifest_path(tmp_path, "X", "GBased"))
    for number in range(60):
        manifest.record(f"v{number}", "GBased", "missing", "no video file")
    assert "    60  no video file: v0, " in status_table(tmp_path)
    assert ", and 52 more (--all" in status_table(tmp_path)
    assert "more" not in status_table(tmp_path, None)


@pytest.mark.parametrize(("folder", "message"), [("nothing", "folder not found"), ("", "give the folder")])
def test_a_wrong_folder_is_named(tmp_path, folder, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["status", str(tmp_path / folder)])
    assert end.value.code == 2 and message in capsys.readouterr().err
