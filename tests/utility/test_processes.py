import os
import sys
from types import SimpleNamespace

import pytest

from utility import processes
from utility.processes import environments, processes_for, run_processes


@pytest.fixture(autouse=True)
def plain_start(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def launch(**given):
    usual = {"gpu": None, "multigpu": None, "dp": False, "world_size": 1, "node_rank": 0}
    return SimpleNamespace(**usual | {"init_method": "tcp://10.0.0.1:29500"} | given)


def test_a_process_per_visible_gpu(monkeypatch):
    monkeypatch.setattr(processes, "visible_gpus", lambda: [0, 1, 2])
    device, started = processes_for(launch(), "auto")
    assert device == "auto" and [v["RANK"] for v in started] == ["0", "1", "2"] == [v["LOCAL_RANK"] for v in started]
    assert {v["WORLD_SIZE"] for v in started} == {"3"} and len({v["MASTER_PORT"] for v in started}) == 1
    assert processes_for(launch(gpu=1), "auto") == ("cuda:1", [])
    assert processes_for(launch(), "cpu") == ("cpu", [])
    assert [v["CUDA_VISIBLE_DEVICES"] for v in processes_for(launch(multigpu="0,2"), "auto")[1]] == ["0,2", "0,2"]
    assert processes_for(launch(multigpu="2"), "auto") == ("cuda:2", [])
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_for(launch(), "auto") == ("auto", [])


def test_one_gpu_or_none_needs_no_other_process(monkeypatch):
    for gpus in ([], [0]):
        monkeypatch.setattr(processes, "visible_gpus", lambda gpus=gpus: gpus)
        assert processes_for(launch(), "auto") == ("auto", [])


def test_several_machines_and_gpus_that_are_shown_by_other_numbers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    started = environments([0, 1], machines=2, machine=1, address="tcp://10.0.0.1:29500")
    assert [(v["RANK"], v["LOCAL_RANK"], v["WORLD_SIZE"]) for v in started] == [("2", "0", "4"), ("3", "1", "4")]
    assert {(v["MASTER_ADDR"], v["MASTER_PORT"], v["CUDA_VISIBLE_DEVICES"]) for v in started} == {
        ("10.0.0.1", "29500", "4,5")
    }
    with pytest.raises(ValueError, match="GPU 7 was asked for, CUDA_VISIBLE_DEVICES shows 2: 4,5"):
        environments([7])
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        environments([0], address="file:///x")


def test_processes_end_together(tmp_path):
    code = "import os, sys, time; time.sleep(60 if os.environ['RANK'] == '1' else 0); sys.exit(3)"
    assert run_processes([sys.executable, "-c", code], [{"RANK": "0"}, {"RANK": "1"}]) == 3
    code = f"import os, pathlib; pathlib.Path({str(tmp_path)!r}, os.environ['RANK']).touch()"
    assert run_processes([sys.executable, "-c", code], [{"RANK": "0"}, {"RANK": "1"}]) == 0
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]
