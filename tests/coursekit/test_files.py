"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from coursekit.files import write_bytes, write_text


def test_writes_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "한글")
    assert path.read_text(encoding="utf-8") == "한글" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_same_text_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "same")
    os.utime(path, (1, 1))
    write_text(path, "same")
    assert path.stat().st_mtime == 1


@pytest.mark.parametrize("where", [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_keeps_the_old_file_and_is_told(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*where, full)
    with pytest.raises(OSError, match=r"a\.txt cannot be written \(no space left on device\): free space"):
        write_bytes(path, b"new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written .*choose a folder that can be written"):
        write_text(tmp_path / "file" / "a.txt", "x")
