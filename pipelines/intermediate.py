"""The pipeline's intermediate representation (IR): compiling it, comparing it with the committed one, local runs."""

import difflib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import yaml

COMMITTED = Path(__file__).parent / "compiled" / "classification.yaml"
IMAGE_VARIABLES = ("FACET_IMAGE_DATA", "FACET_IMAGE_TRAIN")


def compile_pipeline() -> str:
    """The IR as YAML text, with the images that `components.container_images` named when it was first imported."""
    from kfp import compiler

    from pipelines.classification import classification

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(classification, str(path))
        return path.read_text(encoding="utf-8")


def compile_committed() -> str:
    """The IR with the default image names, whatever the environment says."""
    for name in IMAGE_VARIABLES:
        os.environ.pop(name, None)
    return compile_pipeline()


def drift(expected: str, path: Path = COMMITTED) -> str:
    """A readable difference between the IR in a file and the expected one; empty when they are equal."""
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), expected.splitlines(keepends=True), str(path), "compiled now", n=2
    )
    return "".join(lines)


def local_view(text: str) -> str:
    """The same IR without what has no meaning on one machine: retries, resources and Kubernetes' settings.

    Retries are for pods that a cluster evicts; here a step that fails would only fail again, later.
    """
    spec: dict[str, Any] = next(yaml.safe_load_all(text))
    for component in [spec["root"], *spec["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        executor.get("container", {}).pop("resources", None)
    return yaml.safe_dump(spec, sort_keys=False)
