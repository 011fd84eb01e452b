"""Loops on this machine: one item after the other, none after a failure, each with a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.local.kfp_log import KfpLog
from pipelines.local.run_folder import artifacts, flatten, outputs

PIPELINE = """
import sys
from typing import List, NamedTuple
from kfp import compiler, components, dsl, local
from pipelines.local import kfp_log, kfp_loops

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def numbers() -> List[int]:
    return [4, 2, 7]

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def factor() -> int:
    return 10

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(number: int, times: int, bad: int, out: dsl.Output[dsl.Dataset]) -> NamedTuple("Outputs", product=int):
    import pathlib, time
    assert type(number) is int
    if number == bad:
        raise ValueError(f"{number} is bad")
    if bad < 0:
        print("waiting")
        time.sleep(60)
    pathlib.Path(out.path).write_text(str(number))
    return (number * times,)

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def gather(outs: dsl.Input[List[dsl.Dataset]], products: List[int], whole: dsl.Output[dsl.Dataset]):
    import pathlib
    texts = [pathlib.Path(out.path).read_text() for out in outs]
    pathlib.Path(whole.path).write_text(f"{texts} {products}")

@dsl.pipeline(name="loop")
def loop(bad: int = 0):
    made = numbers()
    times = factor().after(made).output
    with dsl.ParallelFor(made.output, name="number") as number:
        done = work(number=number, times=times, bad=bad)
    gather(outs=dsl.Collected(done.outputs["out"]), products=dsl.Collected(done.outputs["product"]))

kfp_loops.install()
kfp_log.report_steps()
compiler.Compiler().compile(loop, sys.argv[1] + "/../loop.yaml")
pipeline = components.load_component_from_file(sys.argv[1] + "/../loop.yaml")
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
pipeline(bad=int(sys.argv[2]))
"""


def run(folder: Path, bad: int) -> tuple[KfpLog, list[str]]:
    """Runs the pipeline above, with the number on which it fails."""
    folder.mkdir()
    script = folder.parent / "loop.py"
    script.write_text(PIPELINE)
    done = subprocess.run([sys.executable, str(script), str(folder), str(bad)], capture_output=True, text=True)
    log = KfpLog()
    shown = [text for line in done.stdout.splitlines() for text in log.feed(line)]
    flatten(folder)
    assert (done.returncode == 0) == (not bad), done.stderr
    return log, shown


def test_items_come_in_turn_and_have_folders_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log, shown = run(folder, bad=0)
    steps = ["numbers", "factor", "number=4/work", "number=2/work", "number=7/work", "gather"]
    assert [line for line in shown if not line.startswith("  done in ")] == steps
    assert list(log.done) == steps
    assert {path.relative_to(folder).as_posix() for path in artifacts(folder)} == {
        "gather/whole", "number=2/work/out", "number=4/work/out", "number=7/work/out",
    }  # fmt: skip
    assert (folder / "gather/whole").read_text().startswith("['4', '2', '7'] [40")
    assert outputs(folder, "number=7/work") == {"product": 70}
    assert str(folder / "number=7/work/out") in (folder / "number=7/work/executor_output.json").read_text()


def test_nothing_comes_after_an_item_that_failed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log, _ = run(folder, bad=2)
    assert (log.failed, log.error) == ("number=2/work", "ValueError: 2 is bad")
    assert list(log.done) == ["numbers", "factor", "number=4/work"]
    assert {path.name for path in folder.iterdir()} == {"numbers", "factor", "number=2", "number=4"}


def test_ctrl_c_ends_the_item_and_starts_no_other(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group: to KFP and to the step."""
    script = tmp_path / "loop.py"
    script.write_text(PIPELINE)
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-u", str(script), str(tmp_path / "run"), "-1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip() == "waiting":
                os.killpg(process.pid, signal.SIGINT)
                started = time.monotonic()
    assert time.monotonic() - started < 20
    assert process.returncode != 0
    assert [line.split("=")[1].strip() for line in lines if line.startswith("ITEM number")] == ["4"], "".join(lines)


@pytest.mark.parametrize("step", ["work", "other"])
def test_a_step_of_another_item_is_not_the_one_that_failed(step: str) -> None:
    """A step that failed in one item was not retried when another item runs it."""
    log = KfpLog()
    for line in (
        "ITEM number=1", "STARTED work", "FAILED work", "ITEM", f"STARTED {step}", f"SUCCEEDED {step}",
    ):  # fmt: skip
        list(log.feed(line))
    assert log.failed == "number=1/work"
