"""The variables that a training on a CPU runs with, here and in its image."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.variables import STORAGE, VARIABLES

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
FAULTS = """
import resource
import numpy as np

def work():
    for _ in range(200):
        parts = [np.ones(1_000_000, np.uint8) for _ in range(8)]
        del parts

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables: str) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=kept | variables).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_the_memory_of_a_picture_is_used_for_the_next_one() -> None:
    """Each of the 200 rounds of 8 MB costs about 1,900 page faults by default."""
    assert page_faults(**VARIABLES) < 0.05 * page_faults()


def test_the_image_that_trains_has_the_same_variables() -> None:
    (line,) = re.findall(r"^FROM runtime AS torch\n#.*\nENV (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert dict(entry.split("=") for entry in line.split()) == VARIABLES


def test_every_image_sends_uploads_that_any_s3_takes() -> None:
    text = DOCKERFILE.read_text()
    runtime = text[: text.index("\nFROM runtime AS data")]
    assert all(f"{name}={value}" in runtime for name, value in STORAGE.items())


def environment_when_torch_is_imported(*command: str, folder: Path, **variables: str) -> dict[str, str]:
    """The variables that a process has when it, or one that it starts, imports torch; it ends there."""
    (folder / "torch").mkdir()
    code = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.stdout.flush(); os._exit(0)"
    (folder / "torch" / "__init__.py").write_text(code)
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES | STORAGE}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=kept | {"PYTHONPATH": f"{folder}:{ROOT}"} | variables,
        cwd=folder,
    )
    found: dict[str, str] = json.loads(done.stdout.strip().rpartition("\n")[2] or "{}")
    assert found, done.stderr
    return found


PLACES = ["--images", ".", "--annotations", ".", "--checkpoints", "out"]
TRAIN = [
    *(
        "step",
        "train-classifier",
        "--images",
        ".",
        "--annotations",
        ".",
        "--checkpoints",
        "out",
        "--label-space",
        "mask",
    ),
    *("--model", "resnet18", "--epochs", "1", "--batch-size", "2", "--learning-rate", "0.1", "--image-height", "32"),
    *("--image-width", "32", "--seed", "0"),
]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "pipelines.command.main", *TRAIN],
        ["-m", "pipelines.command.main", "leak"],
        [
            "-m",
            "components.train_classifier",
            "config.yaml",
            *["--images", ".", "--annotations", ".", "--checkpoints", "out"],
        ],
    ],
    ids=["facet step", "facet leak", "a process of torch.distributed.run"],
)
def test_variables_are_set_before_torch_is_imported(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "config.yaml").write_text("label_space: mask")
    found = environment_when_torch_is_imported(*command, folder=tmp_path, OMP_WAIT_POLICY="active")
    everything = VARIABLES | STORAGE
    assert {name: found.get(name) for name in everything} == everything | {"OMP_WAIT_POLICY": "active"}
