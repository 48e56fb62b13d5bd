"""A folder has one writer, whatever the run before does at its end."""

from utility import file_lock
from utility.file_lock import FolderLock


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
