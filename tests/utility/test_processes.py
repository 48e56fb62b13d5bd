import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from launch import ROOT

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
    assert processes_for(launch(multigpu="1"), "cpu") == ("cpu", [])


@pytest.mark.parametrize(("given", "device"), [({"gpu": 1}, "auto"), ({}, "cpu"), ({}, "auto")])
def test_several_machines_with_one_process_each_are_one_run(given, device, monkeypatch):
    """Also where a machine has no GPU, or only one of its GPUs takes part."""
    monkeypatch.setattr(processes, "visible_gpus", lambda: [])
    _, started = processes_for(launch(world_size=3, node_rank=2, **given), device)
    (variables,) = started
    assert (variables["RANK"], variables["WORLD_SIZE"], variables["LOCAL_RANK"]) == ("2", "3", "0")
    assert variables.get("CUDA_VISIBLE_DEVICES") == ("1" if given else None)


def test_two_machines_meet_at_the_address_of_the_first(tmp_path):
    """Two starts on this machine stand for two machines: each starts its process, and these add up and share."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    program = tmp_path / "program.py"
    program.write_text(TWO_MACHINES, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment["PYTHONPATH"] = str(ROOT)
    starts = [
        subprocess.Popen([sys.executable, program, str(machine), address, tmp_path], env=environment)
        for machine in (0, 1)
    ]
    assert [start.wait(60) for start in starts] == [0, 0]
    assert sorted(path.name for path in tmp_path.glob("rank*")) == [f"rank{k} of 2 on 2: sum 3.0, 5" for k in (0, 1)]


TWO_MACHINES = """
import sys
from pathlib import Path
from types import SimpleNamespace
from utility.processes import own_command, processes_for, run_processes

machine, address, folder = sys.argv[1:]
launch = SimpleNamespace(gpu=None, multigpu=None, world_size=2, node_rank=int(machine), init_method=address)
_, started = processes_for(launch, "cpu")
if started:
    sys.exit(run_processes(own_command(sys.argv[1:], __file__), started))
import torch
from utility.distributed import start

dist = start("cpu")
total, first = dist.all_sum(float(dist.rank + 1)), torch.tensor([dist.rank + 5, 0])
dist.broadcast([first])
Path(folder, f"rank{dist.rank} of {dist.world_size} on {dist.machines}: sum {total}, {first[0]}").touch()
dist.stop()
"""


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


def test_a_start_that_is_ended_ends_its_processes(tmp_path):
    own = "import os, pathlib, time; pathlib.Path(os.environ['NOTE']).write_text(str(os.getpid())); time.sleep(60)"
    code = f"""
import sys
from utility.processes import run_processes
sys.exit(run_processes([sys.executable, "-c", {own!r}], [{{"NOTE": {str(tmp_path / "pid")!r}}}]))
"""
    starter = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert starter.poll() is None
        time.sleep(0.02)
    starter.terminate()
    assert starter.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
