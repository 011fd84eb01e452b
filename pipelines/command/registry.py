"""The commands on registered models and runs: `facet promote`, `facet rollback`, `facet compare`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings, load_settings
from serving.runtime.errors import InputError, NoAnswerError

app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(help="Name of the model in the registry.", show_default=False)]


@app.command("promote")
def promote_command(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Its version; by default the candidate.", show_default=False)] = "",
) -> None:
    """Make a registered version the champion by hand, without a comparison, with its composite and detector."""
    with _registry(load_settings()):
        from components.promote.aliases import alias_of, move_aliases, served_with
        from components.shared.tracking.registry import CHAMPION, find_model, find_version

        with _before_a_move():
            version = version or alias_of(find_model(name), "candidate")
            if not version:
                raise InputError(f"'{name}' has no candidate: name a version with facet promote {name} VERSION")
            run = find_version(name, version).tags.get("training_run", "")
            pairs = [(name, version), *served_with(name, version)]
        moved = move_aliases(pairs, reason="promoted by hand", run_id=run)
        for one in moved:
            typer.echo(one.line(CHAMPION))
        if moved[0].previous not in ("", version):
            for line in _scores(name, moved[0].previous, version):
                typer.echo(line)


@app.command("rollback")
def rollback_command(name: NameArgument) -> None:
    """Make the champion before this one the champion again, with its composite and detector; once more goes further."""
    with _registry(load_settings()):
        from components.promote.aliases import roll_back
        from components.shared.tracking.registry import CHAMPION, find_model

        with _before_a_move():
            find_model(name)
        moved = roll_back(name)
        for one in moved:
            if line := one.line(CHAMPION):
                typer.echo(line)
        for line in _scores(name, moved[0].previous, moved[0].version):
            typer.echo(line)


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, names of local runs, or ids of MLflow runs.", show_default=False)
    ],
    form: Annotated[Literal["text", "csv", "json"], typer.Option("--format", help="text, csv or json.")] = "text",
) -> None:
    """Compare runs in one table: the settings that differ, the scores with the best ones marked, the times."""
    settings = load_settings()
    from pipelines.local.comparison import compare_runs, is_mlflow_run

    needed = any(is_mlflow_run(run, settings) for run in runs)
    with _registry(settings) if needed else contextlib.nullcontext():
        for line in compare_runs(runs, settings).lines(form):
            typer.echo(line)


@contextlib.contextmanager
def _registry(settings: Settings) -> Iterator[None]:
    """Sets the address of MLflow: the user's own, or that of the local stack, which is started.

    Raises InputError where there is neither.
    """
    if os.environ.get("MLFLOW_TRACKING_URI"):
        yield
        return
    from pipelines.local.stack import DATABASE, environment, local_stack, mlflow_address

    if not Path(settings.home, DATABASE).exists():
        raise InputError(
            f"nothing is registered in {settings.home.absolute()}: register a model with `facet run` first, run it "
            "where your runs are, or set FACET_HOME (or MLFLOW_TRACKING_URI, for a server of your own)"
        )
    with local_stack(settings.home) as stack, environment(stack.environment):
        mlflow_address(settings.home, stack)
        try:
            yield
        except NoAnswerError as error:
            log = settings.home.absolute() / "logs" / "mlflow.log"
            message = str(error).replace("check MLFLOW_TRACKING_URI", "start it with `facet stack up`")
            raise ServerError(f"{message}, then the same command again (log: {log})") from error


@contextlib.contextmanager
def _before_a_move() -> Iterator[None]:
    """Say of a server that does not answer that nothing has moved."""
    try:
        yield
    except NoAnswerError as error:
        raise NoAnswerError(f"nothing has moved: {error}") from error


def _scores(name: str, before: str, after: str) -> Iterator[str]:
    """Yield the metrics of two versions that differ, as they were registered."""
    from components.shared.tracking.registry import find_version

    prefix = "metrics."
    old, new = (
        {
            key.removeprefix(prefix): value
            for key, value in find_version(name, one).tags.items()
            if key.startswith(prefix)
        }
        for one in (before, after)
    )
    width = max((len(key) for key in {**old, **new}), default=0)
    for key in sorted({**old, **new}):
        if old.get(key) != new.get(key):
            values = (f"{float(one[key]):.4f}" if key in one else "-" for one in (old, new))
            yield f"  {key:<{width}}  {' -> '.join(values)}"
