"""JSON and YAML that a person wrote: values that can be passed on, or one line that says why not."""

import json
from pathlib import Path

import pytest

from components.shared.options import parse_json, parse_yaml, read_yaml
from serving.runtime.errors import InputError

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[" * 100_000, "is not JSON: nested too deeply"),
        ("[" * 66 + "]" * 66, "more than 64 levels deep"),
        (DIGITS, "is not JSON: a number has thousands of digits"),
        (f'{{"a": [1, {2**63}]}}', r"a\.1 is a number beyond 64 bits"),
        ('{"a": 1e999}', "a is inf; expected a finite number"),
        ("[NaN]", "0 is nan"),
    ],
)
def test_json_that_cannot_be_passed_on(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--x: {message}") as caught:
        parse_json(text, "--x")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML: while parsing"),
        ("[" * 20_000, "is not YAML: nested too deeply"),
        (f"a: {DIGITS}", "is not YAML: a number has thousands of digits"),
        (f"a: 0x{'f' * 5000}", "a is a number beyond 64 bits"),
        ("a: .inf", "a is inf"),
        ("a: 2024-13-45", "is not YAML: month must be"),
        ("a: !!python/object:x y", "is not YAML: could not determine a constructor"),
        ("a: &a [*a]", "more than 64 levels deep"),
        ("a: &a [1,1,1,1,1,1,1,1]\n" + "\n".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(9)
        ), "more than 1,000,000 values"),
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_passed_on(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    assert len(str(caught.value)) < 400


def test_values_of_json_pass() -> None:
    value = {"a": [1, -(2**63) + 1, 0.5, None, True, {"b": "text"}], "c": {}}
    assert parse_json(json.dumps(value), "--x") == value == parse_yaml(json.dumps(value), "--x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with pytest.raises(InputError, match=r"a\.yaml cannot be read: No such file"):
        read_yaml(file, "a.yaml")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"a\.yaml: is not YAML: 'utf-8' codec"):
        read_yaml(file, "a.yaml")
    with pytest.raises(InputError, match="folder cannot be read: Is a directory"):
        read_yaml(tmp_path, "folder")
