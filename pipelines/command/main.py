"""The command `facet`. Each command imports its modules when it runs, so that help is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from components.shared.variables import set_variables
from pipelines.command.cluster import app as cluster_app
from pipelines.command.failure import explained
from pipelines.command.options import ConfigCommand, ConfigOption, SetOption
from pipelines.command.predict import predict_command
from pipelines.command.registry import app as registry_app
from pipelines.command.runs import app as runs_app
from pipelines.environment.settings import load_settings
from serving.runtime.errors import InputError

app = typer.Typer(
    help="From raw face photos to a served model: run a pipeline, submit it, or use one of its steps.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
stack_app = typer.Typer(
    help="The local S3 and MLflow servers: a run starts and stops them; these commands keep them up.",
    no_args_is_help=True,
)
app.add_typer(cluster_app)
app.add_typer(registry_app)
app.add_typer(stack_app, name="stack")
app.add_typer(runs_app, name="runs")
app.command("predict")(predict_command)

DEFAULT_MODEL = "models:/faces@champion"


@app.command("compile")
def compile_command(
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="Only this pipeline, such as classification; by default all.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of the committed file; needs --pipeline.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when the committed file differs.")
    ] = False,
    site: Annotated[
        bool, typer.Option("--site", help="Use the images and resources of your cluster; needs --output.")
    ] = False,
) -> None:
    """Compile the pipelines to the IR that Kubeflow Pipelines runs."""
    from pipelines.catalog import PIPELINES
    from serving.runtime.validation import known

    if pipeline and pipeline not in PIPELINES:
        raise InputError(f"--pipeline {pipeline}: unknown pipeline{known(pipeline, PIPELINES)}")
    if output and not pipeline:
        raise InputError(f"--output takes one pipeline: name it with --pipeline, one of {', '.join(PIPELINES)}")
    if site:
        _compile_site(pipeline, output)
        return
    from pipelines.intermediate import committed, compile_committed, drift

    drifted = []
    for name in [pipeline] if pipeline else PIPELINES:
        target = output or committed(name)
        text = compile_committed(name)
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            typer.echo(f"wrote {target}")
        elif difference := drift(text, target):
            typer.echo(difference)
            drifted.append(str(target))
        else:
            typer.echo(f"{target} is up to date")
    if drifted:
        raise InputError(
            f"the code compiles to something else: run `make pipeline-compile` and commit {', '.join(drifted)}"
        )


def _compile_site(pipeline: str, output: Path | None) -> None:
    if not output:
        raise InputError("--site: name the file to write with --output; the committed one holds the defaults")
    settings = load_settings()
    from pipelines.cluster.submit import ir_text, specification

    documents = specification(pipeline, settings, cache=True, cache_ingest=False, echo=typer.echo)
    output.write_text(ir_text(documents), encoding="utf-8")
    typer.echo(f"wrote {output}")


@app.command("run", cls=ConfigCommand)
def run_command(
    config: ConfigOption = "classification",
    parameters: SetOption = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run folder; by default the config's.")] = "",
    upload: Annotated[bool, typer.Option(help="Copy the artifacts to s3://pipelines/<run> at the end.")] = True,
    runner: Annotated[
        str, typer.Option("--runner", envvar="RUNNER", help="subprocess, or docker: each step in its container.")
    ] = "subprocess",
) -> None:
    """Run a pipeline on this machine, with local S3 and MLflow servers unless the environment names others."""
    settings = load_settings()
    from pipelines.command.config import find_config, resolve
    from pipelines.local import summary
    from pipelines.local.run import run

    resolved = resolve(config, parameters or [])
    try:
        name = name or find_config(config).stem
        result = run(resolved, settings, name=name, upload_after=upload, runner=runner, echo=typer.echo)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    lines = summary.failure(result) if result.failed else summary.success(result, resolved)
    typer.echo("")
    for line in lines:
        typer.echo(line)
    if result.failed:
        raise typer.Exit(1)


@app.command("check", cls=ConfigCommand)
def check_command(config: ConfigOption = "classification", parameters: SetOption = None) -> None:
    """Check a config as `run` and `submit` do before they start, and start nothing."""
    settings = load_settings()
    from pipelines.command.config import resolve
    from pipelines.local.run import check
    from pipelines.parameters.addresses import check_addresses

    resolved = resolve(config, parameters or [])
    if settings.kfp_host:
        check_addresses(resolved.addresses(), on_cluster=True, echo=typer.echo)
    else:
        check(resolved, settings, echo=typer.echo)
    typer.echo(f"{config}: a valid config of the pipeline {resolved.pipeline}")


@app.command("leak", cls=ConfigCommand)
def leak_command(
    config: ConfigOption = "classification",
    parameters: SetOption = None,
    persons: Annotated[int, typer.Option("--persons", help="Persons to draw, when the source is drawn data.")] = 36,
) -> None:
    """Compare a split by image with one by person: the same model under both, both scores side by side."""
    settings = load_settings()
    set_variables()
    from pipelines.command.config import resolve
    from pipelines.local.leak import leak_experiment

    result = leak_experiment(resolve(config, parameters or []), settings, persons=persons, echo=typer.echo)
    typer.echo("")
    for line in result.lines():
        typer.echo(line)
    for mode in result.sides:
        typer.echo(f"report by {mode:<7}{result.folder / mode / 'report.html'}")


@app.command(
    "step",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def step_command(context: typer.Context) -> None:
    """Run one step by itself: `facet step <name> --help`."""
    load_settings()
    set_variables()
    from pipelines.command.step import step_app

    raise typer.Exit(step_app()(args=context.args, prog_name="facet step", standalone_mode=False) or 0)


@app.command("serve", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def serve_command(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help=f"models:/name@alias, models:/name, a path, or s3://; repeatable. [default: {DEFAULT_MODEL}]",
        ),
    ] = None,
    repository: Annotated[
        list[str] | None,
        typer.Option("--repository", help="Folder or s3:// with <model>/<version>/model.onnx; repeatable."),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port on this machine.")] = 8080,
) -> None:
    """Serve models on this machine; starts the local stack if they are in it.

    More options go to the server, such as --grpc-port 9000: `python -m serving --help`.
    """
    settings = load_settings()
    from pipelines.local.stack import serve

    models = model or ([] if repository else [DEFAULT_MODEL])
    serve(models, port, settings, repositories=repository or [], options=context.args, echo=typer.echo)


@app.command("ui")
def ui_command() -> None:
    """Open MLflow and TensorBoard on the local runs, until Ctrl-C."""
    settings = load_settings()
    from pipelines.local.stack import open_pages

    open_pages(settings, echo=typer.echo)


@stack_app.command("up")
def stack_up() -> None:
    """Start both servers, wait until they are ready, and leave them running."""
    from pipelines.local.stack import keep_up

    for line in keep_up(load_settings().home).lines():
        typer.echo(line)


@stack_app.command("down")
def stack_down() -> None:
    """Stop the servers, unless a run still uses them."""
    from pipelines.local.stack import take_down

    used = take_down(load_settings().home)
    typer.echo(f"still in use, stops when its run ends: {', '.join(used)}" if used else "the local stack is down")


@stack_app.command("status")
def stack_status() -> None:
    """Show which servers are up, and their addresses."""
    from pipelines.local.stack import running

    for name, server in running(load_settings().home).items():
        typer.echo(f"{name:<8}{server.url if server else 'down'}")


def main() -> None:
    """Run the command line; an error is one message, see `failure`.

    Under a locale without UTF-8 the program starts itself again in Python's UTF-8 mode: otherwise it could not read an
    argument or the name of a file in Korean.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})
    try:
        app()
    except Exception as error:
        message, code = explained(error)
        typer.echo(message, err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
