"""The commands `facet runs`: what the runs on this machine occupy, and the removal of those that nobody needs."""

import time
from typing import Annotated

import typer

from pipelines.environment.settings import load_settings

app = typer.Typer(help="The runs on this machine: their sizes, and the removal of old ones.", no_args_is_help=True)


@app.command("list")
def list_command() -> None:
    """List the runs, the newest first: size with the copy in the local S3, age, state, folder."""
    from pipelines.local.prune import local_runs

    settings = load_settings()
    runs = local_runs(settings)
    for run in runs:
        typer.echo(run.line(time.time()))
    typer.echo(f"{len(runs)} runs in {settings.runs}" if runs else f"no runs in {settings.runs}")


@app.command("prune")
def prune_command(
    older_than: Annotated[str, typer.Option("--older-than", help="Of that age or older: 12h, 30d, 4w.")] = "",
    keep_last: Annotated[int | None, typer.Option("--keep-last", min=0, help="All but so many of the newest.")] = None,
    states: Annotated[
        list[str] | None, typer.Option("--state", help="Only succeeded, failed or stopped ones. Repeatable.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """Remove runs that meet all conditions, with their copies in S3; not one that runs, is served or has an alias.

    Results in the cache of the steps that no run has used for 30 days are removed too.
    """
    from pipelines.local.cache import prune_cache
    from pipelines.local.prune import chosen, local_runs, prune

    settings = load_settings()
    runs = chosen(local_runs(settings), older_than=older_than, keep_last=keep_last, states=states or ())
    removed = prune(runs, settings, yes=yes, echo=typer.echo) if runs else 0
    results = prune_cache(settings.home, yes=yes, echo=typer.echo)
    if not removed and not results:
        typer.echo("nothing to remove")
    elif not yes:
        typer.echo(f"{removed} runs, {results} results in the cache; with --yes they are removed")
