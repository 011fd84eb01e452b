"""The search pipeline: its configs, its IR, and its components under KFP's local runner."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.search.space import planned, read_space, size
from components.search.suggest import ROUNDS
from pipelines.command.config import resolve
from pipelines.intermediate import committed, read_documents
from pipelines.local.kfp_loops import task_folders
from pipelines.local.run_folder import OUTPUTS, flatten, outputs
from pipelines.parameters.search import SearchConfig
from serving.runtime.errors import InputError

RATES = [0.00001, 0.0001, 0.001]
AUGMENTATIONS = ["myAlbumentationAug", "AugForInception"]
PARTS = {
    "batch_size": [32, 64, 128],
    "optimizer.name": ["Adam", "AdamW"],
    "objective.loss": ["cross_entropy", "focal", "label_smoothing"],
    "augmentation": AUGMENTATIONS,
    "learning_rate": RATES[:2],
}
SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "search_general": (
        "mask_gender_age",
        {
            "batch_size": [16, 32, 64, 128],
            "optimizer.name": ["Adam", "SGD", "AdamW"],
            "augmentation": AUGMENTATIONS,
            "learning_rate": RATES,
        },
    ),
    "search_mask": ("mask", PARTS),
    "search_gender_age": ("gender_age", PARTS),
}


def search_config(name: str, *parameters: str) -> SearchConfig:
    config = resolve(name, parameters, {})
    assert isinstance(config, SearchConfig)
    return config


@pytest.mark.parametrize("name", SPACES)
def test_the_searches_of_other_projects_have_configs(name: str) -> None:
    """The same spaces, ten epochs of EfficientNet-B3 at 300 x 300, TPE, macro F1 of unseen persons."""
    config = search_config(name)
    assert (config.label_space, config.space) == SPACES[name]
    assert (config.model, config.epochs, config.image_height, config.image_width) == ("EfficientNetB3", 10, 300, 300)
    assert (config.seed, config.method, config.val_ratio) == (42, "tpe", 0.2)
    assert size(read_space(config.space)) == 72 > config.trials
    assert planned(read_space(config.space), "grid", 72) == 72


def test_the_search_on_the_drawn_faces_is_small() -> None:
    config = search_config("search")
    assert config.source == "s3://raw/drawn_faces" and config.trials * config.epochs <= 30


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("space: {}", "space = {}: name what is searched"),
        ("space: {epochs: 3}", "space.epochs = 3: expected a list of values, or one of {choice, uniform, loguniform,"),
        ("space: {epochs: []}", "space.epochs.choice = []: Tuple should have at least 1 item"),
        (
            "space: {epochs: {inte: [1, 2]}}",
            "space.epochs.inte = [1, 2]: unknown key, did you mean 'int'?; known: choice, int, loguniform, uniform",
        ),
        (
            "space: {learning_rate: {uniform: [2, 1]}}",
            "space.learning_rate = {'uniform': [2, 1]}: the lower end of a ",
        ),
        (
            "space: {optimiser: [SGD]}",
            "space.optimiser = ['SGD']: is not an option of the training, did you mean 'optimizer'?; known: acc",
        ),
        (
            "space: {training.optimizer: [SGD]}",
            "space.training.optimizer = ['SGD']: options of the training are named w",
        ),
        ("space: {val_ratio: [0.1, 0.2]}", "space.val_ratio = [0.1, 0.2]: is not an option of the training"),
        ("space: {label_space: [mask]}", "space.label_space = ['mask']: label_space is the same for all trials"),
        ("space: {workers: [1, 2]}", "space.workers = [1, 2]: workers changes nothing that is learned"),
        (
            "space: {optimizer: [Adam, AdamWW]}",
            "space.optimizer = 'AdamWW': optimizer.name: unknown optimizer 'AdamWW', did you mean 'AdamW'?; ",
        ),
        ("space: {learning_rate: {uniform: [0, 0.1]}}", "space.learning_rate = 0.0: Input should be greater than 0"),
        (
            "space: {augmentation.arguments.flipp: [0, 1]}",
            "space.augmentation.arguments.flipp = 0: unknown key, did you mean 'flip'?; known: aspect,",
        ),
        ("space: {epochs.more: [1]}", "space.epochs.more = 1: 'epochs.more': 'epochs' is 30, which has no entries"),
        ("space: {model: [resnet18, resnet19]}", "space.model = 'resnet19': "),
        ("space: {optimizer: [SGD], optimizer.sam: [null]}", "space.optimizer.sam = [None]: is within optimizer, wh"),
        ("method: gird", "method = 'gird': unknown name, did you mean 'grid'?; known: grid, random, tpe"),
        ("method: grid", "method = 'grid': space.learning_rate: a grid needs a choice or an int range"),
        (
            "{method: grid, trials: 5, space: {epochs: {int: [1, 6]}}}",
            "method = 'grid': the grid has 6 combinations and trials is 5: raise trials",
        ),
        ("trials: 0", "trials = 0: Input should be greater than or equal to 1"),
        ("trials: 101", "trials = 101: Input should be less than or equal to 100"),
        ("val_ratio: 0", "val_ratio = 0.0: trials are scored on the val split"),
        (
            "split_options: {mode: image}",
            "split_options.mode = 'image': trials are scored on persons that are in no other split: take mode person",
        ),
        (
            "checkpoint: last",
            "checkpoint = 'last': the last epoch of a trial is not the one that is scored: take best,",
        ),
        ("training: {epochs: 3}", "training.epochs = 3: is a parameter of its own"),
    ],
)
def test_an_invalid_search_is_reported_before_anything_starts(tmp_path: Path, entries: str, expected: str) -> None:
    """One line for every problem, with its path and the known names."""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"pipeline": "search", **yaml.safe_load(entries)}))
    with pytest.raises(InputError) as caught:
        resolve(str(file), (), {})
    (line,) = str(caught.value).splitlines()
    assert line.removeprefix(f"{file}: ").removeprefix("default: ").startswith(expected), line


def test_the_values_of_a_space_override_the_config(tmp_path: Path) -> None:
    """A value is checked together with everything else, and what is wrong there is not blamed on the space."""
    good = ["pipeline=search", "training.optimizer=SGD", "space={optimizer.arguments: [{momentum: 0.9}]}"]
    assert search_config("", *good).space == {"optimizer.arguments": [{"momentum": 0.9}]}
    with pytest.raises(InputError) as caught:
        resolve("", ["pipeline=search", "training.optimizer=SGDD", "epochs=0"], {})
    assert [line.split(" = ")[0] for line in str(caught.value).splitlines()] == [
        "--set: epochs",
        "--set: training.optimizer.name",
    ]


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return read_documents(committed("search").read_text("utf-8"))[0]


def trainings(spec: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The tasks that train trials, round by round, and the one that trains the best configuration."""
    tasks = spec["root"]["dag"]["tasks"]
    loops = sorted(name for name in tasks if name.startswith("for-loop"))
    inner = [spec["components"][tasks[loop]["componentRef"]["name"]]["dag"]["tasks"] for loop in loops]
    (last,) = [task for name, task in tasks.items() if name.startswith("train-classifier")]
    return [task for each in inner for task in each.values()], last


