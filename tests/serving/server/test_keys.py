"""API keys: what a file of them permits, and its changes while the server runs."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from serving.runtime.errors import InputError
from serving.server import keys as keys_module
from serving.server.keys import Keys, fingerprint, presented_key


def line(name: str, key: str, admin: bool = False) -> str:
    return f"{name}:{'admin:' if admin else ''}{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_INTERVAL_S", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# two cameras\n\n" + line("camera", "one") + line("camera", "two") + line("ops", "three", True))
    return path


@pytest.mark.parametrize(
    ("presented", "predicts", "administers", "name"),
    [
        ("one", True, False, "camera"),
        ("two", True, False, "camera"),
        ("three", True, True, "ops"),
        ("four", False, False, None),
        ("One", False, False, None),
        (hashlib.sha256(b"one").hexdigest(), False, False, None),
        ("camera", False, False, None),
        ("\udcff", False, False, None),
        ("", False, False, None),
        (None, False, False, None),
    ],
)
def test_a_key_permits_what_its_line_says(
    file: Path, presented: str | None, predicts: bool, administers: bool, name: str | None
) -> None:
    for loopback in (True, False):
        keys = Keys(file, loopback=loopback)
        assert keys.needed
        assert keys.permits(presented, admin=False) is predicts
        assert keys.permits(presented, admin=True) is administers
        assert keys.name_of(presented) == name


def test_without_a_file_anybody_predicts_and_this_machine_administers() -> None:
    for presented in (None, "any"):
        assert Keys().permits(presented, admin=False) and Keys().permits(presented, admin=True)
        assert Keys(loopback=False).permits(presented, admin=False)
        assert not Keys(loopback=False).permits(presented, admin=True)
    assert not Keys().needed


def test_keys_change_without_a_restart_and_a_broken_file_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(file)

    def replace(text: str | None) -> None:
        new = file.with_name("new")
        new.write_text(text or "")
        new.replace(file)
        if text is None:
            file.unlink()

    for broken in ("rubbish\n", line("a", "x") + line("b", "x"), "", "# nothing\n", None, "a:admin:12\n"):
        replace(broken)
        assert keys.permits("one", admin=False) and not keys.permits("rubbish", admin=False)
        assert caplog.records.pop().levelname == "WARNING"
        assert keys.permits("two", admin=False) and not caplog.records, "it is said once"
    replace(line("camera", "new"))
    assert keys.permits("new", admin=False) and not keys.permits("one", admin=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my secret key\n", "line 1 is no API key"),
        ("a:0123\n", "line 1 is no API key"),
        (line("a", "x") + "b:user:" + "0" * 64, "line 2 is no API key"),
        (line("a", "x") + line("b", "x", True), "line 2 repeats the key of 'a'"),
        ("\n# only words\n", "there is no API key in it"),
        ("a" * 2**21, "larger than"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_wrong_ends_the_start(tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        Keys(file)
    assert str(file) in str(caught.value) and expected in str(caught.value) and "secret" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text"):
        Keys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        ("Bearer k", None, "k"),
        ("bearer  k ", "other", "k"),
        (None, " k ", "k"),
        ("Basic dTpw", "k", "k"),
        ("Bearer", "k", None),
        ("", "", None),
        (None, None, None),
    ],
)
def test_where_a_key_is_presented(authorization: str | None, api_key: str | None, expected: str | None) -> None:
    assert presented_key(authorization, api_key) == expected


def test_a_fingerprint_does_not_show_the_key() -> None:
    assert "hunter2" not in fingerprint("hunter2") and fingerprint("hunter2") != fingerprint("hunter3")
    assert fingerprint(None) == fingerprint("") == "no key"


def test_the_documented_commands_make_a_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    start = text.index("key=$(openssl")
    commands = text[start : text.index("```", start)]
    done = subprocess.run(["bash", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    keys = Keys(tmp_path / "keys.txt")
    presented = done.stdout.split()[-1]
    assert len(presented) == 64 and keys.permits(presented, admin=False) and not keys.permits(presented, admin=True)
