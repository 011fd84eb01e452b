"""Every step as a command: `facet step <name>`. Parameters are options, artifacts are paths."""

import contextlib
import inspect
import logging
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docstring_parser
import typer
from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from pydantic import TypeAdapter, ValidationError

from components.shared.options import imported, parse_json
from pipelines.catalog import STEPS, Step
from pipelines.command.config import assign
from pipelines.environment.settings import load_settings
from pipelines.local.stack import DATABASE, environment, local_stack, mlflow_address, running_environment
from serving.runtime.errors import InputError
from serving.runtime.validation import explain, shortened

_TYPES: dict[str, type] = {"String": str, "Integer": int, "Float": float, "Boolean": bool}
_NEED_MLFLOW = ("register", "promote")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
NOT_HELD = 3
"""Exit code of a step that did its work and found that something does not hold: floors of evaluate."""
_WORDS = {True: "yes", False: "no"}
_PRINTED = (dsl.Metrics, dsl.ClassificationMetrics)


def step_app() -> typer.Typer:
    """The command `facet step` with one command per component."""
    app = typer.Typer(
        help="Run one step on this machine. Artifacts, inputs as outputs, are given as paths.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    for name, step in STEPS.items():
        component = imported("component", step.component)
        app.command(name.replace("_", "-"), help=component.description)(_command(component, step))
    return app


def _command(component: BaseComponent, step: Step) -> Callable[..., None]:
    """A function whose signature Typer reads: the parameters of the component as options.

    It ends with NOT_HELD when the component returns False.
    """
    annotations = component.python_func.__annotations__
    kinds = {name: _artifact(annotation) for name, annotation in annotations.items()}

    def command(**options: Any) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        arguments: dict[str, Any] = {}
        for name, (other, ending) in step.beside.items():
            options[name] = options[name] or options[other].with_name(f"{options[other].stem}{ending}")
        for name, kind in kinds.items():
            if kind and issubclass(kind, _PRINTED):
                arguments[name] = kind(uri="")
            elif kind and isinstance(options[name], list):
                arguments[name] = [kind(uri=str(path)) for path in options[name]]
            elif kind and options[name] is None:
                arguments[name] = None
            elif kind:
                _check_text(name, str(options[name]))
                if not options[name].absolute().name:
                    raise InputError(f"--{name} '{options[name]}': expected the path of a file or of a new folder")
                options[name].parent.mkdir(parents=True, exist_ok=True)
                arguments[name] = kind(uri=str(options[name]))
        for name, spec in component.component_spec.inputs.items():
            if not kinds[name]:
                arguments[name] = _parameter(name, options[name], spec, annotations[name])
        returned = [name for name, spec in (component.component_spec.outputs or {}).items() if not kinds.get(name)]
        with _servers(step, options):
            result = component.python_func(**arguments)
        values = dict(zip(returned, result if isinstance(result, tuple) else [result], strict=bool(returned)))
        _print({step.output if name == "Output" else name: value for name, value in values.items()}, arguments)
        if any(value is False for value in values.values()):
            raise typer.Exit(NOT_HELD)

    parameters = _options(component, kinds, step)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@contextlib.contextmanager
def _servers(step: Step, options: Mapping[str, Any]) -> Iterator[None]:
    """Sets the addresses of the local stack for a step that needs them, where the environment names no other.

    It is started for a step that cannot do without MLflow. Any other whose options name something in MLflow or S3 uses
    it where it is up.
    """
    home = load_settings().home
    own = os.environ.get("MLFLOW_TRACKING_URI")
    if step.resources in _NEED_MLFLOW and not own and (home / DATABASE).exists():
        with local_stack(home) as stack, environment(stack.environment):
            if "models:/" in str(options):
                mlflow_address(home, stack)
            yield
    elif any(address in str(options) for address in ("models:/", "s3://")):
        with environment(running_environment(home)):
            yield
    else:
        yield


def _options(
    component: BaseComponent, kinds: Mapping[str, type[dsl.Artifact] | None], step: Step
) -> list[inspect.Parameter]:
    """The parameters of the component as Typer's options; the variables of the step are their defaults."""
    described = _descriptions(component)
    parameters = []
    for name in inspect.signature(component.python_func).parameters:
        kind, flag = kinds[name], f"--{name.replace('_', '-')}"
        default: Any
        annotation: Any
        spec = component.component_spec.inputs.get(name)
        if kind and issubclass(kind, _PRINTED):
            continue
        if kind:
            several = spec is not None and spec.is_artifact_list
            optional = name in step.beside or (spec is not None and spec.optional)
            preset, note = _from_environment(step, name, None if optional else ...)
            if name in step.beside:
                other, ending = step.beside[name]
                note += f" Otherwise the path of --{other} without its suffix, and {ending}."
            help_text = described[name] + (" Repeatable." if several else "") + note
            default = typer.Option(preset, flag, help=help_text, exists=spec is not None)
            annotation = list[Path] if several else Path
        elif _structured(spec):
            order = " in order; another first key begins a new item" if _listed(spec) else ""
            note = f"{described[name]} JSON, or key=value, repeatedly{order}."
            default, annotation = typer.Option([], flag, help=note), list[str]
        else:
            preset, note = _from_environment(step, name, spec.default if spec.optional else ...)
            if preset is True:  # without a second name it could not be turned off
                flag += flag.replace("--", "/--no-", 1)
            default, annotation = typer.Option(preset, flag, help=described[name] + note), _TYPES[spec.type]
        parameters.append(inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation))
    return parameters


