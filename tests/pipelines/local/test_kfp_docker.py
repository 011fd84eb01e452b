"""The container runner without a container engine: options, errors, log."""

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.local import DockerRunner, docker_task_handler

from components import container_images
from pipelines.classification import ClassificationConfig
from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings
from pipelines.intermediate import compile_pipeline, local_view
from pipelines.local import kfp_docker
from pipelines.local.kfp_docker import IMAGE_USER, Containers, StepFailedError, check_images, own_folder, run_options
from pipelines.local.kfp_log import KfpLog
from pipelines.local.run import run
from serving.runtime.errors import InputError

ENGINE = "unix:///nonexistent/engine"


class Engine:
    """A stand-in for the docker SDK's client, with `info` only."""

    def __init__(self, *runtimes: str) -> None:
        self.runtimes = dict.fromkeys(runtimes)

    def info(self) -> dict[str, Any]:
        return {"Runtimes": self.runtimes}

    def close(self) -> None:
        pass


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import docker

    def options(environment: dict[str, str], arguments: dict[str, Any], *runtimes: str) -> dict[str, Any]:
        monkeypatch.setattr(docker, "from_env", lambda: Engine(*runtimes))
        return run_options(tmp_path, environment, arguments)

    return options


def test_no_engine_is_one_error_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", ENGINE)
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / ".facet")})
    with pytest.raises(ServerError, match="no container engine answers"):
        run(ClassificationConfig(), settings, runner="docker")
    assert not (tmp_path / ".facet").exists()
    with pytest.raises(ServerError, match="no container engine answers"):
        check_images([container_images.DATA])


def test_an_unknown_runner_lists_the_known_ones(tmp_path: Path) -> None:
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / ".facet")})
    with pytest.raises(InputError, match="runner 'podman': unknown; known: subprocess, docker"):
        run(ClassificationConfig(), settings, runner="podman")


def test_it_replaces_a_function_of_kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a new KFP calls that function with other arguments."""
    kfps = docker_task_handler.run_docker_container
    monkeypatch.setattr(docker_task_handler, "run_docker_container", kfps)
    containers = Containers(tmp_path)
    containers.install()
    assert docker_task_handler.run_docker_container == containers.run
    expected = {name: item.kind for name, item in inspect.signature(kfps).parameters.items()}
    found = {name: item.kind for name, item in inspect.signature(containers.run).parameters.items()}
    assert list(found.values()) == list(expected.values())
    assert list(found)[:-1] == list(expected)[:-1], "all but the name of the further options"


def test_nothing_starts_after_a_stop(tmp_path: Path) -> None:
    containers = Containers(tmp_path)
    containers.stopped = True
    with pytest.raises(StepFailedError, match="stopped"):
        containers.run(None, "image", ["true"], {})


def test_kfp_knows_every_option(options: Any) -> None:
    assert DockerRunner(**options({}, {})).container_run_args["read_only"] is True


def test_a_container_gets_the_variables_of_the_steps(options: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    passed = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "OMP_NUM_THREADS": "1",
        "AWS_CA_BUNDLE": str(bundle),
    }
    found = options(passed | {"PATH": "/bin", "KFP_TOKEN": "t", "HOME": "/root", "PYTHONPATH": "."}, {})
    assert found["environment"] == passed
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in found["mounts"]] == [
        (str(bundle), str(bundle), True)
    ]


def test_the_cache_can_be_written(options: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    found = options({"FACET_CACHE": str(tmp_path / "cache")}, {"source": str(tmp_path)})
    mounts = {mount["Source"]: mount["ReadOnly"] for mount in found["mounts"]}
    assert mounts == {str(tmp_path): True, str(tmp_path / "cache"): False}
    assert found["environment"] == {"FACET_CACHE": str(tmp_path / "cache")}


def test_paths_in_the_arguments_are_mounted_where_the_step_looks(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/data").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arguments = {
        "source": "data/../data",
        "floors": {"macro_f1": 0.5},
        "curation": [{"corrections": {"table": "../beside"}}, {"drop": {"table": "no/such.csv"}}],
        "model": "data",
    }
    mounts = options({}, arguments)["mounts"]
    assert [(mount["Target"], mount["Source"]) for mount in mounts] == [
        ("/beside", str(tmp_path / "beside")),
        ("/app/data", str(tmp_path / "here/data")),
    ]


@pytest.mark.parametrize(("runtimes", "asked"), [(("runc",), False), (("runc", "nvidia"), True)])
def test_gpus_are_requested_when_the_engine_has_them(options: Any, runtimes: tuple[str, ...], asked: bool) -> None:
    assert ("device_requests" in options({}, {}, *runtimes)) == asked


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_container_is_never_root(options: Any, tmp_path: Path) -> None:
    own_folder(tmp_path)
    assert options({}, {})["user"] == f"{IMAGE_USER}:{IMAGE_USER}"


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"ne\nt", b"wo"], ["one", "two"]),
        ([b"caf\xc3", b"\xa9\n\xff\n"], ["café", "\ufffd"]),
    ],
)
def test_output_is_split_into_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert list(kfp_docker._lines(iter(chunks))) == lines


START, KILLED, DONE = "STARTED train", "FAILED train", "SUCCEEDED train"
ENDED = "    ValueError: no"


@pytest.mark.parametrize(
    ("said", "failed", "shown"),
    [
        ([START, KILLED, START, DONE], "", ["train", "train  once more"]),
        ([START, KILLED, START, KILLED, "the pipeline failed"], "train", ["train", "train  once more"]),
        ([START, "    Traceback (most recent call last):", ENDED, KILLED, "exit code 1"], "train", ["train"]),
        ([START, DONE, "something else"], "", ["train"]),
    ],
)
def test_the_log_of_steps_in_containers(said: list[str], failed: str, shown: list[str]) -> None:
    log = KfpLog()
    lines = [text for line in said for text in log.feed(line)]
    assert log.failed == failed
    assert [line for line in lines if not line.startswith(" ")] == shown
    if ENDED in said:
        assert log.error == "ValueError: no"


def test_retries_stay_for_containers_and_do_not_wait() -> None:
    def policies(view: str) -> dict[str, Any]:
        tasks = yaml.safe_load(view)["root"]["dag"]["tasks"]
        return {name: task["retryPolicy"] for name, task in tasks.items() if "retryPolicy" in task}

    text = compile_pipeline("classification")
    assert policies(local_view(text)) == {}
    found = policies(local_view(text, retries=True))
    assert found["split"] == {"maxRetryCount": 2}
    assert found["register"] == {"maxRetryCount": 2}
