"""Notes of places hold in another copy of the repository."""

import os
import shutil

import pytest

from utility.places import ROOT, located, portable


@pytest.fixture
def house(tmp_path, monkeypatch):
    root = tmp_path / "house"
    (root / "results" / "clip").mkdir(parents=True)
    (tmp_path / "outside.bin").touch()
    os.symlink(tmp_path / "outside.bin", root / "linked.bin")
    monkeypatch.chdir(root / "results")
    return root


def test_places_inside_move_with_the_repository(house, tmp_path):
    # as given in the working directory, from anywhere, through a link
    for given in ("clip", "../results/clip", str(house / "results" / "clip")):
        assert portable(given, house) == "results/clip"
    assert portable("../linked.bin", house) == "linked.bin"
    assert portable("ViT-B-32:../linked.bin", house) == "ViT-B-32:linked.bin"
    shutil.copytree(house, tmp_path / "copy", symlinks=True)
    assert located("results/clip", tmp_path / "copy") == str(tmp_path / "copy" / "results" / "clip")
    assert located("ViT-B-32:linked.bin", tmp_path / "copy") == f"ViT-B-32:{tmp_path / 'copy' / 'linked.bin'}"


def test_places_outside_and_names_stay(house, tmp_path):
    outside = str(tmp_path / "outside.bin")
    assert portable("../../outside.bin", house) == located(outside, house) == outside
    assert portable(f"ViT-B-32:{outside}", house) == located(f"ViT-B-32:{outside}", house) == f"ViT-B-32:{outside}"
    for name in ("ViT-B-16-quickgelu", "ViT-B/32", "rgb_imagenet.pt", "ViT-B-32:absent.bin"):
        assert portable(name, house) == located(name, house) == name


def test_the_repository_is_this_one():
    assert (ROOT / "main.py").is_file() and portable(str(ROOT / "main.py")) == "main.py"
