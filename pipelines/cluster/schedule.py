"""Recurring runs: a pipeline, uploaded as a version, started by the cluster again and again."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import explained
from pipelines.cluster.submit import Documents, Order, experiment_id, ir_text, named, runtime_config, specification
from pipelines.parameters.pipeline import PipelineConfig
from serving.runtime.errors import InputError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def trigger(cron: str, every: str) -> Any:
    """When a recurring run starts.

    Args:
        cron: five fields as in crontab, or six with the seconds first; empty for an interval.
        every: a number and a unit: 30m, 6h, 1d; empty for cron.

    Raises:
        InputError: unless exactly one of them is given, and is of that form.
    """
    if bool(cron) == bool(every):
        raise InputError("say when: either --cron '0 3 * * *' or --every 6h")
    if cron:
        fields = cron.split()
        if cron.startswith("@"):
            return kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron))
        if len(fields) not in (5, 6):
            raise InputError(
                f"--cron '{cron}': expected five fields (minute hour day month weekday), or six with seconds"
            )
        text = " ".join(fields if len(fields) == 6 else ["0", *fields])
        return kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=text))
    match = re.fullmatch(r"([1-9]\d*)([smhd])", every)
    if not match:
        raise InputError(f"--every '{every}': expected a number and a unit such as 30m, 6h or 1d")
    seconds = str(int(match[1]) * UNITS[match[2]])
    return kfp_server_api.V2beta1Trigger(
        periodic_schedule=kfp_server_api.V2beta1PeriodicSchedule(interval_second=seconds)
    )


def add(
    cluster: Cluster,
    config: PipelineConfig,
    order: Order,
    *,
    cron: str = "",
    every: str = "",
    show: Callable[[str], None] = print,
) -> str:
    """Makes a recurring run called `order.name` and returns its id.

    Its runs read the source anew every time. They do not overlap, and times that were missed are not made up for.

    Raises:
        InputError: when the name is taken, or the time cannot be understood.
    """
    starts = trigger(cron, every)
    if _named(cluster, order.name):
        raise InputError(f"there is a schedule '{order.name}' already: delete it first, or choose another name")
    documents = specification(config.pipeline, cluster.settings, cache=order.cache, cache_ingest=False, show=show)
    version = _upload(cluster, documents)
    show(f"version {cluster.page(f'pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}')}")
    recurring = kfp_server_api.V2beta1RecurringRun(
        display_name=order.name,
        experiment_id=experiment_id(cluster, order.experiment),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        # A digest that was taken now would call a source unchanged that has changed by then.
        runtime_config=runtime_config({**config.arguments(), "source_digest": ""}, order),
        service_account=order.service_account or None,
        trigger=starts,
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )
    with explained(cluster.settings):
        created = cluster.recurring_runs.recurring_run_service_create_recurring_run(recurring)
    show(f"started {cluster.page(f'recurringrun/details/{created.recurring_run_id}')}")
    return str(created.recurring_run_id)


def listing(cluster: Cluster) -> Iterator[str]:
    """A line for each schedule."""
    runs = _recurring_runs(cluster)
    for run in runs:
        yield f"{run.recurring_run_id}  {run.status or run.mode or '':<9} {_when(run.trigger):<16} {run.display_name}"
    if not runs:
        yield "no schedule yet"


def enable(cluster: Cluster, name: str) -> None:
    """Lets a schedule start runs again."""
    with explained(cluster.settings):
        cluster.recurring_runs.recurring_run_service_enable_recurring_run(_id(cluster, name))


def disable(cluster: Cluster, name: str) -> None:
    """Keeps a schedule from starting runs; one that goes on goes on."""
    with explained(cluster.settings):
        cluster.recurring_runs.recurring_run_service_disable_recurring_run(_id(cluster, name))


def delete(cluster: Cluster, name: str) -> None:
    """Removes a schedule; its runs and the pipeline's version stay."""
    with explained(cluster.settings):
        cluster.recurring_runs.recurring_run_service_delete_recurring_run(_id(cluster, name))


def _id(cluster: Cluster, name: str) -> str:
    """The id of the schedule of that name or id. Raises InputError naming the known ones."""
    runs = _recurring_runs(cluster)
    found = [run for run in runs if name in (run.display_name, run.recurring_run_id)]
    if len(found) == 1:
        return str(found[0].recurring_run_id)
    if found:
        raise InputError(f"{len(found)} schedules are called '{name}': use an id, `facet schedule list` shows them")
    known = ", ".join(str(run.display_name) for run in runs)
    raise InputError(f"there is no schedule '{name}'; known: {known or 'none'}")


def _recurring_runs(cluster: Cluster) -> list[Any]:
    runs: list[Any] = []
    token = ""
    while True:
        with explained(cluster.settings):
            page = cluster.recurring_runs.recurring_run_service_list_recurring_runs(
                page_size=100, page_token=token, **cluster.scope
            )
        runs += page.recurring_runs or []
        token = page.next_page_token or ""
        if not token:
            return runs


def _named(cluster: Cluster, name: str) -> bool:
    return any(run.display_name == name for run in _recurring_runs(cluster))


def _when(starts: Any) -> str:
    if starts and starts.cron_schedule:
        return str(starts.cron_schedule.cron)
    if starts and starts.periodic_schedule:
        return f"every {starts.periodic_schedule.interval_second} s"
    return ""


def _upload(cluster: Cluster, documents: Documents) -> Any:
    """The pipeline's version with this IR; the same IR is uploaded once."""
    name, text = documents[0]["pipelineInfo"]["name"], ir_text(documents)
    version = f"facet-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with explained(cluster.settings), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(text, encoding="utf-8")
        found = cluster.pipelines.pipeline_service_list_pipelines(filter=named(name), **cluster.scope).pipelines
        if found:
            pipeline_id = found[0].pipeline_id
        else:
            new = kfp_server_api.V2beta1Pipeline(display_name=name, name=name, **cluster.scope)
            pipeline_id = cluster.pipelines.pipeline_service_create_pipeline(new).pipeline_id
        versions = cluster.pipelines.pipeline_service_list_pipeline_versions(pipeline_id, filter=named(version))
        if versions.pipeline_versions:
            return versions.pipeline_versions[0]
        return cluster.uploads.upload_pipeline_version(str(file), name=version, pipelineid=pipeline_id)
