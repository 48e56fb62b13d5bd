"""A name stands for a whole file or folder, or for what was there before."""

import os
import shutil

import pytest

from utility import whole_files
from utility.whole_files import recover, whole_file, whole_folder


def write(folder, text):
    with whole_folder(folder) as place:
        (place / "a.txt").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_with_all_its_files_and_takes_the_place_of_the_old_one(tmp_path):
    with whole_folder(tmp_path / "deep" / "f") as place:
        (place / "a.txt").write_text("1")
        (place / "b.txt").write_text("2")
        assert not (tmp_path / "deep" / "f").exists()
    assert names(tmp_path / "deep" / "f") == ["a.txt", "b.txt"]
    assert (tmp_path / "deep" / "f").stat().st_mode & 0o777 == 0o755
    write(tmp_path / "deep" / "f", "3")
    assert names(tmp_path / "deep" / "f") == ["a.txt"] and names(tmp_path / "deep") == ["f"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, error):
    write(tmp_path / "f", "old")
    (tmp_path / "t.txt").write_text("old")
    with pytest.raises(error), whole_folder(tmp_path / "f") as place:
        (place / "a.txt").write_text("new")
        raise error
    with pytest.raises(error), whole_file(tmp_path / "t.txt") as place:
        place.write_text("new")
        raise error
    assert (tmp_path / "f" / "a.txt").read_text() == "old" == (tmp_path / "t.txt").read_text()
    assert names(tmp_path) == ["f", "t.txt"]


def test_another_writer_of_the_same_folder_is_left_alone(tmp_path):
    with whole_folder(tmp_path / "f") as one:
        (one / "a.txt").write_text("first to begin")
        write(tmp_path / "f", "first to end")
        assert (tmp_path / "f" / "a.txt").read_text() == "first to end" and (one / "a.txt").exists()
    assert (tmp_path / "f" / "a.txt").read_text() == "first to begin" and names(tmp_path) == ["f"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_between_the_two_renames_leaves_one_whole_folder(tmp_path, monkeypatch, call):
    write(tmp_path / "f", "1")
    calls, rename = [], os.rename

    def killed(old, new):
        calls.append(new)
        if len(calls) == call:
            raise KeyboardInterrupt
        rename(old, new)

    monkeypatch.setattr(whole_files.os, "rename", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a killed process cleans nothing up
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "f", "2")
    monkeypatch.undo()
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a.txt").read_text() == "1"
    write(tmp_path / "f", "3")
    assert (tmp_path / "f" / "a.txt").read_text() == "3" and names(tmp_path) == ["f"]


def test_a_full_disk_says_which_file(tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(OSError, match=r"No space left on device while writing .*t\.txt"),
        whole_file(tmp_path / "t.txt"),
    ):
        full()
    assert names(tmp_path) == []


def test_names_with_wildcards_clear_away_only_their_own_leftovers(tmp_path):
    (tmp_path / ".f1.writing.x").mkdir()
    (tmp_path / ".f[1].writing.x").mkdir()
    write(tmp_path / "f[1]", "1")
    assert names(tmp_path) == [".f1.writing.x", "f[1]"]
