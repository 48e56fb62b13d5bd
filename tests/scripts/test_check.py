"""`make check`: what it finds, what it says about what is absent, when its exit status is not 0."""

import importlib
from importlib import metadata

import pytest

from dataset.mini_motion import main as draw
from pretrained import zoo
from scripts import check
from utility import caption_tokens


@pytest.fixture
def broken(monkeypatch):
    """Modules that raise when they are imported, by name."""
    errors = {}
    original = importlib.import_module

    def importing(name, *more):
        if name in errors:
            raise errors[name]
        return original(name, *more)

    monkeypatch.setattr(importlib, "import_module", importing)
    return errors


def found(section):
    return {line.name: line for line in section()}


def test_everything_that_is_required_is_here(capsys):
    assert check.main([]) == 0
    printed = capsys.readouterr().out
    for name in ("python", "torch", "torchvision", "torch_geometric", "open_clip_torch", "transformers", "av", "h5py"):
        assert f"\n  {name} " in printed
    assert f"  torch                    {metadata.version('torch')}\n" in printed
    assert f"  av                       {metadata.version('av')}, FFmpeg " in printed
    assert "from model import CLIP4Clip works" in printed and "from dataset import READERS works" in printed
    assert "\n! " not in printed and printed.endswith("everything required works\n")


def test_a_broken_requirement_is_named_and_fails(broken, capsys, monkeypatch):
    broken["h5py"] = ImportError("libhdf5.so: cannot open\nmore")
    broken["model"] = SyntaxError("bad")
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.5.1" if name == "torch" else version(name))
    assert check.main([]) == 1
    printed = capsys.readouterr().out
    assert "! h5py                     libhdf5.so: cannot open; make install\n" in printed
    assert "! torch                    2.5.1, at least 2.6 is needed; make install\n" in printed
    assert "! from model import CLIP4Clip bad\n" in printed
    assert printed.endswith("required and broken: torch, h5py, from model import CLIP4Clip\n")


def test_absent_options_say_why_and_fail_nothing(broken, capsys):
    broken["torch_scatter"] = ModuleNotFoundError("No module named 'torch_scatter'", name="torch_scatter")
    broken["torch_sparse"] = OSError("undefined symbol: _ZN5torch3jit")
    broken["wandb"] = ModuleNotFoundError("No module named 'click'", name="click")
    lines = found(check.optional_packages)
    assert set(lines) == {"torch_scatter", "torch_sparse", "wandb", "HanTa", "lemminflect"}
    assert str(lines["torch_scatter"]).startswith("- torch_scatter            not installed (make extensions): ")
    assert "does not work: undefined symbol: _ZN5torch3jit (make extensions)" in lines["torch_sparse"].text
    assert "No module named 'click'" in lines["wandb"].text
    assert {line.state for line in lines.values()} <= {"ok", "absent"}
    assert check.main([]) == 0


def test_java_decides_about_meteor(monkeypatch):
    monkeypatch.setattr(caption_tokens, "java_problem", lambda: "no java on the PATH")
    (line,) = check.java()
    assert line.state == "absent" and line.text.startswith("no java on the PATH: METEOR will be missing")


def test_weights_are_looked_for_where_they_belong(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    (tmp_path / "ViT-B-32.pt").write_bytes(b"half")
    (tmp_path / "ViT-B-16.laion2b_s34b_b88k.bin").write_bytes(b"x" * 2000)
    lines = found(check.weights)
    assert set(lines) == set(zoo.names())
    assert lines["ViT-B-32-quickgelu"].state == "absent"
    assert "4 bytes instead of 353,976,522; python -m pretrained.zoo get" in lines["ViT-B-32-quickgelu"].text
    assert lines["ViT-B-16"].text == "ViT-B-16.laion2b_s34b_b88k.bin, 2,000 bytes"
    assert lines["rgb_imagenet"].text == "not here: python -m pretrained.zoo get rgb_imagenet"


def test_data_sets_are_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "ROOT", tmp_path)
    absent = found(check.data_sets)
    assert {"MiniMotion", "MSR-VTT", "MSVD", "VATEX"} <= set(absent)
    assert {line.state for line in absent.values()} == {"absent"}
    assert "No MSVD captions in dataset/MSVD/metadata" in absent["MSVD"].text
    draw(["--num_clips", "20", "--root", str(tmp_path / "dataset/MiniMotion"), "--workers", "1"])
    next((tmp_path / "dataset/MiniMotion/videos").iterdir()).unlink()
    line = found(check.data_sets)["MiniMotion"]
    assert (
        line.state == "ok" and line.text.startswith("19 of 20 videos are here (train ") and "100 captions" in line.text
    )


def test_devices_are_named():
    lines = found(check.devices)
    assert "cores" in lines["cpu"].text and "--precision auto is" in lines["cpu"].text
    assert any(name.startswith("cuda") for name in lines)
