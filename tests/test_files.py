"""Files are replaced as a whole or not at all."""

import errno
import os
import stat
import threading

import pytest

from lexforge._files import replacement, replacements, replacing


def test_replaces_and_keeps_ordinary_permissions(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with replacement(path) as temporary:
        os.unlink(temporary)
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode == ordinary.stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {"file", "ordinary"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_asked_for(tmp_path):
    """Not the temporary one, which nobody has heard of."""
    for path, kind in (
        (tmp_path / "no" / "file", FileNotFoundError),
        (tmp_path, IsADirectoryError),
    ):
        with pytest.raises(kind) as caught, replacing(path):
            pass
        assert caught.value.filename == str(path)


def test_devices_and_pipes_stay_what_they_are(tmp_path):
    """Renaming onto /dev/null or /dev/stdout would put an ordinary file in their place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe, sync=False) as file:
        file.write(b"content")
    reader.join(10)
    assert read == [b"content"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_links_stay_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("target")
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


def test_errors_never_name_the_temporary_file(tmp_path):
    path = tmp_path / "file"
    for name in (lambda temporary: temporary, str, os.fsencode, lambda temporary: None):
        with pytest.raises(OSError, match="No space left") as caught, replacement(path) as made:
            raise OSError(errno.ENOSPC, "No space left on device", name(made))
        assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="else") as caught, replacement(path):
        raise OSError(errno.EIO, "else", "other")
    assert caught.value.filename == "other"


def test_files_that_belong_together(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with replacements(first, second) as made:
        for path in made:
            path.write_bytes(b"new")
        assert not first.exists() and not second.exists()
    assert first.read_bytes() == second.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError), replacements(first, tmp_path / "no" / "second"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}


def test_a_link_to_a_pipe_is_written_to():
    """As /dev/stdout is, and what a shell passes for ``>(...)``: it was no file to replace."""
    out, into = os.pipe()
    try:
        with replacing(f"/dev/fd/{into}") as file:
            file.write(b"text")
        assert os.read(out, 9) == b"text"
    finally:
        os.close(out)
        os.close(into)
