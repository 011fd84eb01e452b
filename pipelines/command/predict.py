"""The command `facet predict`: models over photos, wherever both are."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.environment.settings import Settings, load_settings
from serving.runtime.errors import InputError

if TYPE_CHECKING:
    from components.shared.prediction.submission import SubmissionForm
    from pipelines.command.prediction import Job, Outputs

DEFAULT_MODEL = "models:/faces@champion"
ANSWERS, TABLE = "output.csv", "predictions"
"""Names of the files in the folder of a run; the table's without its ending."""

_STOPPED = 130


def predict_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder or ZIP archive of photos, s3:// prefix, info.csv, COCO file or table of faces. With --run it "
            "may be left out: the photos that the run held out.",
            show_default=False,
        ),
    ] = "",
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"models:/name@alias, a path or s3://; several are combined. [{DEFAULT_MODEL}]"),
    ] = None,
    run: Annotated[
        str, typer.Option("--run", help="Folder of a run, or its name: its model, or those of all its folds.")
    ] = "",
    state: Annotated[
        str,
        typer.Option(
            "--state",
            help="With --run: that checkpoint, such as best or last, instead of the exported model. It is not "
            "calibrated and has the default notify threshold.",
        ),
    ] = "",
    combine: Annotated[str, typer.Option("--combine", help="How models are combined: mean or log_mean.")] = "mean",
    tta: Annotated[
        list[str] | None,
        typer.Option("--tta", help="Also see each face so: flip, scale:1.1, multiply:0.9, rotate:180. Repeatable."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The table. [predictions.csv, with --run in its folder]")
    ] = "",
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="csv, parquet or json; by default what the ending of --output says.")
    ] = "",
    submission: Annotated[
        str, typer.Option("--submission", help="Also write the info.csv of the source with class numbers in 'ans'.")
    ] = "",
    annotated: Annotated[
        str, typer.Option("--annotated", help="A new folder: copies of the photos with boxes and labels on them.")
    ] = "",
    top: Annotated[
        int, typer.Option("--top", min=0, help="Labels of each head on a copy; 0: 5 of one head, 1 of several.")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Threads; 0 for one per CPU.")] = 0,
    max_failed: Annotated[
        int, typer.Option("--max-failed", min=0, help="So many faces or photos may fail before nothing is written.")
    ] = 0,
) -> None:
    """Predict photos with models: a table with one row for each face and every probability.

    A classifier takes each photo for one face unless the source gives boxes; detectors and composites find the faces.
    What was stopped goes on where it was when the same command is started again.
    """
    settings = load_settings()
    from pipelines.command.prediction import predict

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    addresses = [source, *(model or ([] if run else [DEFAULT_MODEL]))]
    try:
        with _servers(settings, addresses):
            folder, jobs, form = _jobs(source, model or [], run, state, settings, max_failed)
            changed = " and ".join(
                name for name, given in (("--state", state), ("--combine", combine != "mean"), ("--tta", tta)) if given
            )
            outputs = _outputs(folder, output, format, submission, annotated, top, changed)
            _check_outputs(outputs, source, jobs, form)
            report = predict(
                jobs,
                outputs,
                form,
                combine=combine,
                tta=tta or [],
                workers=workers,
                max_failed=max_failed,
            )
    except KeyboardInterrupt:
        typer.echo("facet: stopped; the same command goes on from here", err=True)
        raise typer.Exit(_STOPPED) from None
    for line in report.lines():
        typer.echo(line)


@contextlib.contextmanager
def _servers(settings: Settings, addresses: Sequence[str]) -> Iterator[None]:
    """Set the addresses of the local stack where an address is in it and the environment names no other servers."""
    from pipelines.local.stack import DATABASE, environment, local_stack, mlflow_address, running_environment

    registered = any(address.startswith("models:/") for address in addresses)
    if registered and not os.environ.get("MLFLOW_TRACKING_URI") and not settings.home.exists():
        raise InputError(
            f"there is no {settings.home.absolute()}: run it where your runs are, or set FACET_HOME (or "
            "MLFLOW_TRACKING_URI, for a server of your own)"
        )
    if registered and not os.environ.get("MLFLOW_TRACKING_URI") and (settings.home / DATABASE).exists():
        with local_stack(settings.home) as stack, environment(stack.environment):
            mlflow_address(settings.home, stack)
            yield
    elif registered or any(address.startswith("s3://") for address in addresses):
        with environment(running_environment(settings.home)):
            yield
    else:
        yield


