import gc
import os
import signal

import pytest
import torch
import toy_training

from utility.distributed import Distributed
from utility.loader import BatchLoader, WorkerDied, split_batch, to_device


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 4, 1), "--micro_batch_size 4 does not divide.*Possible: 1, 2, 5, 10"),
        ((9, None, 2), "--batch_size 9 must be a positive multiple of the number of processes, 2"),
        ((0, None, 1), "--batch_size 0"),
        ((80, 35, 1, 5), "--micro_batch_size 35 does not divide the 80 captions.*Possible: 5, 10, 20, 40, 80$"),
        ((10, None, 2, 2), "--batch_size 10 must be a positive multiple .* times --captions_per_video 2, 4$"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_batch(*arguments)


def test_more_samples_per_step_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"--batch_size 64 is larger than the training data: 52 samples"):
        BatchLoader(toy_training.Words(), toy_training.collate, 64)


def batches(epoch=0, skip=0, **options):
    loader = BatchLoader(toy_training.Words(1.0), toy_training.collate, 8, 4, **options)
    loader.set_epoch(epoch, skip)
    return len(loader), [(b["names"], b["x"]) for b in loader]


def test_loading_leaves_the_generators_of_gpus_alone(monkeypatch):
    def forbidden(*args):
        raise AssertionError("a GPU's generator belongs to the model")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", forbidden)
    monkeypatch.setattr(torch.cuda, "manual_seed", forbidden)
    assert len(batches()[1]) == 12


class Fatal(toy_training.Words):
    """Its seventh sample kills the process that loads it."""

    def __getitem__(self, index):
        if index == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_worker_ends_the_epoch_with_advice():
    loader = BatchLoader(Fatal(), toy_training.collate, 8, 4, num_workers=1)
    loader.set_epoch(0)
    with pytest.raises(WorkerDied, match=r"DataLoader worker .*(killed|exited).*--num_workers.*--resume continues"):
        list(loader)
    # Until it is gone, torch names the dead worker whenever any other process ends.
    del loader
    gc.collect()


def test_other_mistakes_of_a_data_set_pass_unchanged():
    def wrong(samples):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match=r"^a bug$"):
        list(BatchLoader(toy_training.Words(), wrong, 8, 4))


def test_epochs_differ_and_each_sample_comes_at_most_once():
    length, first = batches()
    assert length == len(first) == 12
    names = [name for batch, _ in first for name in batch]
    assert len(set(names)) == len(names) == 48
    assert [n for n, _ in batches(epoch=1)[1]] != [n for n, _ in first]


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_and_workers_change_no_sample_and_no_random_draw(workers):
    _, expected = batches(epoch=2)
    state = torch.get_rng_state()
    _, rest = batches(epoch=2, skip=5, num_workers=workers)
    assert torch.equal(torch.get_rng_state(), state)  # dropout will not notice the loader
    assert [names for names, _ in rest] == [names for names, _ in expected[5:]]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(rest, expected[5:], strict=True))


def test_ranks_share_each_step_of_a_plain_run():
    _, alone = batches()
    parts = [batches(dist=Distributed(rank, 2))[1] for rank in range(2)]
    for step in range(6):
        together = {name for part in parts for name in part[step][0]}
        assert together == {name for batch, _ in alone[2 * step : 2 * step + 2] for name in batch}


def test_batches_are_moved_whatever_they_are_made_of():
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")
    batch = {"x": [torch.ones(1), "name"], "p": Pair(torch.ones(2), None), "t": (torch.ones(3),)}
    moved = to_device(batch, torch.device("meta"))
    assert moved["x"][0].is_meta and moved["p"].a.is_meta and moved["t"][0].is_meta
    assert moved["x"][1] == "name" and isinstance(moved["p"], Pair)


@pytest.mark.parametrize("world", [1, 2])
def test_the_rest_of_an_epoch_is_kept_on_request(world):
    names, lengths = [], set()
    for rank in range(world):
        dist = Distributed(rank, world)
        loader = BatchLoader(toy_training.Words(), toy_training.collate, 24, 4, dist, keep_rest=True)
        lengths.add(len(loader))
        parts = [b["names"] for b in loader]
        assert len(parts) == len(loader) and loader.steps_per_epoch == 3
        names += [name for part in parts for name in part]
    assert len(lengths) == 1 and len(set(names)) == len(names) == 52
    few = BatchLoader(toy_training.Words(), toy_training.collate, 64, keep_rest=True)
    assert (len(few), few.steps_per_epoch) == (1, 1)
