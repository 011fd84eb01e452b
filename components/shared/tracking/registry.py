"""MLflow's registry of models: whether there is one, names that it takes, and versions that it has."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.tracking.server import mlflow_client, tracking_is_on
from serving.runtime.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"
"""The alias of the version that the endpoint serves."""
TRAINED = "trained_detectors"
"""Tag of a composite's version with those of its detectors that were trained with its classifier."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_MOST = 100
"""Names or versions that a message lists."""


def check_name(name: str) -> None:
    """Raise InputError where there is no registry, or it cannot have a model of this name."""
    if not tracking_is_on():
        raise InputError("there is no model registry: set MLFLOW_TRACKING_URI to the address of an MLflow server")
    if not name or any(character in name for character in "/:@"):
        raise InputError(f"'{name}' cannot name a model: expected text without / : and @")


def find_version(name: str, version: str) -> "ModelVersion":
    """Return a version of a model. Raises InputError as `check_name`, NotFoundError when there is none."""
    check_name(name)
    if not version.isascii() or not version.isdigit():
        raise InputError(f"'{version}' is no version of model '{name}': expected a number, such as 1")
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        find_model(name)
        found = client.search_model_versions(f"name = {quoted(name)}", max_results=_MOST)
        numbers = ", ".join(str(number) for number in sorted(int(one.version) for one in found)) or "none"
        raise NotFoundError(
            f"MLflow's registry has no version '{version}' of model '{name}'; its versions: {numbers}"
        ) from error


def find_model(name: str) -> "RegisteredModel":
    """Return a registered model with its aliases and tags. Raises as `find_version`."""
    check_name(name)
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        names = ", ".join(sorted(str(one.name) for one in client.search_registered_models(max_results=_MOST))) or "none"
        raise NotFoundError(f"MLflow's registry has no model '{name}'; registered: {names}") from error


def quoted(text: str) -> str:
    """Return a text in the quotes of MLflow's filters that it does not contain."""
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def step_command(step: str, options: Mapping[str, str | Path], files: Mapping[str, str], *, remote: bool) -> str:
    """Return the command that runs a step of these options later.

    Args:
        step: its name.
        options: by name; a path is that of a file or folder on this machine.
        files: what to write for the paths of a machine that goes away, by option; FOLDER where there is nothing.
        remote: whether this machine goes away.
    """
    written = {
        key: (files.get(key, "FOLDER") if remote else str(value.absolute())) if isinstance(value, Path) else str(value)
        for key, value in options.items()
    }
    return " ".join([f"facet step {step}", *(f"--{key} {shlex.quote(text)}" for key, text in written.items())])
