"""`config.pbtxt`, in which Triton's users say which versions of a model are served, and `labels.txt`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.runtime.card import Head
from serving.runtime.composite import Composite
from serving.runtime.errors import InputError
from serving.runtime.predictor import Predictor

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_PLATFORMS = ("", "onnxruntime_onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a `config.pbtxt` says, as far as it is read.

    Attributes:
        latest: so many of the newest versions are served; None for all, or those of `specific`.
        specific: exactly these versions.
        file: the model's file in a version's folder; "" where it is found by its name.
        labels: output -> the file with its labels, in the model's folder.
    """

    latest: int | None = 1
    specific: tuple[str, ...] = ()
    file: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def read_config(text: str, model: str, source: str) -> ModelConfig:
    """Read a `config.pbtxt`; `source` names it in errors.

    Read are `name`, `platform`, `backend`, `version_policy`, `default_model_filename` and, of an `output`, `name` and
    `label_filename`. All else is about how Triton runs a model, and passed over.

    Raises:
        InputError: it is not in protobuf's text format, names another model, or one that is not ONNX.
    """
    fields = _parse(text, source)
    name = _text(fields, "name")
    if name not in ("", model):
        raise InputError(f"{source}: its name is '{name}', but its folder is '{model}'; make them the same")
    for key in ("platform", "backend"):
        if (value := _text(fields, key)) not in _PLATFORMS:
            raise InputError(
                f"{source}: {key} '{value}' is not for this server, which serves onnxruntime_onnx; detectors and "
                "classifiers that answer together are a composite.json"
            )
    file = _text(fields, "default_model_filename")
    outputs = [output for output in fields.get("output", ()) if isinstance(output, dict)]
    labels = {_text(output, "name"): _text(output, "label_filename") for output in outputs}
    labels = {output: labels_file for output, labels_file in labels.items() if labels_file}
    for one in (file, *labels.values()):
        if "/" in one or "\0" in one or one in (".", ".."):
            raise InputError(f"{source}: '{one}' is not the name of a file")
    latest, specific = _policy(fields, source)
    return ModelConfig(latest, specific, file, labels)


def check_labels(model: Predictor, labels: Mapping[str, tuple[str, str]]) -> None:
    """Raise InputError where files of labels do not say what the card says.

    Args:
        model: the model.
        labels: output -> address and content of its file; "" for a file that belongs to no named output.
    """
    heads = {head.name: tuple(head.labels) for head in _heads(model)}
    for output, (source, text) in labels.items():
        read = tuple(line.strip() for line in text.splitlines() if line.strip())
        expected = [heads[output]] if output in heads else list(heads.values()) if not output else []
        if read not in expected:
            card = "; ".join(f"{name}: {', '.join(of_head)}" for name, of_head in heads.items()) or "none"
            raise InputError(f"{source}: its labels are {', '.join(read) or 'none'}, but those of the model are {card}")


def _heads(model: Predictor) -> Sequence[Head]:
    if isinstance(model, Composite):
        return model.heads
    return model.card.heads if model.card.task == "classification" else ()


_Fields = dict[str, list[Any]]
"""The values of a message by field: texts, and messages as such dicts."""


def _policy(fields: _Fields, source: str) -> tuple[int | None, tuple[str, ...]]:
    """Return how many of the newest versions are served, None for all, and which where they are named."""
    policy = (fields.get("version_policy") or [{}])[0]
    choice, values = next(iter(policy.items()), ("latest", [{}])) if isinstance(policy, dict) else ("", [])
    settings = values[0] if values and isinstance(values[0], dict) else None
    if settings is not None and choice == "all":
        return None, ()
    numbers = (settings or {}).get("num_versions" if choice == "latest" else "versions", [])
    if settings is None or choice not in ("latest", "specific") or not all(_NUMBER.fullmatch(str(n)) for n in numbers):
        raise InputError(
            f"{source}: version_policy is not understood; expected latest {{ num_versions: n }}, all {{ }} or "
            "specific { versions: [...] }"
        )
    if choice == "latest":
        return int(numbers[0]) if numbers else 1, ()
    if not numbers:
        raise InputError(f"{source}: version_policy: specific names no version")
    return None, tuple(dict.fromkeys(numbers))


def _text(fields: _Fields, name: str) -> str:
    value = (fields.get(name) or [""])[-1]
    return value if isinstance(value, str) else ""


def _parse(text: str, source: str) -> _Fields:
    # Only protobuf's tokenizer: its parser cannot pass over lists of messages in fields that it does not know, and
    # Triton's `input [ { ... } ]` is one.
    from google.protobuf import text_format

    try:
        return _message(text_format.Tokenizer(text.splitlines()), "")
    except (text_format.ParseError, RecursionError) as error:
        raise InputError(f"{source}: not in protobuf's text format: {error}") from error


def _message(tokens: Any, end: str) -> _Fields:
    fields: _Fields = {}
    while not (tokens.TryConsume(end) if end else tokens.AtEnd()):
        values = fields.setdefault(tokens.ConsumeIdentifier(), [])
        tokens.TryConsume(":")
        if tokens.TryConsume("["):
            while not tokens.TryConsume("]"):
                values.append(_value(tokens))
                tokens.TryConsume(",")
        else:
            values.append(_value(tokens))
        tokens.TryConsume(",") or tokens.TryConsume(";")
    return fields


def _value(tokens: Any) -> str | _Fields:
    for start, end in ("{}", "<>"):
        if tokens.TryConsume(start):
            return _message(tokens, end)
    if tokens.token[:1] in ("'", '"'):
        return str(tokens.ConsumeString())
    if tokens.token in ("", "]", "}", ">", ":", ","):
        raise tokens.ParseError("Expected a value.")
    sign = "-" if tokens.TryConsume("-") else ""
    value = tokens.token
    tokens.NextToken()
    return sign + str(value)
