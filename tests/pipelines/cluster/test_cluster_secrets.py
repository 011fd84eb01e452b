"""A submission holds no secret of the environment, however the server responds."""

import secrets
from collections.abc import Callable

import pytest
from kfp_stand_in import StandIn

from pipelines.classification import ClassificationConfig
from pipelines.cluster.connect import connect
from pipelines.cluster.schedule import add
from pipelines.cluster.submit import RunOptions, submit
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from pipelines.intermediate import compile_pipeline

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "DATABASE_PASSWORD",
    "KFP_TOKEN",
    "KFP_COOKIES",
)
"""Variables with secrets."""


def test_a_submission_holds_no_secret(
    stand_in: StandIn, cluster_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {name: f"planted-{secrets.token_hex(12)}" for name in NAMES}
    for name, secret in planted.items():
        monkeypatch.setenv(name, secret)
    stand_in.tokens = {planted["KFP_TOKEN"]}
    settings = cluster_settings(KFP_TOKEN=planted["KFP_TOKEN"], KFP_COOKIES=planted["KFP_COOKIES"])
    said: list[str] = [repr(settings), compile_pipeline("classification")]
    config = ClassificationConfig(source="/data/faces")
    submit(config, settings, RunOptions("faces"), echo=said.append)
    add(connect(settings), config, RunOptions("nightly"), every="1d", echo=said.append)
    for fault in (401, 403, 500, "login", "page", "garbage"):
        stand_in.faults = [fault, fault]
        with pytest.raises(ClusterError) as caught:
            submit(config, settings, RunOptions("faces"), echo=said.append)
        said.append(str(caught.value))
    assert len(b"".join(stand_in.bodies)) > 100_000
    written = b"".join(stand_in.bodies) + "\n".join(said).encode()
    assert [name for name, secret in planted.items() if secret.encode() in written] == []