def _jobs(
    source: str, models: Sequence[str], run: str, state: str, settings: Settings, max_failed: int
) -> "tuple[Path | None, list[Job], SubmissionForm | None]":
    """Return the folder of the run, if one is named, what runs over which photos, and the form that names them."""
    from pipelines.command.prediction import Job
    from pipelines.command.prediction_run import held_out, models_of_run
    from pipelines.command.prediction_source import open_source
    from pipelines.local.run_folder import find_run

    if run and models:
        raise InputError("--run and --model: a run has its own models; name one of both")
    if state and not run:
        raise InputError("--state: names a checkpoint of a run; name the run with --run")
    if not source and not run:
        raise InputError("SOURCE: is missing; name photos, or a run with --run, which has held some out")
    folder = find_run(run, settings.runs) if run else None
    found = models_of_run(folder, state) if folder else models or [DEFAULT_MODEL]
    if not source:
        assert folder is not None
        return folder, [Job([one.model], one.photos) for one in held_out(folder, found)], None
    opened = open_source(source)
    if opened.lost.total > max_failed:
        raise InputError(
            f"{source}: {opened.lost.total} photos or faces cannot be used: {opened.lost}; repair or remove them, or "
            f"allow so many with --max-failed {opened.lost.total}"
        )
    return folder, [Job(found, opened.photos, opened.lost.total)], opened.form


def _outputs(
    folder: Path | None,
    output: str,
    format: str,  # noqa: A002
    submission: str,
    annotated: str,
    top: int,
    changed: str,
) -> "Outputs":
    """Return what is written where; `changed` are the options that make answers other than those of the run's model.

    These have a table of their own with the class numbers beside it, so that the files of the run stay.
    """
    from components.shared.prediction.tables import FORMATS, format_of
    from pipelines.command.prediction import Outputs
    from serving.runtime.storage import is_s3
    from serving.runtime.validation import known

    for option, text in (("--output", output), ("--submission", submission), ("--annotated", annotated)):
        if is_s3(text):
            raise InputError(f"{option} {text}: is written on this machine; name a path here and copy it afterwards")
    if format and format not in FORMATS:
        raise InputError(f"--format: unknown '{format}'{known(format, FORMATS)}")
    suffix = Path(output).suffix
    if not format and suffix and suffix.lower().removeprefix(".") not in FORMATS:
        raise InputError(
            f"--output {output}: its ending '{suffix}' says no format; end it with .csv, .parquet or .json, or name "
            "the format with --format"
        )
    chosen = format or (format_of(Path(output)) if output else "csv")
    answers = folder / ANSWERS if folder else None
    if folder and changed:
        if not output:
            raise InputError(
                f"{changed}: gives other answers than the model of the run; name their table with --output, so that "
                f"{folder / TABLE}.{chosen} stays"
            )
        answers = Path(output).with_name(f"{Path(output).stem}_{ANSWERS}")
    return Outputs(
        Path(output) if output else (folder or Path()) / f"{TABLE}.{chosen}",
        chosen,
        answers=answers,
        submission=Path(submission) if submission else None,
        copies=Path(annotated) if annotated else None,
        top_k=top,
        table_is_answers=not output and chosen == "csv",
    )


def _check_outputs(outputs: "Outputs", source: str, jobs: "Sequence[Job]", form: "SubmissionForm | None") -> None:
    """Raise InputError where an output would overwrite an input, or be read as one the next time."""
    from components.shared.dataset.text import is_hidden, is_image_name
    from pipelines.command.prediction_source import INFO
    from serving.runtime.output import check_output, check_outputs
    from serving.runtime.storage import Location, is_s3

    if outputs.submission and form is None:
        named = source or "the run"
        raise InputError(f"--submission: '{named}' has no info.csv with a column ImageID, whose rows are to be filled")
    for path in (outputs.table, outputs.answers, outputs.submission):
        if path is not None and (not path.name or (path.exists() and not path.is_file())):
            raise InputError(f"{path}: is a folder or a device, and a file is written here; name another one")
    check_outputs(outputs.paths)
    inputs = [Path(model) for job in jobs for model in job.models if not is_s3(model) and "models:" not in model]
    place = Location(source).folder if source and not is_s3(source) else None
    if place is not None and place.is_file():
        inputs.append(place)
    for output in outputs.paths:
        for one in inputs:
            check_output(output, one)
        if place is not None and (output is outputs.copies or is_image_name(output.name) or output.name == INFO):
            check_output(output, place)
    if place is not None and place.is_dir() and not is_hidden(os.path.relpath(outputs.table, place)):
        raise InputError(
            f"--output {outputs.table}: is in the source {source}, where the next prediction would find a file that is "
            "no photo; name a place outside of it"
        )
    copies = outputs.copies
    if copies and copies.exists() and (not copies.is_dir() or any(copies.iterdir())):
        raise InputError(f"--annotated {copies}: already exists and is not empty; remove it or name another folder")
