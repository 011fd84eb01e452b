"""MLflow's registry and the artifacts that it proxies, over REST: importing MLflow would take seconds."""

import base64
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from typing import Any, Self

from serving.runtime.addresses import masked
from serving.runtime.errors import InputError, NoAnswerError, NotFoundError, StorageError
from serving.runtime.patience import patience, say_when_slow
from serving.runtime.storage import Entry

TIMEOUT_S = 30.0

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True, slots=True)
class MlflowServer:
    """An MLflow server: its URL without credentials, and the Authorization header ("" for none)."""

    url: str
    authorization: str

    @classmethod
    def from_environment(cls, uri: str) -> "MlflowServer":
        """Return the server that MLFLOW_TRACKING_URI names; InputError, which names `uri`, where it names none."""
        tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        parts = urllib.parse.urlsplit(tracking_uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"{uri} is in MLflow's registry: set MLFLOW_TRACKING_URI to the server's http(s):// address"
            )
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(parts.username or "")
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(parts.password or "")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        authorization = f"Bearer {token}" if token else ""
        if user:
            authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        host = parts.netloc.rpartition("@")[2]
        return cls(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", authorization)

    def version_of(self, name: str, alias: str) -> str:
        """Return the version of an alias; the error for an unknown one lists those that exist."""
        try:
            version = self._ask("/api/2.0/mlflow/registered-models/alias", "model_version", name=name, alias=alias)
        except NotFoundError as error:
            aliases = self._registered(name).get("aliases", [])
            names = ", ".join(sorted(str(item["alias"]) for item in aliases)) or "none"
            raise NotFoundError(f"model '{name}' has no alias '{alias}' in {self.url}; its aliases: {names}") from error
        return str(version["version"])

    def latest_version(self, name: str, stage: str) -> str:
        """Return the highest version in a stage, or of all where it is called `latest`."""
        # MLflow keeps the latest version of every stage; those that never had one are in the stage `None`.
        latest = self._registered(name).get("latest_versions", [])
        versions = [
            int(item["version"])
            for item in latest
            if stage.lower() in ("latest", str(item.get("current_stage", "None")).lower())
        ]
        if not versions:
            stages = ", ".join(sorted(str(item.get("current_stage", "None")) for item in latest)) or "none"
            raise NotFoundError(
                f"model '{name}' has no version in stage '{stage}' in {self.url}; its stages: {stages}; "
                f"an alias is written models:/{name}@{stage}"
            )
        return str(max(versions))

    def artifacts_of(self, name: str, version: str) -> str:
        """Return the URI of a version's artifact folder."""
        try:
            uri = self._ask(
                "/api/2.0/mlflow/model-versions/get-download-uri", "artifact_uri", name=name, version=version
            )
        except NotFoundError as error:
            latest = self._registered(name).get("latest_versions", [])
            versions = ", ".join(sorted(str(item["version"]) for item in latest)) or "none"
            raise NotFoundError(
                f"model '{name}' has no version {version} in {self.url}; its latest: {versions}"
            ) from error
        return str(uri)

    def files(self, folder: str) -> list[Entry]:
        """List an artifact folder that the server proxies, without what is in the folders below it."""
        answer = self.ask(_ARTIFACTS, path=folder)
        if not isinstance(answer, dict):
            raise StorageError(f"{self.url} is not an MLflow server: its answer is no listing of files")
        # An empty list is left out of the answer.
        return [Entry(str(file["path"]), int(file.get("file_size") or 0), "") for file in answer.get("files", [])]

    def read(self, path: str) -> bytes:
        """Read a file among the artifacts that the server proxies."""
        return self._get(f"{_ARTIFACTS}/{urllib.parse.quote(path)}")

    def _registered(self, name: str) -> dict[str, Any]:
        try:
            model = self._ask("/api/2.0/mlflow/registered-models/get", "registered_model", name=name)
        except NotFoundError as error:
            raise NotFoundError(f"there is no registered model '{name}' in {self.url}") from error
        return dict(model)

    def _ask(self, endpoint: str, field: str, /, **query: str) -> Any:
        """Return one field of the server's JSON answer."""
        try:
            return self.ask(endpoint, **query)[field]
        except (KeyError, TypeError) as error:
            raise StorageError(f"{self.url} is not an MLflow server: its answer has no '{field}'") from error

    def ask(self, endpoint: str, /, **query: str) -> Any:
        """Return the server's JSON answer.

        Raises:
            NotFoundError: what is asked for does not exist.
            NoAnswerError: nobody answers, which may change.
            StorageError: the address or the credentials are wrong, or the answer is not MLflow's.
        """
        body = self._get(f"{endpoint}?{urllib.parse.urlencode(query)}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise StorageError(f"{self.url} is not an MLflow server: its answer is not JSON") from error

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self.url + path)
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        seconds = min(TIMEOUT_S, patience())
        word = f"MLflow at {self.url} does not answer, waiting up to {seconds:g} s"
        try:
            with say_when_slow(word), urllib.request.urlopen(request, timeout=seconds) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            code, message = _mlflow_error(error)
            if error.code in (401, 403):
                raise StorageError(
                    f"{self.url} refuses the credentials ({error.code}); check MLFLOW_TRACKING_USERNAME and "
                    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
                ) from error
            if code in _NOT_FOUND:
                raise NotFoundError(message) from error
            raise StorageError(f"{self.url}{path} answered {error.code}: {message}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            lasting = isinstance(reason, socket.gaierror | ssl.SSLError)
            raise (StorageError if lasting else NoAnswerError)(
                f"the MLflow server at {self.url} cannot be reached ({reason}); check MLFLOW_TRACKING_URI"
            ) from error


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The folder at `path` among the artifacts that a server proxies; `uri` names it in errors."""

    server: MlflowServer
    path: str
    uri: str

    def list(self) -> list[Entry]:
        """List its files."""
        return sorted(self.server.files(self.path), key=lambda entry: entry.path)

    def read(self, path: str = "") -> bytes:
        """Read one of its files."""
        return self.server.read(f"{self.path}/{path}")

    def join(self, path: str) -> Self:
        """Return the folder, or the file, at `path` below this one."""
        return replace(self, path=f"{self.path}/{path}", uri=f"{self.uri}/{path}")


def _mlflow_error(error: urllib.error.HTTPError) -> tuple[str, str]:
    """Return MLflow's error code and message from an error answer."""
    try:
        answer = json.loads(error.read())
        return str(answer["error_code"]), masked(str(answer["message"]))
    except (ValueError, KeyError, TypeError, OSError):
        return "", str(error.reason)
