"""Submission: the request to the server, the images in it, and the messages for the user."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp.client.client import _extract_pipeline_yaml
from kfp_stand_in import TOKEN, StandIn

from pipelines.catalog import PIPELINES
from pipelines.classification import ClassificationConfig
from pipelines.cluster import connect as connect_module
from pipelines.cluster.submit import RunOptions, submit
from pipelines.command import main as cli
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from pipelines.intermediate import committed, read_documents
from pipelines.parameters.pipeline import PipelineConfig
from serving.runtime.errors import InputError

Make = Callable[..., Settings]
CONFIG = ClassificationConfig(source="/data/faces")
DIGEST = "registry.example:5000/team/facet-data@sha256:" + "a" * 64


def send(settings: Settings, config: PipelineConfig = CONFIG, **options: Any) -> str:
    lines: list[str] = []
    wait = options.pop("wait", False)
    submit(config, settings, RunOptions("classification", **options), wait=wait, echo=lines.append)
    return "\n".join(lines)


def test_creates_the_run_and_shows_its_address(stand_in: StandIn, cluster_settings: Make) -> None:
    config = ClassificationConfig(source="/data/faces", epochs=3, floors={"macro_f1": 0.5}, training={"ema_decay": 0.9})
    said = send(cluster_settings(), config)
    assert f"{stand_in.url}/#/runs/details/run-1" in said
    (run,) = stand_in.runs
    assert run.experiment_id == "exp-1"
    assert run.display_name.startswith("classification 20")
    assert run.runtime_config.parameters == {**config.arguments(), "source_digest": ""}
    assert run.runtime_config.pipeline_root is None
    assert run.service_account is None
    assert (stand_in.experiments[0].display_name, stand_in.experiments[0].namespace) == ("facet", "team-a")
    assert TOKEN not in said


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_config_selects_the_pipeline(stand_in: StandIn, cluster_settings: Make, pipeline: str) -> None:
    config = PIPELINES[pipeline].config(source="/data/faces")
    send(cluster_settings(), config)
    (run,) = stand_in.runs
    assert run.pipeline_spec["pipeline_spec"] == read_documents(committed(pipeline).read_text())[0]
    assert run.runtime_config.parameters == {**config.arguments(), "source_digest": ""}


def test_a_server_with_one_user_gets_no_namespace(stand_in: StandIn, cluster_settings: Make) -> None:
    stand_in.health["multi_user"] = False
    send(cluster_settings())
    assert stand_in.experiments[0].namespace is None


def test_an_experiment_is_created_once(stand_in: StandIn, cluster_settings: Make) -> None:
    for experiment in ("facet", "facet", "nightly"):
        send(cluster_settings(), experiment=experiment)
    assert [run.experiment_id for run in stand_in.runs] == ["exp-1", "exp-1", "exp-2"]


def test_the_request_is_that_of_kfps_own_client(stand_in: StandIn, cluster_settings: Make) -> None:
    send(cluster_settings())
    assert stand_in.runs[0].pipeline_spec == _extract_pipeline_yaml(str(committed("classification"))).to_dict()


def test_every_option_of_a_run(stand_in: StandIn, cluster_settings: Make, tmp_path: Path) -> None:
    resources = tmp_path / "site.yaml"
    resources.write_text("image_pull_secrets: [registry]\ntasks: {train: {node_selector: {pool: gpu}}}\n")
    config = CONFIG.model_copy(update={"gpus": "2", "storage_secret": "team-storage"})
    settings = cluster_settings(FACET_RESOURCES=str(resources))
    send(settings, config, cache=False, service_account="trainer", pipeline_root="s3://team/artifacts")
    (run,) = stand_in.runs
    assert run.service_account == "trainer"
    assert run.runtime_config.pipeline_root == "s3://team/artifacts"
    assert {"gpus": "2", "storage_secret": "team-storage"}.items() <= run.runtime_config.parameters.items()
    assert "enableCache" not in json.dumps(run.pipeline_spec["pipeline_spec"])
    executors = run.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(executor["imagePullSecret"][0]["secretName"] == "registry" for executor in executors.values())
    assert executors["exec-train-classifier"]["nodeSelector"] == {"labels": {"pool": "gpu"}}


def test_images_of_the_environment_come_before_pushed_ones(
    stand_in: StandIn, cluster_settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "warning facet/data:latest, facet/train:latest: a tag without a digest" in send(cluster_settings())
    (tmp_path / "home").mkdir()
    pushed = {
        "FACET_IMAGE_DATA": DIGEST,
        "FACET_IMAGE_TRAIN": DIGEST.replace("data", "train"),
        "FACET_IMAGE_SERVE": "x",
    }
    (tmp_path / "home/images.json").write_text(json.dumps(pushed))
    said = send(cluster_settings())
    assert f"image   {DIGEST}" in said
    assert "warning" not in said
    monkeypatch.setenv("FACET_IMAGE_TRAIN", "mine/train:1")
    assert "warning mine/train:1: a tag without a digest" in send(cluster_settings())
    found = [
        {
            executor["container"]["image"]
            for executor in run.pipeline_spec["pipeline_spec"]["deploymentSpec"]["executors"].values()
        }
        for run in stand_in.runs
    ]
    assert found == [
        {"facet/data:latest", "facet/train:latest"},
        {DIGEST, DIGEST.replace("data", "train")},
        {DIGEST, "mine/train:1"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"images\.json: .*Invalid JSON.*run `make push` again"),
        ("[]", r"images\.json: .*Input should be an object"),
        ('{"data": "x"}', r"images\.json: data\..*expected FACET_IMAGE_DATA"),
        ('{"FACET_IMAGE_DATA": 1}', r"images\.json: FACET_IMAGE_DATA: Input should be a valid string"),
        ('{"FACET_IMAGE_DATA": "a b"}', r"images\.json: FACET_IMAGE_DATA: .*expected registry/name:tag"),
        ('{"FACET_IMAGE_DATA": "a@sha256:12"}', r"FACET_IMAGE_DATA: .*@sha256:<64 digits>"),
    ],
)
def test_an_invalid_file_of_images(
    stand_in: StandIn, cluster_settings: Make, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/images.json").write_text(text)
    with pytest.raises(InputError, match=message):
        send(cluster_settings())
    assert stand_in.runs == []


def test_ingest_is_cached_only_with_a_digest(stand_in: StandIn, cluster_settings: Make) -> None:
    send(cluster_settings())
    send(cluster_settings(), CONFIG.model_copy(update={"source_digest": "abc"}))
    caching = []
    for run in stand_in.runs:
        tasks = run.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"]
        caching.append(tasks["ingest"]["cachingOptions"])
        assert tasks["register"]["cachingOptions"] == {}
    assert caching == [{}, {"enableCache": True}]
    assert stand_in.runs[1].runtime_config.parameters["source_digest"] == "abc"


def test_waiting_for_the_end(stand_in: StandIn, cluster_settings: Make) -> None:
    said = send(cluster_settings(), wait=True)
    assert said.count("RUNNING") == 1
    assert said.endswith("SUCCEEDED")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/experiments", 403, r"lacks the permission \(403\) in the namespace team-a$"),
        ("/runs", 400, r"rejected the request \(400\): the stand-in says no$"),
        (
            "/runs",
            503,
            r"\(503\).*; the run may have been created: look for 'classification 20.*' with `facet status`",
        ),
    ],
)
def test_a_request_that_is_rejected(
    stand_in: StandIn, cluster_settings: Make, path: str, status: int, message: str
) -> None:
    stand_in.refuse = {path: status}
    with pytest.raises(ClusterError, match=message):
        send(cluster_settings())


def test_a_request_that_may_have_created_a_run_is_not_repeated(
    stand_in: StandIn, cluster_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_module, "TIMEOUT_SECONDS", (1.0, 0.3))
    stand_in.faults = [None, None, None, "hang"]
    with pytest.raises(ClusterError, match="does not respond.*; the run may have been created"):
        send(cluster_settings())
    assert stand_in.asked.count("POST /apis/v2beta1/runs") == 1


@pytest.fixture
def facet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["facet", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_the_pipeline_is_launched_with_arguments(
    stand_in: StandIn, cluster_settings: Make, facet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`facet submit` as a user types it, and the commands that follow it."""
    for name, value in {"KFP_HOST": stand_in.url, "KFP_NAMESPACE": "team-a", "KFP_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    options = ["--set", "source=/data/faces", "--set", "epochs=2", "--set", "gpus=1", "--no-cache"]
    code, out, err = facet("submit", "--config", "emotion", *options)
    assert (code, err) == (0, "")
    assert "runs/details/run-1" in out
    (run,) = stand_in.runs
    assert run.display_name.startswith("emotion 20")
    assert {"epochs": 2, "gpus": "1", "source": "/data/faces"}.items() <= run.runtime_config.parameters.items()
    stand_in.states = ["RUNNING"]
    assert "state   RUNNING" in facet("status", "run-1")[1]
    assert "state   RUNNING" in facet("logs", "run-1")[1]
    assert facet("cancel", "run-1") == (0, "canceled; its pods are being stopped\n", "")
    code, _, err = facet("wait", f"{stand_in.url}/#/runs/details/run-1")
    assert (code, err) == (1, "facet: the run ended as CANCELED\n")
    assert facet("schedule", "add", "nightly")[0] == 2
    assert facet("schedule", "add", "nightly", "--every", "1d", "--set", "source=/data/faces")[0] == 0
    assert facet("schedule", "disable", "nightly") == (0, "nightly is disabled\n", "")
    assert "DISABLED" in facet("schedule", "list")[1]
    assert facet("schedule", "delete", "nightly")[0] == 0


def test_an_ir_for_an_upload_by_hand(cluster_settings: Make, facet: Callable[..., Any], tmp_path: Path) -> None:
    """`facet compile --site`: the images and resources of a cluster, the form's defaults as committed."""
    (tmp_path / ".facet").mkdir()
    (tmp_path / ".facet/images.json").write_text(json.dumps({"FACET_IMAGE_DATA": DIGEST}))
    assert facet("compile", "--site")[0] == 2
    assert facet("compile", "--site", "-p", "classification", "-o", "mine.yaml")[0] == 0
    mine, theirs = (tmp_path / "mine.yaml").read_text(), committed("classification").read_text()
    assert read_documents(mine.replace(DIGEST, "facet/data:latest")) == read_documents(theirs)
