import itertools
import signal
import subprocess
import sys

import pytest
from export_samples import photos, store

from components.ingest.formats.folders.profile import MASK_OF_STEM
from components.shared.dataset.annotations import Face, Image


@pytest.fixture
def person_images():
    """Make the seven pictures of each person, a (id, gender, age), as the profile reader does."""

    def make(persons, split=None, start=1):
        number = itertools.count(start)
        return [
            Image(
                at := next(number),
                f"{who}_{gender}_Asian_{age}/{stem}.jpg",
                384,
                512,
                (Face(at, None, {"mask": mask, "gender": gender, "age": age}),),
                person=who,
                split=split,
            )
            for who, gender, age in persons
            for stem, mask in MASK_OF_STEM.items()
        ]

    return make


@pytest.fixture
def kill_when_ready():
    """Run a Python program with arguments, and kill it once it has printed `ready`."""

    def run(program, *arguments):
        with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGKILL)

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The data set of the export tests."""
    return store(tmp_path_factory.mktemp("data"), photos())


@pytest.fixture
def tracking(mlflow_url, monkeypatch):
    """The MLflow server, with this test's environment pointing at it and at no run."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    return mlflow_url
