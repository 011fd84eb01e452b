"""Registration of exported models in MLflow's registry, and promotion of a version to an alias."""

import hashlib
import json
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run, resume_run
from components.shared.tracking.server import mlflow_client, patiently, tracking_is_on
from serving.runtime.card import INPUT_NAME, ClassificationCard, ModelCard
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.runtime.registry import MODEL_FILE, fetch_model
from serving.runtime.validation import explain

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

CANDIDATE = "candidate"
CHAMPION = "champion"
TRAINING_RUN = "training_run"
"""Tag of a version with the run that it was registered for; "" where none was given."""
_METRICS = TypeAdapter(dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False)]])
_MODEL_TYPES = {"classification": "classifier", "detection": "detector"}


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered version, its run and the sha256 that its file has before and after."""

    name: str
    version: str
    run_id: str
    sha256: str


def register(
    model: Path, *, name: str, metrics: Mapping[str, float] | None = None, run_id: str = "", address: str = ""
) -> Registration:
    """Register an exported model as a new version of `name` and give it the alias `candidate`.

    The version is linked to the run and has the run's parameters, the metrics, and entries of the model card as
    tags. Its file is downloaded again and compared with the exported one
    before the alias moves.

    The same bytes for the same run are one version, however often and up to which call this was done before. An alias
    that a newer version has stays there.

    Args:
        model: folder with `model.onnx`, or the file itself.
        name: name in the registry.
        metrics: scalar metrics by name.
        run_id: the training run; "" opens a run for this registration.
        address: where the model is kept, where `model` is a copy that goes with this machine; an error names it.

    Raises:
        InputError: no tracking server is configured, or the file is not a model that can be served.
        NotFoundError: there is no such run.
        StorageError: there is no model, or the registered file differs from the exported one; then the version is
            removed. Or MLflow or its store cannot be used; then the message has the command that registers it later.
    """
    _check_registry(name)
    content = fetch_model(str(model)).content
    exported = open_model(content, source=str(model))
    try:
        client = mlflow_client()
        if run_id:
            resume_run(run_id)
        if found := _versions(client, name, exported.sha256, run_id):
            return _finish(client, found[0], exported.sha256)
        if run_id:
            return _register(client, content, exported, name, metrics or {}, run_id, {TRAINING_RUN: run_id})
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
        with open_run(experiment, run_name=f"register {name}") as run:
            return _register(client, content, exported, name, metrics or {}, run.run_id, {TRAINING_RUN: ""})
    except StorageError as error:
        later = _how_later(model, address, name, metrics or {}, run_id)
        raise type(error)(f"{error}\n{later}") from error


def promote(name: str, version: str, alias: str = CHAMPION) -> str:
    """Move an alias to a version and return the version that had it, "" for none.

    Raises InputError when no tracking server is configured, NotFoundError when there is no such version.
    """
    _check_registry(name)
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NotFoundError(f"MLflow's registry has no version '{version}' of model '{name}'") from error
    previous = str(client.get_registered_model(name).aliases.get(alias, ""))
    if previous != version:
        client.set_registered_model_alias(name, alias, version)
    return previous


def read_metrics(text: str) -> dict[str, float]:
    """Read the JSON object that `evaluate` returns. Raises InputError for anything but names and numbers."""
    try:
        return _METRICS.validate_json(text)
    except ValidationError as error:
        raise InputError(
            f'metrics_json must be an object of names and numbers such as {{"macro_f1": 0.9}}: {explain(error)}'
        ) from error


def _check_registry(name: str) -> None:
    if not tracking_is_on():
        raise InputError("there is no model registry: set MLFLOW_TRACKING_URI to the address of an MLflow server")
    if not name or any(character in name for character in "/:@"):
        raise InputError(f"'{name}' cannot name a model: expected text without / : and @")


def _how_later(model: Path, address: str, name: str, metrics: Mapping[str, float], run_id: str) -> str:
    """Return where the model is kept and the command that does what `register` does."""
    remote = "://" in address
    options = {
        "model": "FOLDER" if remote else str(model.absolute()),
        "name": name,
        "metrics-json": json.dumps(dict(metrics), sort_keys=True),
        "run-id": run_id,
    }
    command = " ".join(["facet step register", *(f"--{key} {shlex.quote(text)}" for key, text in options.items())])
    kept = f"The model is kept in {address if remote else model.absolute()}."
    return f"{kept} Register it later with{', from a copy of it in a FOLDER of yours' if remote else ''}:\n{command}"


def _register(
    client: "MlflowClient",
    content: bytes,
    exported: Predictor,
    name: str,
    metrics: Mapping[str, float],
    run_id: str,
    origin: Mapping[str, str],
) -> Registration:
    from mlflow.exceptions import MlflowException

    tags = {**_tags(exported, metrics), **origin}
    model_id = _log_model(client, content, exported.card, tags, metrics, run_id)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)
    first, *_ = _versions(client, name, exported.sha256, origin[TRAINING_RUN]) or [created]
    if str(first.version) != str(created.version):  # another attempt of this step was a little earlier
        client.delete_model_version(name, str(created.version))
    return _finish(client, first, exported.sha256)


def _versions(client: "MlflowClient", name: str, sha256: str, run_id: str) -> "list[ModelVersion]":
    """Return the versions with this file that were registered for this run, the first one first."""
    quote = '"' if "'" in name else "'"
    found = client.search_model_versions(f"name = {quote}{name}{quote} AND tags.sha256 = '{sha256}'")
    return sorted(
        (one for one in found if one.tags.get(TRAINING_RUN, one.run_id or "") == run_id),
        key=lambda one: int(one.version),
    )


def _finish(client: "MlflowClient", found: "ModelVersion", sha256: str) -> Registration:
    """Compare the file of a version with the exported one, and let no older version stay the candidate."""
    name, version = str(found.name), str(found.version)
    registered = _registered_sha256(name, version)
    if registered != sha256:
        client.delete_model_version(name, version)
        raise StorageError(
            f"the registered file of '{name}' version {version} has sha256 {registered}, the exported one has "
            f"{sha256}: the version was removed; check the artifact store of the MLflow server"
        )
    candidate = client.get_registered_model(name).aliases.get(CANDIDATE, "0")
    if int(candidate) < int(version):
        client.set_registered_model_alias(name, CANDIDATE, version)
    return Registration(name, version, str(found.run_id), sha256)


def _tags(exported: Predictor, metrics: Mapping[str, float]) -> dict[str, str]:
    card = exported.card
    tags = {
        "sha256": exported.sha256,
        "dataset_digest": card.dataset_digest,
        "training_digest": card.training_digest,
        "input": f"{card.input.height}x{card.input.width}",
        "leaks": str(card.leaks).lower(),
    }
    if isinstance(card, ClassificationCard):
        tags["label_space"] = card.label_space
    return {**tags, **{f"metrics.{key}": repr(float(value)) for key, value in sorted(metrics.items())}}


def _log_model(
    client: "MlflowClient",
    content: bytes,
    card: ModelCard,
    tags: dict[str, str],
    metrics: Mapping[str, float],
    run_id: str,
) -> str:
    """Log the model with its run's parameters and the metrics; return its id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    run = client.get_run(run_id)
    params: dict[str, Any] = run.data.params
    kind = _MODEL_TYPES[card.task]
    logged = client.create_logged_model(
        run.info.experiment_id, name="model", source_run_id=run_id, tags=tags, params=params, model_type=kind
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            package(content, card, Path(folder, "model"), logged, run_id)
            client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(k, v, now, 0, model_id=logged.model_id) for k, v in metrics.items()])
    return str(logged.model_id)


def _registered_sha256(name: str, version: str) -> str:
    """Download the version's file from the registry and return its sha256."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{name}/{version}/{MODEL_FILE}"
        path = patiently(lambda: download_artifacts(artifact_uri=uri, dst_path=folder))
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def package(content: bytes, card: ModelCard, folder: Path, logged: "LoggedModel", run_id: str) -> None:
    """Write the folder of a model that `mlflow.onnx` and `mlflow.pyfunc` load, with `content` as the model file.

    MLflow parses the graph and serializes it again, which may order its bytes differently, so its file is replaced.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    mlflow.onnx.save_model(
        onnx.load_from_string(content),
        folder,
        mlflow_model=Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
        ),
        signature=_signature(card),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    (folder / MODEL_FILE).write_bytes(content)


def _signature(card: ModelCard) -> "ModelSignature":
    """Return uint8 (-1, height, width, 3) RGB as input and the card's float32 outputs."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    shape = (-1, card.input.height, card.input.width, 3)
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, *(axis or -1 for axis in axes)), name)
        for name, axes in card.outputs.items()
    ]
    return ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), shape, INPUT_NAME)]), Schema(outputs))
