"""The intermediate representation (IR) of pipelines: compile, compare with the committed one, adapt to local runs."""

import difflib
import os
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipelines.catalog import PIPELINES

if TYPE_CHECKING:
    from pipelines.resources import Site

COMPILED = Path(__file__).parent / "compiled"
IMAGE_VARIABLES = ("FACET_IMAGE_DATA", "FACET_IMAGE_TRAIN", "FACET_IMAGE_YOLO")


def committed(pipeline: str) -> Path:
    """The committed IR of the pipeline of that name."""
    return COMPILED / f"{pipeline}.yaml"


def compile_pipeline(pipeline: str, site: "Site | None" = None) -> str:
    """The IR as YAML text, with the images that `components.container_images` named when it was first imported.

    Args:
        pipeline: one of PIPELINES.
        site: the resources of a cluster; without it those of the committed IR.
    """
    from kfp import compiler

    from pipelines.resources import Site, configure

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "pipeline.yaml")
        built = PIPELINES[pipeline].build(partial(configure, site=site or Site()))
        compiler.Compiler().compile(built, str(path))
        return path.read_text(encoding="utf-8")


def read_documents(text: str) -> list[dict[str, Any]]:
    """The documents of an IR: the pipeline, then its settings for Kubernetes."""
    # The loader in C is ten times as fast as that in Python.
    return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def images(text: str) -> list[str]:
    """The container images that the steps of an IR run in, sorted."""
    executors = read_documents(text)[0]["deploymentSpec"]["executors"].values()
    return sorted({executor["container"]["image"] for executor in executors if "container" in executor})


def compile_committed(pipeline: str) -> str:
    """The IR with the default image names, whatever the environment says."""
    for name in IMAGE_VARIABLES:
        os.environ.pop(name, None)
    return compile_pipeline(pipeline)


def drift(expected: str, path: Path) -> str:
    """A readable difference between the IR in a file and the expected one; empty when they are equal."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), expected.splitlines(keepends=True), str(path), "compiled now", n=2
    )
    return "".join(lines)


def local_view(text: str, *, retries: bool = False) -> str:
    """The same IR without what has no meaning on one machine: retries, resources and Kubernetes' settings.

    Retries are for pods that a cluster evicts; a step that fails in a local process would only fail again. With
    `retries` they stay, for steps in containers that may be killed, but without a delay before them.
    """
    spec = read_documents(text)[0]
    for component in [spec["root"], *spec["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            policy = task.pop("retryPolicy", None)
            if policy and retries:
                task["retryPolicy"] = {"maxRetryCount": policy["maxRetryCount"]}
    for executor in spec["deploymentSpec"]["executors"].values():
        executor.get("container", {}).pop("resources", None)
    return yaml.safe_dump(spec, sort_keys=False)
