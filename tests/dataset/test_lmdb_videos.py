from pathlib import Path

import lmdb
import pytest

from dataset.corpus import Corpus, CorpusError
from dataset.lmdb_videos import unpack, with_archive
from utility.distributed import Distributed


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "videos.lmdb"
    with lmdb.open(str(path), subdir=False, map_size=2**20) as environment, environment.begin(write=True) as writer:
        writer.put(b"video1", b"one")
        writer.put(b"a/b", b"two")
    return path


def test_absent_videos_come_out_of_the_archive_once(archive, tmp_path):
    here = tmp_path / "here.mp4"
    corpus = Corpus("films", tmp_path, {"video0": here, "video1": None, "a/b": None, "gone": None})
    videos = with_archive(corpus, archive, tmp_path / "unpacked", Distributed()).videos
    assert videos["video0"] == here and videos["gone"] is None
    assert videos["video1"].read_bytes() == b"one" and videos["a/b"].read_bytes() == b"two"
    videos["video1"].write_bytes(b"kept")
    again = unpack(archive, tmp_path / "unpacked", ["video1"])["video1"]
    assert again.read_bytes() == b"kept"


def test_what_is_no_archive_is_said(archive, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        unpack(tmp_path / "none", tmp_path, ["x"])
    with pytest.raises(CorpusError, match="holds none of the 1 videos: x"):
        unpack(archive, tmp_path / "unpacked", ["x"])
    Path(tmp_path / "text").write_text("no archive")
    with pytest.raises(CorpusError, match="cannot be opened"):
        unpack(tmp_path / "text", tmp_path, ["x"])
