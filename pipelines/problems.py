"""What is wrong with a config: every value that cannot be used, with what is known instead."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from components.ingest.ingest import FORMATS
from components.shared.dataset.label_spaces import LABEL_SPACES
from components.shared.options import known_fields

_NAMES: Mapping[str, Collection[str]] = {"label_space": LABEL_SPACES, "format": FORMATS}
_FORMS = {
    "model_name": "use letters, digits, '.', '_' and '-', a letter or digit first",
    "gpus": "expected a whole number from 0 to 99",
    "storage_secret": "use small letters, digits, '-' and '.', as Kubernetes wants it",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that cannot be used: its path in the config, itself, and what is wrong with it."""

    path: tuple[str, ...]
    value: Any
    message: str


def problems_of(
    model: type[BaseModel], values: Any, path: tuple[str, ...] = (), hidden: Collection[str] = ()
) -> Iterator[Problem]:
    """What keeps `values`, which lie at `path` in the config, from being a `model`.

    Fields that are `hidden` are not offered where a key is unknown.
    """
    try:
        model.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            inner = tuple(str(part) for part in item["loc"])
            yield Problem(path + inner, item["input"], _message(dict(item), inner, model, hidden))


def _message(item: Mapping[str, Any], path: tuple[str, ...], model: type[BaseModel], hidden: Collection[str]) -> str:
    message: str = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        fields = set(known_fields(model, path[:-1])) - (set(hidden) if len(path) == 1 else set())
        return f"unknown key{known(path[-1], fields) if fields else ''}"
    if item["type"] == "literal_error":
        choices = re.findall("'([^']+)'", item["ctx"]["expected"])
        return f"unknown name{known(item['input'], choices)}"
    if item["type"] == "string_pattern_mismatch":
        return _FORMS.get(path[-1], message)
    if path and path[-1] in _NAMES and message.startswith("unknown"):
        return message + _nearest(item["input"], _NAMES[path[-1]])
    return message


def known(name: object, names: Collection[str]) -> str:
    """The end of a message about a name that is none of `names`: the nearest one, and all of them."""
    return f"{_nearest(name, names)}; known: {', '.join(sorted(names))}"


def _nearest(name: object, names: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), names, n=1)
    return f", did you mean '{near[0]}'?" if near else ""
