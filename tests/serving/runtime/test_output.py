from pathlib import Path

import pytest

from serving.runtime.errors import InputError
from serving.runtime.output import check_output, check_outputs, whole_file, whole_folder, write_text


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with whole_file(target) as partial:
        partial.write_text("text")
        assert not target.exists()
    assert target.read_text() == "text"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, ["one", "two"])
    with pytest.raises(OSError), whole_file(target) as partial:
        partial.write_text("half")
        raise OSError
    assert target.read_text() == "onetwo"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_no_folder(tmp_path):
    target = tmp_path / "a"
    with pytest.raises(OSError), whole_folder(target) as partial:
        (partial / "file").touch()
        raise OSError
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_replaces_an_empty_one_only(tmp_path, empty):
    target = tmp_path / "a"
    target.mkdir()
    if empty:
        with whole_folder(target) as partial:
            (partial / "file").touch()
        assert (target / "file").exists()
        return
    (target / "old").touch()
    with pytest.raises(InputError, match="not empty"), whole_folder(target):
        pass


@pytest.mark.parametrize(
    ("output", "refused"), [("data", True), ("data/x/report.html", True), ("link", True), ("data2", False)]
)
def test_an_output_may_not_be_an_input(tmp_path, output, refused):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    if refused:
        with pytest.raises(InputError, match="overwrite the input"):
            check_output(tmp_path / output, tmp_path / "other", tmp_path / "data")
    else:
        check_output(tmp_path / output, tmp_path / "other", tmp_path / "data")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["a", "b", "a"], "a: would overwrite another output, .*a; give each"),
        (["a/b", "a"], "b: would overwrite another output, .*a; give each"),
        (["a", "link"], "overwrite another output"),
        (["b", "input/x"], "overwrite the input"),
        (["a", "ab", "b/a"], None),
    ],
)
def test_outputs_may_not_be_one_another(tmp_path: Path, outputs: list[str], message: str | None) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    paths = [tmp_path / name for name in outputs]
    if message is None:
        check_outputs(paths, tmp_path / "input")
        return
    with pytest.raises(InputError, match=message):
        check_outputs(paths, tmp_path / "input")


def test_the_current_folder_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path(), Path("/")):
        with pytest.raises(InputError, match=r"current folder|not empty"), whole_folder(path):
            pass
    assert not list(tmp_path.iterdir())
