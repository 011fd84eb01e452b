"""Every component as a command: options for parameters, paths for artifacts, one line for a user's error."""

import ast
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import docstring_parser
import numpy as np
import pytest
from command_line import facet
from kfp.dsl.base_component import BaseComponent
from PIL import Image as Picture
from tiny_model import build_model, card_facts

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, read_predictions, write_predictions
from components.shared.options import imported
from pipelines.catalog import STEPS
from pipelines.command import step as module
from pipelines.local.stack import DATABASE, Stack
from pipelines.resources import TASKS
from pipelines.samples.profiles import draw_sample

COMPONENTS = {name: imported("component", step.component) for name, step in STEPS.items()}
NAMES = [name.replace("_", "-") for name in COMPONENTS]


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


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Paths of predictions, two of three right, as options of evaluate."""
    folder = tmp_path_factory.mktemp("predicted")
    images = [Image(n, f"{n}.jpg", 9, 9, (Face(n, None, {"gender": "male"}),), split="test") for n in (1, 2, 3)]
    write_annotations(Annotations(tuple(images)), folder / "a.json")
    faces = tuple(PredictedFace(n, n, f"{n}.jpg", None) for n in (1, 2, 3))
    values = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    write_predictions(Predictions(faces, {"gender": values}, label_space("gender"), "m", "v"), folder / "p.csv")
    return ["--predictions", folder / "p.csv", "--annotations", folder / "a.json", "--report", folder / "report"]


def test_the_details_are_beside_the_report(predicted: list[object], tmp_path: Path) -> None:
    done = facet("step", "evaluate", *predicted[:-1], tmp_path / "out/page.html")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"page.html", "page_details"}
    assert (tmp_path / "out/page_details/metrics.json").exists()


def test_a_switch_that_is_on_can_be_turned_off(predicted: list[object], tmp_path: Path) -> None:
    assert facet("step", "evaluate", *predicted, "--details", tmp_path / "on").returncode == 0
    assert facet("step", "evaluate", *predicted, "--details", tmp_path / "off", "--no-others-hold").returncode == 3


@pytest.mark.parametrize(
    ("floors", "code", "word"),
    [
        ([], 0, "yes"),
        (["accuracy=0.5"], 0, "yes"),
        (["accuracy=0.8"], 3, "no"),
        (["accuracy=0.5", "macro_f1=1"], 3, "no"),
    ],
)
def test_a_missed_floor_is_an_exit_code_for_scripts(
    predicted: list[object],
    floors: list[str],
    code: int,
    word: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not the 1 of a failure or the 2 of invalid input: the report is there, and what is missed is said in words."""
    asked = [part for floor in floors for part in ("--floors", floor)]
    done = facet("step", "evaluate", *predicted, "--details", tmp_path / "details", *asked)
    assert done.returncode == code, done.stderr
    assert f"all floors hold: {word}\n" in done.stdout and "Output" not in done.stdout
    assert ("floor missed: " in caplog.text) == (code == 3)
    assert Path(str(predicted[-1])).exists()
    assert (tmp_path / "details/metrics.json").exists()
    wrong = facet("step", "evaluate", *predicted, "--details", tmp_path / "more", "--floors", "acuracy=1")
    assert wrong.returncode == 2 and "no metric 'acuracy' can have a floor" in wrong.stderr
    assert not (tmp_path / "more").exists()


def test_folds_to_evaluate_are_called_so(ingested: Path, tmp_path: Path) -> None:
    done = facet("step", "split-folds", "--annotations", ingested / "annotations", "--split-annotations",
                 tmp_path / "folds", "--label-space", "gender", "--folds", "3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "folds to evaluate: [0, 1, 2]\n" in done.stdout and "Output" not in done.stdout


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
        (["--options", '{"x": 1}', "--options", "max_dropped=2"], "'profile': max_dropped = 2: "),
        (["--options", "x=1", "--options", '{"x": '], 'facet: --options {"x": : is not JSON'),
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


@pytest.mark.parametrize("texts", [["dlib_hog"], ['{"onnx": "a=b"}', "onnx=x"], ["onnx=x", '["dlib_hog"]']])
def test_a_list_is_one_json_text_or_assignments(tmp_path: Path, texts: list[str]) -> None:
    chain = [word for text in texts for word in ("--chain", text)]
    failed = facet("step", "adopt-detectors", *chain, "--detectors", tmp_path / "detectors")
    assert failed.returncode == 2
    assert f"facet: --chain {next(text for text in texts if text != 'onnx=x')}: expected one JSON list" in failed.stderr


def test_an_input_must_exist(tmp_path: Path) -> None:
    failed = facet("step", "split", "--annotations", tmp_path / "none", "--split-annotations", tmp_path / "out")
    assert failed.returncode == 2
    assert "none" in failed.stderr
    assert "does not exist" in failed.stderr


def test_registering_needs_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "home"))
    (tmp_path / "model").mkdir()
    failed = facet("step", "register", "--model", tmp_path / "model", "--name", "faces", "--metrics-json", "{}")
    assert failed.returncode == 2
    assert "MLFLOW_TRACKING_URI" in failed.stderr


def test_a_registered_model_is_read_when_mlflow_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    stack = Stack(None, None, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    monkeypatch.setattr(module, "local_stack", lambda home: contextlib.nullcontext(stack))
    monkeypatch.setattr(module, "mlflow_address", lambda home, of: asked.append(of))
    monkeypatch.setenv("FACET_HOME", str(tmp_path))
    (tmp_path / DATABASE).touch()
    for weights in ("none.onnx", "models:/yunet/1"):
        facet("step", "adopt-detector", "--weights", weights, "--name", "yunet", "--model", tmp_path / "model")
    assert asked == [stack]


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


def test_variables_of_predecessors_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without annotations, a model and a folder for results by SM_ variables alone; then the truth."""
    mask = [{"name": "mask", "labels": label_space("mask").class_labels}]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.onnx").write_bytes(build_model(card_facts(label_space="mask", heads=mask)))
    rng = np.random.default_rng(0)
    (tmp_path / "eval/images").mkdir(parents=True)
    for n in range(4):
        Picture.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(tmp_path / f"eval/images/{n}.png")
    monkeypatch.setenv("SM_CHANNEL_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("SM_CHANNEL_EVAL", str(tmp_path / "eval"))
    monkeypatch.setenv("SM_OUTPUT_DATA_DIR", str(tmp_path / "output"))
    done = facet("step", "predict")
    assert done.returncode == 0, done.stderr
    table = read_predictions(tmp_path / "output/predictions.csv")
    assert [face.path for face in table.faces] == [f"images/{n}.png" for n in range(4)]
    answers = table.class_probabilities().argmax(axis=1).tolist()
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/gt.csv").write_text("ImageID,ans\n" + "\n".join(f"{n}.png,{a}" for n, a in enumerate(answers)))
    monkeypatch.setenv("SM_GROUND_TRUTH_DIR", str(tmp_path / "truth"))
    done = facet("step", "evaluate", "--floors", "accuracy=1")
    assert done.returncode == 0, done.stderr
    assert "accuracy: 1\n" in done.stdout and (tmp_path / "output/report.html").exists()
    done = facet("step", "predict", "--predictions", tmp_path / "mine.csv")
    assert done.returncode == 0 and (tmp_path / "mine.csv").exists()
    assert "By default $SM_CHANNEL_EVAL" in " ".join(facet("step", "predict", "--help").stdout.split())
    monkeypatch.delenv("SM_CHANNEL_EVAL")
    assert "Missing option '--images'" in facet("step", "predict").stderr
