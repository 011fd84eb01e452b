"""The KFP components of the registry: register a version, promote a version."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Input, Model

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def register(model: Input[Model], name: str, metrics_json: str, run_id: str = "") -> NamedTuple("Outputs", version=str):  # type: ignore[valid-type]
    """Register the exported model as a new version with the alias candidate, once for each run and file.

    Args:
        model: Folder with model.onnx.
        name: Name of the model in the registry.
        metrics_json: Scalar metrics as a JSON object, as evaluate returns them.
        run_id: MLflow run that trained the model; empty opens one.

    Returns:
        version: The new version.
    """
    from pathlib import Path

    from components.register.register import read_metrics, register

    metrics = read_metrics(metrics_json)
    return (register(Path(model.path), name=name, metrics=metrics, run_id=run_id, address=model.uri).version,)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def promote(name: str, version: str, alias: str = "champion") -> None:
    """Move an alias to a registered version.

    Args:
        name: Name of the model in the registry.
        version: Version that gets the alias.
        alias: The alias, champion by default.
    """
    from components.register.register import promote

    promote(name, version, alias)
