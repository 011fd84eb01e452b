"""One engine, one local stack, and the same small run twice: its steps as processes, and as containers."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from clean_environment import clean_environment
from small_sample import SMALL_TRAINING, put_small_sample

import docker
from components import container_images
from pipelines.classification import ClassificationConfig
from pipelines.environment.settings import Settings
from pipelines.local.kfp_docker import LABEL
from pipelines.local.run import Run, run
from pipelines.local.stack import Stack, local_stack, running

sys.path.append(str(Path(__file__).parents[1] / "components/train_yolo"))  # for yolo_samples

SMALL = ClassificationConfig(
    **{**SMALL_TRAINING, "training": {"workers": 2}}, val_ratio=0.25, test_ratio=0.25, floors={"accuracy": 0.0}
)
PERSONS = 24

Ask = Callable[..., str]
RunIn = Callable[..., Run]


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no container engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def hardened() -> dict[str, Any]:
    """Options of `docker run` that take away what a container of ours does not need."""
    return {
        "read_only": True,
        "tmpfs": {"/tmp": ""},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "host",
    }


@pytest.fixture(scope="session")
def ask(engine: Any, hardened: dict[str, Any]) -> Ask:
    """Runs a command in an image, hardened, and gives what it prints."""

    def ask(target: str, *command: str, **options: Any) -> str:
        image = getattr(container_images, target.upper())
        said = engine.containers.run(image, entrypoint=[], command=list(command), remove=True, **(hardened | options))
        return str(said.decode().strip())

    return ask


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("facet") / ".facet"
    with patch.dict(os.environ, clean_environment(), clear=True):
        yield home
        assert running(home) == {"mlflow": None, "s3": None}


@pytest.fixture(scope="session")
def stack(home: Path) -> Iterator[Stack]:
    with local_stack(home) as stack:
        yield stack


@pytest.fixture(scope="session")
def run_in(engine: Any, home: Path, stack: Stack) -> RunIn:
    """Runs the pipeline in the session's stack and checks that no container is left."""

    def run_in(
        runner: str, name: str, config: ClassificationConfig = SMALL, echo: Callable[[str], None] = print
    ) -> Run:
        settings = Settings.from_environment({"FACET_HOME": str(home)})
        put_small_sample(home, config.source, PERSONS)
        result = run(config, settings, name=name, runner=runner, echo=echo)
        assert engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True) == []
        return result

    return run_in


@pytest.fixture(scope="session")
def small() -> ClassificationConfig:
    return SMALL


@pytest.fixture(scope="session")
def in_processes(run_in: RunIn) -> Run:
    return run_in("subprocess", "processes")


@pytest.fixture(scope="session")
def in_containers(run_in: RunIn) -> Run:
    return run_in("docker", "containers")
