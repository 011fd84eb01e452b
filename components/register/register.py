"""Registration of exported models in MLflow's registry, and promotion of a version to an alias."""

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from components.register.composite import FoundDetector, box_limits, find_detectors, register_composite
from components.register.package import open_candidate
from components.register.versions import Registration, register_version
from components.shared.tracking.server import mlflow_client, tracking_is_on
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.validation import explain

CHAMPION = "champion"
_METRICS = TypeAdapter(dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False)]])


def register(
    model: Path,
    *,
    name: str,
    metrics: Mapping[str, float] | None = None,
    predictions: Path | None = None,
    run_id: str = "",
    detectors: Path | None = None,
    detect_options: Mapping[str, Any] | None = None,
    composite: str = "",
    detector: str = "",
    detector_version: str = "",
    address: str = "",
) -> Registration:
    """Register an exported model as a new version of `name` and give it the alias `candidate`.

    The version is linked to the run and has the run's parameters, the metrics, and entries of the model card as
    tags. Its file is downloaded again and compared with the exported one before the alias moves.

    The same bytes for the same run are one version, however often and up to which call this was done before. An alias
    that a newer version has stays there.

    Where both `composite` and a detector are given, the detectors are registered too, and a version of `composite` that
    names the versions of all of them.

    Args:
        model: folder with `model.onnx`, or the file itself.
        name: name in the registry.
        metrics: scalar metrics by name.
        predictions: those of the test split; what the model saw there goes with the version, so that the endpoint can
            tell how far what it sees differs.
        run_id: the training run; "" opens a run for this registration.
        detectors: folder of the step `adopt_detectors`.
        detect_options: those that detect_faces had; the composite has its limits of plausible boxes.
        composite: name of the composite in the registry; "" makes none.
        detector: name of a detector of the chain that is registered already; "" for none.
        detector_version: its version, which becomes the member of the composite.
        address: where the model is kept, where `model` is a copy that goes with this machine; an error names it.

    Raises:
        InputError: no tracking server is configured, a name cannot be used, a file is not a model that can be served,
            or the version of the detector is another file than the chain's.
        NotFoundError: there is no such run, or no such version of the detector.
        StorageError: there is no model, or a registered file differs from the exported one; then the version is
            removed. Or MLflow or its store cannot be used; then the message has the command that registers it later.
    """
    _check_registry(name)
    candidate = open_candidate(model, metrics or {}, predictions)
    found = find_detectors(detectors) if composite and detectors else []
    limits = box_limits(detect_options or {})
    if found:
        _check_names(name, composite, {one.name for one in found})
        found = [_at_version(one, detector_version) if one.name == detector else one for one in found]
    try:
        registered = register_version(candidate, name, run_id)
        if not found:
            return registered
        whole = register_composite(composite, registered, candidate, found, limits, run_id)
        return replace(registered, composite_version=whole.version)
    except StorageError as error:
        options: dict[str, str | Path | None]
        options = {"model": model, "name": name, "metrics-json": _json(metrics), "run-id": run_id}
        if predictions:
            options["predictions"] = predictions
        if found:
            options |= {"detectors": detectors, "detect-options": _json(detect_options), "composite": composite}
        if detector:
            options |= {"detector": detector, "detector-version": detector_version}
        raise type(error)(f"{error}\n{_how_later(options, address)}") from error


def promote(
    name: str,
    version: str,
    alias: str = CHAMPION,
    *,
    composite: str = "",
    composite_version: str = "",
    detector: str = "",
    detector_version: str = "",
) -> str:
    """Move an alias to a version and return the version that had it, "" for none.

    The aliases of the detector and of the composite move after that of the model. All versions are looked for before
    one moves; where one cannot be moved, the same call once more moves the rest.

    Args:
        name: of the model.
        version: of the model.
        alias: what moves.
        composite: name of the composite that has this version as a member.
        composite_version: its version; "" for none.
        detector: name of the detector that was trained with the model.
        detector_version: its version; "" for none.

    Raises:
        InputError: no tracking server is configured.
        NotFoundError: there is no such version; then nothing has moved.
        StorageError: MLflow cannot be used.
    """
    others = [(detector, detector_version), (composite, composite_version)]
    pairs = [(name, version), *((other, number) for other, number in others if other and number)]
    for pair in pairs:
        _check_version(*pair)
    client = mlflow_client()
    previous = str(client.get_registered_model(name).aliases.get(alias, ""))
    for number, (model, new) in enumerate(pairs):
        try:
            if str(client.get_registered_model(model).aliases.get(alias, "")) != new:
                client.set_registered_model_alias(model, alias, new)
        except StorageError as error:
            if number == 0:
                raise
            moved, left = (
                " and ".join(f"{one} version {its}" for one, its in part) for part in (pairs[:number], pairs[number:])
            )
            raise type(error)(
                f"{error}\n{moved} has the alias '{alias}', {left} has not; promote all of them again"
            ) from error
    return previous


def read_metrics(text: str) -> dict[str, float]:
    """Read the JSON object that `evaluate` returns. Raises InputError for anything but names and numbers."""
    try:
        return _METRICS.validate_json(text)
    except ValidationError as error:
        raise InputError(
            f'metrics_json must be an object of names and numbers such as {{"macro_f1": 0.9}}: {explain(error)}'
        ) from error


def _json(values: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(values or {}), sort_keys=True)


def _check_registry(name: str) -> None:
    if not tracking_is_on():
        raise InputError("there is no model registry: set MLFLOW_TRACKING_URI to the address of an MLflow server")
    if not name or any(character in name for character in "/:@"):
        raise InputError(f"'{name}' cannot name a model: expected text without / : and @")


def _check_names(name: str, composite: str, detectors: Collection[str]) -> None:
    """Raise InputError where the composite or a detector cannot have its name."""
    _check_registry(composite)
    if len({name, composite, *detectors}) < 2 + len(detectors):
        others = ", ".join(f"'{one}'" for one in sorted(detectors))
        raise InputError(f"model '{name}', composite '{composite}' and detectors {others} need different names")


def _at_version(found: FoundDetector, version: str) -> FoundDetector:
    """Return a detector of the chain as a version that is registered. Raises InputError when that is another file."""
    _check_version(found.name, version)
    registered = mlflow_client().get_model_version(found.name, version).tags.get("sha256")
    if registered != found.model.sha256:
        raise InputError(
            f"'{found.name}' version {version} has sha256 {registered}, the detector of the chain has "
            f"{found.model.sha256}: pass the version that was registered from the same file"
        )
    return replace(found, version=version)


def _check_version(name: str, version: str) -> None:
    _check_registry(name)
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client().get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NotFoundError(f"MLflow's registry has no version '{version}' of model '{name}'") from error


def _how_later(options: Mapping[str, str | Path | None], address: str) -> str:
    """Return where the model is kept and the command that does what `register` does.

    A path among the options is that of a folder or of a file on this machine.
    """
    remote = "://" in address
    folder = Path(str(options["model"])).absolute()
    written = {
        key: (("FILE" if key == "predictions" else "FOLDER") if remote else str(value.absolute()))
        if isinstance(value, Path)
        else str(value)
        for key, value in options.items()
    }
    command = " ".join(["facet step register", *(f"--{key} {shlex.quote(text)}" for key, text in written.items())])
    kept = f"The model is kept in {address if remote else folder}."
    return f"{kept} Register it later with{', from a copy of it in a FOLDER of yours' if remote else ''}:\n{command}"
