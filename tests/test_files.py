"""Files that are either whole or not there."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinyvlm.files import read_json, write_atomically, write_folder, write_json, write_text, write_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_written_with_its_folders(tmp_path):
    path = write_text(tmp_path / "a" / "b.txt", "글 ✓\n")
    assert path == tmp_path / "a" / "b.txt" and path.read_text(encoding="utf-8") == "글 ✓\n"
    write_text(str(path), "new")
    assert path.read_text() == "new" and names(path.parent) == ["b.txt"]


def test_the_writer_gets_another_path_in_the_same_folder(tmp_path):
    seen = []

    def write(path: Path) -> None:
        seen.append(path)
        assert (tmp_path / "x").read_text() == "old"
        path.write_text("new")

    write_text(tmp_path / "x", "old")
    write_atomically(tmp_path / "x", write)
    assert seen[0].parent == tmp_path and seen[0].name != "x" and (tmp_path / "x").read_text() == "new"


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_text(tmp_path / "x", "y")
        assert os.umask(0o027) == 0o027, "the umask is as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def full_disk(path: Path) -> None:
    path.write_text("hal")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "x", "old")
    with pytest.raises(OSError, match=r"File .*/x cannot be written \(no space left on device\): free space") as caught:
        write_atomically(tmp_path / "x", full_disk)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_files_that_belong_together_are_replaced_together(tmp_path):
    write_text(tmp_path / "a", "old a")
    write_text(tmp_path / "b", "old b")
    with pytest.raises(OSError, match=r"File .*/b cannot be written"):
        write_together({tmp_path / "a": lambda path: path.write_text("new a"), tmp_path / "b": full_disk})
    assert (tmp_path / "a").read_text() == "old a" and (tmp_path / "b").read_text() == "old b"
    assert names(tmp_path) == ["a", "b"]
    write_together({tmp_path / name: lambda path, name=name: path.write_text(name.upper()) for name in "ab"})
    assert (tmp_path / "a").read_text() == "A" and (tmp_path / "b").read_text() == "B"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_interrupts_passes_through_and_leaves_the_old_file(tmp_path, error):
    def write(path: Path) -> None:
        path.write_text("half")
        raise error("stop")

    write_text(tmp_path / "x", "old")
    with pytest.raises(error, match="stop"):
        write_atomically(tmp_path / "x", write)
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_a_folder_that_cannot_be_is_named(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(OSError, match=r"file/inner/x cannot be written .*choose a folder that can be written"):
        write_text(tmp_path / "file" / "inner" / "x", "new")
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_in_the_files_place_stays(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        write_text(tmp_path / "x", "new")
    assert names(tmp_path) == ["x"] and (tmp_path / "x").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="permission denied"):
            write_text(tmp_path / "x", "new")
    finally:
        tmp_path.chmod(0o700)


def test_a_real_limit_on_file_sizes(tmp_path):
    write_text(tmp_path / "x", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="file too large"):
            write_text(tmp_path / "x", "y" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_an_error_of_safetensors_is_one_of_the_file_system(tmp_path):
    class SafetensorError(Exception):
        """Named as safetensors' own."""

    def refuse(path: Path) -> None:
        raise SafetensorError("I/O error: No space left on device\nand more")

    with pytest.raises(OSError, match=r"/x cannot be written \(i/O error: No space left on device\): free") as caught:
        write_atomically(tmp_path / "x", refuse)
    assert str(caught.value).endswith("what was there before is unchanged.") and names(tmp_path) == []


def test_json_is_read_as_it_was_written(tmp_path):
    value = {"글": [1, 2.5, None], "a": {"b": True}}
    path = write_json(tmp_path / "a" / "x.json", value)
    assert read_json(path, "Receipt", "run it") == value and "글" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path, "Receipt", "run it") == value and names(path.parent) == ["x.json"]


@pytest.mark.parametrize(("text", "kind", "words"), [
    (None, FileNotFoundError, r"Receipt .*json is not there: run it\."),
    ("{", ValueError, "cannot be read .*: run it"),
    ("[1]", ValueError, "holds a list where an object is needed: run it"), ("\udcff", ValueError, "cannot be read"),
])  # fmt: skip
def test_json_that_cannot_be_read_is_named_with_the_remedy(tmp_path, text, kind, words):
    if text is not None:
        (tmp_path / "x.json").write_text(text, errors="surrogateescape")
    with pytest.raises(kind, match=words) as caught:
        read_json(tmp_path / "x.json", "Receipt", "run it")
    assert "\n" not in str(caught.value)


def test_a_folder_is_there_with_all_its_files(tmp_path):
    def write(folder: Path) -> None:
        assert folder.parent == tmp_path and not (tmp_path / "new").exists()
        (folder / "a").write_text("1")
        (folder / "b").write_text("2")

    assert names(write_folder(tmp_path / "new", write)) == ["a", "b"] and names(tmp_path) == ["new"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_half_a_folder_is_taken_away(tmp_path, error):
    def write(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_folder(tmp_path / "new", write)
    assert names(tmp_path) == []


def test_a_folder_that_is_there_stays_as_it_was(tmp_path):
    write_text(tmp_path / "old" / "a", "1")
    with pytest.raises(OSError):
        write_folder(tmp_path / "old", lambda folder: (folder / "a").write_text("2"))
    assert (tmp_path / "old" / "a").read_text() == "1" and names(tmp_path) == ["old"]


def test_files_are_written_without_torch_and_safetensors():
    code = "import sys, tinyvlm.files; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'safetensors')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
