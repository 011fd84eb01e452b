"""A condition on a text parameter on this machine, as the pipelines have one for the precision, both ways."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.local.run_folder import flatten, outputs

PIPELINE = """
import sys
from typing import NamedTuple
from kfp import dsl, local
from pipelines.local import kfp_loops

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def made(size: int, model: dsl.Output[dsl.Model]) -> NamedTuple("Outputs", Output=bool, size=int):
    open(model.path, "w").write(str(size))
    return (size > 1, size)

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def used(model: dsl.Input[dsl.Model], name: str, holds: bool) -> str:
    return f"{name} {holds} {open(model.path).read()}"

@dsl.pipeline(name="branch")
def branch(model_name: str = "faces", precision: str = "fp32"):
    first = made(size=2)
    used(model=first.outputs["model"], name=model_name, holds=first.outputs["Output"])
    with dsl.If(precision != "fp32", name="other-precision"):
        second = made(size=1)
        used(model=first.outputs["model"], name=model_name, holds=second.outputs["Output"])
        used(model=second.outputs["model"], name=f"{model_name}_{precision}", holds=first.outputs["Output"])

kfp_loops.install()
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
branch(precision=sys.argv[2])
"""


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", ["faces True 2"]), ("int8", ["faces True 2", "faces False 2", "faces_int8 True 1"])],
)
def test_tasks_in_a_condition_run_only_where_it_holds(tmp_path: Path, precision: str, expected: list[str]) -> None:
    """They use what is made inside and outside, a name made of two parameters too, and their folders are flat."""
    folder = tmp_path / "run"
    folder.mkdir()
    script = tmp_path / "branch.py"
    script.write_text(PIPELINE)
    command = [sys.executable, str(script), str(folder), precision]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    flatten(folder)
    tasks = ["used", "used-2", "used-3"][: len(expected)]
    assert [outputs(folder, task)["Output"] for task in tasks] == expected
    assert len(list(folder.iterdir())) == len(expected) + (1 if precision == "fp32" else 2)
