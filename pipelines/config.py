"""What a run of the classification pipeline is told, checked as a whole before anything starts.

Values come, first to last, from: a parameter (`--set key=value`), the environment, the config file, the default.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.curate.curate import OPERATIONS
from components.ingest.ingest import FORMATS
from components.shared.dataset.label_spaces import LABEL_SPACES, label_space
from components.shared.metrics.classification import SCALARS
from components.shared.options import known_fields
from components.split.options import SplitOptions
from components.train_classifier.config import TrainConfig
from pipelines.assignments import assign
from pipelines.settings import SOURCE_VARIABLE
from serving.runtime.errors import InputError

CONFIGS = Path(__file__).parent / "configs"
DRAWN_FACES = "s3://raw/drawn_faces"
"""Where the drawn sample data are put; the source when none is named."""
DRAWN_EMOTIONS = "s3://raw/drawn_emotions"
"""Where the drawn sample data in AI Hub's layout are put."""

_TRAIN = TrainConfig(label_space="mask_gender_age")
_NAMES: Mapping[str, Collection[str]] = {"label_space": LABEL_SPACES, "format": FORMATS}
_FORMS = {
    "model_name": "use letters, digits, '.', '_' and '-', a letter or digit first",
    "gpus": "expected a whole number from 0 to 99",
    "storage_secret": "use small letters, digits, '-' and '.', as Kubernetes wants it",
}


class ClassificationConfig(BaseModel):
    """The parameters of the classification pipeline; `classification.py` says what each means.

    `resolve` also checks what lies deeper: the training config, the options of the format, of the curation and of the
    split, the floors' names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    source: str = Field(default=DRAWN_FACES, min_length=1)
    format: str = "profile"
    label_space: str = _TRAIN.label_space
    model: str = _TRAIN.model
    epochs: int = _TRAIN.epochs
    batch_size: int = _TRAIN.batch_size
    learning_rate: float = _TRAIN.learning_rate
    image_height: int = _TRAIN.image_height
    image_width: int = _TRAIN.image_width
    seed: int = _TRAIN.seed
    val_ratio: float = Field(default=0.2, ge=0, lt=1)
    test_ratio: float = Field(default=0.2, ge=0, lt=1)
    model_name: str = Field(default="faces", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    checkpoint: Literal["best", "last", "best_f1", "best_acc"] = "best"
    floors: dict[str, float] = Field(default_factory=lambda: {"macro_f1": 0.8})
    training: dict[str, Any] = Field(default_factory=dict)
    ingest_options: dict[str, Any] = Field(default_factory=dict)
    curation: list[dict[str, Any]] = Field(default_factory=list)
    split_options: dict[str, Any] = Field(default_factory=dict)
    source_digest: str = ""
    gpus: str = Field(default="0", pattern=r"^\d{1,2}$", coerce_numbers_to_str=True)
    storage_secret: str = Field(default="facet-storage", max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")


SHARED = frozenset(ClassificationConfig.model_fields) & frozenset(TrainConfig.model_fields)
"""Entries of the training config that are parameters of the pipeline, and so may not be given twice."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that cannot be used: its path in the config, itself, and what is wrong with it."""

    path: tuple[str, ...]
    value: Any
    message: str


