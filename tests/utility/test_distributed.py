import json
import os

import pytest
import torch
from launch import launch

from utility import distributed
from utility.distributed import Distributed, ShardedSampler, all_gather_with_gradient, choose_device

SCRIPT = """
import json, sys
import torch
from utility.distributed import all_gather_with_gradient, start

dist = start("cpu")
rows = torch.full((2, 3), float(dist.rank + 1), requires_grad=True)
gathered = all_gather_with_gradient(rows, dist)
weights = torch.arange(1.0, 5.0)[:, None] * (dist.rank + 1)
(gathered * weights).sum().backward()
dist.barrier()
result = {
    "rank": dist.rank,
    "world": dist.world_size,
    "sum": dist.all_sum(dist.rank + 1),
    "float": dist.all_sum(0.5),
    "tensor": dist.all_sum(torch.tensor([dist.rank, 1])).tolist(),
    "objects": dist.gather_objects({"rank": dist.rank}),
    "shard": dist.shard(list("abcde")),
    "gathered": gathered[:, 0].tolist(),
    "gradient": rows.grad[:, 0].tolist(),
    "threads": torch.get_num_threads(),
}
open(f"{sys.argv[1]}/{dist.rank}.json", "w").write(json.dumps(result))
dist.stop()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launch(script, folder, processes=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_are_two(two):
    assert [r["rank"] for r in two] == [0, 1]
    assert [r["world"] for r in two] == [2, 2]
    assert [r["threads"] for r in two] == [1, 1]


def test_sums_and_gathered_objects_agree_on_all_ranks(two):
    for result in two:
        assert (result["sum"], result["float"], result["tensor"]) == (3, 1.0, [1, 2])
        assert result["objects"] == [{"rank": 0}, {"rank": 1}]
    assert [r["shard"] for r in two] == [["a", "c", "e"], ["b", "d"]]


def test_gathered_rows_take_the_gradients_of_all_ranks(two):
    for result in two:
        assert result["gathered"] == [1, 1, 2, 2]
    # rank 0 uses the rows with weights 1, 2, 3, 4 and rank 1 with their doubles
    assert [r["gradient"] for r in two] == [[3, 6], [9, 12]]


def test_a_plain_process_needs_no_group():
    dist = Distributed()
    tensor = torch.ones(2, requires_grad=True)
    assert all_gather_with_gradient(tensor, dist) is tensor and dist.gather(tensor) is tensor
    assert dist.is_main and dist.all_sum(3) == 3 and dist.gather_objects("x") == ["x"]
    dist.barrier()
    dist.stop()


@pytest.mark.parametrize(
    ("given", "siblings", "threads"), [("3", "1", 3), ("", "1", 8), (None, "4", 2), (None, "16", 1)]
)
def test_threads_are_those_asked_for_or_the_cores_shared_by_the_processes(monkeypatch, given, siblings, threads):
    before, chosen = torch.get_num_threads(), []
    monkeypatch.setattr(distributed, "available_cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", siblings)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    distributed.start("cpu").stop()
    assert chosen == [threads] and torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("value", "launcher", "siblings", "threads"),
    [
        ("1", b"PATH=/bin\0HOME=/\0", "2", 4),
        ("1", b"PATH=/bin\0OMP_NUM_THREADS=1\0", "2", 1),
        ("1", None, "2", 4),
        ("3", b"OMP_NUM_THREADS=3\0", "2", 3),
        ("1", b"OMP_NUM_THREADS=1\0", "1", 1),
    ],
)
def test_the_one_thread_that_torchrun_sets_by_itself_is_not_what_the_user_asked_for(
    monkeypatch, tmp_path, value, launcher, siblings, threads
):
    chosen = []
    monkeypatch.setattr(distributed, "available_cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(distributed, "PROCESSES", tmp_path)
    if launcher is not None:
        (tmp_path / str(os.getppid())).mkdir()
        (tmp_path / str(os.getppid()) / "environ").write_bytes(launcher)
    given = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": siblings, "OMP_NUM_THREADS": value}
    for name, setting in given.items():
        monkeypatch.setenv(name, setting)
    distributed.start("cpu").stop()
    assert chosen == [threads]


@pytest.mark.parametrize(("length", "world", "batch"), [(10, 1, 5), (10, 2, 4), (11, 3, 6), (2, 4, 4)])
def test_samplers_of_all_ranks_together_visit_every_index_once(length, world, batch):
    def sampler(rank, **options):
        made = ShardedSampler(length, Distributed(rank, world), seed=3, **options)
        made.set_epoch(1)
        return made

    parts = [list(sampler(rank)) for rank in range(world)]
    assert sorted(index for part in parts for index in part) == list(range(length))
    assert [len(sampler(rank)) for rank in range(world)] == list(map(len, parts))
    even = [list(sampler(rank, drop_last=True)) for rank in range(world)]
    assert {len(part) for part in even} == {length // world}
    # a global batch is the same set of samples whatever the number of processes
    alone = ShardedSampler(length, seed=3)
    alone.set_epoch(1)
    first = [index for part in even for index in part[: batch // world]]
    if length >= batch:
        assert sorted(first) == sorted(list(alone)[:batch])


def test_the_order_changes_with_epoch_and_seed_and_continues_from_a_position():
    sampler = ShardedSampler(50, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(ShardedSampler(50, seed=2)) != first
    assert list(ShardedSampler(50, shuffle=False)) == list(range(50))
    again = ShardedSampler(50, seed=1)
    again.load_state_dict({"epoch": 0, "position": 20})
    assert list(again) == first[20:] and len(again) == 30


@pytest.mark.parametrize(
    ("device", "world", "message"),
    [("gpu", 1, "Known: auto, cpu, cuda"), ("cuda:x", 1, "Known"), ("cpu:1", 1, "Known"), ("cuda", 1, "--device cpu")],
)
def test_wrong_devices_are_refused(device, world, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        choose_device(device, 0, world)


def test_gpus_are_taken_by_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 1, 2) == torch.device("cuda", 1)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="one GPU each"):
        choose_device("cuda:1", 0, 2)
    with pytest.raises(ValueError, match="fewer processes"):
        choose_device("cuda", 2, 3)
