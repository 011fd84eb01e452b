"""Recurring runs: the uploaded version, the trigger, and the commands on schedules."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp_stand_in import StandIn

from pipelines.classification import ClassificationConfig
from pipelines.cluster.connect import Cluster, connect
from pipelines.cluster.schedule import add, change, listing, trigger, update
from pipelines.cluster.submit import RunOptions
from pipelines.environment.settings import Settings
from pipelines.intermediate import committed, read_documents
from serving.runtime.errors import InputError

CONFIG = ClassificationConfig(source="s3://raw/faces", source_digest="abc", epochs=2)


@pytest.fixture
def cluster(stand_in: StandIn, cluster_settings: Callable[..., Settings]) -> Cluster:
    return connect(cluster_settings())


def test_a_schedule_starts_an_uploaded_version(cluster: Cluster, stand_in: StandIn) -> None:
    said: list[str] = []
    options = RunOptions(
        "nightly", experiment="retraining", service_account="trainer", pipeline_root="s3://team/nightly"
    )
    add(cluster, CONFIG, options, cron="0 3 * * *", echo=said.append)
    (recurring,) = stand_in.recurring.values()
    assert (recurring.display_name, recurring.status, recurring.no_catchup) == ("nightly", "ENABLED", True)
    assert (recurring.max_concurrency, recurring.service_account) == ("1", "trainer")
    assert recurring.trigger.cron_schedule.cron == "0 0 3 * * *"
    assert recurring.runtime_config.pipeline_root == "s3://team/nightly"
    assert recurring.runtime_config.parameters == {**CONFIG.arguments(), "source_digest": ""}
    assert stand_in.experiments[0].display_name == "retraining"
    assert recurring.pipeline_version_reference.pipeline_version_id == "version-1"
    assert read_documents(stand_in.uploads[0]) == read_documents(committed("classification").read_text())
    assert (stand_in.pipelines[0].display_name, stand_in.pipelines[0].namespace) == ("classification", "team-a")
    assert any("pipelines/details/pipeline-1/version/version-1" in line for line in said)
    assert any("recurringrun/details/" in line for line in said)


def test_the_same_pipeline_is_uploaded_once(cluster: Cluster, stand_in: StandIn) -> None:
    add(cluster, CONFIG, RunOptions("nightly"), every="1d")
    add(cluster, CONFIG, RunOptions("hourly"), every="1h")
    add(cluster, CONFIG, RunOptions("uncached", cache=False), every="1h")
    assert (len(stand_in.pipelines), len(stand_in.uploads), len(stand_in.recurring)) == (1, 2, 3)
    with pytest.raises(InputError, match="there is a schedule 'nightly' already: delete it first"):
        add(cluster, CONFIG, RunOptions("nightly"), every="2d")
    assert len(stand_in.recurring) == 3


def test_an_update_takes_the_images_of_today_and_keeps_the_rest(
    cluster: Cluster, stand_in: StandIn, tmp_path: Path
) -> None:
    options = RunOptions("nightly", service_account="trainer", pipeline_root="s3://team/nightly")
    add(cluster, CONFIG, options, cron="0 3 * * *")
    change(cluster, "nightly", "disable")
    (old,) = stand_in.recurring.values()
    said: list[str] = []
    update(cluster, "nightly", echo=said.append)
    assert list(stand_in.recurring.values()) == [old] and "already" in said[-1]

    cluster.settings.home.mkdir(exist_ok=True)
    digest = f"registry/facet/data@sha256:{'a' * 64}"
    (cluster.settings.home / "images.json").write_text(json.dumps({"FACET_IMAGE_DATA": digest}))
    update(cluster, "nightly", echo=said.append)
    (new,) = stand_in.recurring.values()
    assert digest in stand_in.uploads[1] and digest not in stand_in.uploads[0]
    assert new.pipeline_version_reference.pipeline_version_id == "version-2"
    for name in ("display_name", "experiment_id", "runtime_config", "service_account", "trigger", "status"):
        assert getattr(new, name) == getattr(old, name), name
    assert (new.max_concurrency, new.no_catchup) == ("1", True)


def test_an_update_needs_a_schedule_of_ours(cluster: Cluster, stand_in: StandIn) -> None:
    add(cluster, CONFIG, RunOptions("nightly"), cron="0 3 * * *")
    with pytest.raises(InputError, match="there is no schedule 'weekly'; known: nightly"):
        update(cluster, "weekly")
    (recurring,) = stand_in.recurring.values()
    recurring.runtime_config.parameters["size"] = 64
    with pytest.raises(InputError, match="'classification' has no parameter size any more: delete the schedule"):
        update(cluster, "nightly")
    stand_in.pipelines[0].display_name = "classificatoin"
    with pytest.raises(InputError, match="runs the pipeline 'classificatoin', did you mean 'classification'"):
        update(cluster, "nightly")
    assert list(stand_in.recurring.values()) == [recurring]


def test_commands_on_a_schedule(cluster: Cluster, stand_in: StandIn) -> None:
    assert list(listing(cluster)) == ["no schedule yet"]
    add(cluster, CONFIG, RunOptions("nightly"), cron="30 2 * * 1-5")
    nightly = add(cluster, CONFIG, RunOptions("often"), every="90m")
    change(cluster, "nightly", "disable")
    assert [line.split()[1:] for line in listing(cluster)] == [
        ["DISABLED", "0", "30", "2", "*", "*", "1-5", "nightly"],
        ["ENABLED", "every", "5400", "s", "often"],
    ]
    change(cluster, "nightly", "enable")
    change(cluster, nightly, "delete")
    assert [line.split()[1] for line in listing(cluster)] == ["ENABLED"]
    with pytest.raises(InputError, match="there is no schedule 'often'; known: nightly"):
        change(cluster, "often", "delete")


@pytest.mark.parametrize(
    ("cron", "every", "message"),
    [
        ("", "", "set either --cron"),
        ("0 3 * * *", "1d", "set either --cron"),
        ("0 3 * *", "", "expected five fields .*or six with seconds"),
        ("", "soon", "--every 'soon': expected a number and a unit"),
        ("", "0h", "expected a number and a unit"),
    ],
)
def test_an_invalid_time(cluster: Cluster, stand_in: StandIn, cron: str, every: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        add(cluster, CONFIG, RunOptions("nightly"), cron=cron, every=every)
    assert stand_in.uploads == []


@pytest.mark.parametrize(("every", "seconds"), [("45s", "45"), ("30m", "1800"), ("6h", "21600"), ("7d", "604800")])
def test_intervals(every: str, seconds: str) -> None:
    assert trigger("", every).periodic_schedule.interval_second == seconds


@pytest.mark.parametrize(("cron", "sent"), [("@daily", "@daily"), ("15 0 3 * * *", "15 0 3 * * *")])
def test_forms_of_the_cluster_are_passed_on(cron: str, sent: str) -> None:
    assert trigger(cron, "").cron_schedule.cron == sent
