"""Registers models with a real MLflow server over REST."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class MlflowServer:
    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        request = urllib.request.Request(self.url + "/api/2.0" + path, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return dict(json.loads(response.read() or b"{}"))

    def register(self, name: str, source: str, **origin: str) -> str:
        try:
            self.call("POST", "/mlflow/registered-models/create", {"name": name})
        except urllib.error.HTTPError as error:
            assert "RESOURCE_ALREADY_EXISTS" in error.read().decode()
        made = self.call("POST", "/mlflow/model-versions/create", {"name": name, "source": source} | origin)
        return str(made["model_version"]["version"])

    def put(self, folder: str, name: str, content: bytes) -> None:
        path = folder.removeprefix("mlflow-artifacts:").strip("/")
        self.call("PUT", f"/mlflow-artifacts/artifacts/{urllib.parse.quote(f'{path}/{name}')}", content)

    def register_run(self, name: str, files: dict[str, bytes]) -> str:
        """Register files that a run logged, as the server demands it of artifacts it keeps itself."""
        run = self.call("POST", "/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
        folder = f"{run['artifact_uri']}/a model"
        for file, content in files.items():
            self.put(folder, file, content)
        return self.register(name, folder, run_id=run["run_id"])
