"""Model files from a folder, S3, or MLflow's registry over REST: importing MLflow would take seconds."""

import base64
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from serving.runtime.addresses import masked
from serving.runtime.composite_card import COMPOSITE_FILE, is_relative
from serving.runtime.errors import InputError, NoAnswerError, NotFoundError, StorageError
from serving.runtime.patience import patience, say_when_slow
from serving.runtime.reference import REFERENCE_FILE
from serving.runtime.storage import Entry, Location

MODEL_FILE = "model.onnx"
TIMEOUT_S = 30.0

_MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))")
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class Folder(Protocol):
    """A folder with the files of a model, on the disk, in S3 or behind an MLflow server; see `Location`."""

    @property
    def uri(self) -> str:
        """Where it is, for errors."""

    def list(self) -> list[Entry]:
        """List its files."""

    def read(self, path: str = "") -> bytes:
        """Read one of its files."""

    def join(self, path: str) -> "Folder":
        """Return the folder, or the file, at `path` below this one."""


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model file's content, with its registered name and version where it has them.

    `folder` is where the file of a composite lies, which its relative members are below; None for any other model.
    `reference` is the content of the `reference.json` beside the model, empty where there is none.
    """

    content: bytes
    name: str | None = None
    version: str = ""
    folder: Folder | None = None
    reference: bytes = b""


def fetch_model(uri: str) -> FetchedModel:
    """Read a model file from a path, a folder, S3 or the registry.

    A folder holds the model as `model.onnx`, or as its only `.onnx` file; one with a `composite.json` is a composite,
    and so is any other `.json` file. In the registry a model is `models:/name@alias`, `models:/name/version`,
    `models:/name/latest` (the highest version) or, as older servers have it, `models:/name/stage` (the highest version
    in that stage, in any case). The registry is the MLflow server at MLFLOW_TRACKING_URI, with the credentials
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.

    Raises:
        InputError: the URI is invalid, or the environment names no MLflow server.
        NotFoundError: no such registered model, version or alias.
        StorageError: the location cannot be reached or holds no model.
    """
    if not uri.startswith("models:"):
        return _read_model(Location(uri))
    match = _MODEL_URI.fullmatch(uri)
    if not match:
        raise InputError(
            f"'{uri}' is not a model; expected models:/name@alias, models:/name/version or models:/name/latest"
        )
    server = _Server.from_environment(uri)
    name = urllib.parse.unquote(match["name"])
    if match["alias"]:
        version = server.version_of(name, match["alias"])
    else:
        version = match["version"] if match["version"].isdecimal() else server.latest_version(name, match["version"])
    address = server.artifacts_of(name, version)
    artifacts = urllib.parse.urlsplit(address)
    proxied = artifacts.scheme == "mlflow-artifacts"
    folder = _Artifacts(server, artifacts.path.strip("/"), uri) if proxied else Location(address)
    return _read_model(folder, name, version)


def fetch_member(uri: str, folder: Folder) -> FetchedModel:
    """Read a member of the composite in `folder`, by a URI of `CompositeCard`; errors as for `fetch_model`."""
    if not is_relative(uri):
        return fetch_model(uri)
    parent, _, file = uri.rpartition("/")
    if file.endswith(".onnx"):
        return FetchedModel((folder.join(parent) if parent else folder).read(file))
    return _read_model(folder.join(uri))


def sign_in() -> None:
    """Ask the MLflow server at MLFLOW_TRACKING_URI for its registered models, as a check of address and credentials.

    Raises:
        InputError: the environment names no MLflow server.
        NoAnswerError: nobody answers there, which may change.
        StorageError: the address or the credentials are wrong.
    """
    server = _Server.from_environment("the registered model")
    if not isinstance(server.ask("/api/2.0/mlflow/registered-models/search", max_results="1"), dict):
        raise StorageError(
            f"{server.url} is not an MLflow server: it answers something else; check MLFLOW_TRACKING_URI"
        )


def _read_model(folder: Folder, name: str | None = None, version: str = "") -> FetchedModel:
    names = [entry.path for entry in folder.list()]
    if names != [""]:
        file = _choose(names, folder.uri)
        reference = folder.read(REFERENCE_FILE) if REFERENCE_FILE in names else b""
        return FetchedModel(folder.read(file), name, version, folder if file == COMPOSITE_FILE else None, reference)
    is_composite = folder.uri.rstrip("/").endswith(".json")
    return FetchedModel(folder.read(), name, version, Location(folder.uri).parent if is_composite else None)


def _choose(names: list[str], location: str) -> str:
    """Choose the model among the file names of a folder."""
    if COMPOSITE_FILE in names:
        return COMPOSITE_FILE
    models = [name for name in names if name.endswith(".onnx") and "/" not in name]
    if MODEL_FILE in models:
        return MODEL_FILE
    if len(models) != 1:
        listing = ", ".join(models) or ", ".join(names[:10]) or "nothing"
        raise StorageError(f"{location}: expected {MODEL_FILE} or one other .onnx file, found {listing}")
    return models[0]


@dataclass(frozen=True, slots=True)
class _Server:
    """An MLflow server: its URL without credentials, and the Authorization header ("" for none)."""

    url: str
    authorization: str

    @classmethod
    def from_environment(cls, uri: str) -> "_Server":
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
        """Return the server's JSON answer."""
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
        except OSError as error:
            reason = getattr(error, "reason", error)
            lasting = isinstance(reason, socket.gaierror | ssl.SSLError)
            raise (StorageError if lasting else NoAnswerError)(
                f"the MLflow server at {self.url} cannot be reached ({reason}); check MLFLOW_TRACKING_URI"
            ) from error


@dataclass(frozen=True, slots=True)
class _Artifacts:
    """A `Folder` at `path` among the artifacts that a server proxies; `uri` names it in errors."""

    server: _Server
    path: str
    uri: str

    def list(self) -> list[Entry]:
        return sorted(self.server.files(self.path), key=lambda entry: entry.path)

    def read(self, path: str = "") -> bytes:
        return self.server.read(f"{self.path}/{path}")

    def join(self, path: str) -> Self:
        return replace(self, path=f"{self.path}/{path}", uri=f"{self.uri}/{path}")


def _mlflow_error(error: urllib.error.HTTPError) -> tuple[str, str]:
    """Return MLflow's error code and message from an error answer."""
    try:
        answer = json.loads(error.read())
        return str(answer["error_code"]), masked(str(answer["message"]))
    except (ValueError, KeyError, TypeError, OSError):
        return "", str(error.reason)
