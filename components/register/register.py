"""Registration of exported models in MLflow's registry."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from components.register.composite import FoundDetector, box_limits, find_detectors, register_composite
from components.register.package import open_candidate
from components.register.versions import Registration, register_version
from components.shared.tracking.registry import check_name, find_version, step_command
from serving.runtime.errors import InputError, StorageError
from serving.runtime.validation import explain

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
    floors: Mapping[str, float] | None = None,
    details: Path | None = None,
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
        address: where the model is kept, where this machine is a pod and has a copy that it does not keep; an error
            names it.
        floors: lowest accepted value by metric; the page of the model, `model.md`, has them.
        details: folder that evaluate wrote; the page has its table of classes, intervals and worst group.

    Raises:
        InputError: no tracking server is configured, a name cannot be used, a file is not a model that can be served,
            or the version of the detector is another file than the chain's.
        NotFoundError: there is no such run, or no such version of the detector.
        StorageError: there is no model, or a registered file differs from the exported one; then the version is
            removed. Or MLflow or its store cannot be used; then the message has the command that registers it later.
    """
    check_name(name)
    candidate = open_candidate(model, metrics or {}, predictions, floors=floors, details=details)
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
        options: dict[str, str | Path] = {
            "model": model,
            "name": name,
            "metrics-json": _json(metrics),
            "run-id": run_id,
        }
        options |= {"predictions": predictions} if predictions else {}
        options |= {"details": details} if details else {}
        options |= {"floors": _json(floors)} if floors else {}
        if found and detectors:
            options |= {"detectors": detectors, "detect-options": _json(detect_options), "composite": composite}
        if detector:
            options |= {"detector": detector, "detector-version": detector_version}
        raise type(error)(f"{error}\n{_how_later(options, address)}") from error


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


def _check_names(name: str, composite: str, detectors: Collection[str]) -> None:
    """Raise InputError where the composite or a detector cannot have its name."""
    check_name(composite)
    if len({name, composite, *detectors}) < 2 + len(detectors):
        others = ", ".join(f"'{one}'" for one in sorted(detectors))
        raise InputError(f"model '{name}', composite '{composite}' and detectors {others} need different names")


def _at_version(found: FoundDetector, version: str) -> FoundDetector:
    """Return a detector of the chain as a version that is registered. Raises InputError when that is another file."""
    registered = find_version(found.name, version).tags.get("sha256")
    if registered != found.model.sha256:
        raise InputError(
            f"'{found.name}' version {version} has sha256 {registered}, the detector of the chain has "
            f"{found.model.sha256}: pass the version that was registered from the same file"
        )
    return replace(found, version=version)


def _how_later(options: Mapping[str, str | Path], address: str) -> str:
    """Return where the model is kept and the command that does what `register` does.

    A path among the options is that of a folder or of a file on this machine.
    """
    remote = "://" in address
    command = step_command("register", options, {"predictions": "FILE"}, remote=remote)
    kept = f"The model is kept in {address if remote else Path(options['model']).absolute()}."
    return f"{kept} Register it later with{', from a copy of it in a FOLDER of yours' if remote else ''}:\n{command}"
