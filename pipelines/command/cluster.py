"""The commands of `facet` for a Kubeflow Pipelines server. Each imports its modules when it runs."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.command.options import ConfigCommand, ConfigOption, SetOption
from pipelines.environment.settings import load_settings

if TYPE_CHECKING:
    from pipelines.cluster.connect import Cluster

app = typer.Typer()
schedule_app = typer.Typer(
    help="Recurring runs on the cluster in KFP_HOST: by cron or by interval.", no_args_is_help=True
)
app.add_typer(schedule_app, name="schedule")

ExperimentOption = Annotated[str, typer.Option("--experiment", help="Experiment in Kubeflow Pipelines.")]
CacheOption = Annotated[bool, typer.Option("--cache/--no-cache", help="Whether tasks may take cached results.")]
AccountOption = Annotated[
    str, typer.Option("--service-account", help="Kubernetes account of the pods; by default the cluster's.")
]
RootOption = Annotated[
    str, typer.Option("--pipeline-root", help="Where artifacts go, s3://bucket/prefix; by default the cluster's.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, or the address of its page.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the schedule.")]


@app.command("submit", cls=ConfigCommand)
def submit_command(
    config: ConfigOption = "classification",
    parameters: SetOption = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run; by default the config's and the time.")] = "",
    experiment: ExperimentOption = "facet",
    cache: CacheOption = True,
    service_account: AccountOption = "",
    pipeline_root: RootOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; fail unless the run succeeds.")] = False,
) -> None:
    """Submit a pipeline to the cluster in KFP_HOST."""
    settings = load_settings()
    from pipelines.cluster.submit import RunOptions, submit
    from pipelines.command.config import find_config, resolve

    resolved = resolve(config, parameters or [])
    options = RunOptions(name or find_config(config).stem, experiment, cache, service_account, pipeline_root)
    submit(resolved, settings, options, wait=wait, echo=typer.echo)


@app.command("status")
def status_command(run: Annotated[str, typer.Argument(metavar="[RUN]", help="Id or page of a run.")] = "") -> None:
    """Show the state of a run on the cluster; without one, list the newest runs."""
    from pipelines.cluster.runs import newest, run_id_of, status

    cluster = _connect()
    for line in status(cluster, run_id_of(run)) if run else newest(cluster):
        typer.echo(line)


@app.command("logs")
def logs_command(
    run: RunArgument,
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="A task as `facet status RUN` names it.")] = "",
) -> None:
    """Show the log of a task of a run on the cluster; without a task, the run's tasks and their errors."""
    from pipelines.cluster.logs import logs
    from pipelines.cluster.runs import run_id_of, status

    cluster = _connect()
    for text in logs(cluster, run_id_of(run), task) if task else status(cluster, run_id_of(run)):
        typer.echo(text)


@app.command("cancel")
def cancel_command(run: RunArgument) -> None:
    """Cancel a run on the cluster."""
    from pipelines.cluster.runs import cancel, run_id_of

    cancel(_connect(), run_id_of(run), echo=typer.echo)


@app.command("wait")
def wait_command(run: RunArgument) -> None:
    """Wait until a run on the cluster has ended; fail unless it has succeeded."""
    from pipelines.cluster.runs import run_id_of, wait_for_run

    wait_for_run(_connect(), run_id_of(run), echo=typer.echo)


@schedule_app.command("add", cls=ConfigCommand)
def schedule_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")],
    cron: Annotated[str, typer.Option("--cron", help="'minute hour day month weekday', in the cluster's time.")] = "",
    every: Annotated[str, typer.Option("--every", help="A number and a unit: 30m, 6h, 1d.")] = "",
    config: ConfigOption = "classification",
    parameters: SetOption = None,
    experiment: ExperimentOption = "facet",
    cache: CacheOption = True,
    service_account: AccountOption = "",
    pipeline_root: RootOption = "",
) -> None:
    """Create a schedule: recurring runs of a pipeline on the cluster."""
    from pipelines.cluster.schedule import add
    from pipelines.cluster.submit import RunOptions
    from pipelines.command.config import resolve

    cluster = _connect()
    options = RunOptions(name, experiment, cache, service_account, pipeline_root)
    add(cluster, resolve(config, parameters or []), options, cron=cron, every=every, echo=typer.echo)


@schedule_app.command("update")
def schedule_update(name: NameArgument, cache: CacheOption = True) -> None:
    """Give a schedule the pipeline and the images of today; its time and its parameters stay."""
    from pipelines.cluster.schedule import update

    update(_connect(), name, cache=cache, echo=typer.echo)


@schedule_app.command("list")
def schedule_list() -> None:
    """List the schedules."""
    from pipelines.cluster.schedule import listing

    for line in listing(_connect()):
        typer.echo(line)


@schedule_app.command("enable")
def schedule_enable(name: NameArgument) -> None:
    """Enable a schedule."""
    _change_schedule(name, "enable")


@schedule_app.command("disable")
def schedule_disable(name: NameArgument) -> None:
    """Disable a schedule: it starts no runs until it is enabled again."""
    _change_schedule(name, "disable")


@schedule_app.command("delete")
def schedule_delete(name: NameArgument) -> None:
    """Delete a schedule; its runs stay."""
    _change_schedule(name, "delete")


def _change_schedule(name: str, action: Literal["enable", "disable", "delete"]) -> None:
    from pipelines.cluster.schedule import change

    change(_connect(), name, action)
    typer.echo(f"{name} is {action}d")


def _connect() -> "Cluster":
    settings = load_settings()
    from pipelines.cluster.connect import connect

    return connect(settings)
