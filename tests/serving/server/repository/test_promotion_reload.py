"""A running server follows the commands that promote and roll back, with a real MLflow server between them."""

from pathlib import Path
from typing import Any

import pytest
from command_line import facet
from mlflow_registry import MlflowServer
from model_store import sealed_model
from server_process import picture, serving
from stub_server import until

from components.register.register import register


def test_the_endpoint_follows_promotions_and_rollbacks(
    mlflow: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "cache"))
    for number in (1, 2, 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(sealed_model(number))
        assert register(folder, name="followed", metrics={"macro_f1": number / 10}).version == str(number)

    def run(*command: str) -> Any:
        return facet(*command, tracking_uri=mlflow.url)

    first = run("promote", "followed", "1")
    assert (first.returncode, first.stdout) == (0, "followed: version 1 is the champion (there was none)\n")
    options = ("--model", "models:/followed@champion", "--poll-s", "1")
    with serving(tmp_path, *options, MLFLOW_TRACKING_URI=mlflow.url) as server:

        def served() -> str:
            status, answer = server.request("POST", "/predict", picture())
            assert status == 200
            return str(answer["version"])

        assert served() == "1"
        moves = [("promote 2", "2", "1"), ("promote", "3", "2"), ("rollback", "2", "3"), ("rollback", "1", "2")]
        for command, version, before in moves:
            name, *rest = command.split()
            done = run(name, "followed", *rest)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.splitlines() == [
                f"followed: version {version} is the champion (before: version {before})",
                f"  macro_f1  0.{before}000 -> 0.{version}000",
            ]
            until(lambda version=version: served() == version, 30)
        again = run("rollback", "followed")
        assert again.returncode == 2 and "'followed' has no earlier champion to go back to" in again.stderr
        missing = run("promote", "followed", "9")
        assert missing.returncode == 2 and "no version '9' of model 'followed'" in missing.stderr
        assert served() == "1"
