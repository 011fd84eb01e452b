"""Submitting a pipeline to a Kubeflow Pipelines cluster."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml

from pipelines.cluster.connect import Cluster, connect
from pipelines.cluster.explain import FAULTS, explained, explanation, passing
from pipelines.cluster.images import place_images
from pipelines.cluster.runs import wait_for_run
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.samples.put import SAMPLES, put_sample
from serving.runtime.errors import StorageError
from serving.runtime.storage import Location, digest, is_s3

Documents = tuple[dict[str, Any], dict[str, Any]]
"""The two documents of an IR: the pipeline and what it wants of Kubernetes."""


@dataclass(frozen=True, slots=True)
class Order:
    """How a run is to be made, beside the pipeline's own parameters.

    Attributes:
        name: the name of a schedule, or of a run, to which the time is added.
        experiment: the group of runs; made when there is none of that name.
        cache: whether tasks may take results from the cluster's cache.
        service_account: the Kubernetes account of the pods; empty for the cluster's default.
        pipeline_root: where the artifacts go, `s3://bucket/prefix`; empty for the cluster's default.
    """

    name: str
    experiment: str = "facet"
    cache: bool = True
    service_account: str = ""
    pipeline_root: str = ""


def submit(
    config: PipelineConfig,
    settings: Settings,
    order: Order,
    *,
    wait: bool = False,
    show: Callable[[str], None] = print,
) -> str:
    """Creates a run on the cluster, shows its address and returns its id.

    The digest of the source's listing goes with it when the source can be read from here: then a source that has not
    changed may come from the cluster's cache. Otherwise it is read anew.

    Raises:
        InputError: when a setting or a file beside it cannot be used.
        ClusterError: when the cluster cannot be reached or refuses, or the run that was waited for did not succeed.
    """
    cluster = connect(settings)
    source_digest = config.source_digest or _source_digest(config.source, show)
    documents = specification(config.pipeline, settings, cache=order.cache, cache_ingest=bool(source_digest), show=show)
    title = f"{order.name} {datetime.now():%Y-%m-%d %H:%M:%S}"
    run = kfp_server_api.V2beta1Run(
        display_name=title,
        experiment_id=experiment_id(cluster, order.experiment),
        pipeline_spec=dict(zip(("pipeline_spec", "platform_spec"), documents, strict=True)),
        runtime_config=runtime_config({**config.arguments(), "source_digest": source_digest}, order),
        service_account=order.service_account or None,
    )
    try:
        run_id = str(cluster.runs.run_service_create_run(run).run_id)
    except FAULTS as error:
        reason = explanation(settings, error)
        if passing(settings, error):
            raise ClusterError(
                f"{reason}; the run may exist all the same: look for '{title}' with `facet status`"
            ) from error
        raise reason from error
    show(f"run     {cluster.page(f'runs/details/{run_id}')}")
    if wait:
        wait_for_run(cluster, run_id, show=show)
    return run_id


def specification(
    pipeline: str, settings: Settings, *, cache: bool, cache_ingest: bool, show: Callable[[str], None] = print
) -> Documents:
    """The IR with the images and resources of this cluster.

    Args:
        pipeline: its name.
        settings: where `images.json` and the file of resources are.
        cache: False takes every task out of the cache.
        cache_ingest: whether the parameters tell a changed source apart, so that reading it may be cached.
        show: gets the images.
    """
    from pipelines.intermediate import compile_pipeline, read_documents
    from pipelines.resources import Site, read_site

    site = read_site(Path(settings.resources)) if settings.resources else Site()
    spec, platform = read_documents(compile_pipeline(pipeline, site))
    place_images(spec, settings, show)
    if cache_ingest:
        spec["root"]["dag"]["tasks"]["ingest"]["cachingOptions"] = {"enableCache": True}
    if not cache:
        for component in [spec["root"], *spec["components"].values()]:
            for task in component.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {}
    return spec, platform


def ir_text(documents: Documents) -> str:
    """The IR as YAML, as the web interface takes it."""
    return yaml.safe_dump_all(documents, sort_keys=False)


def runtime_config(parameters: dict[str, Any], order: Order) -> Any:
    """The parameters and the place of the artifacts, as the API takes them."""
    return kfp_server_api.V2beta1RuntimeConfig(parameters=parameters, pipeline_root=order.pipeline_root or None)


def experiment_id(cluster: Cluster, name: str) -> str:
    """The id of the experiment of that name, which is made when there is none."""
    with explained(cluster.settings):
        found = cluster.experiments.experiment_service_list_experiments(filter=named(name), **cluster.scope)
        if found.experiments:
            return str(found.experiments[0].experiment_id)
        new = kfp_server_api.V2beta1Experiment(display_name=name, **cluster.scope)
        return str(cluster.experiments.experiment_service_create_experiment(new).experiment_id)


def named(name: str) -> str:
    """The API's filter for things of that display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _source_digest(source: str, show: Callable[[str], None]) -> str:
    """The digest of the listing, "" when the source cannot be read from here."""
    if not is_s3(source):
        show(f"source  {source} is a path: the ingest step reads it on the cluster, and reads it anew")
        return ""
    try:
        if source in SAMPLES:
            put_sample(source, show=show)
        value = digest(Location(source))
    except StorageError as error:
        show(f"source  cannot be read from here, so the cluster reads it anew ({error})")
        return ""
    show(f"source  {source}, digest {value[:12]}")
    return value
