import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from utility.checkpoint import (
    export_pth,
    file_hash,
    is_checkpoint,
    load_checkpoint,
    load_tensors,
    read_tensors,
    save_checkpoint,
    strip_prefixes,
    tensors_hash,
)
from utility.random_state import random_states, restore_random_states


def save(folder, value=1.0, **more):
    save_checkpoint(folder, tensors={"w": torch.full((2, 2), value)}, config={"width": 3}, **more)


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_comes_back_whole(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    training = {"optimizer": optimizer.state_dict(), "random": random_states(), "state": {"epoch": 3, "best": None}}
    save_checkpoint(
        tmp_path / "best",
        tensors=model.state_dict(),
        config={"sampling": {"rate": 1.0}, "root": tmp_path, "score": np.float32(0.5)},
        training=training,
        vocabulary=["<PAD>", "hund", "näht"],
        metrics={"CIDEr": 0.7},
    )
    files = {"config.json", "metrics.json", "model.safetensors", "training.pt", "vocabulary.json"}
    assert {p.name for p in (tmp_path / "best").iterdir()} == files
    assert os.listdir(tmp_path) == ["best"]
    loaded = load_checkpoint(tmp_path / "best")
    assert torch.equal(loaded.tensors["weight"], model.weight)
    assert loaded.config == {"sampling": {"rate": 1.0}, "root": str(tmp_path), "score": 0.5}
    assert loaded.vocabulary == ["<PAD>", "hund", "näht"] and loaded.metrics == {"CIDEr": 0.7}
    assert loaded.training["state"] == {"epoch": 3, "best": None}
    torch.optim.AdamW(model.parameters()).load_state_dict(loaded.training["optimizer"])
    assert load_checkpoint(tmp_path / "best", training=False).training is None


def test_random_states_come_back_through_a_checkpoint(tmp_path):
    save(tmp_path / "last", training={"random": random_states()})
    np.random.normal()  # leaves a second Gaussian behind

    def draw():
        return random.random(), float(np.random.normal()), float(torch.rand(1))

    restore_random_states(load_checkpoint(tmp_path / "last").training["random"])
    first = draw()
    draw()
    restore_random_states(load_checkpoint(tmp_path / "last").training["random"])
    assert draw() == first


def test_absent_parts_are_none(tmp_path):
    save(tmp_path / "c")
    loaded = load_checkpoint(tmp_path / "c")
    assert (loaded.training, loaded.vocabulary, loaded.metrics) == (None, None, None)


def test_tied_tensors_and_views_can_be_saved(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "c", tensors={"a": weight, "b": weight, "t": weight.T}, config={})
    loaded = load_checkpoint(tmp_path / "c").tensors
    assert torch.equal(loaded["b"], weight) and torch.equal(loaded["t"], weight.T)


def test_a_failure_while_writing_keeps_the_old_one_and_leaves_nothing(tmp_path, monkeypatch):
    save(tmp_path / "last", 1.0)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utility.whole_files.sync", full)
    with pytest.raises(OSError, match=r"No space left on device while writing the checkpoint .*last; the one before"):
        save(tmp_path / "last", 2.0)
    with pytest.raises(OSError, match=r"No space left on device while writing .*e\.pth"):
        export_pth(tmp_path / "e.pth", {"w": torch.ones(1)})
    assert os.listdir(tmp_path) == ["last"]
    assert load_checkpoint(tmp_path / "last").tensors["w"][0, 0] == 1.0


def test_a_training_state_of_other_types_is_refused_when_saving(tmp_path):
    with pytest.raises(TypeError, match=r"training\.device is a device"):
        save(tmp_path / "c", training={"device": torch.device("cpu")})
    assert not (tmp_path / "c").exists()


def test_a_training_state_that_would_run_code_is_not_loaded(tmp_path):
    save(tmp_path / "c", training={"step": 1})
    torch.save({"step": Trap(tmp_path / "trapped")}, tmp_path / "c" / "training.pt")
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(tmp_path / "c")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.pt"])
@pytest.mark.parametrize("damage", ["cut short", "other bytes", "nothing"])
def test_a_damaged_file_is_reported_as_such(tmp_path, name, damage):
    save(tmp_path / "c", training={"step": 1})
    content = (tmp_path / "c" / name).read_bytes()
    left = {"cut short": content[: len(content) // 2], "other bytes": b"\0\1\2", "nothing": b""}[damage]
    (tmp_path / "c" / name).write_bytes(left)
    with pytest.raises(ValueError, match=r"checkpoint .*c is damaged"):
        load_checkpoint(tmp_path / "c")


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing is not a checkpoint: there is no such folder"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"lacks model\.safetensors"):
        load_checkpoint(tmp_path)
    assert not is_checkpoint(tmp_path)


def test_keys_that_do_not_fit_are_listed():
    model = nn.Linear(2, 3)
    tensors = {"weight": torch.zeros(3, 2), "extra": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"file x does not fit the model: missing bias; unexpected extra"):
        load_tensors(model, tensors, "file x")
    assert model.weight.abs().sum() > 0
    assert load_tensors(model, tensors, "file x", partial=True) == ["missing bias", "unexpected extra"]
    assert model.weight.abs().sum() == 0
    with pytest.raises(ValueError, match=r"weight is \(2, 2\), the model has \(3, 2\)"):
        load_tensors(model, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, "file x", partial=True)


def test_exports_come_back_without_wrapper_prefixes(tmp_path):
    tensors = {"module._orig_mod.a": torch.ones(2), "module._orig_mod.module.b": torch.zeros(1)}
    export_pth(tmp_path / "best_model.pth", tensors, {"epoch": 3})
    assert set(read_tensors(tmp_path / "best_model.pth")) == {"a", "module.b"}
    assert os.listdir(tmp_path) == ["best_model.pth"]
    with pytest.raises(TypeError, match="plain types only"):
        export_pth(tmp_path / "x.pth", tensors, {"arguments": object()})
    assert set(strip_prefixes({"module.a": 1, "b": 2})) == {"module.a", "b"}


def test_weight_files_are_read_without_running_code(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "args": Trap(tmp_path / "trapped")}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="run code"):
        read_tensors(tmp_path / "evil.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"a": Trap(tmp_path / "trapped")}))
    with pytest.raises(ValueError, match=r"raw\.pth"):
        read_tensors(tmp_path / "raw.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [{"epoch": 1}, [1, 2], {"state_dict": {}}])
def test_files_without_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        read_tensors(tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match=r"y\.pth"):
        read_tensors(tmp_path / "y.pth")
    (tmp_path / "z.safetensors").write_bytes(b"an error page")
    with pytest.raises(ValueError, match=r"z\.safetensors cannot be read as a safetensors file"):
        read_tensors(tmp_path / "z.safetensors")


def test_hashes_depend_on_names_types_shapes_and_values_only(tmp_path):
    base = {"a": torch.arange(4.0), "b": torch.ones(1)}
    assert tensors_hash(base) == tensors_hash(dict(reversed(base.items())))
    others = [
        {"a": torch.arange(4.0).reshape(2, 2), "b": base["b"]},
        {"a": torch.arange(4), "b": base["b"]},
        {"c": base["a"], "b": base["b"]},
        {"a": -base["a"], "b": base["b"]},
    ]
    assert len({tensors_hash(base), *map(tensors_hash, others)}) == 5
    assert len(tensors_hash({"h": torch.ones(2, dtype=torch.bfloat16), "scalar": torch.tensor(1.0)})) == 16
    (tmp_path / "f").write_bytes(b"abc")
    assert file_hash(tmp_path / "f") == "ba7816bf8f01cfea"
