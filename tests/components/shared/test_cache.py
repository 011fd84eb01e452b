"""Unchanged inputs are not computed again, and a damaged entry is not used."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.shared import cache
from components.shared.cache import cached_folder, library_versions
from serving.runtime.errors import InputError

KEY = {"annotations": "a" * 64, "options": {"height": 8}, "version": 1}


class Maker:
    """Writes two files and counts how often it does."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, int]:
        self.calls += 1
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text("content")
        (folder / "b.txt").write_text("other")
        return {"faces": 3}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check(folder: Path) -> None:
    files = {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert files == {"deep/a.txt": "content", "b.txt": "other"}


def entries(home: Path) -> list[Path]:
    return sorted(home.glob("step/*"))


def test_the_second_time_nothing_is_made(home, tmp_path):
    make = Maker()
    for name in ("first", "second"):
        assert cached_folder("step", KEY, tmp_path / name, make) == {"faces": 3}
        check(tmp_path / name)
    assert make.calls == 1
    assert (tmp_path / "first" / "b.txt").stat().st_ino == (tmp_path / "second" / "b.txt").stat().st_ino
    assert not list(home.rglob(".*"))


@pytest.mark.parametrize("other", [{"version": 2}, {"options": {"height": 9}}, {"annotations": "b" * 64}])
def test_another_key_is_made_anew(home, tmp_path, other):
    make = Maker()
    cached_folder("step", KEY, tmp_path / "first", make)
    cached_folder("step", KEY | other, tmp_path / "second", make)
    assert make.calls == 2 and len(entries(home)) == 2


def test_versions_of_libraries_are_those_that_are_installed():
    versions = library_versions(("numpy", "no-such-distribution"))
    assert versions == {"numpy": np.__version__, "no-such-distribution": ""}


def test_without_the_variable_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("FACET_CACHE", raising=False)
    make = Maker()
    for name in ("first", "second"):
        assert cached_folder("step", KEY, tmp_path / name, make) == {"faces": 3}
    assert make.calls == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def _cut(entry: Path) -> None:
    (entry / "files" / "b.txt").write_text("ot")


def _altered(entry: Path) -> None:
    (entry / "files" / "b.txt").write_text("OTHER")


def _missing(entry: Path) -> None:
    (entry / "files" / "deep" / "a.txt").unlink()


def _no_record(entry: Path) -> None:
    (entry / "entry.json").unlink()


def _other_record(entry: Path) -> None:
    (entry / "entry.json").write_text(json.dumps(["not", "a", "record"]))


def _not_json(entry: Path) -> None:
    (entry / "entry.json").write_text("{")


def _renamed(entry: Path, name: str) -> None:
    """List a file under a name that leads out of the folder, from where it would be copied likewise."""
    content = json.loads((entry / "entry.json").read_bytes())
    content["files"] = {name: content["files"]["b.txt"]}
    target = entry / "files" / name
    if not target.exists():
        shutil.copyfile(entry / "files" / "b.txt", target)
    (entry / "entry.json").write_text(json.dumps(content))


def _above(entry: Path) -> None:
    _renamed(entry, "../planted.txt")


def _below_and_above(entry: Path) -> None:
    _renamed(entry, "deep/../../planted.txt")


def _absolute(entry: Path) -> None:
    _renamed(entry, str(entry.parents[2] / "planted.txt"))


OUTSIDE = [_above, _below_and_above, _absolute]


@pytest.mark.parametrize("damage", [_cut, _altered, _missing, _no_record, _other_record, _not_json, *OUTSIDE])
def test_a_damaged_entry_is_made_again(home, tmp_path, damage, caplog):
    make = Maker()
    cached_folder("step", KEY, tmp_path / "first", make)
    damage(*entries(home))
    assert cached_folder("step", KEY, tmp_path / "second", make) == {"faces": 3}
    check(tmp_path / "second")
    assert make.calls == 2 and "cannot be used" in caplog.text
    cached_folder("step", KEY, tmp_path / "third", make)
    assert make.calls == 2, "the entry is whole again"
    assert {path.name for path in tmp_path.iterdir()} - {"planted.txt"} == {"cache", "first", "second", "third"}
    assert (tmp_path / "planted.txt").exists() == (damage is _absolute), "nothing is put beside the output"


def test_an_error_leaves_neither_output_nor_entry(home, tmp_path):
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half").touch()
        raise InputError("bad")

    with pytest.raises(InputError, match="bad"):
        cached_folder("step", KEY, tmp_path / "out", fail)
    assert not (tmp_path / "out").exists() and not entries(home)


def test_several_writers_make_one_entry(home, tmp_path):
    make = Maker()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cached_folder("step", KEY, tmp_path / f"{number}", make), range(8)))
    for number in range(8):
        check(tmp_path / f"{number}")
    assert len(entries(home)) == 1 and not list(home.rglob(".partial*"))


def test_a_use_is_seen_in_the_time_of_the_entry(home, tmp_path):
    make = Maker()
    cached_folder("step", KEY, tmp_path / "first", make)
    (entry,) = entries(home)
    cache.os.utime(entry, (1, 1))
    cached_folder("step", KEY, tmp_path / "second", make)
    assert entry.stat().st_mtime > 1e9


def test_files_are_copied_where_they_cannot_be_linked(home, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(cache.os, "link", refuse)
    make = Maker()
    for name in ("first", "second"):
        cached_folder("step", KEY, tmp_path / name, make)
        check(tmp_path / name)
    assert make.calls == 1


def test_a_cache_that_cannot_be_written_loses_no_result(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "file"))
    assert cached_folder("step", KEY, tmp_path / "out", Maker()) == {"faces": 3}
    check(tmp_path / "out")
    assert "not kept" in caplog.text
