"""Schedules: recurring runs of an uploaded pipeline version."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import kfp_server_api

from pipelines.catalog import PIPELINES
from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import explained
from pipelines.cluster.submit import Documents, RunOptions, experiment_id, ir_text, named, runtime_config, specification
from pipelines.parameters.addresses import check_addresses
from pipelines.parameters.pipeline import PipelineConfig
from serving.runtime.errors import InputError
from serving.runtime.validation import known

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def trigger(cron: str, every: str) -> Any:
    """The V2beta1Trigger of a recurring run.

    Args:
        cron: five fields as in crontab, six with the seconds first, or @daily and the like; empty for an interval.
        every: a number and a unit: 30m, 6h, 1d; empty for cron.

    Raises:
        InputError: not exactly one of them is set, or it has another form.
    """
    if bool(cron) == bool(every):
        raise InputError("set either --cron '0 3 * * *' or --every 6h")
    if cron:
        fields = cron.split()
        if not cron.startswith("@"):
            if len(fields) not in (5, 6):
                raise InputError(
                    f"--cron '{cron}': expected five fields (minute hour day month weekday), or six with seconds"
                )
            cron = " ".join(["0", *fields][-6:])
        return kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron))
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
    options: RunOptions,
    *,
    cron: str = "",
    every: str = "",
    echo: Callable[[str], None] = print,
) -> str:
    """Creates a recurring run called `options.name` and returns its id.

    Its runs never take `ingest` from the cache. They do not overlap, and there is no catch-up for missed times. The
    server keeps the workflow of the day, with its images, see `update`.

    Raises:
        InputError: the name is in use, or the time is invalid.
    """
    starts = trigger(cron, every)
    later = (address for address in config.addresses() if address.path != ("source",))
    check_addresses(later, on_cluster=True, echo=echo)
    if any(run.display_name == options.name for run in _recurring_runs(cluster)):
        raise InputError(f"there is a schedule '{options.name}' already: delete it first, or choose another name")
    recurring = kfp_server_api.V2beta1RecurringRun(
        display_name=options.name,
        experiment_id=experiment_id(cluster, options.experiment),
        pipeline_version_reference=_uploaded(cluster, config.pipeline, options.cache, echo),
        # Later runs would use a digest of now for a source that has changed.
        runtime_config=runtime_config({**config.arguments(), "source_digest": ""}, options),
        service_account=options.service_account or None,
        trigger=starts,
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )
    created = _create(cluster, recurring, echo)
    echo("its runs keep the pipeline and the images of now; `facet schedule update` gives it those of a later day")
    return created


def update(cluster: Cluster, name: str, *, cache: bool = True, echo: Callable[[str], None] = print) -> None:
    """Gives a schedule the pipeline and the images of today; its time and its parameters stay.

    The server cannot change a recurring run, so there is a new one of the same name, and then the old one is deleted.

    Raises:
        InputError: there is no such schedule, its pipeline is not ours, or it lacks a parameter that has no default.
    """
    old = _named(cluster, name)
    reference = old.pipeline_version_reference
    with explained(cluster.settings):
        api = kfp_server_api.PipelineServiceApi(cluster.client)
        pipeline = api.pipeline_service_get_pipeline(reference.pipeline_id).display_name
    if pipeline not in PIPELINES:
        raise InputError(f"the schedule '{name}' runs the pipeline '{pipeline}'{known(pipeline, PIPELINES)}")
    unknown = old.runtime_config.parameters.keys() - PIPELINES[pipeline].config.parameters().keys()
    if unknown:
        raise InputError(
            f"the pipeline '{pipeline}' has no parameter {', '.join(sorted(unknown))} any more: delete the schedule "
            f"'{name}' and add it again"
        )
    new = _uploaded(cluster, pipeline, cache, echo)
    if new.pipeline_version_id == reference.pipeline_version_id:
        echo(f"{name} has the pipeline and the images of today already")
        return
    copied = ("display_name", "experiment_id", "runtime_config", "service_account", "trigger", "max_concurrency")
    _create(
        cluster,
        kfp_server_api.V2beta1RecurringRun(
            **{field: getattr(old, field) for field in copied},
            pipeline_version_reference=new,
            mode="DISABLE" if old.status == "DISABLED" else "ENABLE",
            no_catchup=old.no_catchup,
        ),
        echo,
    )
    with explained(cluster.settings):
        _api(cluster).recurring_run_service_delete_recurring_run(old.recurring_run_id)


def _create(cluster: Cluster, recurring: Any, echo: Callable[[str], None]) -> str:
    with explained(cluster.settings):
        created = _api(cluster).recurring_run_service_create_recurring_run(recurring)
    echo(f"created {cluster.page(f'recurringrun/details/{created.recurring_run_id}')}")
    return str(created.recurring_run_id)


def _uploaded(cluster: Cluster, pipeline: str, cache: bool, echo: Callable[[str], None]) -> Any:
    """Upload a pipeline with the images and resources of now; returns the reference to its version."""
    version = _upload(cluster, specification(pipeline, cluster.settings, cache=cache, cache_ingest=False, echo=echo))
    echo(f"version {cluster.page(f'pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}')}")
    return kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
    )


def listing(cluster: Cluster) -> Iterator[str]:
    """A line for every schedule."""
    runs = _recurring_runs(cluster)
    for run in runs:
        yield f"{run.recurring_run_id}  {run.status or run.mode or '':<9} {_when(run.trigger):<16} {run.display_name}"
    if not runs:
        yield "no schedule yet"


def change(cluster: Cluster, name: str, action: Literal["enable", "disable", "delete"]) -> None:
    """Enables, disables or deletes a schedule; runs that it started continue, and the pipeline's version stays."""
    with explained(cluster.settings):
        recurring_run_id = _named(cluster, name).recurring_run_id
        getattr(_api(cluster), f"recurring_run_service_{action}_recurring_run")(recurring_run_id)


