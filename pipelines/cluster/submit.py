"""Submission of a pipeline to a Kubeflow Pipelines cluster."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import kfp_server_api
import yaml
from pydantic import TypeAdapter, ValidationError

from components import container_images
from pipelines.cluster.connect import Cluster, connect
from pipelines.cluster.explain import FAULTS, explained, explanation, transient
from pipelines.cluster.runs import wait_for_run
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from pipelines.intermediate import IMAGE_VARIABLES
from pipelines.parameters.addresses import check_addresses
from pipelines.parameters.pipeline import PipelineConfig, matching
from pipelines.samples.put import SAMPLES, put_sample
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Location, digest, is_s3
from serving.runtime.validation import explain

Documents = tuple[dict[str, Any], dict[str, Any]]
"""The two documents of an IR: the pipeline spec and the platform spec."""

IMAGES_FILE = "images.json"
"""In `FACET_HOME`, written by `make push`: a JSON object of image references by `FACET_IMAGE_...`."""

_Variable = Annotated[str, matching(r"FACET_IMAGE_\w+", "expected FACET_IMAGE_DATA, FACET_IMAGE_TRAIN, ...")]
_Reference = Annotated[
    str,
    matching(r"\w[\w.:/-]*(@sha256:[0-9a-f]{64})?", "expected registry/name:tag or registry/name@sha256:<64 digits>"),
]
_IMAGES = TypeAdapter(dict[_Variable, _Reference])


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run beside the pipeline's parameters.

    Attributes:
        name: the name of a schedule, or of a run, to which the time is added.
        experiment: the group of runs; created when there is none of that name.
        cache: whether tasks may use the cluster's cache.
        service_account: the Kubernetes service account of the pods; empty for the cluster's default.
        pipeline_root: prefix of the artifacts, `s3://bucket/prefix`; empty for the cluster's default.
    """

    name: str
    experiment: str = "facet"
    cache: bool = True
    service_account: str = ""
    pipeline_root: str = ""


def submit(
    config: PipelineConfig,
    settings: Settings,
    options: RunOptions,
    *,
    wait: bool = False,
    echo: Callable[[str], None] = print,
) -> str:
    """Creates a run on the cluster, shows its address and returns its id.

    When the source can be read from here, the digest of its listing is a parameter of the run, so that `ingest` of an
    unchanged source may be cached.

    Raises:
        InputError: a setting or a file that it names is invalid.
        ClusterError: the cluster cannot be reached or rejects the request, or the run, if waited for, did not succeed.
    """
    check_addresses(config.addresses(), on_cluster=True, echo=echo)
    cluster = connect(settings)
    source_digest = config.source_digest or _source_digest(config.source, echo)
    documents = specification(
        config.pipeline, settings, cache=options.cache, cache_ingest=bool(source_digest), echo=echo
    )
    title = f"{options.name} {datetime.now():%Y-%m-%d %H:%M:%S}"
    run = kfp_server_api.V2beta1Run(
        display_name=title,
        experiment_id=experiment_id(cluster, options.experiment),
        pipeline_spec=dict(zip(("pipeline_spec", "platform_spec"), documents, strict=True)),
        runtime_config=runtime_config({**config.arguments(), "source_digest": source_digest}, options),
        service_account=options.service_account or None,
    )
    try:
        run_id = str(cluster.runs.run_service_create_run(run).run_id)
    except FAULTS as error:
        reason = explanation(settings, error)
        if transient(settings, error):
            raise ClusterError(
                f"{reason}; the run may have been created: look for '{title}' with `facet status`"
            ) from error
        raise reason from error
    echo(f"run     {cluster.page(f'runs/details/{run_id}')}")
    if wait:
        wait_for_run(cluster, run_id, echo=echo)
    return run_id


def specification(
    pipeline: str, settings: Settings, *, cache: bool, cache_ingest: bool, echo: Callable[[str], None] = print
) -> Documents:
    """The IR with the images and resources of this cluster.

    Args:
        pipeline: its name.
        settings: names the folder of `images.json` and the file of resources.
        cache: False disables the cache of every task.
        cache_ingest: whether `ingest` may be cached, as the parameters hold the source's digest.
        echo: receives the images, line by line.
    """
    from pipelines.intermediate import compile_pipeline, read_documents
    from pipelines.resources import Site, read_site

    site = read_site(Path(settings.resources)) if settings.resources else Site()
    spec, platform = read_documents(compile_pipeline(pipeline, site))
    _set_images(spec, settings, echo)
    if cache_ingest:
        spec["root"]["dag"]["tasks"]["ingest"]["cachingOptions"] = {"enableCache": True}
    if not cache:
        for component in [spec["root"], *spec["components"].values()]:
            for task in component.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {}
    return spec, platform


def _set_images(spec: dict[str, Any], settings: Settings, echo: Callable[[str], None]) -> None:
    """Replaces the images of an IR by those of the environment, else of `images.json`, and shows them.

    Raises:
        InputError: `images.json` is invalid.
    """
    pushed = _pushed_images(settings.home / IMAGES_FILE)
    replacements = {}
    for variable in IMAGE_VARIABLES:
        compiled = getattr(container_images, variable.removeprefix("FACET_IMAGE_"))
        replacements[compiled] = os.environ.get(variable) or pushed.get(variable) or compiled
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    for container in containers:
        container["image"] = replacements.get(container["image"], container["image"])
    used = sorted({container["image"] for container in containers})
    for image in used:
        echo(f"image   {image}")
    tags = [image for image in used if "@sha256:" not in image]
    if tags:
        echo(
            f"warning {', '.join(tags)}: a tag without a digest; the cluster's cache does not notice when the image "
            f"changes. `make push REGISTRY=...` writes digests to {settings.home / IMAGES_FILE}"
        )


def _pushed_images(file: Path) -> dict[str, str]:
    try:
        return _IMAGES.validate_json(file.read_bytes()) if file.exists() else {}
    except ValidationError as error:
        raise InputError(f"{file}: {explain(error)}; run `make push` again, or remove the file") from error


def ir_text(documents: Documents) -> str:
    """The IR as YAML, as the web interface accepts it."""
    return yaml.safe_dump_all(documents, sort_keys=False)


def runtime_config(parameters: dict[str, Any], options: RunOptions) -> Any:
    """The parameters and the pipeline root as a V2beta1RuntimeConfig."""
    return kfp_server_api.V2beta1RuntimeConfig(parameters=parameters, pipeline_root=options.pipeline_root or None)


def experiment_id(cluster: Cluster, name: str) -> str:
    """The id of the experiment of that name, which is created when there is none."""
    api = kfp_server_api.ExperimentServiceApi(cluster.client)
    with explained(cluster.settings):
        existing = api.experiment_service_list_experiments(filter=named(name), **cluster.scope).experiments
        if existing:
            return str(existing[0].experiment_id)
        new = kfp_server_api.V2beta1Experiment(display_name=name, **cluster.scope)
        return str(api.experiment_service_create_experiment(new).experiment_id)


def named(name: str) -> str:
    """The API's filter by display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _source_digest(source: str, echo: Callable[[str], None]) -> str:
    """The digest of the source's listing, "" when it cannot be read from here."""
    if not is_s3(source):
        echo(f"source  {source} is a path on the cluster: the ingest step reads it without the cache")
        return ""
    try:
        if source in SAMPLES:
            put_sample(source, echo=echo)
        value = digest(Location(source))
    except StorageError as error:
        echo(f"source  cannot be read from here: the ingest step reads it without the cache ({error})")
        return ""
    echo(f"source  {source}, digest {value[:12]}")
    return value
