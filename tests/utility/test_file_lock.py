"""A folder has one writer, whatever the run before does at its end."""

from utility import file_lock
from utility.file_lock import FolderLock
from utility.record_log import RecordLog, read_header


def test_a_file_that_the_run_before_removes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    last, lock, opened = FolderLock(tmp_path), file_lock.lock, []

    def late(file):
        """The run before ends between our opening and our locking."""
        opened.append(file)
        last.path.unlink() if len(opened) == 1 else None
        return lock(file)

    monkeypatch.setattr(file_lock, "lock", late)
    ours, other = FolderLock(tmp_path), FolderLock(tmp_path)
    assert ours.take() and len(opened) == 2 and ours.path.exists()
    assert not other.take()
    ours.leave()
    assert other.take()


def test_a_log_that_another_run_clears_away_meanwhile_is_opened_anew(tmp_path, monkeypatch):
    """Two runs start at once: one takes the other's file, still empty, for what a killed run left."""
    path, lock, opened = tmp_path / "x.part", file_lock.lock, []

    def late(file):
        opened.append(file)
        path.unlink() if len(opened) == 1 else None
        return lock(file)

    monkeypatch.setattr(file_lock, "lock", late)
    log = RecordLog(path, b"header")
    log.append(b"a", b"1")
    log.close()
    assert len(opened) == 2 and read_header(path) == b"header"
