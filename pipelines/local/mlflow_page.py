"""The page of a local run in MLflow, which gets what only the run knows: its config, its folder and its artifacts.

Over MLflow's REST API: `import mlflow` takes seconds.
"""

import contextlib
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.local.run_folder import CONFIG
from serving.runtime.addresses import public_address
from serving.runtime.errors import StorageError
from serving.runtime.storage import is_s3, upload

_TIMEOUT = 5


def describe_run(run_id: str, folder: Path, address: str) -> str:
    """Returns the page of an MLflow run, to which it adds the config of the local run and where its files are.

    Args:
        run_id: the MLflow run; "" for none.
        folder: the folder of the local run.
        address: of the copy of its artifacts in S3; "" for none.

    Returns:
        The page; the id when MLflow does not answer; "" without a run.
    """
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    if not run_id or not tracking_uri.startswith("http"):
        return run_id
    api = f"{tracking_uri}/api/2.0/mlflow/runs"
    with contextlib.suppress(OSError, ValueError, KeyError):
        run = _ask(f"{api}/get?run_id={run_id}")["run"]["info"]
        for key, value in {"facet.run": folder.name, "facet.artifacts": address}.items():
            if value:
                _ask(f"{api}/set-tag", {"run_id": run_id, "key": key, "value": value})
        if is_s3(run["artifact_uri"]):
            with contextlib.suppress(StorageError):
                upload(folder / CONFIG, f"{run['artifact_uri']}/{CONFIG}")
        return f"{public_address(tracking_uri)}/#/experiments/{run['experiment_id']}/runs/{run_id}"
    return run_id


def _ask(address: str, content: dict[str, str] | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        return json.load(answer)
