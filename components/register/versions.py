"""Versions in MLflow's registry: one for each run and file, with the alias `candidate` on the newest."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.register.page import PAGE_FILE, description
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run, resume_run
from components.shared.tracking.server import mlflow_client, patiently
from serving.runtime.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "candidate"
TRAINING_RUN = "training_run"
"""Tag of a version with the run that it was registered for; "" where none was given."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered version, its run and the sha256 that its file has before and after.

    `composite_version` is that of the composite that was registered with it, "" for none.
    """

    name: str
    version: str
    run_id: str
    sha256: str
    composite_version: str = ""

    @property
    def uri(self) -> str:
        """The address of the version."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model file that becomes a version.

    Attributes:
        file: its name in the version's folder.
        content: of the file.
        kind: MLflow's type of model.
        write: writes the version's folder, for a logged model and the id of its run.
        tags: of the version, without the digest of the file and the run.
        page: makes the model's page in Markdown from the parameters of the run.
        metrics: scalar metrics by name.
    """

    file: str
    content: bytes
    kind: str
    write: "Callable[[Path, LoggedModel, str], None]"
    tags: Mapping[str, str]
    page: "Callable[[Mapping[str, str]], str]"
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.content).hexdigest()


def register_version(candidate: Candidate, name: str, run_id: str, *, once: bool = False) -> Registration:
    """Register a file as a version of `name`, unless it is one already.

    Args:
        candidate: the file.
        name: name in the registry.
        run_id: the run that it belongs to; "" opens one for this registration.
        once: a version of any run is that version; otherwise only one of this run.

    Raises:
        NotFoundError: there is no such run.
        StorageError: the registered file differs; then the version is removed. Or MLflow or its store cannot be used.
    """
    client = mlflow_client()
    if run_id:
        resume_run(run_id)
    if found := _versions(client, name, candidate.sha256, None if once else run_id):
        return _finish(client, found[0], candidate)
    if run_id:
        return _register(client, candidate, name, run_id, run_id)
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
    with open_run(experiment, run_name=f"register {name}") as run:
        return _register(client, candidate, name, run.run_id, "")


def _register(client: "MlflowClient", candidate: Candidate, name: str, run_id: str, training_run: str) -> Registration:
    from mlflow.exceptions import MlflowException

    metrics = {f"metrics.{key}": repr(float(value)) for key, value in sorted(candidate.metrics.items())}
    tags = {"sha256": candidate.sha256, **candidate.tags, **metrics, TRAINING_RUN: training_run}
    model_id, page = _log_model(client, candidate, tags, run_id)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(
        name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id, description=description(page)
    )
    first, *_ = _versions(client, name, candidate.sha256, training_run) or [created]
    if str(first.version) != str(created.version):  # another attempt of this step was a little earlier
        client.delete_model_version(name, str(created.version))
    return _finish(client, first, candidate)


def _versions(client: "MlflowClient", name: str, sha256: str, run_id: str | None) -> "list[ModelVersion]":
    """Return the versions with this file that were registered for this run, or for any, the first one first."""
    quote = '"' if "'" in name else "'"
    found = client.search_model_versions(f"name = {quote}{name}{quote} AND tags.sha256 = '{sha256}'")
    return sorted(
        (one for one in found if run_id is None or one.tags.get(TRAINING_RUN, one.run_id or "") == run_id),
        key=lambda one: int(one.version),
    )


def _finish(client: "MlflowClient", found: "ModelVersion", candidate: Candidate) -> Registration:
    """Compare the file of a version with the exported one, and let no older version stay the candidate."""
    name, version = str(found.name), str(found.version)
    registered = _registered_sha256(name, version, candidate.file)
    if registered != candidate.sha256:
        client.delete_model_version(name, version)
        raise StorageError(
            f"the registered file of '{name}' version {version} has sha256 {registered}, the exported one has "
            f"{candidate.sha256}: the version was removed; check the artifact store of the MLflow server"
        )
    newest = client.get_registered_model(name).aliases.get(CANDIDATE, "0")
    if int(newest) < int(version):
        client.set_registered_model_alias(name, CANDIDATE, version)
    return Registration(name, version, str(found.run_id), candidate.sha256)


def _log_model(client: "MlflowClient", candidate: Candidate, tags: dict[str, str], run_id: str) -> tuple[str, str]:
    """Log the model with its page, its run's parameters and the metrics; return its id and the page."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    run = client.get_run(run_id)
    params: dict[str, Any] = run.data.params
    logged = client.create_logged_model(
        run.info.experiment_id,
        name="model",
        source_run_id=run_id,
        tags=tags,
        params=params,
        model_type=candidate.kind,
    )
    page = candidate.page(params)
    try:
        with tempfile.TemporaryDirectory() as folder:
            candidate.write(Path(folder, "model"), logged, run_id)
            Path(folder, "model", PAGE_FILE).write_text(page, encoding="utf-8")
            client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0, model_id=logged.model_id) for key, value in candidate.metrics.items()]
    client.log_batch(run_id, metrics=metrics)
    return str(logged.model_id), page


def _registered_sha256(name: str, version: str, file: str) -> str:
    """Download the version's file from the registry and return its sha256."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{name}/{version}/{file}"
        path = patiently(lambda: download_artifacts(artifact_uri=uri, dst_path=folder))
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