def _named(cluster: Cluster, name: str) -> Any:
    """The schedule of that name or id. Raises InputError with the existing names."""
    runs = _recurring_runs(cluster)
    matches = [run for run in runs if name in (run.display_name, run.recurring_run_id)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"{len(matches)} schedules are called '{name}': use an id, `facet schedule list` shows them")
    names = ", ".join(str(run.display_name) for run in runs)
    raise InputError(f"there is no schedule '{name}'; known: {names or 'none'}")


def _api(cluster: Cluster) -> Any:
    return kfp_server_api.RecurringRunServiceApi(cluster.client)


def _recurring_runs(cluster: Cluster) -> list[Any]:
    runs: list[Any] = []
    token = ""
    while True:
        with explained(cluster.settings):
            page = _api(cluster).recurring_run_service_list_recurring_runs(
                page_size=100, page_token=token, **cluster.scope
            )
        runs += page.recurring_runs or []
        token = page.next_page_token or ""
        if not token:
            return runs


def _when(starts: Any) -> str:
    if starts and starts.cron_schedule:
        return str(starts.cron_schedule.cron)
    if starts and starts.periodic_schedule:
        return f"every {starts.periodic_schedule.interval_second} s"
    return ""


def _upload(cluster: Cluster, documents: Documents) -> Any:
    """The version of the pipeline with this IR; the same IR is uploaded once."""
    api = kfp_server_api.PipelineServiceApi(cluster.client)
    name, text = documents[0]["pipelineInfo"]["name"], ir_text(documents)
    version = f"facet-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with explained(cluster.settings), tempfile.TemporaryDirectory() as folder:
        existing = api.pipeline_service_list_pipelines(filter=named(name), **cluster.scope).pipelines
        if existing:
            pipeline_id = existing[0].pipeline_id
        else:
            new = kfp_server_api.V2beta1Pipeline(display_name=name, name=name, **cluster.scope)
            pipeline_id = api.pipeline_service_create_pipeline(new).pipeline_id
        versions = api.pipeline_service_list_pipeline_versions(pipeline_id, filter=named(version)).pipeline_versions
        if versions:
            return versions[0]
        file = Path(folder, "pipeline.yaml")
        file.write_text(text, encoding="utf-8")
        uploads = kfp_server_api.PipelineUploadServiceApi(cluster.client)
        return uploads.upload_pipeline_version(str(file), name=version, pipelineid=pipeline_id)