def test_a_cluster_takes_the_best_training_from_the_cache(spec: dict[str, Any]) -> None:
    """KFP's key is the component's image, command and interface, and what its inputs are: all equal to the trial's."""
    tried, last = trainings(spec)
    assert len(tried) == ROUNDS

    def key(task: dict[str, Any]) -> tuple[Any, ...]:
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        sources = {
            name: str(source).replace("pipelinechannel--", "") for name, source in task["inputs"]["parameters"].items()
        }
        del sources["trial"], sources["gpus" if "gpus" in sources else "pipelinechannel--gpus"]
        return component["inputDefinitions"], component["outputDefinitions"], container, sources, task["cachingOptions"]

    for task in tried:
        assert key(task) == key(last)
        assert task["inputs"]["parameters"]["trial"]["componentInputParameter"].endswith("-Output-loop-item")
    assert last["inputs"]["parameters"]["trial"]["taskOutputParameter"] == {
        "outputParameterKey": "best",
        "producerTask": "leaderboard",
    }


def test_every_round_gets_the_outcomes_of_all_before_it(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    names = ["suggest", *(f"suggest-{number}" for number in range(2, ROUNDS + 1)), "leaderboard"]
    for number, (before, name) in enumerate(itertools.pairwise(names), 1):
        inputs = tasks[name]["inputs"]["parameters"]
        assert inputs["past"]["taskOutputParameter"] == {"outputParameterKey": "past", "producerTask": before}
        assert inputs["outcomes"]["taskOutputParameter"]["producerTask"] == f"for-loop-{number}"
    indices = [tasks[name]["inputs"]["parameters"]["round_index"]["runtimeValue"]["constant"] for name in names[:-1]]
    assert indices == list(range(ROUNDS))
    assert {tasks[f"for-loop-{number}"]["iteratorPolicy"]["parallelismLimit"] for number in (1, ROUNDS)} == {5}


def test_the_number_of_gpus_reaches_the_trials(spec: dict[str, Any]) -> None:
    """What a task in a loop names must be an input of the loop."""
    for name, component in spec["components"].items():
        for task in component.get("dag", {}).get("tasks", {}).values():
            named = {
                source["componentInputParameter"]
                for source in task["inputs"].get("parameters", {}).values()
                if "componentInputParameter" in source
            }
            assert named <= set(component["inputDefinitions"]["parameters"]), name


LOCAL = """
import sys
from typing import NamedTuple
from kfp import compiler, components, dsl, local
from components.search.component import leaderboard, suggest
from pipelines.local import kfp_loops as local_loops

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def train(trial: dict) -> NamedTuple("Outputs", outcome=dict):
    if trial["number"] < 0:
        return ({},)
    if trial["changes"]["a"] == 2:
        return ({**trial, "error": "two"},)
    return ({**trial, "score": trial["changes"]["a"] / 10},)

@dsl.pipeline(name="search")
def search(space: dict = {"a": [1, 2, 3, 4]}):
    known = {}
    for number in range(5):
        suggested = suggest(space=space, method="grid", trials=9, seed=0, round_index=number, **known)
        with dsl.ParallelFor(suggested.outputs["Output"], name=f"round-{number + 1}") as trial:
            done = train(trial=trial)
        known = {"past": suggested.outputs["past"], "outcomes": dsl.Collected(done.outputs["outcome"])}
    ranked = leaderboard(space=space, method="grid", seed=0, label_space="mask", **known)
    train(trial=ranked.outputs["best"])

local_loops.install()
compiler.Compiler().compile(search, sys.argv[1] + ".yaml")
pipeline = components.load_component_from_file(sys.argv[1] + ".yaml")
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
pipeline()
"""


def test_rounds_run_on_this_machine_with_failures_and_without_trials(tmp_path: Path) -> None:
    """Four combinations in five rounds: one fails, the last round has nothing left to try, the best one is trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    script = tmp_path / "search.py"
    script.write_text(LOCAL)
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    flatten(folder)
    assert outputs(folder, "leaderboard")["best"] == {"number": 3, "changes": {"a": 4}}
    written = json.loads((folder / "leaderboard" / OUTPUTS).read_text())
    assert written["artifacts"]["metrics"]["artifacts"][0]["metadata"] == {
        "best_val_f1": 0.4,
        "trials": 4,
        "failed_trials": 1,
    }
    assert (folder / "leaderboard.html").read_text().startswith("<!doctype html>")
    assert outputs(folder, "train-6")["outcome"]["score"] == 0.4
    tried = {path.relative_to(folder).parts[0] for path in task_folders(folder) if path.parent != folder}
    assert tried == {"round-1=0", "round-2=1", "round-3=2", "round-4=3", "round-5=0"}
