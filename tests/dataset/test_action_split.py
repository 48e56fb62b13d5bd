"""Which clips train and validate."""

from collections import Counter
from pathlib import Path

import pytest

from dataset.action_lists import READERS
from dataset.action_split import SplitSettings, choose_classes, divide, few_shot, group_split
from dataset.actions import ActionClip, ActionCorpus


def corpus(sizes=(6, 4, 2), val=None, per_group=2):
    def clips(split, counts):
        return tuple(
            ActionClip(f"{split}{label}/{n}", label, f"{split}{label}g{n // per_group}", Path("x"))
            for label, count in enumerate(counts)
            for n in range(count)
        )

    splits = {"train": clips("train", sizes), "test": clips("test", [3] * len(sizes))}
    if val:
        splits["val"] = clips("val", val)
    return ActionCorpus("Toy", Path("."), tuple("abcdef"[: len(sizes)]), splits)


def names(divided, split):
    return [clip.name for clip in divided.splits[split]]


def test_groups_never_part_on_the_real_list(shared_data, tmp_path):
    real = READERS["ucf101"](tmp_path, shared_data / "annotations" / "ucf101")
    divided = divide(real, SplitSettings())
    train, val = divided.splits["train"], divided.splits["val"]
    assert len(train) + len(val) == 9537
    assert not {c.group for c in train} & {c.group for c in val}
    assert set(Counter(c.label for c in val)) == set(range(101))
    groups = {(c.label, c.group) for c in train + val}
    held = {(c.label, c.group) for c in val}
    for label in (0, 50, 100):
        of_class = sum(g[0] == label for g in groups)
        assert sum(g[0] == label for g in held) == max(1, of_class * 2 // 10)


def test_one_group_only_stays_in_training():
    kept, held = group_split("abcd", [0, 0, 1, 1], ["g", "g", "h", "i"], 0.5)
    assert kept[:2] == ["a", "b"] and sorted(kept[2:] + held) == ["c", "d"] and len(held) == 1


def test_few_shot_takes_the_first_of_every_class_in_list_order():
    labels = [1, 0, 1, 1, 0, 0, 1]
    assert few_shot(labels, 2) == [1, 4, 0, 2]
    assert few_shot(labels, 2, skip=1) == [4, 5, 2, 3]
    assert few_shot(labels, None, skip=2) == [5, 3, 6]


def test_validation_follows_training_in_the_same_list():
    divided = divide(corpus(), SplitSettings(k_train=2, k_val=1, has_validation=False, skip_train=1))
    assert names(divided, "train") == ["train0/1", "train0/2", "train1/1", "train1/2", "train2/1"]
    assert names(divided, "val") == ["train0/3", "train1/3"]


def test_own_validation_list_is_used_and_cut():
    divided = divide(corpus(val=(3, 3, 3)), SplitSettings(k_train=1, k_val=1, skip_val=1, k_test=2))
    assert names(divided, "train") == ["train0/0", "train1/0", "train2/0"]
    assert names(divided, "val") == ["val0/1", "val1/1", "val2/1"]
    assert names(divided, "test") == ["test0/0", "test0/1", "test1/0", "test1/1", "test2/0", "test2/1"]


def test_excess_goes_where_it_is_sent_and_never_shares_a_recording():
    settings = {"k_train": 1, "has_validation": True}
    base = divide(corpus(val=(1, 1, 1)), SplitSettings(**settings))
    train = divide(corpus(val=(1, 1, 1)), SplitSettings(**settings, use_excess_for="train"))
    val = divide(corpus(val=(1, 1, 1)), SplitSettings(**settings, use_excess_for="val"))
    assert (len(base.splits["train"]), len(train.splits["train"])) == (3, 12)
    assert names(val, "val")[3:] == ["train0/2", "train0/3", "train0/4", "train0/5", "train1/2", "train1/3"]
    with pytest.raises(ValueError, match="use-excess-for is 'test'"):
        divide(corpus(), SplitSettings(use_excess_for="test"))


def test_insufficient_classes_are_removed_on_request():
    settings = SplitSettings(k_train=3, has_validation=False, k_val=1, remove_insufficient=True)
    divided = divide(corpus(), settings)
    assert divided.classes == ("a", "b")
    assert {clip.label for clips in divided.splits.values() for clip in clips} == {0, 1}


def test_class_protocols():
    counts = [5, 9, 9, 1]
    assert choose_classes(counts, "all", None) == [0, 1, 2, 3]
    assert choose_classes(counts, "most-frequent", 2) == [1, 2]
    assert choose_classes(counts, "least-frequent", 2) == [0, 3]
    drawn = {tuple(choose_classes(counts, "random", 2, seed)) for seed in range(20)}
    assert len(drawn) > 1 and choose_classes(counts, "random", 2, 3) == choose_classes(counts, "random", 2, 3)
    with pytest.raises(ValueError, match="allowed: all, most-frequent"):
        choose_classes(counts, "rare", 2)
    with pytest.raises(ValueError, match="needs num-classes"):
        SplitSettings(class_protocol="random")
    divided = divide(corpus(), SplitSettings(class_protocol="least-frequent", num_classes=1))
    assert divided.classes == ("c",) and {c.label for c in divided.splits["test"]} == {0}


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match="no training clip of Toy is left"):
        divide(corpus(), SplitSettings(k_train=1, skip_train=50))