def resolve(
    config: str = "", parameters: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> ClassificationConfig:
    """Lays parameters over the environment over the config file, and checks everything.

    Args:
        config: path of a YAML file, or the name of one in `pipelines/configs`; empty for the defaults.
        parameters: `key=value`; a dotted key reaches into a mapping, a value is written as in YAML.
        environment: variables; `SM_CHANNEL_TRAIN` replaces the config's source, `${NAME}` in the file is filled in.

    Raises:
        InputError: one line for every problem, with where it was said, its path, its value and what is known.
    """
    values: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    if config:
        file = find_config(config)
        values = _read(file, environment)
        origins[()] = _shown(file)
    if environment.get(SOURCE_VARIABLE):
        values["source"] = environment[SOURCE_VARIABLE]
        origins[("source",)] = SOURCE_VARIABLE
    for parameter in parameters:
        origins[assign(values, parameter, "--set")] = "--set"
    problems = list(_problems(values))
    if problems:
        raise InputError("\n".join(_line(problem, origins) for problem in problems))
    return ClassificationConfig.model_validate(values)


def find_config(name: str) -> Path:
    """The config file of that path or name. Raises InputError listing the known names."""
    for path in (Path(name), CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    raise InputError(f"config '{name}': no such file, and no config of that name{_known(name, known)}")


def _problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong, with paths as the user wrote them."""
    wrong: set[str] = set()
    try:
        config = ClassificationConfig.model_validate(values)
    except ValidationError as error:
        for problem in _pydantic(error, (), ClassificationConfig):
            wrong.add(problem.path[0])
            yield problem
        good = {name: value for name, value in values.items() if name not in wrong}
        config = ClassificationConfig.model_validate(good)
    if config.format in FORMATS:
        try:
            FORMATS[config.format].options.model_validate(config.ingest_options)
        except ValidationError as error:
            yield from _pydantic(error, ("ingest_options",), FORMATS[config.format].options)
    else:
        yield Problem(("format",), config.format, f"unknown format{_known(config.format, FORMATS)}")
    yield from _curation(config.curation)
    try:
        SplitOptions.model_validate(config.split_options)
    except ValidationError as error:
        yield from _pydantic(error, ("split_options",), SplitOptions)
    yield from _training(config, wrong)
    yield from _floors(config)
    if not wrong & {"val_ratio", "test_ratio"} and config.val_ratio + config.test_ratio >= 1:
        yield Problem(("test_ratio",), config.test_ratio, "val_ratio and test_ratio leave nothing to train on")


def _curation(operations: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    for number, item in enumerate(operations):
        where = ("curation", str(number))
        if len(item) != 1:
            yield Problem(where, item, f"expected one operation and its options{_known('', OPERATIONS)}")
            continue
        ((name, options),) = item.items()
        if name not in OPERATIONS:
            yield Problem(where, name, f"unknown operation{_known(name, OPERATIONS)}")
            continue
        try:
            OPERATIONS[name].options.model_validate(options)
        except ValidationError as error:
            yield from _pydantic(error, (*where, name), OPERATIONS[name].options)


def _training(config: ClassificationConfig, wrong: Collection[str]) -> Iterator[Problem]:
    for name in sorted(SHARED & set(config.training)):
        yield Problem(("training", name), config.training[name], f"is a parameter of its own: write it as {name}")
    rest = {name: value for name, value in config.training.items() if name not in SHARED}
    try:
        TrainConfig.model_validate({**rest, **{name: getattr(config, name) for name in SHARED}})
    except ValidationError as error:
        for problem in _pydantic(error, (), TrainConfig):
            if problem.path[0] in SHARED:
                if problem.path[0] not in wrong:
                    yield problem
            else:
                yield Problem(("training", *problem.path), problem.value, problem.message)


def _floors(config: ClassificationConfig) -> Iterator[Problem]:
    try:
        attributes = label_space(config.label_space).attributes
    except InputError:
        return
    known = [name for name in SCALARS if name != "log_loss"]
    if len(attributes) > 1:
        known += [f"{attribute}_{metric}" for attribute in attributes for metric in ("accuracy", "macro_f1")]
    for name, floor in config.floors.items():
        if name not in known:
            yield Problem(("floors", name), floor, f"no metric of that name can have a floor{_known(name, known)}")
        elif not 0 <= floor <= 1:
            yield Problem(("floors", name), floor, "a floor lies between 0 and 1")


def _pydantic(error: ValidationError, prefix: tuple[str, ...], model: type[BaseModel]) -> Iterator[Problem]:
    for item in error.errors():
        path = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            shared = SHARED if model is TrainConfig and len(path) == 1 else frozenset[str]()
            known = set(known_fields(model, path[:-1])) - shared
            message = f"unknown key{_known(path[-1], known) if known else ''}"
        elif item["type"] == "literal_error":
            choices = re.findall("'([^']+)'", item["ctx"]["expected"])
            message = f"unknown name{_known(item['input'], choices)}"
        elif item["type"] == "string_pattern_mismatch":
            message = _FORMS.get(path[-1], message)
        elif path and path[-1] in _NAMES:
            message += _nearest(item["input"], _NAMES[path[-1]])
        yield Problem(prefix + path, item["input"], message)


def _known(name: object, known: Collection[str]) -> str:
    return f"{_nearest(name, known)}; known: {', '.join(sorted(known))}"


def _nearest(name: object, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def _line(problem: Problem, origins: Mapping[tuple[str, ...], str]) -> str:
    """`where: path = value: what is wrong`; where is the nearest origin at or above the path."""
    ends = range(len(problem.path), -1, -1)
    origin = next((origins[problem.path[:end]] for end in ends if problem.path[:end] in origins), "default")
    return f"{origin}: {'.'.join(problem.path)} = {problem.value!r}: {problem.message}"


def _read(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{_shown(file)}: is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{_shown(file)}: expected `key: value` lines, got {type(content).__name__}")
    filled = _fill(content, environment, _shown(file), ())
    assert isinstance(filled, dict)
    return {str(name): value for name, value in filled.items()}


def _fill(value: Any, environment: Mapping[str, str], file: str, path: tuple[str, ...]) -> Any:
    """Replaces `${NAME}` in every text below `value`."""
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


def _shown(file: Path) -> str:
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
