"""The process in which KFP runs a pipeline."""

import subprocess
import sys
from pathlib import Path

import pytest

ONE_STEP = """
import sys
from kfp import dsl, local
from pipelines.local.worker import find_python_by_path


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def step(text: str) -> str:
    import sys
    return f"{text} {sys.prefix}"


find_python_by_path()
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
print("output:", step(text="python3").output)
"""


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
