"""The process in which KFP runs a pipeline."""

import subprocess
import sys
from pathlib import Path

import pytest

ONE_STEP = """
import sys
from kfp import dsl, local
from pipelines.local.worker import allow_null, find_python_by_path


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def step(text: str) -> str:
    import sys
    return f"{text} {sys.prefix}"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def options(given: dict) -> dict:
    return given | {"more": [None, given["off"] is None]}


find_python_by_path()
allow_null()
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
if sys.argv[2:] == ["null"]:
    print("output:", sorted(options(given={"off": None, "on": {"list": [None, 1]}}).output.items()))
else:
    print("output:", step(text="python3").output)
"""


def test_a_parameter_may_hold_null(tmp_path: Path) -> None:
    """As `auto_augment: null` in a configuration."""
    program = tmp_path / "one_step.py"
    program.write_text(ONE_STEP)
    done = subprocess.run([sys.executable, program, tmp_path / "root", "null"], capture_output=True, text=True)
    expected = "output: [('more', [None, True]), ('off', None), ('on', {'list': [None, 1.0]})]"
    assert expected in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a blank", 'it\'s "quoted" 한글'])
def test_the_interpreter_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    environment = tmp_path / name
    environment.symlink_to(sys.prefix)
    program = tmp_path / "one_step.py"
    program.write_text(ONE_STEP)
    done = subprocess.run(
        [environment / "bin" / "python", program, tmp_path / f"{name} root"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"output: python3 {environment}\n" in done.stdout, done.stdout + done.stderr
