"""Read and validate the configuration of a run, as a whole and before anything starts.

Values come, first to last, from: a parameter (`--set key=value`), the environment, the config file, the default.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.shared.options import parse_yaml, read_yaml, set_entry
from pipelines.catalog import DEFAULT, NAMES, PIPELINES, WITH_FACES, WITH_YOLO
from pipelines.environment.settings import SOURCE_VARIABLE
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.parameters.yolo import is_yolo
from serving.runtime.errors import InputError
from serving.runtime.validation import Problem, known, problems_of, shortened

CONFIGS = Path(__file__).parents[1] / "configs"


def resolve(
    config: str = "", parameters: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> PipelineConfig:
    """Read a config file, override it by the environment and then by parameters, and validate the result.

    Args:
        config: path of a YAML file, or the name of one in `pipelines/configs`; empty for the defaults.
        parameters: `key=value`; a dotted key reaches into a mapping, a value is written as in YAML.
        environment: variables; `SM_CHANNEL_TRAIN` replaces the config's source, `${NAME}` in the file is filled in.

    Raises:
        InputError: one line for every problem, with the origin of the value, its path, itself and the known names.
    """
    values: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    if config:
        file = find_config(config)
        values = _read(file, environment)
        origins[()] = _relative(file)
    if environment.get(SOURCE_VARIABLE):
        values["source"] = environment[SOURCE_VARIABLE]
        origins[("source",)] = SOURCE_VARIABLE
    for parameter in parameters:
        origins[assign(values, parameter, "--set")] = "--set"
    values["pipeline"] = _pipeline(values)
    problems = list(_problems(values))
    if problems:
        raise InputError("\n".join(_line(problem, origins) for problem in problems))
    return PIPELINES[values["pipeline"]].config.model_validate(values)


def assign(values: dict[str, Any], text: str, option: str) -> tuple[str, ...]:
    """Set the entry of `values` that an assignment `key=value` of a command line names, and return its path.

    A dotted key reaches into mappings, the value is written as in YAML. Raises InputError naming the option when the
    text is not an assignment, or when the key reaches into a value that has no entries.
    """
    key, equals, written = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise InputError(f"{option} {shortened(text)}: expected key=value, such as epochs=5 or training.ema_decay=0")
    value = parse_yaml(written, f"{option} {shortened(text)}: the value") if written.strip() else ""
    try:
        set_entry(values, key, value)
    except InputError as error:
        raise InputError(f"{option} {shortened(text)}: {error}") from error
    return path


def find_config(name: str) -> Path:
    """The config file of that path or name. Raises InputError listing the known names."""
    for path in (Path(name), CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    raise InputError(f"config '{shortened(name)}': no such file, and no config of that name{known(name, names)}")


def _pipeline(values: Mapping[str, Any]) -> Any:
    """The name of the pipeline, or of its variant: for a model of ultralytics, or for keys about faces."""
    name = values.get("pipeline", DEFAULT)
    if not isinstance(name, str):
        return name
    if name in WITH_YOLO and is_yolo(values.get("model")):
        return WITH_YOLO[name]
    if name in WITH_FACES and values.keys() - PIPELINES[name].config.model_fields.keys():
        return WITH_FACES[name]
    return name


def _problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """All problems, with paths as the user wrote them."""
    name = values["pipeline"]
    if not isinstance(name, str) or name not in PIPELINES:
        yield Problem(("pipeline",), name, f"unknown pipeline{known(name, NAMES)}")
        return
    model = PIPELINES[name].config
    problems = list(problems_of(model, values))
    for problem in problems:
        reason = model.without.get(problem.path[0]) if len(problem.path) == 1 else None
        yield problem if reason is None else replace(problem, message=reason)
    wrong = {problem.path[0] for problem in problems}
    good = {name: value for name, value in values.items() if name not in wrong}
    yield from model.model_validate(good).problems(wrong)


def _line(problem: Problem, origins: Mapping[tuple[str, ...], str]) -> str:
    """`origin: path = value: message`, with the origin of the nearest entry at or above the path."""
    ends = range(len(problem.path), -1, -1)
    origin = next((origins[problem.path[:end]] for end in ends if problem.path[:end] in origins), "default")
    return f"{origin}: {problem}"


def _read(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    content = read_yaml(file, _relative(file))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{_relative(file)}: expected `key: value` lines, got {type(content).__name__}")
    filled = _fill(content, environment, _relative(file), ())
    assert isinstance(filled, dict)
    return {str(name): value for name, value in filled.items()}


def _fill(value: Any, environment: Mapping[str, str], file: str, path: tuple[str, ...]) -> Any:
    """Replace `${NAME}` by the environment variable in every text below `value`."""
    if isinstance(value, dict):
        return {name: _fill(item, environment, file, (*path, str(name))) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environment, file, (*path, str(index))) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        if not environment.get(match[1]):
            raise InputError(
                f"{file}: {'.'.join(path)} = {value!r}: the environment variable {match[1]} is not set; "
                f"export {match[1]}=... or add it to .env"
            )
        return environment[match[1]]

    return re.sub(r"\$\{(\w+)\}", lookup, value)


def _relative(file: Path) -> str:
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
