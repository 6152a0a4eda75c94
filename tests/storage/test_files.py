"""Files are written whole or not at all; where what can be made again is kept."""

import errno
import json
import math
import os
import stat
import threading
from pathlib import Path

import pytest

from zoo.errors import UserError
from zoo.storage import files


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "first")
    files.write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("whole")

    def fail(part):
        part.write_text("ha")
        raise KeyError

    with pytest.raises(KeyError), files.replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(TypeError):
        files.write(path, {"a": object()})
    assert path.read_text() == "whole"


def test_threads_that_write_one_file_each_write_a_whole_one(tmp_path):
    path, both = tmp_path / "a.txt", threading.Barrier(2)

    def write(text):
        with files.replacing(path) as temporary:
            temporary.write_text(text[:1])
            both.wait(timeout=30)
            with temporary.open("a") as file:
                file.write(text[1:])

    threads = [threading.Thread(target=write, args=(letter * 9,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 9, "b" * 9)
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_that_json_has_not_are_null_and_come_back_as_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write(path, {"a": [1.5, math.nan], "b": (math.inf, {"c": -math.inf}), "d": "x"})
    data = json.loads(path.read_text())
    assert data == {"a": [1.5, None], "b": [None, {"c": None}], "d": "x"}
    assert files.or_nan(1) == 1.0
    assert math.isnan(files.or_nan(None))
    assert (files.or_null(2.5), files.or_null(math.nan), files.or_null(math.inf)) == (
        2.5, None, None,
    )  # fmt: skip


def test_the_cache_is_where_the_environment_says(monkeypatch):
    for name, where in (("HOME", "/home/ann"), ("HF_HOME", "/big/hf"), ("XDG_CACHE_HOME", "/c")):
        monkeypatch.setenv(name, where)
    assert files.cache_folder("tiny") == Path("/c/zoo/tiny")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_folder("tiny") == Path("/big/hf/zoo/tiny")
    monkeypatch.delenv("HF_HOME")
    assert files.cache_folder("tiny") == Path("/home/ann/.cache/zoo/tiny")


def test_a_cache_that_is_not_to_be_had_is_said_with_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "zoo"
    with pytest.raises(files.CacheError) as raised, files.filling_cache(folder):
        pass
    assert str(raised.value) == (
        f"the cache {folder} cannot be written: Not a directory; export XDG_CACHE_HOME=DIR, a "
        "folder that can be written"
    )

    def none(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", classmethod(none))
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(files.CacheError, match=r"^there is no home folder .*XDG_CACHE_HOME=DIR"):
        files.cache_folder("tiny")


def test_a_text_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    path, done = tmp_path / "a.txt", []
    fsync, replace = os.fsync, Path.replace

    def flushed(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(self, target):
        done.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    files.write_text(path, "x")
    assert done == ["file", "name", "folder"]


def test_what_cannot_be_written_is_named_and_the_user_can_mend_it(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write():
        with files.writing(tmp_path / "outer"), files.writing(tmp_path / "a.json"):
            raise full

    with pytest.raises(UserError) as error:
        write()
    assert str(error.value) == f"{tmp_path}/a.json cannot be written: No space left on device"
    assert isinstance(error.value, OSError)
    assert error.value.errno == errno.ENOSPC
    (tmp_path / "file").touch()
    with pytest.raises(files.WriteError, match=r"file/a\.txt cannot be written: Not a directory"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


def test_leftovers_are_what_replacing_makes_and_nothing_else(tmp_path):
    names = [".a.json-12-34", "a.json", ".a.json", ".a.json-12", "a.json-12-34", ".b-c-1-2"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".d-1-2").mkdir()
    found = list(files.find_leftovers(tmp_path))
    assert found == [("a.json", tmp_path / ".a.json-12-34"), ("b-c", tmp_path / ".b-c-1-2")]
    assert list(files.find_leftovers(tmp_path / "none")) == []
