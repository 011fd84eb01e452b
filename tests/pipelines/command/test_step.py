"""Every component as a command: options for parameters, paths for artifacts, one line for a user's error."""

import ast
import contextlib
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import docstring_parser
import pytest
from kfp.dsl.base_component import BaseComponent

from components.shared.options import imported
from pipelines.catalog import STEPS
from pipelines.command.main import main
from pipelines.resources import TASKS
from pipelines.samples.profiles import draw_sample

COMPONENTS = {name: imported("component", step.component) for name, step in STEPS.items()}
NAMES = [name.replace("_", "-") for name in COMPONENTS]


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str


def facet(*arguments: object) -> Answer:
    """The command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["facet", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        main()
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())


def test_help_is_quick_and_lists_the_commands() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        shown = subprocess.run(
            [sys.executable, "-m", "pipelines.command.main", "--help"], capture_output=True, text=True
        )
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1.5
    assert shown.returncode == 0
    for command in ("compile", "run", "submit", "step", "serve", "ui", "stack"):
        assert f"\n  {command} " in shown.stdout


def test_every_component_is_a_command() -> None:
    shown = facet("step", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for name in NAMES:
        assert f"\n  {name} " in shown.stdout
    files = [ast.parse(path.read_text()) for path in Path("components").glob("*/component.py")]
    doors = {node.name for file in files for node in file.body if isinstance(node, ast.FunctionDef)}
    assert {*NAMES} == {door.replace("_", "-") for door in doors}


def test_a_step_has_the_name_of_its_component_and_known_resources() -> None:
    assert {name: component.name for name, component in COMPONENTS.items()} == dict(zip(COMPONENTS, NAMES, strict=True))
    assert {step.resources for step in STEPS.values()} == set(TASKS)


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=NAMES)
def test_every_parameter_is_explained(component: BaseComponent) -> None:
    function = component.python_func
    shown = facet("step", function.__name__.replace("_", "-"), "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    text = " ".join(shown.stdout.split())
    for part in docstring_parser.parse(function.__doc__).params:
        printed = part.arg_name in ("metrics", "confusion")
        assert (f"--{part.arg_name.replace('_', '-')} " in text) != printed
        if not printed:
            assert " ".join((part.description or "").split())[:40] in text


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    draw_sample(folder / "faces", persons=12)
    out = folder / "not yet" / "there"
    done = facet("step", "ingest", "--source", folder / "faces", "--images", out / "images",
                 "--annotations", out / "annotations", "--options", "max_dropped=0.5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "images: 84\n" in done.stdout
    assert "persons: 12\n" in done.stdout
    return out


def test_steps_write_their_outputs_and_print_metrics(ingested: Path, tmp_path: Path) -> None:
    assert (ingested / "images" / "images-00000.zip").exists()
    done = facet("step", "split", "--annotations", ingested / "annotations", "--split-annotations", tmp_path / "split",
                 "--val-ratio", "0.25", "--test-ratio", "0.25", "--seed", "3", "--label-space", "mask")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test_ratio: 0.25\n" in done.stdout
    splits = {image["split"] for image in json.loads((tmp_path / "split").read_text())["images"]}
    assert splits == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "profil"], "profil"),
        (
            ["--options", "max_drop=1"],
            "facet: options of format 'profile': max_drop = 1: unknown key, did you mean",
        ),
        (["--options", '{"max_dropped": 2}'], "facet: options of format 'profile': max_dropped = 2: "),
        (["--options", "{max"], "facet: --options {max: is not JSON"),
        (["--options", "max_dropped"], "facet: --options max_dropped: expected key=value"),
        (["--source", "/nowhere"], "facet: /nowhere: there is no such file or folder"),
        (["--sauce", "x"], "Error: No such option"),
    ],
)
def test_a_users_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    draw_sample(tmp_path / "faces", persons=1)
    paths = ["--source", tmp_path / "faces", "--images", tmp_path / "i", "--annotations", tmp_path / "a"]
    failed = facet("step", "ingest", *paths, *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "i").exists()


def test_an_input_must_exist(tmp_path: Path) -> None:
    failed = facet("step", "split", "--annotations", tmp_path / "none", "--split-annotations", tmp_path / "out")
    assert failed.returncode == 2
    assert "none" in failed.stderr
    assert "does not exist" in failed.stderr


def test_registering_needs_a_registry(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    failed = facet("step", "register", "--model", tmp_path / "model", "--name", "faces", "--metrics-json", "{}")
    assert failed.returncode == 2
    assert "MLFLOW_TRACKING_URI" in failed.stderr


def test_operations_are_listed_in_their_order(ingested: Path, tmp_path: Path) -> None:
    out = tmp_path / "curated"
    done = facet("step", "curate", "--annotations", ingested / "annotations", "--curated-annotations", out,
                 "--operations", "sample.ratio=0.5", "--operations", "sample.label_space=mask",
                 "--operations", "drop_ages.ranges=[[18, 29]]")  # fmt: skip
    assert done.returncode == 0, done.stderr
    curation = json.loads(out.read_text())["info"]["curation"]
    assert [(entry["operation"], entry["options"]["label_space"] if at == 0 else "") for at, entry in
            enumerate(curation)] == [("sample", "mask"), ("drop_ages", "")]  # fmt: skip
    failed = facet("step", "curate", "--annotations", ingested / "annotations", "--curated-annotations", out,
                   "--operations", "sampel.ratio=1")  # fmt: skip
    assert failed.returncode == 2
    assert "'sampel' is unknown" in failed.stderr
