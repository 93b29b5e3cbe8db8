"""One process, or thread, at a time works in the folder of a run."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

from lexforge.training.lock import LOCK, FolderInUseError, folder_of_run


def test_made_locked_and_gone_again(tmp_path):
    folder = tmp_path / "a" / "run"
    with folder_of_run(folder) as found:
        assert found == folder and os.listdir(folder) == [LOCK]
        with folder_of_run(folder):  # by the same thread
            pass
        assert os.listdir(folder) == [LOCK]
    assert not folder.exists()
    with folder_of_run(folder):
        (folder / "kept").touch()
    assert os.listdir(folder) == ["kept"]
    with folder_of_run(None) as found:
        assert found is None


def test_others_are_refused(tmp_path):
    """Another thread, and another process, before they change anything."""
    refused = []

    def other():
        try:
            with folder_of_run(tmp_path, "counting"):
                refused.append(False)
        except FolderInUseError as error:
            refused.append(str(error))

    with folder_of_run(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        code = (
            "import sys; from lexforge.training.lock import folder_of_run\n"
            "with folder_of_run(sys.argv[1]): pass"
        )
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True)
        assert os.listdir(tmp_path) == [LOCK]
    assert refused == [f"{tmp_path}: another process is counting there"]
    assert b"another process is training there" in done.stderr
    other()
    assert refused[1:] == [False] and not os.listdir(tmp_path)


def test_left_by_a_killed_process(tmp_path):
    (tmp_path / LOCK).touch()
    with folder_of_run(tmp_path):
        pass
    assert not os.listdir(tmp_path)


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def flock(file, how):
        if not calls:
            (tmp_path / LOCK).unlink()  # by its owner, who ends now
        calls.append(how)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_of_run(tmp_path):
        assert len(calls) == 2 and os.listdir(tmp_path) == [LOCK]


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_of_run(tmp_path):
        assert os.listdir(tmp_path) == [LOCK]


def test_nothing_stays_of_a_folder_in_which_nothing_was_kept(tmp_path):
    """Folders that were made above it stayed."""
    with folder_of_run(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with folder_of_run(tmp_path / "a" / "b") as folder:
        (folder.parent / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
