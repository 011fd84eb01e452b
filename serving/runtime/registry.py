"""Where the files of a model are: a folder, S3, or a version in MLflow's registry."""

import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import Protocol

from serving.runtime.composite_card import COMPOSITE_FILE, is_relative
from serving.runtime.errors import InputError, StorageError
from serving.runtime.mlflow_server import Artifacts, MlflowServer
from serving.runtime.reference import REFERENCE_FILE
from serving.runtime.storage import Entry, Location

MODEL_FILE = "model.onnx"

_MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))?")
# Times of files count in ticks of at most this many seconds: a younger one may change again without a new time.
_TICK_S = 1.0

Fingerprint = tuple[object, ...]
"""What changes when a file changes, without reading it: a version, ETags, or times and sizes."""


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
    `models:/name` or `models:/name/latest` (the highest version) or, as older servers have it, `models:/name/stage`
    (the highest version in that stage, in any case). The registry is the MLflow server at MLFLOW_TRACKING_URI, with the
    credentials MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.

    Raises:
        InputError: the URI is invalid, or the environment names no MLflow server.
        NotFoundError: no such registered model, version or alias.
        StorageError: the location cannot be reached or holds no model.
    """
    if not uri.startswith("models:"):
        return _read_model(Location(uri))
    server, name, version = _registered(uri)
    address = server.artifacts_of(name, version)
    artifacts = urllib.parse.urlsplit(address)
    proxied = artifacts.scheme == "mlflow-artifacts"
    folder = Artifacts(server, artifacts.path.strip("/"), uri) if proxied else Location(address)
    return _read_model(folder, name, version)


def fetch_member(uri: str, folder: Folder) -> FetchedModel:
    """Read a member of the composite in `folder`, by a URI of `CompositeCard`; errors as for `fetch_model`."""
    if not is_relative(uri):
        return fetch_model(uri)
    parent, _, file = uri.rpartition("/")
    if file.endswith(".onnx"):
        return FetchedModel((folder.join(parent) if parent else folder).read(file))
    return _read_model(folder.join(uri))


def fingerprint(uri: str) -> Fingerprint:
    """Return what changes when other files are at a URI of `fetch_model`: one question to the registry, or a listing.

    A version in the registry never changes, so that `models:/name/version` asks nobody.

    Raises as `fetch_model`.
    """
    if not uri.startswith("models:"):
        location = Location(uri)
        return fingerprint_of(location, location.list())
    _, name, version = _registered(uri)
    return name, version


def fingerprint_of(location: Location, entries: list[Entry]) -> Fingerprint:
    """Return the fingerprint of files that a location has listed; StorageError when one is gone again."""
    if location.bucket:
        return tuple((entry.path, entry.size, entry.etag) for entry in entries)
    return tuple(_fingerprint_of_file(location, entry) for entry in entries)


def _fingerprint_of_file(location: Location, entry: Entry) -> Fingerprint:
    if entry.fault:
        return entry.path, entry.fault
    file = location.folder / entry.path
    try:
        status = file.stat()
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from error
    settled = abs(time.time() - status.st_mtime) > _TICK_S
    return entry.path, status.st_size, status.st_mtime_ns, status.st_ino, settled


def version_uri(uri: str) -> str:
    """Return `models:/name/version` with the version that a `models:` URI means now, and any other URI as it is.

    Raises as `fetch_model`.
    """
    if not uri.startswith("models:"):
        return uri
    return f"models:/{_parsed(uri)['name']}/{_registered(uri)[2]}"


def name_of(uri: str) -> str:
    """Return the registered name in a `models:` URI; "" for any other URI. Raises InputError as `fetch_model`."""
    return urllib.parse.unquote(_parsed(uri)["name"]) if uri.startswith("models:") else ""


def _parsed(uri: str) -> re.Match[str]:
    match = _MODEL_URI.fullmatch(uri)
    if not match:
        raise InputError(f"'{uri}' is not a model; expected models:/name@alias, models:/name/version or models:/name")
    return match


def _registered(uri: str) -> tuple[MlflowServer, str, str]:
    """Return the server, the name and the version that a `models:` URI means now."""
    match, name = _parsed(uri), name_of(uri)
    server = MlflowServer.from_environment(uri)
    if match["alias"]:
        return server, name, server.version_of(name, match["alias"])
    version = match["version"] or "latest"
    return server, name, version if version.isdecimal() else server.latest_version(name, version)


def sign_in() -> None:
    """Ask the MLflow server at MLFLOW_TRACKING_URI for its registered models, as a check of address and credentials.

    Raises:
        InputError: the environment names no MLflow server.
        NoAnswerError: nobody answers there, which may change.
        StorageError: the address or the credentials are wrong.
    """
    server = MlflowServer.from_environment("the registered model")
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