def _from_environment(step: Step, name: str, default: Any) -> tuple[Any, str]:
    """The default of an option and a note for its help: what the step's variable holds, where it is set."""
    if name not in step.variables:
        return default, ""
    variable, below = step.variables[name]
    folder = os.environ.get(variable, "")
    note = f" By default ${variable}{below and f'/{below}'}, where that is set."
    return (str(Path(folder, below)) if below else folder) if folder else default, note


def _artifact(annotation: Any) -> type[dsl.Artifact] | None:
    """The class of the artifact in `Input[...]`, `Input[list[...]]` or `Output[...]`; None for a parameter."""
    if typing.get_origin(annotation) is typing.Union:
        annotation = typing.get_args(annotation)[0]
    kind = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    if kind is not annotation and typing.get_origin(kind) is list:
        (kind,) = typing.get_args(kind)
    return kind if isinstance(kind, type) and issubclass(kind, dsl.Artifact) else None


def _descriptions(component: BaseComponent) -> dict[str, str]:
    """Descriptions of the parameters and artifacts, from the docstring."""
    parsed = docstring_parser.parse(component.python_func.__doc__ or "")
    return {part.arg_name: " ".join((part.description or "").split()) for part in parsed.params}


def _structured(spec: Any) -> bool:
    return str(spec.type).startswith(("Dict", "List"))


def _listed(spec: Any) -> bool:
    return str(spec.type).startswith("List")


def _parameter(name: str, written: Any, spec: Any, annotation: Any) -> Any:
    """The value of a parameter from what was written for it, of the type that the component declares."""
    if isinstance(written, str):
        _check_text(name, written)
    if not _structured(spec):
        return written
    if not written:
        if not spec.optional:
            raise InputError(f"--{name}: is missing; expected JSON, or key=value")
        return spec.default
    for text in written:
        _check_text(name, text)
    try:
        return TypeAdapter(annotation).validate_python(_structure(name, written, spec))
    except ValidationError as error:
        expected = "a list" if _listed(spec) else "a mapping"
        raise InputError(f"--{name}: expected {expected}: {explain(error)}") from error


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"--{name} {shortened(ascii(text))}: is not UTF-8; write it in UTF-8") from error


def _structure(name: str, texts: Sequence[str], spec: Any) -> Any:
    """One JSON text, or `key=value` texts, as a mapping or list; in a mapping a later text wins."""
    if len(texts) == 1 and texts[0].lstrip().startswith(("{", "[")):
        return parse_json(texts[0], f"--{name} {shortened(texts[0])}")
    if _listed(spec):
        return _items(name, texts)
    values: dict[str, Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            values |= parse_json(text, f"--{name} {shortened(text)}")
        else:
            assign(values, text, f"--{name}")
    return values


def _items(name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """`key=value` texts as a list of mappings with one key each: a new key begins a new item."""
    items: list[dict[str, Any]] = []
    for text in texts:
        if "=" not in text or text.lstrip().startswith(("{", "[")):
            raise InputError(f"--{name} {shortened(text)}: expected one JSON list, or key=value for every entry")
        first = re.split("[.=]", text)[0]
        if not items or first not in items[-1]:
            items.append({})
        assign(items[-1], text, f"--{name}")
    return items


def _print(returned: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Print metrics, confusion matrices and the values that the step returns; what holds or not in words."""
    for artifact in arguments.values():
        if isinstance(artifact, dsl.Metrics):
            for name, value in sorted(artifact.metadata.items()):
                typer.echo(f"{name}: {value:g}")
        elif isinstance(artifact, dsl.ClassificationMetrics) and "confusionMatrix" in artifact.metadata:
            matrix = artifact.metadata["confusionMatrix"]
            typer.echo("confusion (rows truth, columns prediction):")
            for label, row in zip(matrix["annotationSpecs"], matrix["rows"], strict=True):
                typer.echo(f"  {label['displayName']}: {' '.join(f'{count:g}' for count in row['row'])}")
    for name, value in returned.items():
        typer.echo(f"{name}: {_WORDS.get(value, value) if isinstance(value, bool) else value}")
